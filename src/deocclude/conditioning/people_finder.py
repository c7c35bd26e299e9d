"""Finding everybody in a photograph: what a finder gives, and the rules that every finder keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deocclude.crops import Box, box_overlap
from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.types import Person

SAME_PERSON = 0.6
"""Two sightings are one person if they share at least this much of the smaller one's mask."""


def is_same_person(mask: np.ndarray, other: np.ndarray) -> bool:
    """Whether two modal masks, bool (H, W), are of one person: most of the smaller lies in the larger."""
    return bool((mask & other).sum() >= SAME_PERSON * min(mask.sum(), other.sum()))


class PeopleFinder(Protocol):
    """Finds the people of a photograph."""

    name: str

    def __call__(self, image: np.ndarray) -> list[Person]:
        """uint8 (H, W, 3) to its people, the largest modal mask first; empty if nobody is there.

        No pixel belongs to two people. Joints are there where the finder has them.
        """
        ...


@dataclass(frozen=True, eq=False)
class Sighting:
    """Somebody as a finder saw them, before people who touch are kept apart.

    box_xyxy: a part of the picture, with the person inside.
    probability: in that box alone, float32 (y1 - y0, x1 - x0) in [0, 1].
    confidence: how sure the finder is that this is one person, in [0, 1].
    joints: BODY_25, float32 (25, 3) of x, y, confidence; None if unknown. joints_from: who found them, by name.
    """

    box_xyxy: Box
    probability: np.ndarray
    confidence: float
    joints: np.ndarray | None = None
    joints_from: str | None = None

    @property
    def mask(self) -> np.ndarray:
        """The modal mask in the box, bool (y1 - y0, x1 - x0)."""
        return self.probability >= 0.5

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(self.mask.sum())


def sighting(
    probability: np.ndarray, confidence: float, joints: np.ndarray | None = None, *, corner_xy: tuple[int, int] = (0, 0)
) -> Sighting | None:
    """A sighting cut to its person; None for an empty mask.

    probability: float32 (h, w), whose upper left pixel is `corner_xy` of the picture.
    """
    box = mask_box(probability >= 0.5)
    if box is None:
        return None
    (x0, y0, x1, y1), (left, top) = box, corner_xy
    in_picture = (left + x0, top + y0, left + x1, top + y1)
    return Sighting(in_picture, probability[y0:y1, x0:x1].copy(), confidence, joints)


def people_of(sightings: Iterable[Sighting], image_hw: tuple[int, int]) -> list[Person]:
    """Everybody who was seen, once each and kept apart, the largest modal mask first."""
    return kept_apart(without_repeats(sightings), image_hw)


def without_repeats(sightings: Iterable[Sighting]) -> list[Sighting]:
    """The most confident sighting of each person, the most confident person first."""
    kept: list[Sighting] = []
    for candidate in sorted(sightings, key=lambda seen: seen.confidence, reverse=True):
        if all(_shared(candidate, other) < SAME_PERSON for other in kept):
            kept.append(candidate)
    return kept


def kept_apart(sightings: Sequence[Sighting], image_hw: tuple[int, int]) -> list[Person]:
    """People without a common pixel: each goes to whose probability is higher there, a tie to who is named first.

    The largest modal mask comes first. Whoever loses every pixel is left out.
    """
    highest = np.zeros(image_hw, np.float32)
    owner = np.zeros(image_hw, np.uint16)  # 0 nobody
    for number, seen in enumerate(sightings, start=1):
        x0, y0, x1, y1 = seen.box_xyxy
        window = np.s_[y0:y1, x0:x1]
        won = seen.mask & (seen.probability > highest[window])
        highest[window][won] = seen.probability[won]
        owner[window][won] = number
    people = []
    for number, seen in enumerate(sightings, start=1):
        modal_mask = owner == number
        if (box := mask_box(modal_mask)) is not None:
            people.append(Person(box, modal_mask, seen.joints, seen.joints_from))
    return largest_first(people)


def largest_first(people: Iterable[Person]) -> list[Person]:
    """The same people, the largest modal mask first; equal ones in their order."""
    return sorted(people, key=lambda person: int(person.modal_mask.sum()), reverse=True)


def choose(people: Sequence[Person], which: str | int = "all") -> list[Person]:
    """Of people, the largest first: "all", the "largest" or the N largest, N from 1.

    Raises InputError for anything else.
    """
    return list(people[: how_many(which)])


def prominence(box_xyxy: Box, confidence: float, image_hw: tuple[int, int]) -> float:
    """How much a person is what the photograph is about, in [0, 1]: sure, large and near its middle.

    The square root of the area makes twice as tall count twice; in a corner a person counts half.
    """
    height, width = image_hw
    x0, y0, x1, y1 = box_xyxy
    area = (x1 - x0) * (y1 - y0) / (height * width)
    off_center = np.hypot((x0 + x1) / width - 1, (y0 + y1) / height - 1) / np.sqrt(2)
    return float(confidence * np.sqrt(area) * (1 - off_center / 2))


def how_many(which: str | int) -> int | None:
    """How many people `--people` asks for; None for all of them. Raises InputError for what it is not."""
    if which == "all":
        return None
    if which == "largest":
        return 1
    digits = str(which)
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10) or int(digits) < 1:
        choices = "'all', 'largest' or a number from 1 (that many, the largest)"
        raise InputError(f"people are {choices}; got '{digits[:80]}'")
    return int(digits)


def agreement(a: Sighting, b: Sighting) -> float:
    """Intersection over union of two masks, in [0, 1]."""
    common = _common(a, b)
    return common / max(a.area + b.area - common, 1)


def _shared(a: Sighting, b: Sighting) -> float:
    """Intersection over the smaller of two masks."""
    return _common(a, b) / max(min(a.area, b.area), 1)


def _common(a: Sighting, b: Sighting) -> int:
    """Pixels in both masks."""
    x0, y0, x1, y1 = box = box_overlap(a.box_xyxy, b.box_xyxy)
    return int((_part(a, box) & _part(b, box)).sum()) if x0 < x1 and y0 < y1 else 0


def _part(seen: Sighting, box_xyxy: Box) -> np.ndarray:
    """The mask in a box of the picture that lies in the sighting's."""
    (left, top, _, _), (x0, y0, x1, y1) = seen.box_xyxy, box_xyxy
    return seen.mask[y0 - top : y1 - top, x0 - left : x1 - left]
