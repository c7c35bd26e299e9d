"""Bootstrap over people and training seeds: how sure a table of trained variants is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def resampled_means(rows: Sequence[np.ndarray], *, rng: np.random.Generator, resamples: int = 1000) -> np.ndarray:
    """Means of each row of a table, redrawn: float (resamples, len(rows)).

    rows: of each, the scores (seeds, people), finite, of the same people in the same order. A resample draws people
    once for all rows, because they are the same people, and each row's seeds apart, because seed 1 of one network has
    nothing in common with seed 1 of another; both with replacement.
    """
    num_people = rows[0].shape[1]
    people = rng.integers(num_people, size=(resamples, num_people))
    means = np.empty((resamples, len(rows)))
    for column, values in enumerate(rows):
        seeds = rng.integers(len(values), size=(resamples, len(values)))
        of_people = values[seeds].mean(axis=1)  # (resamples, people)
        means[:, column] = np.take_along_axis(of_people, people, axis=1).mean(axis=1)
    return means


def interval_of(draws: np.ndarray) -> tuple[float, float]:
    """2.5th and 97.5th percentile of resampled figures, float (resamples,)."""
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)
