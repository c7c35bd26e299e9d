"""The probability that something is in front, judged within a person, on a square body of 50 × 50."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deocclude.metrics.in_front import RING, false_alarm, hull_background, keypoint_ranks, rank_among, ring

BODY = np.zeros((120, 100), bool)
BODY[10:60, 20:70] = True
BELOW = np.zeros((17, 3), np.float32)
BELOW[0] = 45, 70, 1
NUMBERS = st.lists(st.integers(0, 5), max_size=12)


@given(NUMBERS, NUMBERS.filter(len))
def test_the_rank_counts_what_is_below_and_half_of_the_ties(values: list[int], others: list[int]) -> None:
    ranks = rank_among(np.array(values, float), np.array(others, float))

    expected = [sum(1.0 * (o < v) + 0.5 * (o == v) for o in others) / len(others) for v in values]
    assert ranks.tolist() == pytest.approx(expected)


def test_among_nothing_there_is_no_rank() -> None:
    assert np.isnan(rank_among(np.ones(2), np.zeros(0))).all()


def test_the_ring_lies_round_the_body() -> None:
    around, reach = ring(BODY), int(RING * 50)

    assert not (around & BODY).any()
    assert not around[60, 45] and around[61, 45], "the contour's margin is one pixel"
    assert around[59 + reach, 45] and not around[60 + reach, 45]
    assert not ring(np.zeros_like(BODY)).any()


def test_a_keypoint_is_ranked_among_its_own_ring() -> None:
    """Below the body lies an occluder. How sure the network is of the whole scene does not count."""
    occluder = np.zeros(BODY.shape)
    occluder[61:] = 0.2
    around = ring(BODY)
    in_occluder = (occluder[around] > 0).mean()

    rank = keypoint_ranks(occluder, BODY, BELOW)

    assert rank.tolist() == pytest.approx([1 - in_occluder / 2])
    assert np.array_equal(keypoint_ranks(occluder + 0.7, BODY, BELOW), rank)
    assert keypoint_ranks(np.full(BODY.shape, 0.9), BODY, BELOW).tolist() == [0.5]
    assert keypoint_ranks(-occluder, BODY, BELOW)[0] < 0.5
    assert keypoint_ranks(occluder, BODY, np.zeros((17, 3))).shape == (0,)


def test_the_background_in_the_hull_of_a_whole_person() -> None:
    """A U: between its arms there is background, up to the margin of both."""
    whole = np.zeros((120, 120), bool)
    whole[20:100, 20:100] = True
    whole[20:80, 44:76] = False
    background = hull_background(whole)

    assert background[40, 60] and not (background & whole).any()
    assert not background[40, 45] and background[40, 46], "the contour's margin is two pixels"
    assert not background[5, 5] and not hull_background(np.zeros_like(whole)).any()
    alarm = np.zeros(whole.shape)
    alarm[:, 60:] = 0.5
    assert false_alarm(alarm, whole) == pytest.approx(0.5, abs=0.05)
    assert false_alarm(alarm, whole, threshold=0.6) == 0
    assert math.isnan(false_alarm(np.ones(BODY.shape), BODY)), "a convex body has no such background"
