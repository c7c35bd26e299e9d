"""Two methods on the same people: what the difference of two averages hides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deocclude.metrics.averages import bootstrap_interval


@dataclass(frozen=True)
class PairedDifference:
    """One column of two methods, person by person.

    mean: of value - other, in the column's unit. interval: its 95 % bootstrap over people. n: people in whom both are
    defined. better, worse: how many of them the first method does better, and worse; the others are equal.
    """

    mean: float
    interval: tuple[float, float]
    n: int
    better: int
    worse: int


def paired_difference(
    values: np.ndarray, others: np.ndarray, *, higher_is_better: bool, rng: np.random.Generator
) -> PairedDifference:
    """Compare values with others, both float (N,), the same people in the same order.

    A person in whom either is not finite is left out. Over nobody the mean and the interval are NaN.
    """
    both = np.isfinite(values) & np.isfinite(others)
    difference = values[both] - others[both]
    gain = difference if higher_is_better else -difference
    return PairedDifference(
        mean=float(difference.mean()) if len(difference) else float("nan"),
        interval=bootstrap_interval(difference, rng=rng),
        n=len(difference),
        better=int((gain > 0).sum()),
        worse=int((gain < 0).sum()),
    )
