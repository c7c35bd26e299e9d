"""The floor under every table: mask and RGB stages that know nothing about people.

They work at any size; `size` is the one they ask for. Pictures are float32 (B, 3, H, W) in [0, 1], masks
bool (B, 1, H, W).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deocclude.stages.completers.base import MaskStage, RgbStage
from deocclude.types import Hints, MaskCompletion

if TYPE_CHECKING:
    from torch import Tensor


class CopyInputMask(MaskStage):
    """Says that nothing is hidden: the amodal mask is the modal mask."""

    name = "copy-input"
    size = 256

    def complete(self, image: Tensor, modal_mask: Tensor, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
        return MaskCompletion(modal_mask, modal_mask, modal_mask.float())


class ConvexHullMask(MaskStage):
    """Takes the convex hull of the visible part for the whole person."""

    name = "convex-hull"
    size = 256

    def complete(self, image: Tensor, modal_mask: Tensor, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
        hulls = np.stack([_convex_hull(mask) for mask in modal_mask[:, 0].cpu().numpy()])
        amodal_mask = torch.from_numpy(hulls)[:, None].to(modal_mask.device) | modal_mask
        return MaskCompletion(modal_mask, amodal_mask, amodal_mask.float())


def _convex_hull(mask: np.ndarray) -> np.ndarray:
    from skimage.morphology import convex_hull_image

    return convex_hull_image(mask) if mask.any() else mask  # of nothing, skimage warns


class CopyInputRgb(RgbStage):
    """Leaves the occluder's pixels where they are."""

    name = "copy-input"
    size = 256

    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        return image


class MeanColourRgb(RgbStage):
    """Paints the mean colour of the person's visible pixels everywhere; black for an empty modal mask."""

    name = "mean-colour"
    size = 256

    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        weight = completion.modal_mask.to(image)
        colour = (image * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3)).clamp(min=1)
        return colour[..., None, None].expand_as(image)
