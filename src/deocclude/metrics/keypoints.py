"""Hidden keypoints that an annotator marked: the only truth there is behind real occluders.

Keypoints are COCO-17, float (17, 3) of x, y and v: 1 for a hidden one that was marked, 2 for a visible one. COCO's x
and y are indices of pixels: 3.0 is the middle of the fourth.

Many hidden keypoints lie on the visible body, behind the person's own arm for instance. Those say nothing about what
is hidden by something else, so that only the others count: those outside the modal mask grown by a margin, because
contours and keypoints are drawn by hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

HIDDEN = 1
"""COCO's v of a keypoint that was marked though it cannot be seen."""
MARGIN = 0.02
"""Of the square root of the visible area: the tolerance of contours and keypoints drawn by hand."""


@dataclass(frozen=True)
class Reached:
    """`reached` of `hidden` marked keypoints outside the visible body lie in the amodal mask."""

    reached: int
    hidden: int

    @property
    def fraction(self) -> float:
        """In [0, 1]; NaN if there is no such keypoint."""
        return self.reached / self.hidden if self.hidden else float("nan")


def contour_margin(modal_mask: np.ndarray) -> int:
    """Whole pixels by which masks are grown before keypoints are compared with them: `MARGIN` times √area, rounded up.

    Rounded up because a mask grown by less than a pixel is the same mask.
    """
    return math.ceil(MARGIN * math.sqrt(modal_mask.sum()))


def outside_by(mask: np.ndarray) -> np.ndarray:
    """Distance to the mask in pixels, 0 inside: float64 (H, W); infinite for an empty mask."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    distance: np.ndarray = ndimage.distance_transform_edt(~mask)
    return distance


def hidden_keypoints(keypoints: np.ndarray, modal_mask: np.ndarray) -> np.ndarray:
    """Pixels of the marked hidden keypoints outside the grown modal mask: int (K, 2) of row, column.

    keypoints: (17, 3) of x, y, v. modal_mask: the true one, bool (H, W). A keypoint beyond the frame is left out: no
    mask can hold it.
    """
    places = keypoints[keypoints[:, 2] == HIDDEN][:, 1::-1]
    places = places[((places > -0.5) & (places < modal_mask.shape)).all(axis=1)]
    # A point of the last pixel may have been scaled to half a pixel beyond it.
    pixels = np.minimum(np.floor(places + 0.5).astype(int), np.array(modal_mask.shape) - 1)
    outside = outside_by(modal_mask)[pixels[:, 0], pixels[:, 1]] > contour_margin(modal_mask)
    return pixels[outside]


def keypoints_reached(keypoints: np.ndarray, modal_mask: np.ndarray, amodal_mask: np.ndarray) -> Reached:
    """How many of `hidden_keypoints` lie in the method's amodal mask, grown by the same margin.

    A mask that covers everything reaches all of them: read it beside the invented area.
    """
    pixels = hidden_keypoints(keypoints, modal_mask)
    inside = outside_by(amodal_mask)[pixels[:, 0], pixels[:, 1]] <= contour_margin(modal_mask)
    return Reached(reached=int(inside.sum()), hidden=len(pixels))
