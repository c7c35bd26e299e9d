"""Joints as pictures (paper A, Eqs. 4, 8 and 9), against the equations written plainly in NumPy."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from miniatures import standing_joints
from torch import Tensor

from deocclude.models.diffusion.joint_heatmaps import (
    JOINT_PAIRS,
    MIN_CONFIDENCE,
    NUM_BODY_JOINTS,
    JointInputConfig,
    dense_joints,
    found,
    gaussian_heatmaps,
    joint_input,
    occluded,
)
from deocclude.skeletons import BODY_25

TABLE_A = """
nose neck, neck right-shoulder, right-shoulder right-elbow, right-elbow right-wrist, neck left-shoulder,
left-shoulder left-elbow, left-elbow left-wrist, neck mid-hip, mid-hip right-hip, right-hip right-knee,
right-knee right-ankle, mid-hip left-hip, left-hip left-knee, left-knee left-ankle
"""
NECK, RIGHT_WRIST = BODY_25.index("neck"), BODY_25.index("right-wrist")
CONFIG = JointInputConfig()


def standing(size: int = 64, batch: int = 1) -> Tensor:
    return torch.from_numpy(standing_joints(size))[None].repeat(batch, 1, 1)


def upper_half(size: int = 64, batch: int = 1) -> Tensor:
    """A modal mask that shows the person down to the waist."""
    mask = torch.zeros(batch, 1, size, size, dtype=torch.bool)
    mask[:, :, : size // 2, size // 4 : 3 * size // 4] = True
    return mask


def only(joint: int, x: float, y: float, confidence: float = 1.0) -> Tensor:
    """One joint; the others were not found, and lie at (0, 0) as undetected joints do."""
    joints = torch.zeros(1, 25, 3)
    joints[0, joint] = torch.tensor([x, y, confidence])
    return joints


def plain_heatmap(xy: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """Eq. 4 for one joint."""
    y, x = np.mgrid[:size, :size]
    return np.exp(-((x - xy[0]) ** 2 + (y - xy[1]) ** 2) / (2 * sigma**2))


def plain_occluded_heatmap(joints: np.ndarray, mask: np.ndarray, sub_joints: int, sigma: float) -> np.ndarray:
    """Eqs. 8 and 9 for one person all of whose joints lie on the crop; joints (25, 3), mask (S, S)."""
    body = joints[:19]
    dense = [tuple(row) for row in body]
    for first, second in JOINT_PAIRS:
        for step in range(1, sub_joints + 1):
            share = step / (sub_joints + 1)
            xy = (1 - share) * body[first, :2] + share * body[second, :2]
            dense.append((*xy, min(body[first, 2], body[second, 2])))
    heatmap = np.zeros(mask.shape)
    for x, y, confidence in dense:
        if confidence > 0.05 and not mask[round(y), round(x)]:
            heatmap = np.maximum(heatmap, plain_heatmap(np.array([x, y]), len(mask), sigma))
    return heatmap


def test_a_joint_is_a_gaussian_of_height_one() -> None:
    heatmap = gaussian_heatmaps(torch.tensor([[[20.0, 9.0]]]), torch.tensor([[True]]), 32, 2.5)
    assert heatmap.shape == (1, 1, 32, 32) and heatmap.dtype == torch.float32
    assert heatmap[0, 0, 9, 20] == 1 and (heatmap == 1).sum() == 1
    for sigmas in (1, 2, 3):
        distance = 2.5 * sigmas
        between = gaussian_heatmaps(torch.tensor([[[20.0 - distance, 9.0]]]), torch.tensor([[True]]), 32, 2.5)
        assert between[0, 0, 9, 20].item() == pytest.approx(np.exp(-(sigmas**2) / 2))


def test_heatmaps_follow_equation_4() -> None:
    joints = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(0)) * 40 - 4  # some off the frame
    drawn = torch.tensor([[True, True, False, True, True], [False, True, True, True, False]])
    heatmaps = gaussian_heatmaps(joints, drawn, 32, 2.5)
    for person in range(2):
        for joint in range(5):
            plain = plain_heatmap(joints[person, joint].numpy(), 32, 2.5) * drawn[person, joint].item()
            np.testing.assert_allclose(heatmaps[person, joint], plain, atol=1e-5)


def test_pairs_are_those_of_table_a() -> None:
    named = [tuple(pair.split()) for pair in TABLE_A.strip().replace("\n", " ").split(", ")]
    assert [(BODY_25[first], BODY_25[second]) for first, second in JOINT_PAIRS] == named


@pytest.mark.parametrize("sub_joints", [0, 1, 9, 13])
def test_dense_joints_divide_each_pair_evenly(sub_joints: int) -> None:
    joints = standing(batch=2)
    joints[1, :, :2] += 3
    joints[:, :, 2] = torch.linspace(0.1, 1, 25)
    dense = dense_joints(joints, sub_joints)
    assert dense.shape == (2, 19 + 14 * sub_joints, 3)
    assert torch.equal(dense[:, :19], joints[:, :19])
    between = dense[:, 19:].unflatten(1, (14, sub_joints)) if sub_joints else torch.zeros(2, 14, 0, 3)
    for pair, (first, second) in enumerate(JOINT_PAIRS):
        for step in range(sub_joints):
            share = (step + 1) / (sub_joints + 1)
            expected = (1 - share) * joints[:, first, :2] + share * joints[:, second, :2]
            torch.testing.assert_close(between[:, pair, step, :2], expected)
            assert torch.equal(between[:, pair, step, 2], joints[:, [first, second], 2].amin(1))


def test_the_papers_numbers_of_joints() -> None:
    assert NUM_BODY_JOINTS == 19 and dense_joints(standing(), CONFIG.sub_joints).shape[1] == 145


def test_found_joints_are_sure_enough_and_on_the_crop() -> None:
    rows = [
        (0, 0, 1, True), (63.9, 63.9, 1, True), (5, 5, MIN_CONFIDENCE + 1e-3, True),
        (5, 5, MIN_CONFIDENCE, False), (5, 5, 0, False),
        (-0.1, 5, 1, False), (5, -0.1, 1, False), (64, 5, 1, False), (5, 64, 1, False),
    ]  # fmt: skip
    joints = torch.tensor([row[:3] for row in rows])[None]
    assert found(joints, 64)[0].tolist() == [row[3] for row in rows]


def test_occluded_joints_are_judged_at_the_rounded_pixel() -> None:
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[0, 0, 10, 20] = True  # row 10, column 20
    rows = [(20.4, 9.6, False), (20.6, 10, True), (19.4, 10, True), (20, 10.6, True), (10, 20, True)]
    joints = torch.tensor([(x, y, 1.0) for x, y, _ in rows])[None]
    assert occluded(joints, mask)[0].tolist() == [hidden for *_, hidden in rows]
    mask[0, 0, 63, 63] = True  # the last pixel reaches further than to where numbers round to it
    assert not occluded(torch.tensor([[[63.8, 63.8, 1.0]]]), mask).any()


@pytest.mark.parametrize("sub_joints", [0, 3, 9])
@pytest.mark.parametrize("sigma", [4.0, 8.0])
def test_the_occluded_joint_heatmap_follows_equations_8_and_9(sub_joints: int, sigma: float) -> None:
    joints, mask = standing(), upper_half()
    joints[0, RIGHT_WRIST, 2] = 0.01
    ours = joint_input(joints, mask, JointInputConfig(sub_joints=sub_joints, sigma=sigma))
    assert ours.shape == (1, 1, 64, 64) and ours.dtype == torch.float32
    plain = plain_occluded_heatmap(joints[0].numpy(), mask[0, 0].numpy(), sub_joints, sigma * 64 / 256)
    np.testing.assert_allclose(ours[0, 0], plain, atol=1e-5)
    assert plain.max() > 0.8  # there was something to compare


def test_between_more_joints_the_body_gets_closed() -> None:
    joints, mask = standing(), upper_half()
    heatmaps = [joint_input(joints, mask, JointInputConfig(sub_joints=number)) for number in (0, 1, 3, 7)]
    for fewer, more in pairwise(heatmaps):  # each set of points holds the one before
        assert (more >= fewer - 1e-6).all() and more.sum() > fewer.sum()


@pytest.mark.parametrize("kind", ["occluded-heatmap", "whole-heatmap", "occluded-mask"])
@pytest.mark.parametrize(
    "place",
    [(20.0, 40.0, 0.05), (0.0, 0.0, 0.0), (-2.0, 40.0, 1.0), (20.0, 64.0, 1.0), (500.0, -500.0, 1.0)],
    ids=["unsure", "undetected", "left of the crop", "below the crop", "far off"],
)
def test_joints_that_cannot_be_used_leave_no_trace(kind: str, place: tuple[float, float, float]) -> None:
    """Nor a streak between where they lie and a joint that can: the picture is that of the other joints alone."""
    config = replace(CONFIG, kind=kind)
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    assert not joint_input(only(RIGHT_WRIST, *place), mask, config).any()
    joints, without = standing(), standing()
    joints[0, NECK] = torch.tensor(place)
    without[0, NECK] = torch.tensor([30.0, 30.0, 0.0])
    assert torch.equal(joint_input(joints, mask, config), joint_input(without, mask, config))
    assert not torch.equal(joint_input(joints, mask, config), joint_input(standing(), mask, config))


def test_missing_joints_draw_no_streak_to_the_corner() -> None:
    joints = torch.zeros(1, 25, 3)
    for name in ("right-hip", "right-knee", "right-ankle"):
        joints[0, BODY_25.index(name)] = standing()[0, BODY_25.index(name)]
    heatmap = joint_input(joints, torch.zeros(1, 1, 64, 64, dtype=torch.bool), CONFIG)
    assert heatmap[..., 40:, :].amax() > 0.9 and heatmap[..., :20, :].amax() < 1e-6


def test_feet_are_not_drawn() -> None:
    joints = only(NUM_BODY_JOINTS, 30, 30)
    joints[0, NUM_BODY_JOINTS:] = torch.tensor([30.0, 30.0, 1.0])
    assert not joint_input(joints, torch.zeros(1, 1, 64, 64, dtype=torch.bool), CONFIG).any()


@pytest.mark.parametrize("kind", ["occluded-heatmap", "whole-heatmap", "occluded-mask"])
def test_no_joints_give_an_empty_picture(kind: str) -> None:
    config, mask = replace(CONFIG, kind=kind), upper_half()
    for joints in (None, torch.zeros(1, 25, 3)):
        heatmap = joint_input(joints, mask, config)
        assert heatmap.shape == (1, 1, 64, 64) and heatmap.dtype == torch.float32 and not heatmap.any()
    assert joint_input(standing(), mask, config).any()
    assert not joint_input(standing(), mask, replace(config, sigma=0)).any()


def test_the_three_kinds_of_table_f() -> None:
    joints, mask = standing(), upper_half()
    hidden, whole, disc = (
        joint_input(joints, mask, replace(CONFIG, kind=kind))
        for kind in ("occluded-heatmap", "whole-heatmap", "occluded-mask")
    )
    nose = joints[0, 0, :2].round().long().tolist()
    assert (whole >= hidden).all() and whole[0, 0, nose[1], nose[0]] > 0.9 > hidden[0, 0, nose[1], nose[0]]
    everywhere = joint_input(joints, mask & False, replace(CONFIG, kind="occluded-heatmap"))
    assert torch.equal(everywhere, whole)  # all joints are occluded where nothing is visible
    assert set(disc.unique().tolist()) == {0.0, 1.0}
    assert not disc[mask].any() and torch.equal(disc.bool(), (hidden >= np.exp(-0.5) - 1e-6) & ~mask)


def test_discs_are_as_wide_as_the_gaussians() -> None:
    """Radius σ2: 8 px of 256 are 2 px of 64; points at the rim belong to the disc."""
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    disc = joint_input(only(RIGHT_WRIST, 30, 40), mask, replace(CONFIG, kind="occluded-mask"))[0, 0]
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    assert torch.equal(disc.bool(), (x - 30) ** 2 + (y - 40) ** 2 <= 4)


@pytest.mark.parametrize("kind", ["occluded-heatmap", "whole-heatmap"])
def test_a_larger_crop_shows_the_same_picture_larger(kind: str) -> None:
    config = replace(CONFIG, kind=kind)
    small = joint_input(standing(64), torch.zeros(1, 1, 64, 64, dtype=torch.bool), config)
    large = joint_input(standing(128), torch.zeros(1, 1, 128, 128, dtype=torch.bool), config)
    torch.testing.assert_close(large[..., ::2, ::2], small, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["occluded-heatmap", "whole-heatmap", "occluded-mask"])
def test_a_batch_equals_its_singles(kind: str) -> None:
    config = replace(CONFIG, kind=kind)
    joints, mask = standing(batch=3), upper_half(batch=3)
    joints[1, :, 0] += 7
    joints[2, 5:, 2] = 0
    mask[1] = mask[1].flip(1)
    together = joint_input(joints, mask, config)
    alone = [joint_input(joints[i : i + 1], mask[i : i + 1], config) for i in range(3)]
    assert torch.equal(together, torch.cat(alone)) and not torch.equal(together[0], together[1])


@pytest.mark.parametrize("wrong", [{"sub_joints": -1}, {"sigma": -0.5}])
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be at least 0"):
        JointInputConfig(**wrong)
