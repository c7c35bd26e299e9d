from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny_data import LABEL, parsing_of, silhouette, write_coco

from deocclude.crops import SquareCrop
from deocclude.data.ccp import read_ccp
from deocclude.data.occluders import OccluderBank
from deocclude.data.pasting import draw_place, find_place, jitter_colour, meeting, render_occluder
from deocclude.data.people import PersonSample
from deocclude.data.synthesis import (
    RATIO_BINS,
    SynthesisConfig,
    augment_crop,
    flip_person,
    synthesize,
    view_person,
)
from deocclude.errors import InputError
from deocclude.masks import mask_box, occlusion_ratio

SMALL = SynthesisConfig(size=64)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> OccluderBank:
    return OccluderBank.from_coco(*write_coco(tmp_path_factory.mktemp("coco")))


def person(seed: int = 0, size_hw: tuple[int, int] = (110, 80), *, bag: bool = True) -> PersonSample:
    mask = silhouette(*size_hw, seed=seed)
    not_scored = np.zeros(size_hw, bool)
    if bag:
        not_scored[40:60, 30:60] = True
        mask &= ~not_scored
    # Greens only, which the red and the blue occluder are not, whatever the jitter does to them.
    image = np.zeros((*size_hw, 3), np.uint8)
    image[..., 1] = np.random.default_rng(seed).integers(100, 256, size_hw)
    return PersonSample(image, mask, not_scored, parsing_of(mask))


