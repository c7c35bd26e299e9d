"""The square of a crop that another project's network looked at: cut out as tensors, and put back.

Those networks were trained on squares that a person's visible part fills differently than it fills our crops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from deocclude.crops import paper_crop
from deocclude.masks import mask_box


@dataclass(frozen=True)
class Windows:
    """One square for each of B people. corner_and_side: float (B, 3) of left, top and side, in sides of the crop.

    A window may leave the crop: what is cut out is 0 there.
    """

    corner_and_side: Tensor

    def cut(self, values: Tensor, size: int, mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
        """What the windows show of maps (B, C, H, W) of the crop, (B, C, size, size), of the same dtype."""
        corner, side = self.corner_and_side[:, :2], self.corner_and_side[:, 2:]
        return _resampled(values, side, 2 * corner + side - 1, size, mode)

    def paste(self, values: Tensor, size: int) -> Tensor:
        """Maps (B, C, h, w) of the windows where they belong in the crop, (B, C, size, size); 0 outside."""
        corner, side = self.corner_and_side[:, :2], self.corner_and_side[:, 2:]
        return _resampled(values, 1 / side, (1 - 2 * corner) / side - 1, size, "bilinear")


def paper_windows(modal_mask: Tensor) -> Windows:
    """SSSD's square round each visible part, side max(sqrt(3wh), 1.1w, 1.1h); the whole crop for an empty mask.

    modal_mask: bool (B, 1, S, S).
    """
    size = modal_mask.shape[-1]
    rows = []
    for mask in modal_mask[:, 0].cpu().numpy():
        box = mask_box(mask)
        crop = None if box is None else paper_crop(box)
        rows.append((0, 0, 1) if crop is None else (crop.left / size, crop.top / size, crop.side / size))
    return Windows(torch.tensor(rows, dtype=torch.float32, device=modal_mask.device))


def _resampled(values: Tensor, scale: Tensor, shift: Tensor, size: int, mode: str) -> Tensor:
    """Sampled at scale · x + shift, x the pixel centres of the result; all from -1 to 1 across a square.

    scale: (B, 1), shift: (B, 2).
    """
    theta = values.new_zeros(len(values), 2, 3, dtype=torch.float32)
    theta[:, 0, 0] = theta[:, 1, 1] = scale[:, 0]
    theta[:, :, 2] = shift
    grid = F.affine_grid(theta, [len(values), 1, size, size], align_corners=False)
    return F.grid_sample(values.float(), grid, mode=mode, align_corners=False).to(values.dtype)
