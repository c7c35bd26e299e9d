"""Does the paper's order of a table's rows hold in ours? Yes or no, with how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from deocclude.evaluation.columns import COLUMNS
from deocclude.evaluation.papers.tables import AHP_SYN, Row, Table
from deocclude.evaluation.results import Runs
from deocclude.metrics.averages import photographs_of
from deocclude.metrics.resampling import interval_of, resampled_means


@dataclass(frozen=True)
class Step:
    """Two rows that stand next to one another in the paper's order, but for rows of the same figure as either.

    difference: of our means, positive where the paper's better row is better here too. interval: its 95 % bootstrap.
    """

    better: Row
    worse: Row
    difference: float
    interval: tuple[float, float]

    @property
    def holds(self) -> bool:
        return self.difference > 0

    @property
    def is_settled(self) -> bool:
        """Whether the interval leaves zero out, on whichever side."""
        return not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class PaperOrder:
    """The answer for one pair of columns on one set of ours. share: of the resamples in which the whole order holds."""

    set_name: str
    paper_set: str
    paper_column: str
    our_column: str
    steps: tuple[Step, ...]
    share: float

    @property
    def holds(self) -> bool:
        return all(step.holds for step in self.steps)

    @property
    def is_settled(self) -> bool:
        """Whether a yes rests on settled steps alone, a no on at least one."""
        if self.holds:
            return all(step.is_settled for step in self.steps)
        return any(step.is_settled and not step.holds for step in self.steps)


def paper_orders(table: Table, runs: Sequence[Runs]) -> list[PaperOrder]:
    """The answers a table's runs allow: for each set of ours and each pair of `Table.judged_by`.

    Rows that either the paper or we have no figure of are left out, and rows of equal figures are in no order. No
    answer where fewer than two rows are left.
    """
    orders = []
    for set_name in dict.fromkeys(one.set_name for one in runs):
        for paper_column, our_column in table.judged_by:
            order = _order(table, [one for one in runs if one.set_name == set_name], paper_column, our_column)
            orders += [order] if order is not None else []
    return orders


def paper_set_for(table: Table, set_name: str) -> str:
    """The paper's set that ours is compared with: the same one, or the synthetic one, as bench is, or its first."""
    return next((one for one in (set_name, AHP_SYN) if one in table.sets), table.sets[0])


def _order(table: Table, runs: Sequence[Runs], paper_column: str, our_column: str) -> PaperOrder | None:
    paper_set = paper_set_for(table, runs[0].set_name)
    figures = {row.name: row.paper.get(paper_set, {}).get(paper_column) for row in table.rows}
    by_name = {one.row: one for one in runs if np.isfinite(one.values(our_column)).any()}
    rows = [row for row in table.rows if figures[row.name] is not None and row.name in by_name]
    rows.sort(key=lambda row: figures[row.name] or 0.0, reverse=COLUMNS[paper_column].higher_is_better)
    equals = [list(group) for _, group in groupby(range(len(rows)), key=lambda place: figures[rows[place].name])]
    places = [(one, other) for better, worse in pairwise(equals) for one in better for other in worse]
    if not places:
        return None
    values, photographs = _shared_people([by_name[row.name] for row in rows], our_column)
    sign = 1 if COLUMNS[our_column].higher_is_better else -1
    draws = sign * resampled_means(values, photographs, rng=np.random.default_rng(0))
    means = [sign * of_row.mean() for of_row in values]
    steps = tuple(
        Step(rows[one], rows[other], means[one] - means[other], interval_of(draws[:, one] - draws[:, other]))
        for one, other in places
    )
    share = np.mean([all(draw[one] > draw[other] for one, other in places) for draw in draws])
    return PaperOrder(runs[0].set_name, paper_set, paper_column, our_column, steps, float(share))


def _shared_people(runs: Sequence[Runs], key: str) -> tuple[list[np.ndarray], list[object]]:
    """The column of each row for the people in whom all rows and seeds are defined, float (seeds, people) each, and
    the photographs they are of.
    """
    ids = [[one["id"] for one in of_row.rows[0]] for of_row in runs]
    defined = []
    for of_row, names in zip(runs, ids, strict=True):
        is_finite = np.isfinite(of_row.values(key)).all(axis=0)
        defined.append({name for name, good in zip(names, is_finite, strict=True) if good})
    shared = sorted(set.intersection(*defined))
    photographs = dict(zip(ids[0], photographs_of(runs[0].rows[0]), strict=True))
    values = [
        of_row.values(key)[:, [names.index(name) for name in shared]] for of_row, names in zip(runs, ids, strict=True)
    ]
    return values, [photographs[name] for name in shared]
