"""Strips for contact sheets: people chosen by a seed and none by hand, good and bad alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from deocclude.data.coco import CocoImage, CocoInstance
from deocclude.data.occlusion_set import OcclusionSample, OcclusionSet
from deocclude.errors import InputError
from deocclude.evaluation.predict import Protocol, deocclude_sample
from deocclude.evaluation.predictions import Prediction, PredictionFolder
from deocclude.evaluation.score import score_person
from deocclude.evaluation.sheets import Strip, lifted, outlined, window_around
from deocclude.images import open_image
from deocclude.masks import invisible_mask
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.types import Deocclusion

Item = TypeVar("Item")

SET_TITLES = ("input", "truth", "ours")
PHOTO_TITLES = ("input", "modal", "amodal", "completed")

MIN_PERSON_HEIGHT = 100
"""Pixels: what is smaller shows nothing on a sheet."""
MIN_OVERLAP = 0.1
"""Share of a person's box that another object's box must cover."""

Answer = Callable[[OcclusionSample], Prediction]
"""What the method says about one person. Raises InputError where it says nothing."""


def chosen(items: Sequence[Item], count: int, *, rng: np.random.Generator) -> list[Item]:
    """At most `count` of the items, drawn without replacement."""
    return [items[index] for index in rng.permutation(len(items))[:count]]


# --- people whose truth is known ----------------------------------------------------------------------------


def answers_of_folder(folder: PredictionFolder) -> Answer:
    """Answers that `deocclude predict` has written."""
    record = folder.read_record()

    def answer(person: OcclusionSample) -> Prediction:
        prediction = folder.read(person.id, (person.amodal.shape[0], person.amodal.shape[1]))
        if prediction is None:
            raise InputError(record.failed.get(person.id, f"{folder.root}: has no prediction for '{person.id}'"))
        return prediction

    return answer


def answers_of_method(deoccluder: Deoccluder, protocol: Protocol) -> Answer:
    """Answers made on the spot."""

    def answer(person: OcclusionSample) -> Prediction:
        result = deocclude_sample(deoccluder, person, protocol)
        modal_mask = result.modal_mask if protocol.finds_modal else None
        return Prediction(result.amodal_mask, modal_mask, result.rgb)

    return answer


def set_strips(people: OcclusionSet, indices: Iterable[int], answer: Answer) -> list[Strip]:
    """One strip a person: input, truth and answer, amodal masks outlined, with the scores beneath."""
    return [_set_strip(people, index, answer) for index in indices]


def _set_strip(people: OcclusionSet, index: int, answer: Answer) -> Strip:
    try:
        person = people[index]
    except InputError as error:
        return Strip((None,) * len(SET_TITLES), str(error), is_unreadable=True)
    truth = outlined(person.occluded if person.whole is None else person.whole, person.amodal)
    try:
        prediction = answer(person)
    except InputError as error:
        return Strip((person.occluded, truth, None), f"{person.id}  no answer: {error}")
    painted = person.occluded if prediction.rgb is None else prediction.rgb
    ours = outlined(painted, prediction.amodal_mask)
    return Strip((person.occluded, truth, ours), _scores_line(score_person(person, prediction)))


def _scores_line(row: dict[str, Any]) -> str:
    hidden = "unknown" if math.isnan(row["occlusion_ratio"]) else f"{row['occlusion_ratio']:.0%}"
    parts = [f"{row['id']}  hidden {hidden}"]
    for title, column in (
        ("modal", "modal_iou"),
        ("IoU", "iou"),
        ("inv", "invisible_iou"),
        ("content", "content_l1"),
    ):
        if np.isfinite(row[column]):
            parts.append(f"{title} {row[column]:.3f}")
    return "  ".join(parts)


# --- photographs without truth ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Photo:
    """A photograph and where to look in it (x0, y0, x1, y1); None: the most prominent person."""

    path: Path
    box_xyxy: tuple[float, float, float, float] | None = None
    name: str = ""


def occluded_people(images: Iterable[CocoImage]) -> list[Photo]:
    """People of a COCO file who share their place with another annotated object, tall enough to be looked at.

    COCO does not say who is in front, so some of them are the occluder.
    """
    return [
        Photo(image.path, _whole_pixels(person, image), f"{image.path.stem} #{person.id}")
        for image in images
        for person in image.instances
        if person.category == "person"
        and person.box_xyxy[3] - person.box_xyxy[1] >= MIN_PERSON_HEIGHT
        and any(_covered_share(person, other) >= MIN_OVERLAP for other in image.instances if other is not person)
    ]


def _covered_share(person: CocoInstance, other: CocoInstance) -> float:
    """Share of the person's box inside the other's box."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = person.box_xyxy, other.box_xyxy
    width, height = min(ax1, bx1) - max(ax0, bx0), min(ay1, by1) - max(ay0, by0)
    return max(width, 0) * max(height, 0) / ((ax1 - ax0) * (ay1 - ay0))


def _whole_pixels(person: CocoInstance, image: CocoImage) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = person.box_xyxy
    return math.floor(x0), math.floor(y0), min(math.ceil(x1), image.width), min(math.ceil(y1), image.height)


def photo_strips(photos: Iterable[Photo], deoccluder: Deoccluder) -> list[Strip]:
    """One strip a photograph, cut to the person: input, modal, amodal (invisible tinted), completed."""
    return [_photo_strip(photo, deoccluder) for photo in photos]


def _photo_strip(photo: Photo, deoccluder: Deoccluder) -> Strip:
    name = photo.name or photo.path.stem
    try:
        image = open_image(photo.path)
    except InputError as error:
        return Strip((None,) * len(PHOTO_TITLES), str(error), is_unreadable=True)
    try:
        result = deoccluder(image, box=photo.box_xyxy)
    except InputError as error:
        return Strip((image, None, None, None), f"{name}  {error}")
    caption = f"{name}  hidden {result.occlusion_ratio:.0%}"
    return Strip(_photo_pictures(image, result), caption if photo.box_xyxy is None else f"{caption}  (box given)")


def _photo_pictures(image: np.ndarray, result: Deocclusion) -> tuple[np.ndarray, ...]:
    window = window_around(result.amodal_mask)
    invisible = invisible_mask(result.modal_mask, result.amodal_mask)
    modal = lifted(image, result.modal_mask)
    amodal = lifted(image, result.amodal_mask, invisible)
    completed = outlined(result.rgb, result.amodal_mask)
    return tuple(picture[window] for picture in (image, modal, amodal, completed))
