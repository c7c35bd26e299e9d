"""Tables that are curves, drawn: the paper's line and ours, each on its own axis, for the sets differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deocclude.errors import InputError
from deocclude.evaluation.columns import COLUMNS
from deocclude.evaluation.papers.tables import Curve, Table
from deocclude.evaluation.results import Runs
from deocclude.files import written_whole

SUFFIXES = (".png", ".svg")
_STYLE = {"svg.hashsalt": "deocclude", "font.size": 9}
"""With a fixed salt, the same figures give the same SVG."""


def draw_curve(table: Table, runs: Sequence[Runs], path: Path) -> None:
    """Write a PNG or SVG by the path's suffix; needs matplotlib.

    Raises InputError for a table that is no curve and for another suffix.
    """
    if table.curve is None:
        raise InputError(f"{table.name} is no curve; leave --plot out")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a plot is one of {', '.join(SUFFIXES)}")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    our_sets = list(dict.fromkeys(one.set_name for one in runs))
    with rc_context(_STYLE):
        figure = Figure(figsize=(3.6 * (1 + len(our_sets)), 2.8), layout="constrained")
        axes = figure.subplots(1, 1 + len(our_sets), squeeze=False)[0]
        _draw_paper(axes[0], table, table.curve)
        for axis, set_name in zip(axes[1:], our_sets, strict=True):
            _draw_ours(axis, table, table.curve, [one for one in runs if one.set_name == set_name])
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as unfinished:
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
            figure.savefig(unfinished, format=path.suffix[1:].lower(), metadata=metadata, dpi=150)


def _draw_paper(axis: Any, table: Table, curve: Curve) -> None:
    column = COLUMNS[curve.paper_column]
    for set_name in table.sets:
        points = [
            (row.x, row.paper[set_name][column.key] * column.scale)
            for row in table.rows
            if row.x is not None and column.key in row.paper.get(set_name, {})
        ]
        axis.plot(*zip(*points, strict=True), marker="o")
    _name(axis, curve.label, column.title.replace(f" ({column.network})", ""), f"paper, {' and '.join(table.sets)}")


def _draw_ours(axis: Any, table: Table, curve: Curve, runs: Sequence[Runs]) -> None:
    column = COLUMNS[curve.our_column]
    xs, means, below, above = [], [], [], []
    for one in runs:
        row = table.row(one.row)
        mean, (low, high) = one.mean(column.key), one.interval(column.key)
        if row is not None and row.x is not None and math.isfinite(mean):
            xs.append(row.x)
            means.append(mean * column.scale)
            below.append(max(0.0, mean - low) * column.scale)
            above.append(max(0.0, high - mean) * column.scale)
    axis.errorbar(xs, means, yerr=(below, above), marker="o", capsize=3, color="C1")
    _name(axis, curve.label, column.title, f"ours, {runs[0].set_name}, 95 % over people and seeds")


def _name(axis: Any, x: str, y: str, title: str) -> None:
    axis.set(xlabel=x, ylabel=y.replace(" (", "\n("))  # in one line it would be cut off
    axis.set_title(title, fontsize=9)
    axis.grid(alpha=0.3)
