"""Imperfect modal masks for a whole batch on the training device; `data.imperfect_masks` does one at a time on disk."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GROWTH = (0.05, 0.30)
"""Paper A's inaccurate masks (B.8): this share of the mask's area is added round it."""


def grown(modal_mask: Tensor, generator: torch.Generator, *, probability: float = 0.1) -> Tensor:
    """The masks, a share `probability` of them with 5 to 30 % more area round their boundary (paper A, B.8).

    modal_mask: bool (B, 1, S, S). Returns the same; a mask grows by whole pixels, to the first size that is enough.
    """
    draws = torch.rand((2, len(modal_mask)), generator=generator, device=modal_mask.device)
    wanted = torch.where(draws[0] < probability, GROWTH[0] + draws[1] * (GROWTH[1] - GROWTH[0]), 0.0)
    target = (modal_mask.flatten(1).sum(1) * (1 + wanted)).clamp(max=modal_mask[0].numel())  # the crop may be full
    target = target * modal_mask.flatten(1).any(1)
    mask = modal_mask.float()
    while (small := mask.flatten(1).sum(1) < target).any():
        mask = torch.where(small[:, None, None, None], F.max_pool2d(mask, 3, stride=1, padding=1), mask)
    return mask > 0.5


def detector_like(
    modal_mask: Tensor, occluder_mask: Tensor, generator: torch.Generator, *, exact: float = 0.4
) -> Tensor:
    """What a detector might give in place of the true modal masks.

    modal_mask, occluder_mask: bool (B, 1, S, S). Returns float32 (B, 1, S, S), 0 or 1. A share `exact` of the masks
    is left as it is; the others are bent, grown or shrunk, lose pieces, gain pieces of the occluder, each to a degree
    drawn for the sample, so that errors from invisible to gross occur. Over occluded CCP people their mean IoU with the
    true masks is 0.85 (a twentieth lies below 0.68): milder than paper B's 0.775, which `data.imperfect_masks` has.
    """
    batch, device = len(modal_mask), modal_mask.device

    def draw(low: float, high: float) -> Tensor:
        return torch.rand((batch, 1, 1, 1), generator=generator, device=device) * (high - low) + low

    def field(cells: int, channels: int = 1) -> Tensor:
        """Smooth noise over the picture, standard normal at its cells."""
        coarse = torch.randn((batch, channels, cells, cells), generator=generator, device=device)
        return F.interpolate(coarse, modal_mask.shape[-2:], mode="bicubic", align_corners=False)

    severity = draw(0, 1)
    mask = modal_mask.float()
    bend = (field(4, 2) * 0.02 + field(16, 2) * 0.012) * severity
    identity = F.affine_grid(torch.eye(2, 3, device=device).expand(batch, 2, 3), list(mask.shape), align_corners=False)
    mask = F.grid_sample(mask, identity + bend.permute(0, 2, 3, 1), align_corners=False)
    width = max(3, modal_mask.shape[-1] // 24) | 1
    soft = F.avg_pool2d(mask, width, stride=1, padding=width // 2)
    mask = (soft > 0.5 + draw(-0.4, 0.4) * severity).float()
    lost = field(7) > 3.0 - 2.0 * severity * draw(0, 1)
    leak = (field(7) > 3.0 - 2.2 * severity * draw(0, 1)) & occluder_mask
    near = F.max_pool2d(modal_mask.float(), 2 * width + 1, stride=1, padding=width) > 0
    mask = ((mask > 0.5) & ~lost) | (leak & near)
    return torch.where(draw(0, 1) < exact, modal_mask, mask).float()
