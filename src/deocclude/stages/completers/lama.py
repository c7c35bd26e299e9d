"""LaMa (Suvorov et al. 2022) as an RGB stage: a hole in the whole picture is filled, whoever it belongs to.

Weights: Big-LaMa, trained on Places, Apache-2.0, as safetensors from the hub.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deocclude.masks import invisible_mask
from deocclude.models.lama import LamaNetwork
from deocclude.stages.completers.base import RgbStage
from deocclude.types import Hints, MaskCompletion

CROP_SIZE = 512
"""Trained at 256 px and made to work above."""


class LamaRgbCompleter(RgbStage):
    """One pass of the generator; it draws nothing at random and reads no words."""

    name = "lama"

    def __init__(self, network: LamaNetwork, *, size: int = CROP_SIZE, weights_sha256: str | None = None) -> None:
        self.network = network.eval()
        self.size, self.weights_sha256 = size, weights_sha256

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's arithmetic."""
        return next(self.network.parameters()).dtype

    @torch.inference_mode()
    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        """image float (B, 3, S, S) in [0, 1] to the network's picture, float32 (B, 3, S, S) in [0, 1]."""
        hole = invisible_mask(completion.modal_mask, completion.amodal_mask)
        painted: Tensor = self.network(image.to(self.dtype), hole.to(self.dtype))
        return painted.float()
