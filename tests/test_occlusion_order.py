"""Who is in front of whom."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deocclude.pipelines.occlusion_order import MIN_SCORE, OcclusionOrder, occlusion_order


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def scores(*pairs: tuple[int, int], count: int) -> OcclusionOrder:
    """An order in which the first of each pair is in front of the second."""
    matrix = np.zeros((count, count))
    for front, back in pairs:
        matrix[front, back], matrix[back, front] = 1.0, -1.0
    return OcclusionOrder(matrix)


def test_whoever_runs_under_another_is_behind() -> None:
    whole_back, front = rectangle(10, 5, 30, 35), rectangle(20, 10, 40, 38)
    back = whole_back & ~front
    order = occlusion_order([back, front], [whole_back, front])
    assert order.is_behind(0, 1) and not order.is_behind(1, 0)
    assert order.back_to_front == (0, 1) and order.depth == (0, 1)
    swapped = occlusion_order([front, back], [front, whole_back])
    assert swapped.back_to_front == (1, 0) and swapped.depth == (1, 0)


def test_the_larger_of_two_claims_wins_by_its_share() -> None:
    left, right = rectangle(0, 0, 20, 20), rectangle(20, 0, 40, 20)
    order = occlusion_order([left, right], [left | rectangle(20, 0, 26, 20), right | rectangle(18, 0, 20, 20)])
    # Left claims 120 pixels under right, right 40 under left.
    assert np.isclose(order.scores[1, 0], 80 / 160) and np.isclose(order.scores[0, 1], -80 / 160)


def test_equal_claims_and_slivers_decide_nothing() -> None:
    left, right = rectangle(0, 0, 20, 20), rectangle(20, 0, 40, 20)
    equal = occlusion_order([left, right], [left | rectangle(20, 0, 25, 20), right | rectangle(15, 0, 20, 20)])
    sliver = occlusion_order([left, right], [left | rectangle(20, 0, 21, 2), right])
    for order in (equal, sliver):
        assert not order.is_behind(0, 1) and not order.is_behind(1, 0)
        assert order.back_to_front == (0, 1) and order.depth == (0, 0) and not order.cycles


def test_a_cycle_is_reported_and_whoever_is_behind_it_comes_first() -> None:
    order = scores((0, 1), (1, 2), (2, 0), (0, 3), count=4)
    assert order.cycles == ((0, 1, 2),)
    assert order.depth == (1, 1, 1, 0)
    assert order.back_to_front == (3, 0, 1, 2)


def test_nobody_and_one_person() -> None:
    assert occlusion_order([], []).back_to_front == ()
    alone = occlusion_order([rectangle(0, 0, 5, 5)], [rectangle(0, 0, 9, 9)])
    assert alone.back_to_front == (0,) and alone.cycles == ()


@settings(max_examples=60)
@given(st.integers(1, 7), st.integers(0, 2**31))
def test_the_order_puts_everybody_behind_first_but_for_cycles(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.triu(rng.uniform(-1, 1, (count, count)) * (rng.random((count, count)) < 0.5), 1)
    order = OcclusionOrder(matrix - matrix.T)
    assert sorted(order.back_to_front) == list(range(count))
    place = {person: at for at, person in enumerate(order.back_to_front)}
    cycle_of = {person: group for group in order.cycles for person in group}
    for one in range(count):
        for other in range(count):
            if order.is_behind(one, other) and cycle_of.get(one, ()) != cycle_of.get(other, {}):
                assert place[one] < place[other] and order.depth[one] < order.depth[other]
            assert order.is_behind(one, other) == (order.scores[other, one] >= MIN_SCORE)
