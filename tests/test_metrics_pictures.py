"""Picture metrics against a plain reading of each formula, and the identity whole = visible + invisible."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deocclude.metrics.pictures import content_l1, on_white, picture_errors

MASK = arrays(bool, (3, 4))
PICTURE = arrays(np.float64, (3, 4, 3), elements=st.floats(0, 1, width=16))


@given(PICTURE, PICTURE, MASK, MASK)
def test_errors_as_sums_over_pixels(
    prediction: np.ndarray, target: np.ndarray, modal: np.ndarray, scored: np.ndarray
) -> None:
    absolute, squared, visible, count = 0.0, 0.0, 0.0, 0
    for (row, column, channel), value in np.ndenumerate(prediction):
        if scored[row, column]:
            difference = value - target[row, column, channel]
            absolute += abs(difference)
            squared += difference**2
            visible += abs(difference) * modal[row, column]
            count += 1
    errors = picture_errors(prediction, target, modal, scored=scored)

    if not count:
        assert math.isnan(errors.l1.whole) and math.isnan(errors.psnr)
        return
    assert errors.l1.whole == pytest.approx(absolute / count)
    assert errors.l1.visible == pytest.approx(visible / count)
    assert errors.mse.whole == pytest.approx(squared / count)
    if squared:
        assert errors.psnr == pytest.approx(10 * math.log10(count / squared))
    else:
        assert errors.psnr == math.inf


@given(PICTURE, PICTURE, MASK, MASK)
def test_the_shares_add_up(prediction: np.ndarray, target: np.ndarray, modal: np.ndarray, scored: np.ndarray) -> None:
    errors = picture_errors(prediction, target, modal, scored=scored)

    for share in (errors.l1, errors.mse):
        assert share.whole == pytest.approx(share.visible + share.invisible, nan_ok=True)


@given(PICTURE, PICTURE, MASK, MASK, MASK)
def test_pixels_that_are_not_scored_never_matter(
    prediction: np.ndarray, target: np.ndarray, modal: np.ndarray, amodal: np.ndarray, scored: np.ndarray
) -> None:
    other = np.where(scored[..., None], prediction, 1 - prediction)

    assert content_l1(other, target, modal, amodal, scored=scored) == pytest.approx(
        content_l1(prediction, target, modal, amodal, scored=scored), nan_ok=True
    )
    assert picture_errors(other, target, modal, scored=scored).l1.whole == pytest.approx(
        picture_errors(prediction, target, modal, scored=scored).l1.whole, nan_ok=True
    )


@given(PICTURE, PICTURE, MASK, MASK)
def test_content_l1_looks_inside_the_true_invisible_region_only(
    prediction: np.ndarray, whole: np.ndarray, modal: np.ndarray, amodal: np.ndarray
) -> None:
    hidden = [(r, c) for r, c in np.argwhere(amodal) if not modal[r, c]]
    expected = [abs(prediction[r, c, k] - whole[r, c, k]) for r, c in hidden for k in range(3)]

    result = content_l1(prediction, whole, modal, amodal)

    assert result == pytest.approx(sum(expected) / len(expected)) if expected else math.isnan(result)


def test_outside_the_person_both_are_white() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((3, 4)) < 0.5
    first, second = rng.random((2, 3, 4, 3))
    same_person = np.where(mask[..., None], first, second)

    assert (on_white(first, mask)[~mask] == 1).all()
    assert picture_errors(on_white(first, mask), on_white(same_person, mask), mask).psnr == math.inf


def test_a_person_left_white_costs_the_distance_to_white_over_the_whole_picture() -> None:
    """A grey person on 1/4 of the picture, not found: L1 = 0.25 * 0.5, PSNR = -10 log10(0.25 * 0.25)."""
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = True
    truth = on_white(np.full((4, 4, 3), 0.5), mask)

    errors = picture_errors(np.ones((4, 4, 3)), truth, mask & (np.arange(4) < 1))

    assert errors.l1.whole == pytest.approx(0.125)
    assert errors.l1.visible == pytest.approx(0.0625) and errors.l1.invisible == pytest.approx(0.0625)
    assert errors.psnr == pytest.approx(-10 * math.log10(0.0625))
