"""Everybody in a photograph by the embedded segmenter, which sees one person at a time: the package's weights do.

It looks at the photograph through windows of several sizes. What may be a person there is looked at again in a box of
its own: whoever is really there looks the same both times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from deocclude.conditioning.people_finder import (
    Sighting,
    agreement,
    kept_apart,
    people_of,
    sighting,
    without_repeats,
)
from deocclude.conditioning.segmenter import EmbeddedSegmenter, box_in_picture, joints_of
from deocclude.crops import Box, SquareCrop, box_overlap, crop_around, extract, restore_box
from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.skeletons import BODY_25
from deocclude.types import Person

if TYPE_CHECKING:
    from deocclude.conditioning.pose_estimator import DetectedPerson

WINDOW_SHARES = (1.0, 0.7, 0.5, 0.35)
"""Sides of the windows over the photograph's longer side; neighbours of one size overlap by half at least."""
MIN_SHARE = 0.01
"""Of a window: what is smaller in it is left to the smaller windows."""
SAME_BOX = 0.7
"""Intersection over union from which two boxes are looked at once."""
SIZE_POWER = 0.1
"""Of equally clear sightings the larger is a person and the smaller often a part of one, or nobody."""
HEAD_AND_SHOULDERS = [BODY_25.index(name) for name in ("nose", "neck", "right-shoulder", "left-shoulder")]
"""Joints that a person shows and a thing that is taken for one does not."""
CONFIDENCE_THRESHOLD = 0.12
"""Below it nobody is believed in. Small, because a confidence is a product of five factors below 1."""
POINT_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.17)
"""Sides of windows, and heights of boxes, round a point that somebody clicked."""
POINT_THRESHOLD = 0.02
"""The same for a point: somebody says that a person is there."""


@dataclass(frozen=True, eq=False)
class _Glimpse:
    """Perhaps a person: as a first look showed them, their loose box, whether the window's edge cuts them off."""

    seen: Sighting
    box_xyxy: Box
    is_cut: bool


class EmbeddedPeopleFinder:
    """`PeopleFinder` with the embedded segmenter; it finds the joints too.

    threshold: of a person's confidence in [0, 1]: how clearly they were seen, twice, times how well the looks agree,
        times how sure their head and shoulders are, a little less for the small.
    """

    name = "embedded"

    def __init__(self, segmenter: EmbeddedSegmenter, *, threshold: float = CONFIDENCE_THRESHOLD) -> None:
        self.segmenter = segmenter
        self.threshold = threshold

    def __call__(self, image: np.ndarray) -> list[Person]:
        """uint8 (H, W, 3) to its people, the largest first: empty if there are none."""
        image_hw = (image.shape[0], image.shape[1])
        quick = _quick(self.segmenter)
        glimpses = [glimpse for window in windows(image_hw) for glimpse in _glimpses(quick, image, window)]
        sightings = (_looked_at_again(quick, image, glimpse) for glimpse in _distinct(glimpses))
        people = without_repeats(seen for seen in sightings if seen is not None and seen.confidence >= self.threshold)
        return people_of((_drawn_carefully(self.segmenter, image, seen) for seen in people), image_hw)


class DetectedPeopleFinder:
    """`PeopleFinder` that takes the boxes from a detector, such as RT-DETR, and the masks from the embedded segmenter.

    detector: uint8 (H, W, 3) to the people's boxes.
    """

    name = "detector"

    def __init__(
        self, detector: Callable[[np.ndarray], Sequence[DetectedPerson]], segmenter: EmbeddedSegmenter
    ) -> None:
        self.detector = detector
        self.segmenter = segmenter

    def __call__(self, image: np.ndarray) -> list[Person]:
        """uint8 (H, W, 3) to its people, the largest first: empty if there are none."""
        found = (_look(self.segmenter, image, box, confidence) for box, confidence in self.detector(image))
        return people_of((seen for seen in found if seen is not None), (image.shape[0], image.shape[1]))


