"""The people of a photograph: the rules all finders share, and red people in a detector's boxes and at points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniatures import RedNetwork, photograph, with_red_person

from deocclude.conditioning.embedded_people import DetectedPeopleFinder, person_at
from deocclude.conditioning.people_finder import (
    Sighting,
    agreement,
    choose,
    how_many,
    kept_apart,
    people_of,
    prominence,
    sighting,
    without_repeats,
)
from deocclude.conditioning.pose_estimator import DetectedPerson
from deocclude.conditioning.segmenter import EmbeddedSegmenter
from deocclude.crops import Box
from deocclude.errors import InputError
from deocclude.types import Person

SIZE_HW = (40, 60)


def seen_in(box: Box, probability: float = 0.9, confidence: float = 0.9) -> Sighting:
    x0, y0, x1, y1 = box
    return Sighting(box, np.full((y1 - y0, x1 - x0), probability, np.float32), confidence)


def person_of(area: int) -> Person:
    mask = np.zeros(SIZE_HW, bool)
    mask.ravel()[:area] = True
    return Person((0, 0, 60, 40), mask)


# The rules


def test_a_sighting_is_cut_to_its_person() -> None:
    probability = np.zeros((20, 30), np.float32)
    probability[4:9, 5:15], probability[0, 0] = 0.8, 0.3
    found = sighting(probability, 0.7, corner_xy=(100, 200))
    assert found is not None and found.box_xyxy == (105, 204, 115, 209)
    assert found.mask.all() and found.mask.shape == (5, 10)
    assert sighting(probability / 2, 0.7) is None


def test_contested_pixels_go_to_the_higher_probability() -> None:
    left, right = seen_in((0, 0, 30, 40), 0.7), seen_in((20, 0, 50, 40), 0.8)
    people = kept_apart([left, right], SIZE_HW)
    assert [person.box_xyxy for person in people] == [(20, 0, 50, 40), (0, 0, 20, 40)]
    tied = kept_apart([left, seen_in((20, 0, 50, 40), 0.7)], SIZE_HW)
    assert [person.box_xyxy for person in tied] == [(0, 0, 30, 40), (30, 0, 50, 40)]


def test_joints_stay_with_their_person() -> None:
    joints = np.full((25, 3), 0.5, np.float32)
    small, large = seen_in((0, 0, 5, 5)), Sighting((10, 0, 40, 40), np.ones((40, 30), np.float32), 0.5, joints)
    first, second = kept_apart([small, large], SIZE_HW)
    assert first.joints is joints and second.joints is None


def test_the_surer_of_two_sightings_of_one_person_is_kept() -> None:
    whole, head, other = seen_in((0, 0, 20, 40)), seen_in((5, 0, 15, 8), confidence=0.95), seen_in((18, 0, 40, 40))
    assert without_repeats([whole, head, other]) == [head, other]
    assert without_repeats([seen_in((5, 0, 15, 8), confidence=0.5), whole, other]) == [whole, other]


def test_agreement_is_intersection_over_union() -> None:
    a = seen_in((0, 0, 20, 10))
    assert agreement(a, a) == 1
    assert agreement(a, seen_in((10, 0, 30, 10))) == agreement(seen_in((10, 0, 30, 10)), a) == pytest.approx(1 / 3)
    assert agreement(a, seen_in((20, 0, 30, 10))) == agreement(a, seen_in((0, 0, 20, 10), probability=0.1)) == 0


boxes = st.tuples(st.integers(0, 59), st.integers(0, 39), st.integers(1, 60), st.integers(1, 40)).map(
    lambda box: (box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1))
)
sightings = st.lists(
    st.builds(seen_in, boxes, st.floats(0, 1, width=32), st.floats(0, 1)),
    max_size=6,
)


@given(seen=sightings)
def test_people_share_no_pixel_and_come_largest_first(seen: list[Sighting]) -> None:
    for people in (people_of(seen, SIZE_HW), kept_apart(seen, SIZE_HW)):
        areas = [int(person.modal_mask.sum()) for person in people]
        assert all(areas) and areas == sorted(areas, reverse=True)
        assert sum(areas) == np.any([person.modal_mask for person in people], axis=0).sum() if people else True
    whole = np.zeros(SIZE_HW, bool)
    for one in seen:
        x0, y0, x1, y1 = one.box_xyxy
        whole[y0:y1, x0:x1] |= one.mask
    everybody = [person.modal_mask for person in kept_apart(seen, SIZE_HW)]
    assert np.array_equal(np.any([np.zeros(SIZE_HW, bool), *everybody], axis=0), whole)


@pytest.mark.parametrize(
    ("which", "areas"), [("all", [9, 5, 2]), ("largest", [9]), (2, [9, 5]), ("2", [9, 5]), (7, [9, 5, 2])]
)
def test_people_are_chosen_by_size(which: str | int, areas: Sequence[int]) -> None:
    people = [person_of(area) for area in (9, 5, 2)]
    assert [person.modal_mask.sum() for person in choose(people, which)] == areas
    assert choose([], which) == []


@pytest.mark.parametrize("which", ["everybody", "", "0", 0, -1, "-1", "1.5", 1.5, "²", " 2", True])
def test_another_choice_is_refused(which: str | int) -> None:
    with pytest.raises(InputError, match="people are 'all', 'largest' or a number from 1"):
        how_many(which)


# Who the photograph is about


def test_of_equally_sure_and_central_people_the_larger_is_prominent() -> None:
    assert prominence((40, 40, 60, 60), 0.5, (100, 100)) > prominence((45, 45, 55, 55), 0.5, (100, 100))


def test_of_equally_large_and_sure_people_the_one_in_the_middle_is_prominent() -> None:
    middle = prominence((40, 40, 60, 60), 0.5, (100, 100))
    corners = [(0, 0, 20, 20), (80, 0, 100, 20), (0, 80, 20, 100), (80, 80, 100, 100)]
    assert len({round(prominence(box, 0.5, (100, 100)), 9) for box in corners}) == 1
    assert middle / 2 < prominence(corners[0], 0.5, (100, 100)) < middle


def test_of_two_alike_the_surer_is_prominent_and_no_one_is_more_than_1() -> None:
    assert prominence((40, 40, 60, 60), 0.9, (100, 100)) > prominence((40, 40, 60, 60), 0.5, (100, 100))
    assert prominence((0, 0, 100, 50), 1.0, (50, 100)) == 1


def test_prominence_does_not_depend_on_the_photographs_size() -> None:
    assert prominence((10, 20, 30, 80), 0.7, (100, 200)) == prominence((30, 60, 90, 240), 0.7, (300, 600))


# In a detector's boxes


LEFT, RIGHT = (20, 20, 60, 110), (150, 30, 190, 100)


class Boxes:
    """A detector of known boxes: each with its score and, if there is one, the x of all its joints."""

    name = "boxes"

    def __init__(self, *people: tuple[Box, float, float | None]) -> None:
        self.people, self.calls = people, 0

    def __call__(self, image: np.ndarray) -> list[DetectedPerson]:
        self.calls += 1
        return [
            DetectedPerson(box, score)
            if x is None
            else DetectedPerson(box, score, np.full((25, 3), x, np.float32), "them")
            for box, score, x in self.people
        ]


@pytest.fixture
def segmenter() -> EmbeddedSegmenter:
    return EmbeddedSegmenter(RedNetwork(), size=64, mirror=False, larger_size=None)  # type: ignore[arg-type]


class Forbidden:
    """A segmenter that must not be asked."""

    name = "forbidden"

    def look(self, image: np.ndarray, box_xyxy: Box | None) -> None:
        raise AssertionError("the segmenter was asked")


def with_person(image: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """A red person whose upper third is blue too: there `RedNetwork` sees the joints."""
    x0, y0, x1, y1 = box
    image, mask = with_red_person(image, box)
    image[y0 : y0 + (y1 - y0) // 3, x0:x1, 2] = 255
    return image, mask


@pytest.fixture
def two_people() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, left = with_person(photograph(128, 256) // 4, LEFT)
    image, right = with_person(image, RIGHT)
    return image, left, right


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_a_detector_says_where_and_the_segmenter_draws(
    segmenter: EmbeddedSegmenter, two_people: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """One box is found twice, another holds no one."""
    image, left, right = two_people
    boxes = [(RIGHT, 0.9), ((15, 15, 65, 115), 0.8), ((18, 20, 62, 110), 0.6), ((80, 20, 120, 100), 0.9)]
    finder = DetectedPeopleFinder(Boxes(*((box, score, None) for box, score in boxes)), segmenter)
    assert finder.name == "boxes"
    people = finder(image)
    assert len(people) == 2
    assert iou(people[0].modal_mask, left) > 0.9 and iou(people[1].modal_mask, right) > 0.9


def test_joints_are_the_detectors_else_the_segmenters(
    segmenter: EmbeddedSegmenter, two_people: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    finder = DetectedPeopleFinder(Boxes((LEFT, 0.9, 0.25), (RIGHT, 0.9, None)), segmenter)
    left, right = finder(two_people[0])
    assert left.joints is not None and (left.joints == 0.25).all() and left.joints_from == "them"
    assert right.joints is not None and right.joints.shape == (25, 3) and right.joints_from == "embedded"


@pytest.mark.parametrize("size_hw", [(64, 64), (1, 1), (3, 200), (500, 4)])
def test_where_the_detector_sees_no_one_the_segmenter_is_not_asked(size_hw: tuple[int, int]) -> None:
    finder = DetectedPeopleFinder(Boxes(), Forbidden())  # type: ignore[arg-type]
    assert finder(photograph(*size_hw)) == []


# At a point


@pytest.mark.parametrize("detector", [None, Boxes(), Boxes((LEFT, 0.9, None), (RIGHT, 0.5, None))])
def test_a_click_gives_the_person_under_it(
    segmenter: EmbeddedSegmenter, two_people: tuple[np.ndarray, np.ndarray, np.ndarray], detector: Boxes | None
) -> None:
    image, left, right = two_people
    for point, mask in (((40, 60), left), ((170.5, 35), right), ((22, 107.9), left)):
        person = person_at(image, point, segmenter, detector)
        assert iou(person.modal_mask, mask) > 0.9 and person.modal_mask[int(point[1]), int(point[0])]


def test_of_boxes_round_a_point_the_surest_with_the_point_on_its_mask_is_taken(
    segmenter: EmbeddedSegmenter, two_people: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """The surest box holds the point and only the other person, the next one the whole person."""
    image, left, _ = two_people
    part, whole = (20, 20, 60, 60), (15, 15, 65, 115)
    detector = Boxes(
        (part, 0.4, 0.1), (whole, 0.7, 0.2), ((100, 10, 200, 110), 0.9, 0.3), ((25, 105, 256, 128), 0.8, 0.4)
    )
    person = person_at(image, (40, 50), segmenter, detector)
    assert iou(person.modal_mask, left) > 0.9
    assert person.joints is not None and (person.joints == np.float32(0.2)).all()


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ((100, 60), "no person found at the point 100,60; give a box"),
        ((256, 60), "the point 256,60 lies outside the picture, which is 256 x 128"),
        ((-0.5, 60), "the point -0.5,60 lies outside"),
        ((float("nan"), 60), "the point nan,60 lies outside"),
    ],
)
def test_a_click_on_no_one_is_an_error(
    point: tuple[float, float],
    message: str,
    segmenter: EmbeddedSegmenter,
    two_people: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    with pytest.raises(InputError, match=message):
        person_at(two_people[0], point, segmenter, Boxes((LEFT, 0.9, None)))
