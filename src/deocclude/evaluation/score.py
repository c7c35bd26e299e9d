"""Scores of each person: every metric of the evaluation, on files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deocclude.data.occlusion_set import OcclusionSample, OcclusionSet
from deocclude.errors import InputError
from deocclude.evaluation.columns import BEST_OF_N_COLUMNS, NETWORK_COLUMNS, PICTURE_COLUMNS
from deocclude.evaluation.picture_networks import Comparisons, PictureComparison, SetFigures
from deocclude.evaluation.predictions import Prediction, PredictionFolder
from deocclude.masks import occlusion_ratio
from deocclude.metrics.masks import Overlap, invisible_overlap, mask_l1, overlap
from deocclude.metrics.pictures import PictureErrors, content_l1, on_white, picture_errors


@dataclass
class Scores:
    """One row a person, figures of all pictures together, and who is special.

    set_figures: by column, `mean` and what belongs to it. unavailable: sentences by column, for networks that compare
    pictures and could not be had. failed: ids that got the score of an empty answer. missing: ids without a prediction,
    and without a row. unreadable: sentences by id, for those whose files cannot be used; without a row too.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    set_figures: SetFigures = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def score_set(
    people: OcclusionSet,
    folder: PredictionFolder,
    *,
    comparisons: Comparisons | None = None,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> Scores:
    """Score every person the folder has an answer for.

    A person the method says it could not do (nobody found, …) is scored as if it had found nothing: an empty
    amodal mask and the picture as it was. Leaving them out would reward a method for giving up. A person it
    was never asked about (`predict --limit`) is missing, and named. comparisons: networks that look at the pictures
    too. Raises InputError where nobody has a row, and for the set's own folder.
    """
    folder.check_apart(people.root)
    comparisons = comparisons or Comparisons()
    record, scores = folder.read_record(), Scores(unavailable=comparisons.unavailable)
    num_candidates = record.settings.get("candidates", 1)
    for index, person_id in enumerate(progress(people.ids)):
        try:
            person = people[index]
            prediction = folder.read(person_id, (person.amodal.shape[0], person.amodal.shape[1]))
        except InputError as error:
            scores.unreadable[person_id] = str(error)
            continue
        if prediction is None and person_id in record.failed:
            prediction = _nothing_found(person, with_modal=record.settings.get("modal") == "predicted")
            scores.failed.append(person_id)
        if prediction is None:
            scores.missing.append(person_id)
            continue
        row = score_person(person, prediction, num_candidates=num_candidates, comparisons=comparisons.usable)
        scores.rows.append({**row, "seconds": record.seconds.get(person_id, math.nan)})
    if not scores.rows:
        reason = next(iter(scores.unreadable.values()), "run 'deocclude predict' first")
        raise InputError(f"{folder.root}: has no prediction for any person of {people.root}; {reason}")
    if any(math.isfinite(row["rgb_l1"]) for row in scores.rows):
        for comparison in comparisons.usable:
            scores.set_figures |= comparison.set_figures()
    return scores


def score_person(
    person: OcclusionSample,
    prediction: Prediction,
    *,
    num_candidates: int = 1,
    comparisons: Sequence[PictureComparison] = (),
) -> dict[str, Any]:
    """All columns for one person but the seconds. NaN: undefined here, or the method or the set has no such file.

    num_candidates: pictures the method was asked for; best-of-N is defined for more than one, and where nothing is
    hidden it is the one picture there is.
    """
    truth, scored, modal_mask = person.amodal, ~person.not_scored, person.modal
    row: dict[str, Any] = {
        "id": person.id,
        "photograph": _digest(person.occluded if person.whole is None else person.whole),
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
        **dict.fromkeys((*BEST_OF_N_COLUMNS, *NETWORK_COLUMNS), math.nan),
    }
    if prediction.rgb is not None and person.whole is not None:
        row.update(_colour_scores(person, prediction.rgb, prediction.amodal_mask, person.whole))
        if num_candidates > 1:
            row.update(_best_of_n(person, prediction, person.whole))
        pair = _persons_on_white(person, prediction.rgb, prediction.amodal_mask, person.whole)
        for comparison in comparisons:
            row.update(comparison.add(*pair))
    return row


def _digest(picture: np.ndarray) -> str:
    """The same for people of one photograph, and for one person under several occluders."""
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()[:12]


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


def _best_of_n(person: OcclusionSample, prediction: Prediction, whole: np.ndarray) -> dict[str, float]:
    """Scores of the one picture nearest to the true one by L1 of the person on white: the same for every column."""
    scores = [
        _colour_scores(person, rgb, prediction.amodal_mask, whole)
        for rgb in (prediction.rgb, *prediction.candidates)
        if rgb is not None
    ]
    best = min(scores, key=lambda score: score["rgb_l1"])
    return {column: best[column.removesuffix("_best_of_n")] for column in BEST_OF_N_COLUMNS}


def _persons_on_white(
    person: OcclusionSample, rgb: np.ndarray, predicted_mask: np.ndarray, whole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth as networks see them, uint8 (H, W, 3): white too where nobody may judge."""
    scored = ~person.not_scored
    painted = np.where((predicted_mask & scored)[..., None], rgb, np.uint8(255))
    return painted, np.where((person.amodal & scored)[..., None], whole, np.uint8(255))


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


def _nothing_found(person: OcclusionSample, *, with_modal: bool) -> Prediction:
    nobody = np.zeros_like(person.amodal)
    return Prediction(amodal_mask=nobody, modal_mask=nobody if with_modal else None, rgb=person.occluded)
