"""Markdown tables from score files: one row a folder of predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deocclude.errors import InputError
from deocclude.evaluation.score import SCORES_JSON


@dataclass(frozen=True)
class Column:
    """title: the head of the column. key: in the averages of scores.json. scale: a factor for the value."""

    title: str
    key: str
    digits: int
    scale: float = 1.0


TABLE_COLUMNS = (
    Column("modal IoU", "modal_iou_mean", 3),
    Column("mIoU", "iou_mean", 3),
    Column("mIoU-inv", "invisible_iou_mean", 3),
    Column("mask L1", "mask_l1_mean", 3),
    Column("content L1", "content_l1_mean", 3),
    Column("RGB L1 ×1000", "rgb_l1_mean", 2, 1000),
    Column("PSNR", "psnr_mean", 2),
)
POOLED_COLUMNS = (
    Column("IoU pooled", "iou_pooled", 3),
    Column("IoU-inv pooled", "invisible_iou_pooled", 3),
)

UNKNOWN = "–"


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


def method_table(folders: Sequence[Path]) -> str:
    """One row a folder. A figure is the mean over people unless it is called pooled; n is how many people."""
    columns = TABLE_COLUMNS + POOLED_COLUMNS
    rows = []
    for folder, summary in ((folder, read_scores(folder)) for folder in folders):
        rows.append([_row_name(folder, folders), *_cells(summary["overall"], columns), _people(summary)])
    return markdown(["predictions", *(column.title for column in columns), "n"], rows)


def ratio_table(folders: Sequence[Path]) -> str:
    """One row for each folder and each bin of the occlusion ratio."""
    rows = []
    for folder in folders:
        for name, part in read_scores(folder)["by_ratio"].items():
            rows.append([_row_name(folder, folders), name, *_cells(part, TABLE_COLUMNS), str(part["n"])])
    return markdown(["predictions", "hidden", *(column.title for column in TABLE_COLUMNS), "n"], rows)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns, text on the left and figures on the right."""
    widths = [max(len(row[index]) for row in (heads, *rows)) for index in range(len(heads))]
    numeric = [index > 0 for index in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    ruler = ("-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True))
    return "\n".join([line(heads), f"| {' | '.join(ruler)} |", *map(line, rows)])


def _cells(averages: dict[str, Any], columns: Sequence[Column]) -> list[str]:
    return [_figure(averages.get(column.key), column) for column in columns]


def _figure(value: float | None, column: Column) -> str:
    return UNKNOWN if value is None else f"{value * column.scale:.{column.digits}f}"


def _people(summary: dict[str, Any]) -> str:
    """How many were scored, and how many of those the method had no answer for."""
    failed = len(summary["failed"])
    return f"{summary['overall']['n']}" + (f" ({failed} failed)" if failed else "")


def _row_name(folder: Path, folders: Sequence[Path]) -> str:
    """The folder's name, with its parents' where two folders share it."""
    name = Path(folder).resolve().name
    is_unique = sum(Path(other).resolve().name == name for other in folders) == 1
    return name if is_unique else str(folder)