def person_at(image: np.ndarray, point_xy: tuple[float, float], segmenter: EmbeddedSegmenter) -> Person:
    """The person under a point of uint8 (H, W, 3), in its pixels.

    Raises InputError, with the point, if nobody is there or it lies outside.
    """
    (x, y), (height, width) = point_xy, image.shape[:2]
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(f"the point {x:g},{y:g} lies outside the picture, which is {width} x {height}")
    point = (int(x), int(y), int(x) + 1, int(y) + 1)
    quick = _quick(segmenter)
    shown = [glimpse for glimpse in _glimpses_round(quick, image, point) if _covers(glimpse.seen, point)]
    looks = [_looked_at_again(quick, image, glimpse) for glimpse in shown]
    there = [seen for seen in looks if seen is not None and _covers(seen, point)]
    best = max(there, key=lambda seen: seen.confidence, default=None)
    if best is None or best.confidence < POINT_THRESHOLD:
        raise InputError(f"no person found at the point {x:g},{y:g}; give a box, or the mask of the visible part")
    careful = _drawn_carefully(segmenter, image, best)
    return kept_apart([careful if _covers(careful, point) else best], (height, width))[0]


def windows(image_hw: tuple[int, int]) -> Iterator[SquareCrop]:
    """The squares through which a photograph is searched, the largest, which shows all of it, first."""
    height, width = image_hw
    for share in WINDOW_SHARES:
        side = max(round(max(height, width) * share), 1)
        for top in _starts(height, side):
            for left in _starts(width, side):
                yield SquareCrop(left, top, side)


def _starts(length: int, side: int) -> list[int]:
    """Where windows begin that cover a length and overlap by half; one in the middle of what is shorter."""
    if length <= side:
        return [-((side - length) // 2)]
    count = math.ceil((length - side) / (side / 2)) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]


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
            yield _Glimpse(seen, box, _is_cut(box, window, image_hw))


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
            yield _Glimpse(seen, _loose(seen.box_xyxy, image_hw), is_cut=False)


def _is_cut(box_xyxy: Box, window: SquareCrop, image_hw: tuple[int, int]) -> bool:
    """Whether a loose box reaches an edge of the window beyond which the picture goes on."""
    shown = window.inside(image_hw)
    height, width = image_hw
    (x0, y0, x1, y1), (left, top, right, bottom) = box_xyxy, shown
    return (0 < left >= x0) or (0 < top >= y0) or (width > right <= x1) or (height > bottom <= y1)


def _distinct(glimpses: Iterable[_Glimpse]) -> list[_Glimpse]:
    """One glimpse of each place: one that no window cuts off, if there is one, and the clearest of those."""
    kept: list[_Glimpse] = []
    for glimpse in sorted(glimpses, key=lambda glimpse: (glimpse.is_cut, -glimpse.seen.confidence)):
        if all(_box_iou(glimpse.box_xyxy, other.box_xyxy) <= SAME_BOX for other in kept):
            kept.append(glimpse)
    return kept


def _box_iou(a: Box, b: Box) -> float:
    x0, y0, x1, y1 = box_overlap(a, b)
    common = max(x1 - x0, 0) * max(y1 - y0, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / max(sum(areas) - common, 1)


def _looked_at_again(segmenter: EmbeddedSegmenter, image: np.ndarray, glimpse: _Glimpse) -> Sighting | None:
    """The person in their own box, with the confidence that both looks give; None if nobody is seen there."""
    again = _look(segmenter, image, glimpse.box_xyxy)
    if again is None or again.joints is None:
        return None
    clear = glimpse.seen.confidence * again.confidence * agreement(glimpse.seen, again)
    head = float(again.joints[HEAD_AND_SHOULDERS, 2].mean())
    share = again.area / (image.shape[0] * image.shape[1])
    return replace(again, confidence=clear * head * share**SIZE_POWER)


def _drawn_carefully(segmenter: EmbeddedSegmenter, image: np.ndarray, seen: Sighting) -> Sighting:
    """The same person with the segmenter's best mask and joints."""
    careful = _look(segmenter, image, _loose(seen.box_xyxy, (image.shape[0], image.shape[1])), seen.confidence)
    return seen if careful is None else careful


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
    return seen if seen is None or confidence is None else replace(seen, confidence=confidence)


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


def _covers(seen: Sighting, point: Box) -> bool:
    (left, top, right, bottom), (x, y, _, _) = seen.box_xyxy, point
    return left <= x < right and top <= y < bottom and bool(seen.mask[y - top, x - left])
