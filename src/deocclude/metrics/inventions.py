"""What a method invents of one person, where the truth behind the real occluders may be unknown.

Invented are the pixels that the method calls hidden: its amodal mask without its own modal mask. Every mask is bool
(H, W). What is undefined is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from deocclude.masks import invisible_mask

_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Islands:
    """Invented pieces that do not touch the visible body: `area` of `invented` pixels lie in them."""

    area: int
    invented: int

    @property
    def fraction(self) -> float:
        """Fraction of the invented pixels in [0, 1]; NaN if nothing was invented."""
        return self.area / self.invented if self.invented else float("nan")


def invented_fraction(amodal_mask: np.ndarray, own_modal_mask: np.ndarray, visible: np.ndarray) -> float:
    """Invented area over the area of `visible`, the true modal mask; at least 0, without an upper bound.

    amodal_mask, own_modal_mask: the method's. NaN for an empty `visible`.
    """
    return _over(invisible_mask(own_modal_mask, amodal_mask), visible)


def self_invention(amodal_mask: np.ndarray, own_modal_mask: np.ndarray, visible: np.ndarray) -> float:
    """Fraction of the truly visible body that the method calls hidden, in [0, 1]; arguments as `invented_fraction`."""
    return _over(invisible_mask(own_modal_mask, amodal_mask) & visible, visible)


def background_invention(
    amodal_mask: np.ndarray, own_modal_mask: np.ndarray, visible: np.ndarray, background: np.ndarray
) -> float:
    """Invented area on pixels known to be background, over the area of `visible`; NaN if no background is known."""
    if not background.any():
        return float("nan")
    return _over(invisible_mask(own_modal_mask, amodal_mask) & background, visible)


def islands(amodal_mask: np.ndarray, own_modal_mask: np.ndarray) -> Islands:
    """Invented pieces (8-connected) without a pixel on or next to the method's own modal mask."""
    invented = invisible_mask(own_modal_mask, amodal_mask)
    pieces, count = ndimage.label(invented, _EIGHT_NEIGHBOURS)
    touching = np.zeros(count + 1, bool)
    touching[pieces[ndimage.binary_dilation(own_modal_mask, _EIGHT_NEIGHBOURS)]] = True
    touching[0] = True  # label 0 is everything that was not invented
    return Islands(area=int((~touching)[pieces].sum()), invented=int(invented.sum()))


def _over(part: np.ndarray, visible: np.ndarray) -> float:
    area = int(visible.sum())
    return int(part.sum()) / area if area else float("nan")
