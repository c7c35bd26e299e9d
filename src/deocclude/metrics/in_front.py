"""Is the probability "something is in front of this person here" right within one person?

Pooled over people such a map only tells cluttered scenes from free ones. So a person is compared with themselves: a
marked hidden keypoint outside the visible body (in front: yes) with the ring round the same body, and the background
inside the convex hull of a whole person (in front: no).

Probabilities are float (H, W), masks bool (H, W), keypoints COCO-17 as in `metrics.keypoints`.
"""

from __future__ import annotations

import numpy as np
from skimage.morphology import convex_hull_image

from deocclude.metrics.keypoints import contour_margin, hidden_keypoints, outside_by

RING = 0.4
"""Width of the ring over the square root of the visible area: nine in ten of `wild`'s hidden keypoints lie in it."""


def rank_among(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each of float (N,), the fraction of float (M,) below it, ties counted by half: float (N,), NaN for M = 0.

    The mean over `values` is the area under the ROC curve that distinguishes values from others.
    """
    if not others.size:
        return np.full(len(values), np.nan)
    ordered = np.sort(others)
    below, up_to = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    ranks: np.ndarray = (below + up_to) / (2 * ordered.size)
    return ranks


def ring(modal_mask: np.ndarray, *, width: float = RING) -> np.ndarray:
    """Pixels round the visible body, bool (H, W): outside the contour's margin, within `width` times √area."""
    distance = outside_by(modal_mask)
    outer = width * float(np.sqrt(modal_mask.sum()))
    around: np.ndarray = (distance > contour_margin(modal_mask)) & (distance <= outer)
    return around


def keypoint_ranks(
    in_front: np.ndarray, modal_mask: np.ndarray, keypoints: np.ndarray, *, width: float = RING
) -> np.ndarray:
    """Rank of the probability at each marked hidden keypoint outside the body among the ring: float (K,) in [0, 1].

    1: nowhere in the ring is it higher. 0.5: no better than a place drawn at random. K is 0 for a person without such
    keypoints.
    """
    pixels = hidden_keypoints(keypoints, modal_mask)
    return rank_among(in_front[pixels[:, 0], pixels[:, 1]], in_front[ring(modal_mask, width=width)])


def hull_background(modal_mask: np.ndarray) -> np.ndarray:
    """Pixels in the convex hull of the body and outside the contour's margin, bool (H, W).

    Of a whole person nothing is in front there.
    """
    if not modal_mask.any():
        return np.zeros_like(modal_mask)
    background: np.ndarray = convex_hull_image(modal_mask) & (outside_by(modal_mask) > contour_margin(modal_mask))
    return background


def false_alarm(in_front: np.ndarray, modal_mask: np.ndarray, *, threshold: float = 0.5) -> float:
    """Fraction of a whole person's `hull_background` with a probability of at least `threshold`; NaN if it is empty."""
    background = hull_background(modal_mask)
    return float((in_front[background] >= threshold).mean()) if background.any() else float("nan")
