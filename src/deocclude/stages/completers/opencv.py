"""OpenCV's two classical inpaintings as RGB stages: Telea's fast marching and the Navier-Stokes one (Bertalmio et al.).

By default what is known is the visible person alone: the colours of the occluder and of the background say nothing
about what a person wears. OpenCV's licence is Apache-2.0; there are no weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from deocclude.errors import InputError
from deocclude.images import as_image
from deocclude.masks import invisible_mask
from deocclude.stages.completers.base import RgbStage
from deocclude.types import Hints, MaskCompletion

if TYPE_CHECKING:
    from torch import Tensor

Known = Literal["person", "whole-picture"]

RADIUS = 3
"""Pixels round each unknown one that it is computed from."""


class OpencvInpainting(RgbStage):
    """Continues the known colours into the invisible region.

    method: which of the two. known: what may be continued: the visible person's pixels alone, or every pixel that is
    not invisible.
    """

    def __init__(self, method: Literal["telea", "navier-stokes"], known: Known = "person", *, size: int = 256) -> None:
        self.name = method if known == "person" else f"{method}-{known}"
        self.method, self.known, self.size = method, known, size
        _opencv()

    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        """image float (B, 3, H, W) in [0, 1] to the same with the unknown pixels painted, in steps of 1/255."""
        invisible = invisible_mask(completion.modal_mask, completion.amodal_mask)
        known = completion.modal_mask if self.known == "person" else ~invisible
        painted = [self._paint(as_image(one), mask[0].cpu().numpy()) for one, mask in zip(image, known, strict=True)]
        return torch.from_numpy(np.stack(painted)).permute(0, 3, 1, 2).to(image) / 255

    def _paint(self, image: np.ndarray, known: np.ndarray) -> np.ndarray:
        """image uint8 (H, W, 3), known bool (H, W)."""
        if not known.any():
            return image
        opencv = _opencv()
        flag = opencv.INPAINT_TELEA if self.method == "telea" else opencv.INPAINT_NS
        painted: np.ndarray = opencv.inpaint(image, (~known).astype(np.uint8), RADIUS, flag)
        return painted


def _opencv() -> Any:
    """The library. Raises InputError where it lacks."""
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise InputError("this RGB stage needs OpenCV; pip install 'deocclude[baselines]'") from error
    return cv2