CONFIGS = [
    SMALL,
    replace(SMALL, augment=True),
    replace(SMALL, bins="contiguous", split="val"),
    replace(SMALL, crop="whole", augment=True),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_laws_of_every_sample(bank: OccluderBank, config: SynthesisConfig) -> None:
    for seed in range(12):
        made = synthesize(person(seed), bank, config, np.random.default_rng(seed), id="x")
        one = made.sample
        assert one.whole is not None and one.parsing is not None
        size_hw = (64, 64) if config.crop == "paper" else (110, 80)
        assert one.occluded.shape == (*size_hw, 3) and one.amodal.shape == size_hw
        assert np.array_equal(one.modal, one.amodal & ~made.occluder_mask)
        assert not (one.not_scored & one.amodal).any()
        pasted = (one.occluded != one.whole).any(axis=-1)
        assert np.array_equal(pasted, made.occluder_mask), "the picture changes under the occluder and nowhere else"
        ratio = occlusion_ratio(one.modal, one.amodal)
        assert any(low < ratio <= high for low, high in config.ratio_bins)
        assert not one.parsing[~one.amodal & ~one.not_scored].any()
        assert (one.parsing[one.not_scored] == 255).all()


def test_every_bin_is_drawn_equally_often(bank: OccluderBank) -> None:
    config = replace(SMALL, split="val", size=48)
    bins: Counter[tuple[float, float]] = Counter()
    for seed in range(120):
        one = synthesize(person(bag=False), bank, config, np.random.default_rng(seed), id="x").sample
        ratio = occlusion_ratio(one.modal, one.amodal)
        bins[next(bin for bin in config.ratio_bins if bin[0] < ratio <= bin[1])] += 1
    assert set(bins) == set(RATIO_BINS["paper", "val"])
    assert min(bins.values()) > 15, "30 expected of each"


def test_the_paper_s_bins_have_their_gap_and_the_other_preset_has_none() -> None:
    assert RATIO_BINS["paper", "train"] == ((0, 0.1), (0.1, 0.2), (0.3, 0.4))
    assert RATIO_BINS["paper", "val"] == ((0, 0.1), (0.1, 0.2), (0.3, 0.4), (0.4, 0.5))
    for split, end in (("train", 0.4), ("val", 0.5)):
        bins = RATIO_BINS["contiguous", split]
        assert bins[0][0] == 0 and bins[-1][1] == end
        assert all(before[1] == after[0] for before, after in pairwise(bins))


def test_a_bag_is_never_a_target(bank: OccluderBank) -> None:
    hidden_bags = 0
    for seed in range(12):
        with_bag = person()
        made = synthesize(with_bag, bank, replace(SMALL, crop="whole"), np.random.default_rng(seed), id="x")
        assert np.array_equal(made.sample.not_scored, with_bag.not_scored), "also where it is hidden"
        assert not made.sample.amodal[with_bag.not_scored].any()
        hidden_bags += (made.occluder_mask & with_bag.not_scored).any()
    assert hidden_bags > 3


def test_hiding_only_the_bag_hides_nothing() -> None:
    mask = np.zeros((40, 40), bool)
    mask[:, 5:8] = mask[:, 30:33] = True
    occluder = np.ones((10, 10), bool)  # fits between the two, where the bag is
    for seed in range(20):
        corner = find_place(mask, occluder, (0, 0.1), np.random.default_rng(seed), overlap=(0, 1), max_tries=50)
        assert corner is not None
        there, part = meeting(mask.shape, occluder.shape, corner)
        assert (mask[there] & occluder[part]).any()


def test_a_sample_is_a_function_of_its_seed(bank: OccluderBank) -> None:
    config = replace(SMALL, augment=True)
    first, second, other = (
        synthesize(person(), bank, config, np.random.default_rng((7, index)), id="x").sample for index in (1, 1, 2)
    )
    for name in ("occluded", "modal", "amodal", "whole", "parsing"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert not np.array_equal(first.occluded, other.occluded)


def test_a_flip_swaps_left_and_right_parts() -> None:
    one = person(bag=False)
    assert one.parsing is not None
    flipped = flip_person(one)
    assert flipped.parsing is not None
    left, right = one.parsing == LABEL["left-leg"], one.parsing == LABEL["right-leg"]
    assert left.any() and right.any()
    assert np.array_equal(flipped.parsing == LABEL["right-leg"], left[:, ::-1])
    assert np.array_equal(flipped.parsing == LABEL["left-leg"], right[:, ::-1])
    for name in ("image", "person", "not_scored", "parsing"):
        assert np.array_equal(getattr(flip_person(flipped), name), getattr(one, name))


def test_the_occluder_ends_where_the_photograph_ends(bank: OccluderBank) -> None:
    # The person fills the photograph's height, so the square leaves it on both sides.
    mask = np.zeros((60, 20), bool)
    mask[:, 4:16] = True
    narrow = PersonSample(np.full((60, 20, 3), 255, np.uint8), mask, np.zeros_like(mask))
    for seed in range(10):
        one = synthesize(narrow, bank, SMALL, np.random.default_rng(seed), id="x").sample
        assert one.whole is not None
        outside = (one.whole == 0).all(axis=-1)
        assert outside.mean() > 0.3 and not one.occluded[outside].any()


def test_augmented_crops_stay_within_the_paper_s_bounds() -> None:
    crop = SquareCrop(100, 200, 400)
    crops = [augment_crop(crop, np.random.default_rng(seed)) for seed in range(200)]
    sides = np.array([one.side for one in crops])
    shifts = np.array([[one.left - 100, one.top - 200] for one in crops]) + (sides[:, None] - 400) / 2
    assert sides.min() >= round(400 / 1.2) and sides.max() <= 400 / 0.8
    assert np.abs(shifts).max() <= 0.2 * 400 + 1
    assert sides.min() < 350 and sides.max() > 480 and np.abs(shifts).max() > 70


def test_without_augmentation_the_view_is_the_paper_crop(bank: OccluderBank) -> None:
    one = person(bag=False)
    crops = {
        synthesize(one, bank, SMALL, np.random.default_rng(seed), id="x").sample.amodal.tobytes() for seed in range(5)
    }
    assert len(crops) == 1
    wide = view_person(one, SquareCrop(-20, -20, 150), 30)
    assert not wide.image[0].any() and not wide.person[0].any(), "black and nobody outside the picture"


def test_places_overlap_as_asked() -> None:
    box, occluder_hw = (20, 30, 60, 130), (30, 50)
    for seed in range(50):
        top, left = draw_place(box, occluder_hw, (0.4, 1), np.random.default_rng(seed))
        for low, high, start, length in ((30, 130, top, 30), (20, 60, left, 50)):
            distance = abs((low + high) / 2 - (start + length / 2))
            assert distance <= 0.6 * (high - low + length) / 2 + 1
    top, left = draw_place(box, occluder_hw, (1, 1), np.random.default_rng(0))
    assert (top, left) == (65, 15)


@pytest.mark.parametrize("corner", [(0, 0), (-3, 4), (8, -2), (30, 30), (-30, 5), (-2, -2)])
def test_where_a_patch_lies(corner: tuple[int, int]) -> None:
    canvas = np.zeros((10, 12), int)
    patch = np.arange(1, 16 * 15 + 1).reshape(16, 15)
    there, part = meeting(canvas.shape, patch.shape, corner)
    canvas[there] = patch[part]
    for row in range(10):
        for column in range(12):
            y, x = row - corner[0], column - corner[1]
            assert canvas[row, column] == (patch[y, x] if 0 <= y < 16 and 0 <= x < 15 else 0)


def test_occluders_come_at_the_person_s_scale() -> None:
    rgba = np.full((40, 40, 4), 255, np.uint8)
    for height in (60, 300):
        box = (0, 0, height // 3, height)
        shown = render_occluder(rgba, box, np.random.default_rng(0), scale=(1, 1), degrees=0, colour_jitter=0)
        # A square fills 1/sqrt(3) of its crop's side; the person's crop is 1.1 times their height.
        assert shown.shape[0] == pytest.approx(1.1 * height / np.sqrt(3), rel=0.04)
        assert set(np.unique(shown[..., 3])) == {255}


def test_a_turned_occluder_keeps_its_colour() -> None:
    rgba = np.zeros((50, 30, 4), np.uint8)
    rgba[5:45, 5:25] = (240, 200, 160, 255)
    for seed in range(6):
        shown = render_occluder(
            rgba, (0, 0, 60, 100), np.random.default_rng(seed), scale=(0.5, 2), degrees=30, colour_jitter=0
        )
        inside = shown[shown[..., 3] > 0][:, :3].astype(int)
        assert np.abs(inside - (240, 200, 160)).max() <= 1


def test_colour_jitter_stays_small_and_is_off_at_zero() -> None:
    rgb = np.random.default_rng(0).integers(60, 180, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(jitter_colour(rgb, 0, np.random.default_rng(0)), rgb)
    changes = [abs(jitter_colour(rgb, 0.2, np.random.default_rng(seed)).mean() / rgb.mean() - 1) for seed in range(30)]
    assert 0.1 < max(changes) <= 0.22


def test_what_cannot_be_done_is_said(bank: OccluderBank) -> None:
    tiny = PersonSample(
        np.zeros((9, 9, 3), np.uint8), np.eye(9, dtype=bool) & (np.arange(9) < 1), np.zeros((9, 9), bool)
    )
    with pytest.raises(InputError, match="smaller than 5 pixels"):
        synthesize(tiny, bank, SMALL, np.random.default_rng(0), id="x")
    hopeless = replace(SMALL, max_tries=1, max_occluders=1, overlap=(0, 0))
    with pytest.raises(InputError, match="none of 1 occluders"):
        synthesize(person(), bank, hopeless, np.random.default_rng(0), id="x")
    with pytest.raises(ValueError, match="overlap"):
        SynthesisConfig(overlap=(0.5, 0.2))


def test_nobody_occludes_themselves(bank: OccluderBank) -> None:
    itself = replace(SMALL, max_occluders=3)
    alone = OccluderBank(bank.sources[:1])
    with pytest.raises(InputError, match="none of 3"):
        synthesize(person(), alone, itself, np.random.default_rng(0), id="x", person_id=alone.sources[0].source_id)


def test_shared_people_under_shared_occluders(shared_data: Path) -> None:
    bank = OccluderBank.from_coco(shared_data / "coco" / "instances_train.json", shared_data / "coco" / "images")
    config = SynthesisConfig(bins="contiguous", augment=True)
    for index, record in enumerate(read_ccp(shared_data / "ccp", "train")[::240]):
        one = synthesize(record.load(), bank, config, np.random.default_rng(index), id=record.id).sample
        assert 0 < occlusion_ratio(one.modal, one.amodal) <= 0.4
        box = mask_box(one.amodal)
        assert box is not None and box[3] - box[1] > 100
