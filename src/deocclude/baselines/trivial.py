"""The floor under every table: mask and RGB stages that know nothing about people.

They follow `types.MaskCompleter` and `types.RgbCompleter`: pictures float32 (B, 3, H, W) in [0, 1], masks
bool (B, 1, H, W).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deocclude.types import MaskCompletion

if TYPE_CHECKING:
    from torch import Tensor


class _Stage:
    """Works at any size; `size` is the one it asks for."""

    def __init__(self, size: int = 256) -> None:
        self.size = size


class CopyInputMask(_Stage):
    """Says that nothing is hidden: the amodal mask is the modal mask."""

    name = "copy-input"

    def __call__(
        self, image: Tensor, modal_mask: Tensor, *, joints: Tensor | None = None, refine_modal: bool = False
    ) -> MaskCompletion:
        return MaskCompletion(modal_mask, modal_mask, modal_mask.float())


class ConvexHullMask(_Stage):
    """Takes the convex hull of the visible part for the whole person."""

    name = "convex-hull"

    def __call__(
        self, image: Tensor, modal_mask: Tensor, *, joints: Tensor | None = None, refine_modal: bool = False
    ) -> MaskCompletion:
        hulls = np.stack([_convex_hull(mask) for mask in modal_mask[:, 0].cpu().numpy()])
        amodal_mask = torch.from_numpy(hulls)[:, None].to(modal_mask.device) | modal_mask
        return MaskCompletion(modal_mask, amodal_mask, amodal_mask.float())


def _convex_hull(mask: np.ndarray) -> np.ndarray:
    from skimage.morphology import convex_hull_image

    return convex_hull_image(mask) if mask.any() else mask  # of nothing, skimage warns


class CopyInputRgb(_Stage):
    """Leaves the occluder's pixels where they are."""

    name = "copy-input"

    def __call__(
        self,
        image: Tensor,
        completion: MaskCompletion,
        *,
        words: list[str] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return image


class MeanColourRgb(_Stage):
    """Paints the mean colour of the person's visible pixels everywhere; black for an empty modal mask."""

    name = "mean-colour"

    def __call__(
        self,
        image: Tensor,
        completion: MaskCompletion,
        *,
        words: list[str] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        weight = completion.modal_mask.to(image)
        colour = (image * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3)).clamp(min=1)
        return colour[..., None, None].expand_as(image)
