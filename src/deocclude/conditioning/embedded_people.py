"""The people of a photograph by a detector and the embedded segmenter, which draws one person at a time.

A point that was clicked needs no detector: it is looked at through windows of several sizes, and what may be a person
there is looked at again in a box of its own, for whoever is really there looks the same both times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from deocclude.conditioning.people_finder import Sighting, agreement, kept_apart, people_of, sighting
from deocclude.conditioning.pose_estimator import DetectedPerson, Detector
from deocclude.conditioning.segmenter import EmbeddedSegmenter, box_in_picture, joints_of
from deocclude.crops import Box, SquareCrop, box_overlap, crop_around, extract, restore_box
from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.skeletons import BODY_25
from deocclude.types import Person

MIN_SHARE = 0.01
"""Of a window: what is smaller in it is left to the smaller windows."""
SIZE_POWER = 0.1
"""Of equally clear sightings the larger is a person and the smaller often a part of one, or nothing."""
HEAD_AND_SHOULDERS = [BODY_25.index(name) for name in ("nose", "neck", "right-shoulder", "left-shoulder")]
"""Joints that a person shows and a thing that is taken for one does not."""
POINT_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.17)
"""Sides of windows, and heights of boxes, round a point, over the photograph's longer side."""
POINT_THRESHOLD = 0.02
"""Below this confidence no person is at a point. Small, because a confidence is a product of five factors below 1, and
because the user says that a person is there."""


class DetectedPeopleFinder:
    """`PeopleFinder` that takes the boxes from a detector and the masks from the embedded segmenter.

    Keypoints are the detector's where it gives them, else the segmenter's.
    """

    def __init__(self, detector: Detector, segmenter: EmbeddedSegmenter) -> None:
        self.name = detector.name
        self.detector = detector
        self.segmenter = segmenter

    def __call__(self, image: np.ndarray) -> list[Person]:
        """uint8 (H, W, 3) to its people, the largest first: empty if there are none."""
        seen = (_drawn(self.segmenter, image, person) for person in self.detector(image))
        return people_of((one for one in seen if one is not None), (image.shape[0], image.shape[1]))


def person_at(
    image: np.ndarray, point_xy: tuple[float, float], segmenter: EmbeddedSegmenter, detector: Detector | None = None
) -> Person:
    """The person under a point of uint8 (H, W, 3), in its pixels: one whom the detector saw, else looked for there.

    Raises InputError, with the point, if no person is there or it lies outside.
    """
    (x, y), (height, width) = point_xy, image.shape[:2]
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(f"the point {x:g},{y:g} lies outside the picture, which is {width} x {height}")
    point = (int(x), int(y), int(x) + 1, int(y) + 1)
    best = _detected_at(image, point, segmenter, detector) or _searched_at(image, point, segmenter)
    if best is None:
        raise InputError(f"no person found at the point {x:g},{y:g}; give a box, or the mask of the visible part")
    return kept_apart([best], (height, width))[0]


def _detected_at(
    image: np.ndarray, point: Box, segmenter: EmbeddedSegmenter, detector: Detector | None
) -> Sighting | None:
    """The surest of the detector's people whose mask covers the point."""
    detected = [] if detector is None else [one for one in detector(image) if _holds(one.box_xyxy, point)]
    for person in sorted(detected, key=lambda one: one.confidence, reverse=True):
        seen = _drawn(segmenter, image, person)
        if seen is not None and _covers(seen, point):
            return seen
    return None


def _searched_at(image: np.ndarray, point: Box, segmenter: EmbeddedSegmenter) -> Sighting | None:
    """What looks most like a person in windows and boxes round the point, if anything is clear enough."""
    quick = _quick(segmenter)
    shown = [glimpse for glimpse in _glimpses_round(quick, image, point) if _covers(glimpse.seen, point)]
    looks = [_looked_at_again(quick, image, glimpse) for glimpse in shown]
    there = [seen for seen in looks if seen is not None and _covers(seen, point)]
    best = max(there, key=lambda seen: seen.confidence, default=None)
    if best is None or best.confidence < POINT_THRESHOLD:
        return None
    careful = _look(segmenter, image, _loose(best.box_xyxy, (image.shape[0], image.shape[1])), best.confidence)
    return careful if careful is not None and _covers(careful, point) else best


@dataclass(frozen=True, eq=False)
class _Glimpse:
    """Perhaps a person: as a first look showed them, and their loose box."""

    seen: Sighting
    box_xyxy: Box


def _drawn(segmenter: EmbeddedSegmenter, image: np.ndarray, person: DetectedPerson) -> Sighting | None:
    """A detected person with a mask; None if the segmenter sees no one in the box."""
    seen = _look(segmenter, image, person.box_xyxy, person.confidence)
    if seen is None or person.joints is None:
        return seen
    return replace(seen, joints=person.joints, joints_from=person.joints_from)


