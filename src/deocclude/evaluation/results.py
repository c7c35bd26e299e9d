"""What was measured: `results/`, small files that are committed. The pictures they are of are not.

results/<table>/<row>/[<set>/][seed<k>/]
    scores.csv   a row a person: id, photograph, occlusion_ratio, and any of `columns.COLUMNS` (IoUs with two counts)
    scores.json  averages, FID and KID, settings, commit, machine; may be missing
    training.json   of a small training: how long, and with what (`ablations.keep_training`)
results/ablations/<table>/...
    the same of networks that `deocclude ablate` trained small, never to be mixed with those of the papers' size

<table>: a name of `papers.TABLES`. <row>: a `Row.name` of it; a folder of another name is a row that the paper does not
have. <set>: the occlusion set; left out for bench. seed<k>: of the training; left out for a method that was only run.

`keep_scores` writes such a folder from scored predictions, `read_runs` reads a table's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deocclude.errors import InputError
from deocclude.evaluation.columns import COLUMNS
from deocclude.evaluation.papers.tables import BENCH_SET, Table
from deocclude.evaluation.predictions import write_json
from deocclude.evaluation.score_files import SCORES_CSV, SCORES_JSON, column_of, read_rows, read_scores, write_rows
from deocclude.metrics.averages import GROUP, POOLED_COLUMNS, photographs_of
from deocclude.metrics.resampling import interval_of, resampled_means

TRAINING_JSON = "training.json"
_SEED = re.compile(r"seed\d+")
_PERSON = ("id", "photograph", "occlusion_ratio")


@dataclass(frozen=True, eq=False)
class Runs:
    """One row on one set: the same people scored once for each seed.

    rows: for each seed, the lines of scores.csv in the same order of people. summaries, trainings: for each seed,
    scores.json and training.json, or an empty dictionary.
    """

    row: str
    set_name: str
    rows: tuple[list[dict[str, Any]], ...]
    summaries: tuple[dict[str, Any], ...]
    trainings: tuple[dict[str, Any], ...] = ()

    @property
    def num_seeds(self) -> int:
        return len(self.rows)

    @property
    def num_people(self) -> int:
        return len(self.rows[0])

    def values(self, key: str) -> np.ndarray:
        """A column, float (seeds, people); NaN where it is undefined or was not scored."""
        return np.stack([column_of(rows, key) for rows in self.rows])

    def mean(self, key: str) -> float:
        """Mean over seeds of the people defined in all of them, or of a figure of all pictures; NaN without any."""
        if figures := self._set_figures(key, "mean"):
            return float(np.mean(figures))
        values = self.values(key)
        defined = np.isfinite(values).all(axis=0)
        return float(values[:, defined].mean()) if defined.any() else float("nan")

    def deviation(self, key: str) -> float:
        """Deviation of a figure of all pictures over subsets of them, mean over seeds; NaN where it has none."""
        figures = self._set_figures(key, "std")
        return float(np.mean(figures)) if figures else float("nan")

    def interval(self, key: str) -> tuple[float, float]:
        """95 % bootstrap over photographs and seeds of a column's mean; NaN where nobody has a value.

        Few seeds widen it, but not beyond the values there are: no IoU is below 0.
        """
        values = self.values(key)
        defined = np.isfinite(values).all(axis=0)
        if not defined.any():
            return float("nan"), float("nan")
        photographs = [one for one, good in zip(photographs_of(self.rows[0]), defined, strict=True) if good]
        kept = values[:, defined]
        low, high = interval_of(resampled_means([kept], photographs, rng=np.random.default_rng(0))[:, 0])
        return max(low, float(kept.min())), min(high, float(kept.max()))

    def seed_means(self, key: str) -> list[float]:
        """The mean of each seed, of the people defined in all of them."""
        values = self.values(key)
        return [float(one) for one in values[:, np.isfinite(values).all(axis=0)].mean(axis=1)]

    def _set_figures(self, key: str, part: str) -> list[float]:
        """A part of a figure of all pictures for each seed; empty where a seed has none."""
        figures = [summary.get("set_figures", {}).get(key, {}).get(part) for summary in self.summaries]
        return [] if None in figures else figures

    def restricted(self, low: float, high: float) -> Runs:
        """The people whose occlusion ratio is in (low, high]; their averages are no figures of all pictures."""
        kept = tuple([row for row in rows if low < row["occlusion_ratio"] <= high] for rows in self.rows)
        return Runs(self.row, self.set_name, kept, tuple({} for _ in kept))


def row_folder(results: Path, table: Table, row: str, set_name: str = BENCH_SET) -> Path:
    """Where the runs of a row on a set lie. Raises InputError for a set whose name means something else there."""
    if _SEED.fullmatch(set_name) or set_name == "training":
        raise InputError(f"no set can be called '{set_name}', as folders of seeds and trainings are; rename it")
    folder = results / table.folder / row
    return folder if set_name == BENCH_SET else folder / set_name


def keep_scores(predictions: Path, folder: Path, *, columns: Collection[str] = tuple(COLUMNS)) -> None:
    """Write a folder of results from scored predictions, without the columns that nobody has.

    columns: what is kept; by default all that tables print. Raises InputError where the predictions are not scored.
    """
    rows, summary = read_rows(predictions / SCORES_CSV), read_scores(predictions)
    for facts in ("set_figures", "unavailable"):
        summary[facts] = {key: value for key, value in summary.get(facts, {}).items() if key in columns}
    known = {key for key in rows[0] if any(row[key] == row[key] for row in rows)}
    pooled = [key for key in POOLED_COLUMNS if key in columns and key in known]
    counts = [count for key in pooled for count in POOLED_COLUMNS[key]]
    groups = [key for key in rows[0] if key.startswith(GROUP)]
    kept = [key for key in (*_PERSON, *groups, *columns, *counts) if key in known]
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / SCORES_CSV, [{key: _whole(row[key]) for key in kept} for row in rows])
    summary["overall"] = _of_columns(summary["overall"], kept)
    for parts in (summary["by_ratio"], *summary.get("by_group", {}).values()):
        parts.update({name: _of_columns(part, kept) for name, part in parts.items()})
    write_json(folder / SCORES_JSON, summary)


def read_runs(results: Path, table: Table) -> list[Runs]:
    """All runs of a table: the paper's rows in the paper's order, then others by name; bench before other sets.

    Raises InputError for a score file that is none, and where two seeds are not of the same people.
    """
    root = results / table.folder
    names = [path.name for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []
    places = {row.name: place for place, row in enumerate(table.rows)}
    runs = []
    for name in sorted(names, key=lambda name: (places.get(name, len(places)), name)):
        folders = {BENCH_SET: root / name}
        folders |= {path.name: path for path in sorted((root / name).iterdir()) if path.is_dir() and not _is_seed(path)}
        runs += [found for set_name, folder in folders.items() if (found := _read(name, set_name, folder))]
    return runs


def _read(row: str, set_name: str, folder: Path) -> Runs | None:
    seeds = sorted(filter(_is_seed, folder.iterdir()))
    if (folder / SCORES_CSV).exists():
        if seeds:
            raise InputError(
                f"{folder}: holds scores and those of {seeds[0].name} too; keep one kind, move the other away"
            )
        seeds = [folder]
    rows = tuple(read_rows(seed / SCORES_CSV) for seed in seeds)
    if not rows:
        return None
    ids = [[one["id"] for one in of_seed] for of_seed in rows]
    if any(of_seed != ids[0] for of_seed in ids):
        raise InputError(f"{folder}: its seeds are not of the same people; score them on one set")
    summaries, trainings = (tuple(_read_json(seed / name) for seed in seeds) for name in (SCORES_JSON, TRAINING_JSON))
    return Runs(row, set_name, rows, summaries, trainings)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: is not what was kept there ({error})") from error


def _is_seed(path: Path) -> bool:
    return path.is_dir() and _SEED.fullmatch(path.name) is not None


def _of_columns(averages: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """The averages of these columns, and `n`."""
    wanted = {f"{key}_{what}" for key in columns for what in ("mean", "interval", "pooled")}
    return {key: value for key, value in averages.items() if key in wanted or key == "n"}


def _whole(value: Any) -> Any:
    """Pixels are counted: 9085, not 9085.0."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) > 1 else value
