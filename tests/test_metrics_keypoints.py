"""Marked hidden keypoints, on a square body of 50 × 50: the margin is 2 % of 50, one pixel."""

from __future__ import annotations

import math

import numpy as np

from deocclude.metrics.keypoints import Reached, contour_margin, hidden_keypoints, keypoints_reached, outside_by

BODY = np.zeros((120, 100), bool)
BODY[10:60, 20:70] = True
EMPTY = np.zeros_like(BODY)
VISIBLE, HIDDEN, UNLABELLED = 2, 1, 0


def keypoints(*rows: tuple[float, float, int]) -> np.ndarray:
    """COCO-17 with these first, and no label for the others."""
    return np.array([*rows, *[(0, 0, UNLABELLED)] * (17 - len(rows))], np.float32)


def test_only_marked_hidden_ones_outside_the_grown_body_count() -> None:
    found = hidden_keypoints(
        keypoints(
            (30.0, 30.0, HIDDEN),  # behind the own body
            (30.0, 60.4, HIDDEN),  # row 60: next to the last visible row, 59
            (30.0, 60.5, HIDDEN),  # row 61: two from it
            (30.0, 100.0, VISIBLE),
            (89.7, 80.2, HIDDEN),
        ),
        BODY,
    )

    assert contour_margin(BODY) == 1 and contour_margin(BODY | (np.arange(100) == 0)) == 2
    assert found.tolist() == [[61, 30], [80, 90]], "row, column of the nearest pixel"


def test_a_keypoint_beyond_the_frame_is_left_out() -> None:
    outside = keypoints((100.0, 80.0, HIDDEN), (50.0, 120.0, HIDDEN), (-0.6, 80.0, HIDDEN), (99.9, 119.2, HIDDEN))

    assert hidden_keypoints(outside, BODY).tolist() == [[119, 99]]
    assert hidden_keypoints(keypoints((-0.4, 80.0, HIDDEN)), BODY).tolist() == [[80, 0]]


def test_the_amodal_mask_reaches_with_the_same_margin() -> None:
    amodal = BODY.copy()
    amodal[60:100, 40:50] = True  # a leg
    points = keypoints((45.0, 90.0, HIDDEN), (50.0, 90.0, HIDDEN), (51.0, 90.0, HIDDEN), (45.0, 30.0, HIDDEN))

    assert keypoints_reached(points, BODY, amodal) == Reached(reached=2, hidden=3)
    assert keypoints_reached(points, BODY, BODY) == Reached(reached=0, hidden=3)
    assert keypoints_reached(points, BODY, ~EMPTY) == Reached(reached=3, hidden=3)
    assert keypoints_reached(points, BODY, EMPTY) == Reached(reached=0, hidden=3), "a method that gave up"


def test_without_hidden_keypoints_it_is_undefined() -> None:
    assert keypoints_reached(keypoints((45.0, 90.0, VISIBLE)), BODY, BODY) == Reached(0, 0)
    assert math.isnan(Reached(0, 0).fraction) and Reached(1, 4).fraction == 0.25


def test_the_distance_is_nought_inside_and_infinite_from_nothing() -> None:
    assert outside_by(BODY)[30, 30] == 0 and outside_by(BODY)[30, 75] == 6
    assert np.isinf(outside_by(EMPTY)).all()
