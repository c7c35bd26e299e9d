from __future__ import annotations

import numpy as np
import pytest

from deocclude.metrics.seam import seam_score


def person(step: int = 0, grain: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grainy cloth whose lower half is invented, `step` levels lighter: picture, modal and amodal mask."""
    noise = np.random.default_rng(0).normal(0, grain, (80, 60, 3))
    picture = 100 + noise
    amodal = np.zeros((80, 60), bool)
    amodal[5:75, 5:55] = True
    modal = amodal.copy()
    modal[40:] = False
    picture[40:] += step
    return picture.round().clip(0, 255).astype(np.uint8), modal, amodal


def test_the_same_cloth_going_on_is_as_strong_as_natural() -> None:
    assert seam_score(*person()) == pytest.approx(1, abs=0.15)


def test_a_step_scores_by_its_height() -> None:
    scores = [seam_score(*person(step)) for step in (0, 20, 40, 80)]
    assert scores == sorted(scores)
    assert scores[2] > 5


def test_a_flat_continuation_is_smoother_than_the_cloth() -> None:
    picture, modal, amodal = person()
    picture[40:] = 100
    score = seam_score(picture, modal, amodal)
    assert score is not None and 0.5 < score < 0.85, "one side of the pair still has grain: 1 / sqrt(2) of the step"


@pytest.mark.parametrize("shift", [-50, 30])
def test_brightness_does_not_matter(shift: int) -> None:
    picture, modal, amodal = person(20)
    assert seam_score((picture.astype(int) + shift).astype(np.uint8), modal, amodal) == seam_score(
        picture, modal, amodal
    )


def test_what_is_not_the_person_does_not_matter() -> None:
    picture, modal, amodal = person(20)
    other = np.where(amodal[..., None], picture, np.uint8(255))
    assert seam_score(other, modal, amodal) == seam_score(picture, modal, amodal)


def test_mixed_pixels_at_the_seam_are_not_natural_steps() -> None:
    """A line of the occluder's colour on the visible side raises the score, and does not excuse it."""
    picture, modal, amodal = person()
    picture[39] = 200
    score = seam_score(picture, modal, amodal)
    assert score is not None and score > 10


def test_both_directions_count_alike() -> None:
    picture, modal, amodal = person(20)
    turned = (np.ascontiguousarray(np.swapaxes(array, 0, 1)) for array in (picture, modal, amodal))
    assert seam_score(*turned) == seam_score(picture, modal, amodal)


def test_flat_colours_are_compared_with_one_level() -> None:
    assert seam_score(*person(10, grain=0)) == pytest.approx(10)


def test_no_seam_no_score() -> None:
    picture, modal, amodal = person()
    assert seam_score(picture, amodal, amodal) is None, "nothing is invented"
    assert seam_score(picture, amodal & False, amodal) is None, "nothing is visible"
    assert seam_score(picture, amodal & False, amodal & False) is None
    apart = modal.copy()
    apart[20:40] = False
    assert seam_score(picture, apart, apart | (amodal & ~modal)) is None, "the invented part lies elsewhere"
