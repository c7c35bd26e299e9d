from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_data import silhouette

from deocclude.crops import extract, paper_crop
from deocclude.data.ccp import read_ccp
from deocclude.data.imperfect_masks import grow_boundary, simulate_detector_mask
from deocclude.masks import mask_box


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def half_hidden(person: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The visible part of a person behind a disc, and the disc."""
    height, width = person.shape
    y, x = np.mgrid[0:height, 0:width]
    row, column = rng.uniform(0.2, 0.8) * height, rng.uniform(0.4, 0.6) * width
    occluder = (y - row) ** 2 + (x - column) ** 2 < (0.15 * height) ** 2
    return person & ~occluder, occluder


@pytest.mark.parametrize("with_occluder", [False, True])
def test_mean_iou_is_paper_b_s(with_occluder: bool) -> None:
    scores = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        modal, occluder = half_hidden(silhouette(128, 128, seed=seed), rng)
        scores.append(iou(modal, simulate_detector_mask(modal, rng, occluder=occluder if with_occluder else None)))
    assert np.mean(scores) == pytest.approx(0.775, abs=0.02)
    assert np.std(scores) > 0.08, "good masks and bad ones, as from a detector"


def test_a_lower_target_gives_worse_masks() -> None:
    person = silhouette(96, 96)
    means = [
        np.mean(
            [
                iou(person, simulate_detector_mask(person, np.random.default_rng(seed), target_iou=target))
                for seed in range(60)
            ]
        )
        for target in (0.5, 0.65, 0.8)
    ]
    assert means == pytest.approx([0.5, 0.65, 0.8], abs=0.06)


def test_errors_go_both_ways_and_leak_into_the_occluder() -> None:
    missing = extra = leaked = beside = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        modal, occluder = half_hidden(silhouette(96, 96, seed=seed), rng)
        near = occluder & ~modal
        with_occluder = simulate_detector_mask(modal, np.random.default_rng(seed), target_iou=0.6, occluder=occluder)
        without = simulate_detector_mask(modal, np.random.default_rng(seed), target_iou=0.6)
        missing += (modal & ~with_occluder).sum()
        extra += (with_occluder & ~modal).sum()
        leaked += (with_occluder & near).sum()
        beside += (without & near).sum()
    assert missing > 0 and extra > 0
    assert leaked > 1.1 * beside


def test_detector_masks_are_functions_of_the_generator_and_leave_the_input() -> None:
    person = silhouette(80, 60)
    before = person.copy()
    first, second, other = (
        simulate_detector_mask(person, np.random.default_rng(seed), occluder=~person) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second) and not np.array_equal(first, other)
    assert np.array_equal(person, before)
    assert first.dtype == bool and first.shape == person.shape


def test_small_and_empty_and_whole_frame_masks() -> None:
    empty = np.zeros((20, 30), bool)
    assert not simulate_detector_mask(empty, np.random.default_rng(0)).any()
    for seed in range(20):
        pixel = empty.copy()
        pixel[3, 4] = True
        assert simulate_detector_mask(pixel, np.random.default_rng(seed)).any()
        assert simulate_detector_mask(~empty, np.random.default_rng(seed)).any()
    person = silhouette(40, 40)
    assert np.array_equal(simulate_detector_mask(person, np.random.default_rng(0), target_iou=1), person)
    with pytest.raises(ValueError, match="target_iou"):
        simulate_detector_mask(person, np.random.default_rng(0), target_iou=0.1)


def test_one_mask_in_ten_grows_by_5_to_30_percent() -> None:
    person = silhouette(64, 64)
    area = int(person.sum())
    growth = []
    for seed in range(400):
        grown = grow_boundary(person, np.random.default_rng(seed))
        assert (grown | ~person).all(), "growing loses nothing"
        growth.append(int(grown.sum()) / area - 1)
    grew = [share for share in growth if share > 0]
    assert 0.06 < len(grew) / len(growth) < 0.14
    assert min(grew) >= 0.05 - 1 / area and max(grew) <= 0.3 + 1 / area


def test_growth_stays_near_the_boundary() -> None:
    person = silhouette(96, 96)
    grown = grow_boundary(person, np.random.default_rng(0), probability=1, low=0.1, high=0.1)
    near = np.zeros_like(person)
    for rows in range(-2, 3):
        for columns in range(-2, 3):
            near |= np.roll(person, (rows, columns), (0, 1))
    assert grown.sum() == person.sum() + round(0.1 * person.sum())
    assert (near | ~grown).all()


def test_growth_ends_where_the_picture_ends() -> None:
    full = np.ones((8, 8), bool)
    assert grow_boundary(full, np.random.default_rng(0), probability=1).all()


def test_shared_silhouettes_have_paper_b_s_mean(shared_data: Path) -> None:
    scores = []
    for index, record in enumerate(read_ccp(shared_data / "ccp", "train")[::24]):
        rng = np.random.default_rng(index)
        person = record.load().person
        box = mask_box(person)
        assert box is not None
        modal, occluder = half_hidden(extract(person, paper_crop(box), 256, nearest=True), rng)
        scores.append(iou(modal, simulate_detector_mask(modal, rng, occluder=occluder)))
    # 79 people: the standard error of the mean is 0.014
    assert np.mean(scores) == pytest.approx(0.775, abs=0.03)
