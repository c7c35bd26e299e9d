"""Mask algebra: each relation between masks is written once, here.

The functions take boolean NumPy arrays or boolean tensors of any shape and return the same kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Mask = TypeVar("Mask", "np.ndarray", "Tensor")


def invisible_mask(modal_mask: Mask, amodal_mask: Mask) -> Mask:
    """Pixels of the person that something hides: amodal and not modal."""
    return amodal_mask & ~modal_mask


def occlusion_ratio(modal_mask: np.ndarray, amodal_mask: np.ndarray) -> float:
    """Share of the person that is hidden, |invisible| / |amodal| in [0, 1]; 0 for an empty amodal mask."""
    area = int(amodal_mask.sum())
    return int(invisible_mask(modal_mask, amodal_mask).sum()) / area if area else 0.0


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Tight box of a bool (H, W) mask as (x0, y0, x1, y1), x1 and y1 exclusive; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
