"""Ours beside the paper's, as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deocclude.evaluation.columns import COLUMNS, UNKNOWN, Column
from deocclude.evaluation.formats import Format, plain_text, table_text
from deocclude.evaluation.paper_order import PaperOrder, paper_orders
from deocclude.evaluation.papers.bench import BENCH
from deocclude.evaluation.papers.tables import Table
from deocclude.evaluation.results import Runs

_M_COLUMNS = {
    "p2s": Column(key="p2s", name="P2S", digits=2),
    "chamfer": Column(key="chamfer", name="Chamfer", digits=2),
    "normal": Column(key="normal", name="normal"),
    "texture_mse": Column(key="texture_mse", name="MSE"),
    "texture_lpips": Column(key="texture_lpips", name="LPIPS"),
}
"""Table M's columns, which nothing of ours scores."""
APART = 0.25
"""Of their mean: trainings of one row that lie so far apart are told one by one."""


def beside_paper(table: Table, runs: Sequence[Runs], style: Format = "markdown") -> str:
    """One row for each of the paper's, then rows of ours that it does not have, or that are the bench's.

    First the paper's columns on each of its sets, then ours on each of our sets, with the 95 % interval of those that
    decide about the order; n is pictures × seeds. Columns that neither has are left out.
    """
    columns = [COLUMNS.get(key) or _M_COLUMNS[key] for key in table.columns]
    with_paper = [
        (set_name, column)
        for set_name in table.sets
        for column in columns
        if any(column.key in row.paper.get(set_name, {}) for row in table.rows)
    ]
    our_sets = list(dict.fromkeys(one.set_name for one in runs))
    ours_in = [
        (set_name, column)
        for set_name in our_sets
        for column in columns
        if any(our_cell(one, column) != UNKNOWN for one in runs if one.set_name == set_name)
    ]
    heads = [
        table.title,
        *(f"{_paper_title(column)}, paper, {set_name}" for set_name, column in with_paper),
        *(f"{column.title}, ours, {set_name}" for set_name, column in ours_in),
        *(f"n, {set_name}" for set_name in our_sets),
    ]
    judged = {ours for _, ours in table.judged_by}
    by_place = {(one.row, one.set_name): one for one in runs}
    is_papers = any(row.paper for row in table.rows)
    titles = {row.name: row.title if is_papers else row.name for row in table.rows}
    titles |= {one.row: _title_of_ours(one.row) for one in runs if one.row not in titles}
    rows = []
    for name, title in titles.items():
        row = table.row(name)
        figures = {} if row is None else row.paper
        cells = [column.text(figures.get(set_name, {}).get(column.key)) for set_name, column in with_paper]
        for set_name, column in ours_in:
            cells.append(our_cell(by_place.get((name, set_name)), column, interval=column.key in judged))
        rows.append([title, *cells, *(_people(by_place.get((name, set_name))) for set_name in our_sets)])
    return table_text(heads, rows, style)


def _title_of_ours(name: str) -> str:
    row = BENCH.row(name)
    return f"{name} (not in the paper)" if row is None else f"{row.title} (from the bench)"


def our_cell(runs: Runs | None, column: Column, *, interval: bool = False) -> str:
    """A mean of ours, with its interval if wanted, KID with its deviation over subsets; a dash where there is none.

    `not here` where a network could not be had: `not_here` says why.
    """
    if runs is None:
        return UNKNOWN
    text = column.text(runs.mean(column.key))
    if text == UNKNOWN:
        return "not here" if any(column.key in summary.get("unavailable", {}) for summary in runs.summaries) else text
    if math.isfinite(deviation := runs.deviation(column.key)):
        return f"{text} ± {column.text(deviation)}"
    return f"{text} ({column.interval_text(runs.interval(column.key))})" if interval else text


def not_here(runs: Sequence[Runs]) -> list[str]:
    """Why columns say `not here`, each sentence once."""
    sentences = (text for one in runs for summary in one.summaries for text in summary.get("unavailable", {}).values())
    return list(dict.fromkeys(sentences))


def differing_sets(runs: Sequence[Runs]) -> list[str]:
    """Sentences about sets of one name that were not the same people for all rows: such rows must not be compared."""
    versions: dict[str, set[str]] = {}
    for one in runs:
        for summary in one.summaries:
            if sha256 := (summary.get("settings") or {}).get("manifest_sha256"):
                versions.setdefault(one.set_name, set()).add(sha256)
    return [
        f"not all rows on {set_name} are of the same version of it; run the older ones again"
        for set_name, found in versions.items()
        if len(found) > 1
    ]


def seeds_apart(table: Table, runs: Sequence[Runs]) -> list[str]:
    """Sentences about rows whose trainings ended more than `APART` of their mean apart, by what decides the order."""
    sentences = []
    for key in dict.fromkeys(ours for _, ours in table.judged_by):
        for one in runs:
            means = one.seed_means(key)
            if len(means) > 1 and max(means) - min(means) > APART * one.mean(key):
                row, column = table.row(one.row), COLUMNS[key]
                shown = ", ".join(column.text(mean) for mean in means)
                sentences.append(f"{row.title if row else one.row}: {column.title} {shown}")
    return sentences


def order_lines(table: Table, runs: Sequence[Runs], style: Format = "markdown") -> list[str]:
    """For each answer about the paper's order: yes or no, and a table of its steps. Empty where there is none."""
    lines: list[str] = []
    for order in paper_orders(table, runs):
        lines += [plain_text(_answer(order), style), "", _steps_table(order, style), ""]
    return lines[:-1]


def _answer(order: PaperOrder) -> str:
    ours, paper = COLUMNS[order.our_column], COLUMNS[order.paper_column]
    held, settled = (sum(getattr(step, name) for step in order.steps) for name in ("holds", "is_settled"))
    answer = ("Yes" if order.holds else "No") + ("" if order.is_settled else ", not settled")
    by = ours.title if ours.key == paper.key else f"{ours.title} (the paper's is by {paper.name})"
    return (
        f"Does the paper's order ({order.paper_set}) hold on {order.set_name}, by {by}? "
        f"**{answer}**: {held} of {len(order.steps)} neighbours stand as in the paper, "
        f"{settled} of {len(order.steps)} differences are settled (their interval leaves 0 out); "
        f"the whole order holds in {order.share:.0%} of the resamples."
    )


def _steps_table(order: PaperOrder, style: Format) -> str:
    column = COLUMNS[order.our_column]
    rows = [
        [
            f"{step.better.title} before {step.worse.title}",
            column.text(step.difference, signed=True),
            column.interval_text(step.interval, signed=True),
            ("yes" if step.holds else "no") + ("" if step.is_settled else ", not settled"),
        ]
        for step in order.steps
    ]
    return table_text(["the paper's order", f"better by ({column.title})", "95 %", "holds"], rows, style)


def _paper_title(column: Column) -> str:
    """Without the network: the papers do not all say which theirs is."""
    times = f" ×{column.scale:g}" if column.scale != 1 else ""
    return column.name + times


def _people(runs: Runs | None) -> str:
    if runs is None:
        return UNKNOWN
    return str(runs.num_people) + (f" × {runs.num_seeds}" if runs.num_seeds > 1 else "")
