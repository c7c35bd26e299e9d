"""Scores of each person, and their averages: every metric of the evaluation, on files."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deocclude.data.occlusion_set import OcclusionSample, OcclusionSet
from deocclude.errors import InputError
from deocclude.evaluation.predictions import Prediction, PredictionFolder, write_json
from deocclude.files import written_whole
from deocclude.masks import occlusion_ratio
from deocclude.metrics.averages import averages, averages_by_ratio
from deocclude.metrics.masks import Overlap, invisible_overlap, mask_l1, overlap
from deocclude.metrics.pictures import PictureErrors, content_l1, on_white, picture_errors

PICTURE_COLUMNS = (
    "rgb_l1", "rgb_l1_visible", "rgb_l1_invisible", "rgb_mse", "rgb_mse_visible", "rgb_mse_invisible", "psnr",
)  # fmt: skip
COLUMNS = (
    "modal_iou", "iou", "invisible_iou", "mask_l1", "content_l1",
    *PICTURE_COLUMNS, *(f"{column}_true_mask" for column in PICTURE_COLUMNS),
    "seconds",
)  # fmt: skip
"""What is averaged. The pictures' columns put the prediction on white outside the mask the method predicted
and the truth outside the true one; with `_true_mask` both are cut by the true amodal mask: only the colours
are judged."""

SCORES_CSV = "scores.csv"
SCORES_JSON = "scores.json"


@dataclass
class Scores:
    """One row a person, and who is special.

    failed: ids that got the score of an empty answer. missing: ids without a prediction, and without a row.
    unreadable: sentences by id, for those whose files cannot be used; without a row too.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def score_set(
    people: OcclusionSet,
    folder: PredictionFolder,
    *,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> Scores:
    """Score every person the folder has an answer for.

    A person the method says it could not do (nobody found, …) is scored as if it had found nothing: an empty
    amodal mask and the picture as it was. Leaving them out would reward a method for giving up. A person it
    was never asked about (`predict --limit`) is missing, and named. Raises InputError where nobody has a row, and
    for the set's own folder.
    """
    folder.check_apart(people.root)
    record, scores = folder.read_record(), Scores()
    for index, person_id in enumerate(progress(people.ids)):
        try:
            person = people[index]
            prediction = folder.read(person_id, (person.amodal.shape[0], person.amodal.shape[1]))
        except InputError as error:
            scores.unreadable[person_id] = str(error)
            continue
        if prediction is None and person_id in record.failed:
            prediction = _nothing_found(person)
            scores.failed.append(person_id)
        if prediction is None:
            scores.missing.append(person_id)
        else:
            scores.rows.append(score_person(person, prediction, seconds=record.seconds.get(person_id, math.nan)))
    if not scores.rows:
        reason = next(iter(scores.unreadable.values()), "run 'deocclude predict' first")
        raise InputError(f"{folder.root}: has no prediction for any person of {people.root}; {reason}")
    return scores


def score_person(person: OcclusionSample, prediction: Prediction, *, seconds: float = math.nan) -> dict[str, Any]:
    """All columns for one person. NaN: undefined here, or the method or the set has no such file."""
    truth, scored, modal_mask = person.amodal, ~person.not_scored, person.modal
    row: dict[str, Any] = {
        "id": person.id,
        "occlusion_ratio": occlusion_ratio(modal_mask, truth),
        "mask_l1": mask_l1(prediction.amodal_mask, truth, scored=scored),
        "content_l1": math.nan,
        **_overlap_columns("iou", overlap(prediction.amodal_mask, truth, scored=scored)),
        **_overlap_columns(
            "invisible_iou", invisible_overlap(prediction.amodal_mask, truth, modal_mask, scored=scored)
        ),
        **_overlap_columns("modal_iou", _modal_overlap(person, prediction)),
        **_picture_columns(None, ""),
        **_picture_columns(None, "_true_mask"),
        "seconds": seconds,
    }
    if prediction.rgb is not None and person.whole is not None:
        row.update(_colour_scores(person, prediction.rgb, prediction.amodal_mask, person.whole))
    return row


def _colour_scores(
    person: OcclusionSample, rgb: np.ndarray, predicted_mask: np.ndarray, whole: np.ndarray
) -> dict[str, float]:
    painted, original = rgb / 255, whole / 255
    modal_mask, truth, scored = person.modal, person.amodal, ~person.not_scored
    target = on_white(original, truth)
    own = picture_errors(on_white(painted, predicted_mask), target, modal_mask, scored=scored)
    cut_by_truth = picture_errors(on_white(painted, truth), target, modal_mask, scored=scored)
    return {
        "content_l1": content_l1(painted, original, modal_mask, truth, scored=scored),
        **_picture_columns(own, ""),
        **_picture_columns(cut_by_truth, "_true_mask"),
    }


def _picture_columns(errors: PictureErrors | None, suffix: str) -> dict[str, float]:
    if errors is None:
        values = [math.nan] * len(PICTURE_COLUMNS)
    else:
        l1, mse = errors.l1, errors.mse
        values = [l1.whole, l1.visible, l1.invisible, mse.whole, mse.visible, mse.invisible, errors.psnr]
    return {f"{column}{suffix}": value for column, value in zip(PICTURE_COLUMNS, values, strict=True)}


def _overlap_columns(name: str, sizes: Overlap) -> dict[str, float]:
    return {name: sizes.iou, f"{name}_intersection": sizes.intersection, f"{name}_union": sizes.union}


def _modal_overlap(person: OcclusionSample, prediction: Prediction) -> Overlap:
    if prediction.modal_mask is None:
        return Overlap(0, 0)
    return overlap(prediction.modal_mask, person.modal, scored=~person.not_scored)


def _nothing_found(person: OcclusionSample) -> Prediction:
    nobody = np.zeros_like(person.amodal)
    return Prediction(amodal_mask=nobody, modal_mask=nobody, rgb=person.occluded)


def write_scores(scores: Scores, folder: PredictionFolder, *, set_name: str) -> dict[str, Any]:
    """Write scores.csv (a row a person) and scores.json (averages, by ratio bin too); return the latter."""
    record = folder.read_record()
    summary = {
        "name": folder.root.resolve().name,
        "set": set_name,
        "overall": averages(scores.rows, COLUMNS),
        "by_ratio": averages_by_ratio(scores.rows, COLUMNS),
        "failed": scores.failed,
        "missing": scores.missing,
        "unreadable": scores.unreadable,
        **{key: value for key, value in vars(record).items() if key in ("settings", "facts", "machine", "commit")},
    }
    _write_csv(folder.root / SCORES_CSV, scores.rows)
    summary = _nan_to_none(summary)
    write_json(folder.root / SCORES_JSON, summary)
    return summary


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with written_whole(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({key: _csv_value(value) for key, value in row.items()} for row in rows)


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
