"""Mask metrics against a plain reading of each formula, and their conventions for what is undefined."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deocclude.metrics.averages import averages, averages_by_ratio
from deocclude.metrics.masks import Overlap, invisible_overlap, mask_l1, overlap
from deocclude.metrics.resampling import bootstrap_interval

MASK = arrays(bool, (4, 5))
EMPTY, FULL = np.zeros((4, 5), bool), np.ones((4, 5), bool)


def pixels(mask: np.ndarray) -> set[tuple[int, int]]:
    return {(int(row), int(column)) for row, column in np.argwhere(mask)}


def ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan


@given(MASK, MASK, MASK)
def test_iou_and_l1_as_sets(prediction: np.ndarray, target: np.ndarray, scored: np.ndarray) -> None:
    found, true = pixels(prediction) & pixels(scored), pixels(target) & pixels(scored)

    assert overlap(prediction, target, scored=scored) == Overlap(len(found & true), len(found | true))
    assert overlap(prediction, target, scored=scored).iou == pytest.approx(
        ratio(len(found & true), len(found | true)), nan_ok=True
    )
    assert mask_l1(prediction, target, scored=scored) == pytest.approx(ratio(len(found ^ true), len(true)), nan_ok=True)


@given(MASK, MASK, MASK, MASK)
def test_invisible_iou_as_sets(
    prediction: np.ndarray, target: np.ndarray, modal: np.ndarray, scored: np.ndarray
) -> None:
    found = (pixels(prediction) - pixels(modal)) & pixels(scored)
    hidden = (pixels(target) - pixels(modal)) & pixels(scored)
    expected = ratio(len(found & hidden), len(found | hidden)) if hidden else math.nan

    assert invisible_overlap(prediction, target, modal, scored=scored).iou == pytest.approx(expected, nan_ok=True)


@given(MASK, MASK, MASK, MASK)
def test_pixels_that_are_not_scored_never_matter(
    prediction: np.ndarray, target: np.ndarray, modal: np.ndarray, scored: np.ndarray
) -> None:
    other = np.where(scored, prediction, ~prediction)

    assert overlap(other, target, scored=scored) == overlap(prediction, target, scored=scored)
    assert mask_l1(other, target, scored=scored) == pytest.approx(
        mask_l1(prediction, target, scored=scored), nan_ok=True
    )
    assert invisible_overlap(other, target, modal, scored=scored) == invisible_overlap(
        prediction, target, modal, scored=scored
    )


def test_nothing_to_find_is_undefined_not_zero() -> None:
    assert math.isnan(overlap(EMPTY, EMPTY).iou)
    assert math.isnan(mask_l1(FULL, EMPTY))
    assert math.isnan(invisible_overlap(FULL, EMPTY, EMPTY).iou)
    assert invisible_overlap(FULL, FULL, FULL) == Overlap(0, 0)
    assert overlap(EMPTY, FULL).iou == 0 and mask_l1(EMPTY, FULL) == 1


def row(ratio: float, intersection: int, union: int) -> dict[str, float]:
    return {
        "occlusion_ratio": ratio,
        "iou": Overlap(intersection, union).iou,
        "iou_intersection": intersection,
        "iou_union": union,
    }


def test_the_mean_weighs_people_and_the_pooled_figure_pixels() -> None:
    """A person half found, one 90 % found, and one of whom nothing is defined."""
    summary = averages([row(0.1, 500, 1000), row(0.2, 900, 1000), row(0.2, 0, 0)], ["iou"])

    assert summary["iou_mean"] == pytest.approx(0.7)
    assert summary["n"] == 3 and summary["undefined"] == {"iou": 1}
    assert averages([row(0, 50, 100), row(0, 900, 1000)], ["iou"])["iou_pooled"] == pytest.approx(950 / 1100)
    assert math.isnan(averages([], ["iou"])["iou_mean"]) and math.isnan(averages([], ["iou"])["iou_pooled"])


def test_bins_include_their_upper_end_only() -> None:
    bins = averages_by_ratio([row(0.0, 1, 2), row(0.1, 1, 2), row(0.1001, 1, 1), row(1.0, 0, 1)], ["iou"])

    assert [bins[key]["n"] for key in bins] == [1, 1, 0, 0, 0, 1]
    assert bins["(0,0.1]"]["iou_mean"] == 0.5 and bins["(0.5,1]"]["iou_mean"] == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 99))
def test_the_interval_is_seeded_and_inside_the_values(values: list[float], seed: int) -> None:
    data = np.array(values)
    low, high = bootstrap_interval(data, range(len(data)), rng=np.random.default_rng(seed), resamples=50)

    assert data.min() - 1e-9 <= low <= high <= data.max() + 1e-9
    assert (low, high) == bootstrap_interval(data, range(len(data)), rng=np.random.default_rng(seed), resamples=50)
