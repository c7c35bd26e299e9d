"""How well a mask was found, one picture at a time.

Every mask is bool (H, W). `scored` is bool (H, W), False on the pixels nobody may judge (128 in an amodal
mask file); they are left out of every sum. What is undefined is NaN, never 0 and never 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deocclude.masks import invisible_mask


@dataclass(frozen=True)
class Overlap:
    """Pixels in the intersection and the union of two masks: what an IoU and its pooled figure need."""

    intersection: int
    union: int

    @property
    def iou(self) -> float:
        """intersection / union in [0, 1]; NaN where the union is empty."""
        return self.intersection / self.union if self.union else float("nan")


def overlap(prediction: np.ndarray, target: np.ndarray, *, scored: np.ndarray | None = None) -> Overlap:
    """|prediction and target| and |prediction or target| over the scored pixels."""
    judged = _judged(target, scored)
    return Overlap(
        intersection=int((prediction & target & judged).sum()),
        union=int(((prediction | target) & judged).sum()),
    )


def invisible_overlap(
    prediction: np.ndarray, target: np.ndarray, modal_mask: np.ndarray, *, scored: np.ndarray | None = None
) -> Overlap:
    """Overlap of prediction minus modal with target minus modal, `modal_mask` being the true one for both.

    A person with nothing hidden has no invisible region to find: both sizes are 0, whatever was predicted, so
    that the person counts neither in the mean nor in the pooled figure.
    """
    hidden = invisible_mask(modal_mask, target) & _judged(target, scored)
    if not hidden.any():
        return Overlap(0, 0)
    return overlap(invisible_mask(modal_mask, prediction), hidden, scored=scored)


def mask_l1(prediction: np.ndarray, target: np.ndarray, *, scored: np.ndarray | None = None) -> float:
    """sum |prediction - target| / sum target, at least 0, without an upper bound; NaN for an empty target.

    This is paper A's L1 (its IoU of 93.5 goes with an L1 of 0.070); paper B's of that name fits no reading.
    """
    judged = _judged(target, scored)
    area = int((target & judged).sum())
    return int(((prediction ^ target) & judged).sum()) / area if area else float("nan")


def _judged(target: np.ndarray, scored: np.ndarray | None) -> np.ndarray:
    return np.ones_like(target) if scored is None else scored
