"""How much of a step the seam between visible and invented pixels of a person is, beside the person's own steps."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from deocclude.masks import invisible_mask, mask_box

REACH = 0.05
"""The person's own steps are taken so near to the seam: share of the longer side of the amodal mask's box."""
MIN_REACH = 8
"""And at least so many pixels."""
ONE_LEVEL = 1 / 255
"""Between flat colours the smallest step there is stands for the natural one."""


def seam_score(picture: np.ndarray, modal_mask: np.ndarray, amodal_mask: np.ndarray) -> float | None:
    """Mean step across the seam / mean step inside the visible person near it; at least 0, without an upper bound.

    1: pixels differ across the seam as they do beside it. Below 1: the seam is smoother than the person. Well above 1:
    a step that one sees. None where no visible pixel touches an invented one, or none lies near enough to compare with.

    picture: the completed photograph, uint8 (H, W, 3), at its own size. modal_mask, amodal_mask: bool (H, W).

    A step is mean_c |a_c - b_c| / 255 of two pixels that share an edge, the mean over R, G and B, in [0, 1]. Across the
    seam: one is visible, one invented. Natural: both are visible, at most `REACH` rows and columns from an invented
    pixel, and neither touches one, because a visible pixel right at the seam may be a mixture with the occluder. The
    natural mean counts as `ONE_LEVEL` where it is smaller. All pairs weigh the same, and the scale is the photograph's
    pixel: the score judges the step between neighbours, not whether the two sides show the same thing.
    """
    invisible = invisible_mask(modal_mask, amodal_mask)
    person, hole = mask_box(amodal_mask), mask_box(invisible)
    if person is None or hole is None:
        return None
    reach = max(MIN_REACH, round(REACH * max(person[2] - person[0], person[3] - person[1])))
    x0, y0, x1, y1 = hole
    around = slice(max(y0 - reach, 0), y1 + reach), slice(max(x0 - reach, 0), x1 + reach)
    visible, invisible = modal_mask[around], invisible[around]
    near = visible & _within(invisible, reach) & ~_within(invisible, 1)
    across, natural = _Steps(), _Steps()
    for axis in (0, 1):
        steps = _steps(picture[around], axis)
        (one, other), (hidden, hidden_other), (close, close_other) = (
            _neighbours(mask, axis) for mask in (visible, invisible, near)
        )
        across.add(steps[(one & hidden_other) | (hidden & other)])
        natural.add(steps[close & close_other])
    if not across.count or not natural.count:
        return None
    return across.mean / max(natural.mean, ONE_LEVEL)


class _Steps:
    """Sum and number of steps, and their mean in [0, 1]."""

    def __init__(self) -> None:
        self.total, self.count = 0, 0

    def add(self, steps: np.ndarray) -> None:
        self.total += int(steps.sum(dtype=np.int64))
        self.count += len(steps)

    @property
    def mean(self) -> float:
        return self.total / (self.count * 3 * 255)


def _steps(picture: np.ndarray, axis: int) -> np.ndarray:
    """Sum over the channels of the differences between neighbours along an axis, int (h, w), one shorter there."""
    return np.abs(np.diff(picture.astype(np.int16), axis=axis)).sum(axis=2)


def _neighbours(mask: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The mask of the first and of the second pixel of each pair along an axis."""
    return (mask[:-1], mask[1:]) if axis == 0 else (mask[:, :-1], mask[:, 1:])


def _within(mask: np.ndarray, distance: int) -> np.ndarray:
    """Pixels at most so many rows and columns from one in the mask."""
    return ndimage.maximum_filter(mask.view(np.uint8), 2 * distance + 1, mode="constant").view(bool)
