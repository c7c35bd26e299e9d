"""Which people of a photograph are meant: found, or named by masks, boxes or points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from deocclude.conditioning.embedded_people import person_at
from deocclude.conditioning.people_finder import PeopleFinder, choose, how_many, is_same_person
from deocclude.conditioning.segmenter import EmbeddedSegmenter
from deocclude.conditioning.sources import build_finder
from deocclude.errors import InputError
from deocclude.images import MAX_PIXELS
from deocclude.masks import mask_box
from deocclude.pipelines.control import Control
from deocclude.types import Person

if TYPE_CHECKING:
    from deocclude.pipelines.deoccluder import Deoccluder

PointLooker = Callable[[np.ndarray, tuple[float, float]], Person]


@dataclass(frozen=True, kw_only=True)
class SceneRequest:
    """Which people of a photograph are meant, and how they are to be completed.

    people: "all", "largest" or how many of those that are found, the largest first.
    modal_masks, boxes, points: who is meant instead, in this order: the visible part, bool (H, W); x0, y0, x1, y1;
        x, y; all in pixels. A pixel that two of them claim stays with whoever is named first.
    extend: by how many pixels people may reach beyond the picture; `auto`: as far as those whom its edge cuts off need.
    controls: further wishes, in the order of the people; none for those beyond its end.
    max_canvas_pixels: of the picture extended so; a larger one is refused before it is made.

    Raises InputError for people and extensions that are none of these, and for people named in several ways.
    """

    people: int | str = "all"
    modal_masks: Sequence[Any] = ()
    boxes: Sequence[tuple[float, float, float, float]] = ()
    points: Sequence[tuple[float, float]] = ()
    extend: int | Literal["auto"] = 0
    controls: Sequence[Control] = ()
    max_canvas_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        how_many(self.people)
        is_number = isinstance(self.extend, int) and not isinstance(self.extend, bool) and self.extend >= 0
        if not (is_number or self.extend == "auto"):
            raise InputError(f"extend by 'auto' or a whole number of pixels; got {self.extend!r}")
        if sum(len(one) > 0 for one in (self.modal_masks, self.boxes, self.points)) > 1:
            raise InputError("say where people are by masks, by boxes or by points, not by several of these")


@dataclass(frozen=True)
class MeantPerson:
    """A person of the photograph, whether the mask was given and is exact, and who found it."""

    person: Person
    is_exact: bool
    found_by: str


class NamedFinder:
    """A finder of `sources.FINDERS`, loaded once it is asked: where people are named, nobody has to be found."""

    def __init__(self, name: str, segmenter: Any, *, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self.name = name
        self._parts = segmenter, device, dtype

    def __call__(self, image: np.ndarray) -> list[Person]:
        """uint8 (H, W, 3) to its people. Raises InputError where the finder's weights are missing."""
        return self._finder(image)

    @cached_property
    def _finder(self) -> PeopleFinder:
        segmenter, device, dtype = self._parts
        return build_finder(self.name, segmenter, device=device, dtype=dtype)


def meant_people(
    image: np.ndarray, request: SceneRequest, deoccluder: Deoccluder, finder: PeopleFinder, look: PointLooker
) -> list[MeantPerson]:
    """The people of a photograph uint8 (H, W, 3) whom a request means, without a common pixel, with joints.

    Raises InputError where somebody who was named is not there, or was named twice.
    """
    if len(request.modal_masks):
        named = [deoccluder.find(image, mask) for mask in request.modal_masks]
        return [MeantPerson(one, True, "mask given") for one in _apart(named, "mask", are_given=True)]
    if len(request.boxes):
        named = [deoccluder.find(image, box=tuple(box)) for box in request.boxes]
        return _found(_apart(named, "box"), deoccluder)
    if len(request.points):
        named = [look(image, (at[0], at[1])) for at in request.points]
        return _found([deoccluder.with_found_joints(image, one) for one in _apart(named, "point")], deoccluder)
    found = choose(finder(image), request.people)
    return [MeantPerson(deoccluder.with_found_joints(image, one), False, finder.name) for one in found]


def _found(people: Sequence[Person], deoccluder: Deoccluder) -> list[MeantPerson]:
    name = "nobody" if deoccluder.segmenter is None else deoccluder.segmenter.name
    return [MeantPerson(one, False, name) for one in people]


def point_looker(deoccluder: Deoccluder) -> PointLooker:
    """Looks for the person at a point with the deoccluder's detector and segmenter."""

    def look(image: np.ndarray, point_xy: tuple[float, float]) -> Person:
        if not isinstance(deoccluder.segmenter, EmbeddedSegmenter):
            raise InputError("there is no segmenter here to look at a point with; give a modal mask")
        return person_at(image, point_xy, deoccluder.segmenter, deoccluder.detector)

    return look


def _apart(people: Sequence[Person], kind: str, *, are_given: bool = False) -> list[Person]:
    """The same people without a common pixel: whoever is named first keeps it.

    Raises InputError for one who is named twice.
    """
    taken = np.zeros(people[0].modal_mask.shape, bool)
    apart: list[Person] = []
    for number, person in enumerate(people, start=1):
        for other, before in enumerate(people[: number - 1], start=1):
            if not are_given and is_same_person(person.modal_mask, before.modal_mask):
                raise InputError(f"{kind} {other} and {kind} {number} show the same person; leave one out")
        mask = person.modal_mask & ~taken
        box = mask_box(mask)
        if box is None:
            raise InputError(f"{kind} {number} shows nobody whom those named before do not cover; leave it out")
        taken |= mask
        apart.append(
            person
            if box == person.box_xyxy and mask.sum() == person.modal_mask.sum()
            else replace(person, box_xyxy=box, modal_mask=mask)
        )
    return apart
