"""Markdown tables from score files: one row a folder of predictions, or one a column where two are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deocclude.errors import InputError
from deocclude.evaluation.columns import (
    BEST_OF_N_COLUMNS,
    COLUMNS,
    INVENTION_COLUMNS,
    MASK_TABLE,
    NETWORK_TABLE,
    PICTURE_TABLE,
    Column,
)
from deocclude.evaluation.formats import markdown
from deocclude.evaluation.score_files import SCORES_CSV, column_of, read_rows, read_scores
from deocclude.metrics.averages import photographs_of
from deocclude.metrics.paired import paired_difference

COMPARED = ("modal_iou", "iou", "invisible_iou", "mask_l1",
            "self_invention", "invented", "whole_invented", "keypoints_reached", "content_l1", "rgb_l1", "psnr",
            "rgb_l1_true_mask", "psnr_true_mask", "lpips_alexnet", "feature_distance_efficientnet_lite0")  # fmt: skip
"""What two methods are compared in, person by person."""
POOLED_FIGURES = ("keypoints_reached", "islands")
"""Fractions of few counts a person: tables print all people's together."""


def method_table(folders: Sequence[Path]) -> str:
    """One row a folder. A figure is the mean over people unless it is called pooled; n is how many people.

    A column of best-of-N figures comes where a folder has several candidates a person, beside those of the first.
    """
    summaries = [read_scores(folder) for folder in folders]
    columns = [COLUMNS[key] for key in (*MASK_TABLE, *PICTURE_TABLE)]
    best_of_n = [COLUMNS[key] for key in BEST_OF_N_COLUMNS if any(_mean(one, key) is not None for one in summaries)]
    pooled = {"IoU pooled": "iou_pooled", "IoU-inv pooled": "invisible_iou_pooled"}
    rows = [
        [
            _row_name(folder, folders),
            *(column.text(_mean(summary, column.key)) for column in (*columns, *best_of_n)),
            *(COLUMNS["iou"].text(summary["overall"].get(key)) for key in pooled.values()),
            _people(summary),
        ]
        for folder, summary in zip(folders, summaries, strict=True)
    ]
    return markdown(["predictions", *(column.title for column in (*columns, *best_of_n)), *pooled, "n"], rows)


def invention_table(folders: Sequence[Path]) -> str:
    """One row a folder: what each method invents, and which marked hidden keypoints it reaches.

    Columns that no folder has a figure for are left out. An empty text if the folders were scored without them.
    """
    summaries = [read_scores(folder) for folder in folders]
    columns = _known_inventions([summary["overall"] for summary in summaries])
    if not columns:
        return ""
    rows = [
        [
            _row_name(folder, folders),
            *(column.text(figure(summary["overall"], column.key)) for column in columns),
            _people(summary),
        ]
        for folder, summary in zip(folders, summaries, strict=True)
    ]
    return markdown(["predictions", *(column.title for column in columns), "n"], rows)


def figure(part: Mapping[str, Any], key: str) -> float | None:
    """A column's figure among averages: pooled for those of `POOLED_FIGURES`, else the mean over people."""
    value: float | None = part.get(f"{key}_pooled" if key in POOLED_FIGURES else f"{key}_mean")
    return value


def network_table(folders: Sequence[Path]) -> str:
    """One row a folder: what networks make of the pictures, each column with its network's name.

    Beneath it, why a column is empty, and how many pictures KID's subsets have. KID is mean ± standard deviation over
    subsets. An empty text where no folder was scored so.
    """
    summaries = [read_scores(folder) for folder in folders]
    if not any(summary.get("unavailable") or summary.get("set_figures") for summary in summaries):
        return ""
    columns = [COLUMNS[key] for key in NETWORK_TABLE]
    rows = [
        [_row_name(folder, folders), *(network_cell(summary, column) for column in columns), _people(summary)]
        for folder, summary in zip(folders, summaries, strict=True)
    ]
    table = markdown(["predictions", *(column.title for column in columns), "n"], rows)
    sentences = dict.fromkeys(text for summary in summaries for text in summary.get("unavailable", {}).values())
    return "\n".join([table, *(["", *(f"not here: {sentence}" for sentence in sentences)] if sentences else [])])


def network_cell(summary: dict[str, Any], column: Column) -> str:
    """A figure of all pictures with its deviation, or a mean over people, or why there is none."""
    if column.key in summary.get("unavailable", {}):
        return "not here"
    figure = summary.get("set_figures", {}).get(column.key)
    if figure is None:
        return column.text(_mean(summary, column.key))
    mean, deviation = column.text(figure["mean"]), figure.get("std")
    return mean if deviation is None else f"{mean} ± {column.text(deviation)}"


