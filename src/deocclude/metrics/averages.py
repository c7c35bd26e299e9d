"""Averages of per-person scores, each with a name that says which average it is.

A row maps a column to a number; NaN means undefined for that person. `NAME_mean` weighs every person equally.
A fraction of two counts also has `NAME_pooled`, the sum of the one over the sum of the other. An IoU's is sum of
intersections / sum of unions, which weighs every pixel: other papers' scripts print that one under the same name
"mIoU". A person without a value is left out of both and counted in `undefined`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deocclude.metrics.resampling import bootstrap_interval

Row = Mapping[str, Any]

POOLED_COLUMNS = {
    **{iou: (f"{iou}_intersection", f"{iou}_union") for iou in ("modal_iou", "iou", "invisible_iou")},
    "keypoints_reached": ("num_keypoints_reached", "num_keypoints_hidden"),
    "islands": ("island_area", "invented_area"),
}
"""Columns that are a fraction of two others, which are counts."""

GROUP = "group_"
"""What a row's keys of groups start with: `group_kind` is the manifest's column `kind`, a text."""

RATIO_BINS = ((0.0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 1.0))
"""Occlusion ratio, low exclusive and high inclusive. A person with nothing hidden is in none of them."""


def photographs_of(rows: Sequence[Row]) -> list[object]:
    """Which photograph each row is of; where rows do not say, each is taken for one of its own."""
    return [row.get("photograph") or row.get("id", place) for place, row in enumerate(rows)]


def averages(rows: Sequence[Row], columns: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """Average each column over people.

    Returns `n` (people), for each column `COLUMN_mean` and `COLUMN_interval` (95 % bootstrap of the mean over
    photographs, seeded), for those of `POOLED_COLUMNS` also `COLUMN_pooled`, and `undefined`: the number of people
    without a finite value, by column (a PSNR of equal pictures is infinite and is left out too). An average over no
    person is NaN.
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
            summary[f"{column}_pooled"] = pooled_fraction(rows, column)
        undefined[column] = len(values) - len(finite)
    return {**summary, "undefined": undefined}


def pooled_fraction(rows: Sequence[Row], column: str) -> float:
    """The fraction of all people together, of those in whom `column` is defined: an IoU's is sum of intersections /
    sum of unions. NaN over nobody.
    """
    part, total = POOLED_COLUMNS[column]
    defined = [row for row in rows if np.isfinite(row[column])]
    whole = sum(row[total] for row in defined)
    return sum(row[part] for row in defined) / whole if whole else float("nan")


def averages_by_ratio(rows: Sequence[Row], columns: Sequence[str], *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """`averages` of each bin of `RATIO_BINS`, by the row's `occlusion_ratio`; keys like "(0.1,0.2]"."""
    return {
        f"({low:g},{high:g}]": averages(
            [row for row in rows if low < row["occlusion_ratio"] <= high], columns, seed=seed
        )
        for low, high in RATIO_BINS
    }


def averages_by_group(
    rows: Sequence[Row], columns: Sequence[str], *, seed: int = 0
) -> dict[str, dict[str, dict[str, Any]]]:
    """`averages` of each value of each of the rows' groups: {"kind": {"object": {...}, "person": {...}}}."""
    groups = dict.fromkeys(key for row in rows for key in row if key.startswith(GROUP))
    return {
        group.removeprefix(GROUP): {
            value: averages([row for row in rows if row.get(group) == value], columns, seed=seed)
            for value in sorted({row[group] for row in rows if group in row})
        }
        for group in groups
    }
