"""Averages of per-person scores, each with a name that says which average it is.

A row maps a column to a number; NaN means undefined for that person. `NAME_mean` weighs every person equally.
An IoU also has `NAME_pooled` = sum of intersections / sum of unions, which weighs every pixel: other papers'
scripts print that one under the same name "mIoU". A person without a value is left out of both and counted in
`undefined`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]

POOLED_COLUMNS = ("modal_iou", "iou", "invisible_iou")
"""Columns that come with COLUMN_intersection and COLUMN_union, in pixels."""

RATIO_BINS = ((0.0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 1.0))
"""Occlusion ratio, low exclusive and high inclusive. A person with nothing hidden is in none of them."""


def averages(rows: Sequence[Row], columns: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """Average each column over people.

    Returns `n` (people), for each column `COLUMN_mean` and `COLUMN_interval` (95 % bootstrap of the mean,
    seeded), for an IoU also `COLUMN_pooled`, and `undefined`: the number of people without a finite value, by
    column (a PSNR of equal pictures is infinite and is left out too). An average over nobody is NaN.
    """
    summary: dict[str, Any] = {"n": len(rows)}
    undefined: dict[str, int] = {}
    for column in columns:
        values = np.array([row[column] for row in rows], dtype=np.float64)
        finite = values[np.isfinite(values)]
        summary[f"{column}_mean"] = float(finite.mean()) if len(finite) else float("nan")
        summary[f"{column}_interval"] = bootstrap_interval(finite, rng=np.random.default_rng(seed))
        if column in POOLED_COLUMNS:
            summary[f"{column}_pooled"] = pooled_iou(rows, column)
        undefined[column] = len(values) - len(finite)
    return {**summary, "undefined": undefined}


def pooled_iou(rows: Sequence[Row], column: str) -> float:
    """Sum of intersections / sum of unions over the people in whom `column` is defined; NaN over nobody."""
    defined = [row for row in rows if np.isfinite(row[column])]
    union = sum(row[f"{column}_union"] for row in defined)
    return sum(row[f"{column}_intersection"] for row in defined) / union if union else float("nan")


def bootstrap_interval(values: np.ndarray, *, rng: np.random.Generator, resamples: int = 1000) -> tuple[float, float]:
    """2.5th and 97.5th percentile of the mean of `values`, redrawn with replacement; NaN over nobody."""
    if not len(values):
        return float("nan"), float("nan")
    means = values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def averages_by_ratio(rows: Sequence[Row], columns: Sequence[str], *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """`averages` of each bin of `RATIO_BINS`, by the row's `occlusion_ratio`; keys like "(0.1,0.2]"."""
    return {
        f"({low:g},{high:g}]": averages(
            [row for row in rows if low < row["occlusion_ratio"] <= high], columns, seed=seed
        )
        for low, high in RATIO_BINS
    }