def ratio_table(folders: Sequence[Path]) -> str:
    """One row for each folder and each bin of the occlusion ratio."""
    return _parts_table(folders, "hidden", [read_scores(folder)["by_ratio"] for folder in folders])


def group_table(folders: Sequence[Path], group: str) -> str:
    """One row for each folder and each value of a column of the manifest.

    Raises InputError if a folder was not scored by that column.
    """
    parts = []
    for folder in folders:
        groups = read_scores(folder).get("by_group", {})
        if group not in groups:
            known = f"has {', '.join(groups)}" if groups else "has none"
            raise InputError(f"{folder}: was not scored by '{group}' ({known}); 'deocclude score' finds the columns")
        parts.append(groups[group])
    return _parts_table(folders, group, parts)


def _parts_table(folders: Sequence[Path], head: str, parts: Sequence[Mapping[str, Mapping[str, Any]]]) -> str:
    """One row for each folder and each of its parts. Columns of inventions that no part has are left out."""
    inventions = _known_inventions([part for of_folder in parts for part in of_folder.values()])
    columns = [*(COLUMNS[key] for key in (*MASK_TABLE, *PICTURE_TABLE)), *inventions]
    rows = [
        [
            _row_name(folder, folders),
            name,
            *(column.text(figure(part, column.key)) for column in columns),
            str(part["n"]),
        ]
        for folder, of_folder in zip(folders, parts, strict=True)
        for name, part in of_folder.items()
    ]
    return markdown(["predictions", head, *(column.title for column in columns), "n"], rows)


def _known_inventions(parts: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns of inventions that at least one of these averages has."""
    return [COLUMNS[key] for key in INVENTION_COLUMNS if any(figure(part, key) is not None for part in parts)]


def paired_table(folder: Path, against: Path) -> str:
    """The same people in both folders, one row a column: difference of the means, its interval, who does better.

    Raises InputError where they are scores on different sets or have nobody in common.
    """
    _check_same_set(folder, against)
    ours, theirs = ({row["id"]: row for row in read_rows(path / SCORES_CSV)} for path in (folder, against))
    shared = [person_id for person_id in ours if person_id in theirs]
    if not shared:
        raise InputError(f"{folder} and {against}: have no person in common")
    photographs = photographs_of([ours[one] for one in shared])
    rows = []
    for column in (COLUMNS[key] for key in COMPARED):
        values, others = (column_of([table[one] for one in shared], column.key) for table in (ours, theirs))
        paired = paired_difference(
            values, others, photographs, higher_is_better=column.higher_is_better, rng=np.random.default_rng(0)
        )
        if paired.n:
            interval = column.interval_text(paired.interval, signed=True)
            counts = (str(count) for count in (paired.n, paired.better, paired.worse))
            rows.append([column.title, column.text(paired.mean, signed=True), interval, *counts])
    names = [_row_name(one, [folder, against]) for one in (folder, against)]
    table = markdown([f"{names[0]} minus {names[1]}", "mean difference", "95 %", "n", "better", "worse"], rows)
    alone = len(ours) + len(theirs) - 2 * len(shared)
    return table + (f"\n\n{alone} people are in one of the two alone and left out" if alone else "")


def _check_same_set(folder: Path, against: Path) -> None:
    """Raises InputError where both say which set they are of, and it is not one."""
    manifests = [read_scores(path).get("settings", {}).get("manifest_sha256") for path in (folder, against)]
    if None not in manifests and manifests[0] != manifests[1]:
        raise InputError(f"{folder} and {against}: are scores on different occlusion sets; nothing can be paired")


def _mean(summary: dict[str, Any], key: str) -> float | None:
    mean: float | None = summary["overall"].get(f"{key}_mean")
    return mean


def _people(summary: dict[str, Any]) -> str:
    """How many were scored, and how many of those the method had no answer for."""
    failed = len(summary["failed"])
    return f"{summary['overall']['n']}" + (f" ({failed} failed)" if failed else "")


def _row_name(folder: Path, folders: Sequence[Path]) -> str:
    """The folder's name, with its parents' where two folders share it."""
    name = Path(folder).resolve().name
    is_unique = sum(Path(other).resolve().name == name for other in folders) == 1
    return name if is_unique else str(folder)
