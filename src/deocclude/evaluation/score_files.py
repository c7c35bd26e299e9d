"""scores.csv, a row a person, and scores.json, averages: written, read."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deocclude.errors import InputError
from deocclude.evaluation.columns import SCORE_COLUMNS
from deocclude.evaluation.predictions import SCORES, PredictionFolder, write_json
from deocclude.evaluation.score import Scores
from deocclude.files import written_whole
from deocclude.metrics.averages import GROUP, averages, averages_by_group, averages_by_ratio

SCORES_CSV, SCORES_JSON = SCORES
WORDS = ("id", "photograph")
"""Columns of scores.csv that are no numbers, beside those of groups (`metrics.averages.GROUP`)."""


def write_scores(scores: Scores, folder: PredictionFolder, *, set_name: str) -> dict[str, Any]:
    """Write scores.csv (a row a person) and scores.json (averages, by ratio bin and group too); return the latter."""
    record = folder.read_record()
    summary = {
        "name": folder.root.resolve().name,
        "set": set_name,
        "overall": averages(scores.rows, SCORE_COLUMNS),
        "by_ratio": averages_by_ratio(scores.rows, SCORE_COLUMNS),
        "by_group": averages_by_group(scores.rows, SCORE_COLUMNS),
        "set_figures": scores.set_figures,
        "unavailable": scores.unavailable,
        "failed": scores.failed,
        "missing": scores.missing,
        "unreadable": scores.unreadable,
        **{key: value for key, value in vars(record).items() if key in ("settings", "facts", "machine", "commit")},
    }
    write_rows(folder.root / SCORES_CSV, scores.rows)
    summary = _nan_to_none(summary)
    write_json(folder.root / SCORES_JSON, summary)
    return summary


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A CSV with the columns of the first row; what is undefined is empty there."""
    with written_whole(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _csv_value(value) for key, value in row.items()} for row in rows)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a scores.csv: `WORDS` and groups as they are, everything else a number, NaN where it is empty.

    Raises InputError for a file that is missing or is none.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                {key: value if _is_text(key) else float(value or "nan") for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
        if not rows or "id" not in rows[0]:
            raise ValueError("nobody in it")
    except OSError as error:
        raise InputError(f"{path}: not there; run 'deocclude score --predictions {path.parent}' first") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not a score file ({error}); run 'deocclude score' again") from error
    return rows


def read_scores(folder: Path) -> dict[str, Any]:
    """The scores.json of a folder of predictions. Raises InputError where there is none or it is not one."""
    path = Path(folder) / SCORES_JSON
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not {"overall", "by_ratio", "failed"} <= summary.keys():
            raise ValueError("no averages")
    except OSError as error:
        raise InputError(f"{path}: not there; run 'deocclude score --predictions {folder}' first") from error
    except (AttributeError, ValueError) as error:
        raise InputError(f"{path}: is not a score file ({error}); run 'deocclude score' again") from error
    return dict(summary)


def column_of(rows: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    """A column of `read_rows`, float (N,); NaN where a row has no such column."""
    return np.array([row.get(key, math.nan) for row in rows], np.float64)


def _is_text(key: str) -> bool:
    return key in WORDS or key.startswith(GROUP)


def _csv_value(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def _nan_to_none(value: Any) -> Any:
    """JSON has no NaN: what is undefined is null there."""
    if isinstance(value, dict):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