def _quick(segmenter: EmbeddedSegmenter) -> EmbeddedSegmenter:
    """The same network, asked once instead of four times."""
    return EmbeddedSegmenter(segmenter.network, size=segmenter.size, mirror=False, larger_size=None)


def _glimpses(segmenter: EmbeddedSegmenter, image: np.ndarray, window: SquareCrop) -> Iterator[_Glimpse]:
    """What may be a person in a window, piece by piece."""
    from scipy import ndimage

    size, image_hw = segmenter.size, (image.shape[0], image.shape[1])
    probability = segmenter.look(extract(image, window, size, nearest=False), None).probability
    pieces, _ = ndimage.label(probability >= 0.5)
    least = 0 if window.side >= max(image_hw) else MIN_SHARE * size**2
    for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
        piece = np.where(pieces == number, probability, 0)
        box = box_in_picture((columns.start, rows.start, columns.stop, rows.stop), window, size, image_hw)
        if (pieces == number).sum() >= least and (seen := _placed(piece, window, image_hw)) is not None:
            yield _Glimpse(seen, box)


def _glimpses_round(segmenter: EmbeddedSegmenter, image: np.ndarray, point: Box) -> Iterator[_Glimpse]:
    """What may be a person round a point: in windows, and in boxes half as wide as they are high."""
    image_hw = (image.shape[0], image.shape[1])
    x, y = point[:2]
    for share in POINT_SHARES:
        side = max(image_hw) * share
        yield from _glimpses(segmenter, image, crop_around(point, image_hw, margin=side))
        across, down = int(side / 4), int(side / 2)
        around = (x - across, y - down, x + across + 1, y + down + 1)
        seen = _look(segmenter, image, box_overlap(around, (0, 0, image_hw[1], image_hw[0])))
        if seen is not None:
            yield _Glimpse(seen, _loose(seen.box_xyxy, image_hw))


def _looked_at_again(segmenter: EmbeddedSegmenter, image: np.ndarray, glimpse: _Glimpse) -> Sighting | None:
    """The person in their own box, with the confidence that both looks give; None if nobody is seen there."""
    again = _look(segmenter, image, glimpse.box_xyxy)
    if again is None or again.joints is None:
        return None
    clear = glimpse.seen.confidence * again.confidence * agreement(glimpse.seen, again)
    head = float(again.joints[HEAD_AND_SHOULDERS, 2].mean())
    share = again.area / (image.shape[0] * image.shape[1])
    return replace(again, confidence=clear * head * share**SIZE_POWER)


def _loose(box_xyxy: Box, image_hw: tuple[int, int]) -> Box:
    """A tight box as wide as the boxes that the segmenter was trained with."""
    return box_in_picture(box_xyxy, SquareCrop(0, 0, 1), 1, image_hw)


def _look(
    segmenter: EmbeddedSegmenter, image: np.ndarray, box_xyxy: Box, confidence: float | None = None
) -> Sighting | None:
    """The person in a box; None if nobody is seen there. confidence: by default the mean probability in the mask."""
    look = segmenter.look(image, box_xyxy)
    if look.is_empty:
        return None
    joints = joints_of(look.joint_heatmap_logits, look.crop)
    seen = _placed(look.probability, look.crop, (image.shape[0], image.shape[1]), joints)
    if seen is None:
        return None
    seen = replace(seen, joints_from=segmenter.name)
    return seen if confidence is None else replace(seen, confidence=confidence)


def _placed(
    probability: np.ndarray, crop: SquareCrop, image_hw: tuple[int, int], joints: np.ndarray | None = None
) -> Sighting | None:
    """What a crop shows, (S, S), at its place in the picture; its confidence is the mean probability in the mask."""
    mask = probability >= 0.5
    box = mask_box(mask)
    if box is None:
        return None
    around = box_overlap(box_in_picture(box, crop, probability.shape[0], image_hw), crop.inside(image_hw))
    if around[0] >= around[2] or around[1] >= around[3]:
        return None  # in the black round the picture
    at_its_place = restore_box(probability, crop, around)
    return sighting(at_its_place, float(probability[mask].mean()), joints, corner_xy=around[:2])


def _holds(box_xyxy: Box, point: Box) -> bool:
    (left, top, right, bottom), (x, y, _, _) = box_xyxy, point
    return left <= x < right and top <= y < bottom


def _covers(seen: Sighting, point: Box) -> bool:
    (left, top, _, _), (x, y, _, _) = seen.box_xyxy, point
    return _holds(seen.box_xyxy, point) and bool(seen.mask[y - top, x - left])
