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
from deocclude.evaluation.predict import FINDS_MODAL
from deocclude.evaluation.predictions import Prediction, PredictionFolder
from deocclude.masks import occlusion_ratio
from deocclude.metrics.averages import GROUP
from deocclude.metrics.inventions import background_invention, invented_fraction, islands, self_invention
from deocclude.metrics.keypoints import Reached, keypoints_reached
from deocclude.metrics.masks import Overlap, invisible_overlap, mask_l1, overlap
from deocclude.metrics.pictures import PictureErrors, content_l1, on_white, picture_errors

WHOLE = "whole"
"""Column of the manifest: 1 for a person of whom nothing is hidden or cut off."""
MAX_GROUPS, MIN_PEOPLE_A_GROUP = 8, 4
"""A column of the manifest groups people if it has 2 to this many values, and so many people a value on average."""
GOOD_MODAL_IOU, SELF_INVENTION_LIMIT, WHOLE_LIMIT = 0.8, 0.05, 0.03
"""Limits of the columns that are fractions of people."""


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
    keypoints, grouping = people.marked_keypoints(), grouping_columns(people.rows)
    for index, person_id in enumerate(progress(people.ids)):
        try:
            person = people[index]
            prediction = folder.read(person_id, (person.amodal.shape[0], person.amodal.shape[1]))
        except InputError as error:
            scores.unreadable[person_id] = str(error)
            continue
        if prediction is None and person_id in record.failed:
            prediction = _nothing_found(person, with_modal=record.settings.get("modal") in FINDS_MODAL)
            scores.failed.append(person_id)
        if prediction is None:
            scores.missing.append(person_id)
            continue
        row = score_person(
            person,
            prediction,
            keypoints=keypoints.get(person_id),
            num_candidates=num_candidates,
            comparisons=comparisons.usable,
        )
        groups = {f"{GROUP}{column}": person.row[column] for column in grouping}
        scores.rows.append({**row, "seconds": record.seconds.get(person_id, math.nan), **groups})
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
    keypoints: np.ndarray | None = None,
    num_candidates: int = 1,
    comparisons: Sequence[PictureComparison] = (),
) -> dict[str, Any]:
    """All columns for one person but the seconds. NaN: undefined here, or the method or the set has no such file.

    Where the whole person is not known (`is_amodal_known`), nothing is compared with an amodal mask.
    keypoints: those drawn by hand, COCO-17 (17, 3) of x, y, v. num_candidates: pictures the method was asked for;
    best-of-N is defined for more than one, and where nothing is hidden it is the one picture there is.
    """
    row: dict[str, Any] = {
        "id": person.id,
        "photograph": _digest(person.occluded if person.whole is None else person.whole),
        "content_l1": math.nan,
        **_amodal_columns(person, prediction.amodal_mask),
        **_modal_columns(_modal_overlap(person, prediction)),
        **_invention_columns(person, prediction),
        **_keypoint_columns(person, prediction.amodal_mask, keypoints),
        **_picture_columns(None, ""),
        **_picture_columns(None, "_true_mask"),
        **dict.fromkeys((*BEST_OF_N_COLUMNS, *NETWORK_COLUMNS), math.nan),
    }
    if prediction.rgb is not None and person.whole is not None and person.is_amodal_known:
        row.update(_colour_scores(person, prediction.rgb, prediction.amodal_mask, person.whole))
        if num_candidates > 1:
            row.update(_best_of_n(person, prediction, person.whole))
        pair = _persons_on_white(person, prediction.rgb, prediction.amodal_mask, person.whole)
        for comparison in comparisons:
            row.update(comparison.add(*pair))
    return row


