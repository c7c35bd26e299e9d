"""Two methods on the same people, and means redrawn over people and seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deocclude.metrics.paired import paired_difference
from deocclude.metrics.resampling import bootstrap_interval, interval_of, resampled_means

VALUES = st.lists(st.one_of(st.floats(0, 1), st.just(math.nan), st.just(math.inf)), min_size=1, max_size=12)


@given(VALUES, st.integers(0, 99), st.booleans())
def test_people_are_compared_one_by_one(values: list[float], seed: int, higher_is_better: bool) -> None:
    others = np.random.default_rng(seed).permutation(values)
    pairs = [(a, b) for a, b in zip(values, others, strict=True) if math.isfinite(a) and math.isfinite(b)]
    paired = paired_difference(
        np.array(values), others, range(len(values)), higher_is_better=higher_is_better, rng=np.random.default_rng(seed)
    )
    sign = 1 if higher_is_better else -1

    assert paired.n == len(pairs)
    assert paired.better == sum(sign * (a - b) > 0 for a, b in pairs)
    assert paired.worse == sum(sign * (a - b) < 0 for a, b in pairs)
    if pairs:
        assert paired.mean == pytest.approx(sum(a - b for a, b in pairs) / len(pairs))
        assert paired.interval[0] - 1e-9 <= paired.interval[1]
    else:
        assert math.isnan(paired.mean) and math.isnan(paired.interval[0])


def test_a_method_differs_from_itself_by_nothing() -> None:
    values = np.random.default_rng(0).random(30)
    paired = paired_difference(values, values, range(30), higher_is_better=True, rng=np.random.default_rng(0))

    assert (paired.mean, paired.interval, paired.better, paired.worse) == (0, (0, 0), 0, 0)


def test_what_all_people_share_cancels_in_a_difference_of_rows() -> None:
    """Rows of the same people that differ by 0.1 each: sure, though each mean alone is not."""
    people = np.random.default_rng(0).random(50)
    draws = resampled_means([people[None], people[None] + 0.1], range(50), rng=np.random.default_rng(1))
    low, high = interval_of(draws[:, 1] - draws[:, 0])

    assert draws.shape == (1000, 2)
    assert (low, high) == pytest.approx((0.1, 0.1))
    assert np.ptp(interval_of(draws[:, 0])) > 0.1


def test_seeds_that_disagree_widen_the_interval() -> None:
    people = np.random.default_rng(0).random(200)
    alike, apart = np.stack([people] * 3), np.stack([people - 0.2, people, people + 0.2])
    draws = [resampled_means([rows], range(200), rng=np.random.default_rng(2))[:, 0] for rows in (alike, apart)]
    widths = [np.ptp(interval_of(of_rows)) for of_rows in draws]

    assert widths[1] > 2 * widths[0]
    assert resampled_means([apart], range(200), rng=np.random.default_rng(2)).mean() == pytest.approx(
        people.mean(), abs=0.02
    )


def test_three_seeds_spread_as_much_as_their_standard_error() -> None:
    seeds = np.array([0.1, 0.4, 0.3])
    draws = resampled_means(
        [np.repeat(seeds[:, None], 50, axis=1)], range(50), rng=np.random.default_rng(2), resamples=20_000
    )

    assert draws.std() == pytest.approx(seeds.std(ddof=1) / np.sqrt(3), rel=0.02)


def test_a_resample_is_a_mean_of_drawn_photographs_and_seeds() -> None:
    rows, groups = np.arange(8.0).reshape(2, 4), ["a", "b", "b", "c"]
    draws = resampled_means([rows], groups, rng=np.random.default_rng(5), resamples=40)[:, 0]
    rng = np.random.default_rng(5)
    photographs, seeds = rng.integers(3, size=(40, 3)), rng.integers(2, size=(40, 2))
    of_photograph = [[0], [1, 2], [3]]
    drawn = [[p for g in of_one for p in of_photograph[g]] for of_one in photographs]
    # Of two seeds the distance from their mean is taken sqrt(2) times.
    expected = [
        np.mean(rows[:, people]) + np.sqrt(2) * (np.mean(rows[seeds[k]][:, people]) - np.mean(rows[:, people]))
        for k, people in enumerate(drawn)
    ]

    assert draws == pytest.approx(expected)


def test_people_of_one_photograph_are_no_further_evidence() -> None:
    """Everybody twice: taken for strangers the interval shrinks by sqrt(2), drawn by photograph it stays."""
    people = np.random.default_rng(0).random(100)
    twice, photographs = np.repeat(people, 2), np.repeat(np.arange(100), 2)
    once, drawn_together, as_strangers = (
        np.ptp(bootstrap_interval(values, groups, rng=np.random.default_rng(1)))
        for values, groups in ((people, range(100)), (twice, photographs), (twice, range(200)))
    )
    assert drawn_together == pytest.approx(once) and as_strangers < 0.85 * once
