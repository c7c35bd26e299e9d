"""Bootstrap over people and training seeds: how sure an average is.

People of one photograph, or one person under several occluders, are not independent: they are drawn together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def drawn_counts(groups: Sequence[object], *, rng: np.random.Generator, resamples: int = 1000) -> np.ndarray:
    """How often each person is in each resample: int (resamples, people).

    groups: of each person, which photograph it is of. As many photographs are drawn as there are, with replacement,
    each with all its people.
    """
    _, group_of = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    num_groups = int(group_of.max()) + 1
    draws = rng.integers(num_groups, size=(resamples, num_groups))
    counts = np.zeros((resamples, num_groups), np.int64)
    np.add.at(counts, (np.arange(resamples)[:, None], draws), 1)
    return counts[:, group_of]


def resampled_means(
    rows: Sequence[np.ndarray], groups: Sequence[object], *, rng: np.random.Generator, resamples: int = 1000
) -> np.ndarray:
    """Means of each row of a table, redrawn: float (resamples, len(rows)).

    rows: of each, the scores (seeds, people), finite, of the same people in the same order. groups: `drawn_counts`.
    A resample draws people once for all rows, because they are the same people, and each row's seeds apart, because
    seed 1 of one network has nothing in common with seed 1 of another; both with replacement. Drawing n of n seeds
    makes the variance of their mean too small by (n - 1) / n, which matters where n is 3: it is taken back out.
    """
    counts = drawn_counts(groups, rng=rng, resamples=resamples)
    means = np.empty((resamples, len(rows)))
    for column, values in enumerate(rows):
        num_seeds = len(values)
        seeds = rng.integers(num_seeds, size=(resamples, num_seeds))
        widened = np.sqrt(num_seeds / max(num_seeds - 1, 1))
        mean = values.mean(axis=0)
        of_people = mean + widened * (values[seeds].mean(axis=1) - mean)  # (resamples, people)
        means[:, column] = (of_people * counts).sum(axis=1) / counts.sum(axis=1)
    return means


def interval_of(draws: np.ndarray) -> tuple[float, float]:
    """2.5th and 97.5th percentile of resampled figures, float (resamples,)."""
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


def bootstrap_interval(
    values: np.ndarray, groups: Sequence[object], *, rng: np.random.Generator, resamples: int = 1000
) -> tuple[float, float]:
    """95 % interval of the mean of float (people,), redrawn by groups (`drawn_counts`); NaN over nobody."""
    if not len(values):
        return float("nan"), float("nan")
    return interval_of(resampled_means([values[None]], groups, rng=rng, resamples=resamples)[:, 0])