def grouping_columns(rows: Sequence[dict[str, str]]) -> list[str]:
    """Columns of a manifest that group its people, such as the kind of occluder."""
    values = {column: {row[column] for row in rows} for column in rows[0] if column not in ("id", "occlusion_ratio")}
    return [
        column
        for column, found in values.items()
        if 2 <= len(found) <= min(MAX_GROUPS, len(rows) // MIN_PEOPLE_A_GROUP)
    ]


def _amodal_columns(person: OcclusionSample, predicted_mask: np.ndarray) -> dict[str, float]:
    """What is compared with the whole person; undefined if it is not known."""
    if not person.is_amodal_known:
        unknown = Overlap(0, 0)
        undefined = dict.fromkeys(("occlusion_ratio", "mask_l1"), math.nan)
        return {**undefined, **_overlap_columns("iou", unknown), **_overlap_columns("invisible_iou", unknown)}
    truth, scored, modal_mask = person.amodal, ~person.not_scored, person.modal
    invisible = invisible_overlap(predicted_mask, truth, modal_mask, scored=scored)
    return {
        "occlusion_ratio": occlusion_ratio(modal_mask, truth),
        "mask_l1": mask_l1(predicted_mask, truth, scored=scored),
        **_overlap_columns("iou", overlap(predicted_mask, truth, scored=scored)),
        **_overlap_columns("invisible_iou", invisible),
    }


def _modal_columns(sizes: Overlap) -> dict[str, float]:
    return {
        **_overlap_columns("modal_iou", sizes),
        "modal_iou_from_80": _indicator(sizes.iou, sizes.iou >= GOOD_MODAL_IOU),
    }


def _invention_columns(person: OcclusionSample, prediction: Prediction) -> dict[str, float]:
    """What the method calls hidden, against the visible body, which is known of all people.

    A method that was given the modal mask has it for its own.
    """
    judged = _judged_for_modal(person)
    own_modal = (person.modal if prediction.modal_mask is None else prediction.modal_mask) & judged
    amodal = prediction.amodal_mask & judged
    masks = amodal, own_modal, person.modal
    on_self, invented = self_invention(*masks), invented_fraction(*masks)
    of_whole = invented if person.row.get(WHOLE) == "1" else math.nan
    pieces = islands(amodal, own_modal)
    return {
        "self_invention": on_self,
        "self_invention_above_5": _indicator(on_self, on_self > SELF_INVENTION_LIMIT),
        "invented": invented,
        "whole_invented": of_whole,
        "whole_invented_above_3": _indicator(of_whole, of_whole > WHOLE_LIMIT),
        "invented_background": background_invention(*masks, ~person.not_scored & ~person.amodal),
        "islands": pieces.fraction,
        "island_area": pieces.area,
        "invented_area": pieces.invented,
        "has_islands": float(pieces.area > 0),
    }


def _keypoint_columns(
    person: OcclusionSample, predicted_mask: np.ndarray, keypoints: np.ndarray | None
) -> dict[str, float]:
    found = Reached(0, 0) if keypoints is None else keypoints_reached(keypoints, person.modal, predicted_mask)
    return {
        "keypoints_reached": found.fraction,
        "num_keypoints_reached": found.reached,
        "num_keypoints_hidden": found.hidden,
    }


def _indicator(value: float, holds: bool) -> float:
    """1 or 0, NaN if the value is undefined."""
    return math.nan if math.isnan(value) else float(holds)


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
    return overlap(prediction.modal_mask, person.modal, scored=_judged_for_modal(person))


def _judged_for_modal(person: OcclusionSample) -> np.ndarray:
    """Where it is known whether the person is visible, bool (H, W).

    A carried bag counts for neither. Where the whole person is not known, 128 means that they may go on there unseen:
    they are certainly not visible there.
    """
    return ~person.not_scored if person.is_amodal_known else np.ones_like(person.modal)


def _nothing_found(person: OcclusionSample, *, with_modal: bool) -> Prediction:
    nobody = np.zeros_like(person.amodal)
    return Prediction(amodal_mask=nobody, modal_mask=nobody if with_modal else None, rgb=person.occluded)
