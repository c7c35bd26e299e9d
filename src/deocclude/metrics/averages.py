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

from deocclude.metrics.resampling import bootstrap_interval

Row = Mapping[str, Any]

POOLED_COLUMNS = ("modal_iou", "iou", "invisible_iou")
"""Columns that come with COLUMN_intersection and COLUMN_union, in pixels."""

RATIO_BINS = ((0.0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 1.0))
"""Occlusion ratio, low exclusive and high inclusive. A person with nothing hidden is in none of them."""


def photographs_of(rows: Sequence[Row]) -> list[object]:
    """Which photograph each row is of; where rows do not say, each is taken for one of its own."""
    return [row.get("photograph") or row.get("id", place) for place, row in enumerate(rows)]


def averages(rows: Sequence[Row], columns: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """Average each column over people.

    Returns `n` (people), for each column `COLUMN_mean` and `COLUMN_interval` (95 % bootstrap of the mean over
    photographs, seeded), for an IoU also `COLUMN_pooled`, and `undefined`: the number of people without a finite
    value, by column (a PSNR of equal pictures is infinite and is left out too). An average over nobody is NaN.
    """
    summary: dict[str, Any] = {"n": len(rows)}
    undefined: dict[str, int] = {}
    groups = photographs_of(rows)
    for column in columns:
        values = np.array([row[column] for row in rows], dtype=np.float64)
        defined = np.isfinite(values)
        finite, photographs = values[defined], [group for group, good in zip(groups, defined, strict=True) if good]
        summary[f"{column}_mean"] = float(finite.mean()) if len(finite) else float("nan")
        summary[f"{column}_interval"] = bootstrap_interval(finite, photographs, rng=np.random.default_rng(seed))
        if column in POOLED_COLUMNS:
            summary[f"{column}_pooled"] = pooled_iou(rows, column)
        undefined[column] = len(values) - len(finite)
    return {**summary, "undefined": undefined}


def pooled_iou(rows: Sequence[Row], column: str) -> float:
    """Sum of intersections / sum of unions over the people in whom `column` is defined; NaN over nobody."""
    defined = [row for row in rows if np.isfinite(row[column])]
    union = sum(row[f"{column}_union"] for row in defined)
    return sum(row[f"{column}_intersection"] for row in defined) / union if union else float("nan")


def averages_by_ratio(rows: Sequence[Row], columns: Sequence[str], *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """`averages` of each bin of `RATIO_BINS`, by the row's `occlusion_ratio`; keys like "(0.1,0.2]"."""
    return {
        f"({low:g},{high:g}]": averages(
            [row for row in rows if low < row["occlusion_ratio"] <= high], columns, seed=seed
        )
        for low, high in RATIO_BINS
    }
