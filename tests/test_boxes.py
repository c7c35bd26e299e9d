"""Boxes with scores: what overlap, suppression and pairs must keep to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deocclude.conditioning.boxes import ScoredBoxes, box_iou, contained, kept_rows, matched

coordinates = arrays(float, st.tuples(st.integers(0, 8), st.just(4)), elements=st.integers(0, 20).map(float))


def in_order(boxes: np.ndarray) -> np.ndarray:
    """The same with x0 <= x1 and y0 <= y1."""
    return np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)


def test_iou_of_known_boxes() -> None:
    boxes = np.array([[0, 0, 20, 10], [10, 0, 30, 10], [20, 0, 30, 10], [5, 5, 5, 9]], float)
    expected = [[1, 1 / 3, 0, 0], [1 / 3, 1, 0.5, 0], [0, 0.5, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(box_iou(boxes, boxes), expected)
    assert box_iou(boxes[:0], boxes).shape == (0, 4)


@given(coordinates.map(in_order), st.floats(0.1, 0.9))
def test_what_is_kept_overlaps_little_and_what_is_not_is_covered_by_a_surer_box(
    boxes: np.ndarray, max_iou: float
) -> None:
    scores = np.array([(7 * place) % 5 / 4 for place in range(len(boxes))])
    rows = kept_rows(ScoredBoxes(boxes, scores), max_iou=max_iou)
    iou = box_iou(boxes, boxes)
    assert (np.diff(scores[rows]) <= 0).all()
    assert all(iou[a, b] <= max_iou for a in rows for b in rows if a != b)
    for left_out in set(range(len(boxes))) - set(rows.tolist()):
        assert any(iou[left_out, row] > max_iou and scores[row] >= scores[left_out] for row in rows)


@given(coordinates.map(in_order), coordinates.map(in_order))
def test_pairs_are_one_to_one_and_leave_no_pair_that_could_be(a: np.ndarray, b: np.ndarray) -> None:
    pairs = matched(a, b, 0.5)
    rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
    assert len(rows) == len(columns) == len(pairs)
    iou = box_iou(a, b)
    assert all(iou[pair] > 0.5 for pair in pairs)
    left = np.delete(np.delete(iou, list(rows), axis=0), list(columns), axis=1)
    assert not (left > 0.5).any()


def test_the_best_pair_comes_first() -> None:
    a, b = np.array([[0, 0, 10, 10.0], [0, 0, 10, 8]]), np.array([[0, 0, 10, 9.0], [0, 0, 10, 10]])
    assert matched(a, b, 0.5) == [(0, 1), (1, 0)]
    assert matched(a, b, 0.95) == [(0, 1)]


def test_a_box_in_a_surer_one_is_left_out_and_one_round_it_is_not() -> None:
    whole, head, beside = [0, 0, 20, 60], [5, 0, 15, 12], [18, 0, 40, 60]
    boxes = np.array([head, whole, beside], float)
    assert kept_rows(ScoredBoxes(boxes, np.array([0.5, 0.9, 0.4])), max_iou=0.6, max_part=0.8).tolist() == [1, 2]
    assert kept_rows(ScoredBoxes(boxes, np.array([0.95, 0.9, 0.4])), max_iou=0.6, max_part=0.8).tolist() == [0, 1, 2]
    assert kept_rows(ScoredBoxes(boxes, np.array([0.5, 0.9, 0.4])), max_iou=0.6).tolist() == [1, 0, 2]
    np.testing.assert_allclose(contained(boxes[:2], boxes[:2]), [[1, 1], [0.1, 1]])


def test_rows_of_scored_boxes() -> None:
    found = ScoredBoxes(np.arange(8.0).reshape(2, 4), np.array([0.5, 0.75]))
    assert len(found) == 2 and found[np.array([1])].scores == pytest.approx([0.75])
