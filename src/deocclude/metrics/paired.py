"""Two methods on the same people: what the difference of two averages hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deocclude.metrics.resampling import bootstrap_interval


@dataclass(frozen=True)
class PairedDifference:
    """One column of two methods, person by person.

    mean: of value - other, in the column's unit. interval: its 95 % bootstrap over photographs. n: people in whom both
    are defined. better, worse: how many of them the first method does better, and worse; the others are equal.
    """

    mean: float
    interval: tuple[float, float]
    n: int
    better: int
    worse: int


def paired_difference(
    values: np.ndarray,
    others: np.ndarray,
    photographs: Sequence[object],
    *,
    higher_is_better: bool,
    rng: np.random.Generator,
) -> PairedDifference:
    """Compare values with others, both float (N,), the same people in the same order, of these photographs.

    A person in whom either is not finite is left out. Over nobody the mean and the interval are NaN.
    """
    both = np.isfinite(values) & np.isfinite(others)
    difference = values[both] - others[both]
    kept = [one for one, good in zip(photographs, both, strict=True) if good]
    gain = difference if higher_is_better else -difference
    return PairedDifference(
        mean=float(difference.mean()) if len(difference) else float("nan"),
        interval=bootstrap_interval(difference, kept, rng=rng),
        n=len(difference),
        better=int((gain > 0).sum()),
        worse=int((gain < 0).sum()),
    )
