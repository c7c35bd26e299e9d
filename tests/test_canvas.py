"""A larger canvas for people whom the picture's edge cuts off."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from miniatures import photograph

from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.pipelines.canvas import canvas_for, finished
from deocclude.types import Deocclusion, Person

IMAGE = photograph(40, 60)


def mask(x0: int, y0: int, x1: int, y1: int, size_hw: tuple[int, int] = (40, 60)) -> np.ndarray:
    result = np.zeros(size_hw, bool)
    result[y0:y1, x0:x1] = True
    return result


def test_nobody_cut_off_needs_no_canvas() -> None:
    canvas = canvas_for(IMAGE, [mask(10, 10, 20, 30)], "auto")
    assert canvas.image is IMAGE and canvas.photograph_box == (0, 0, 60, 40)
    assert canvas_for(IMAGE, [], "auto").image is IMAGE


def test_the_side_that_cuts_somebody_off_is_extended_by_the_persons_length() -> None:
    canvas = canvas_for(IMAGE, [mask(10, 20, 30, 40), mask(40, 0, 44, 8)], "auto")
    assert canvas.photograph_box == (0, 8, 60, 48) and canvas.image.shape == (68, 60, 3)
    assert np.array_equal(canvas.image[8:48], IMAGE)


def test_a_touch_is_no_cut() -> None:
    diagonal = np.eye(40, 60, dtype=bool)  # its ends touch two sides with one pixel each
    assert canvas_for(IMAGE, [diagonal], "auto").image is IMAGE


def test_a_number_extends_every_side() -> None:
    canvas = canvas_for(IMAGE, [], 5)
    assert canvas.image.shape == (50, 70, 3) and canvas.photograph_box == (5, 5, 65, 45)
    with pytest.raises(InputError, match="extend it by less"):
        canvas_for(IMAGE, [], 10_000)


@pytest.mark.parametrize(("extend", "way_out"), [("auto", "do without that"), (1000, "extend it by less")])
def test_a_canvas_that_is_too_large_is_refused_before_it_is_there(extend: str | int, way_out: str) -> None:
    image = np.zeros((1000, 1000, 3), np.uint8)
    masks = [np.ones((1000, 1000), bool)]  # cut off on every side
    tracemalloc.start()
    with pytest.raises(InputError, match=f"more than 8,999,999; .*{way_out}"):
        canvas_for(image, masks, extend, max_pixels=8_999_999)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 9_000_000  # of 27 million bytes
    canvas = canvas_for(image, masks, extend, max_pixels=9_000_000)  # type: ignore[arg-type]
    assert canvas.image.shape == (3000, 3000, 3)


def test_a_person_moves_with_the_photograph() -> None:
    modal = mask(10, 20, 30, 40)
    joints = np.full((25, 3), 12.0, np.float32)
    canvas = canvas_for(IMAGE, [modal], 5)
    person = canvas.person(Person((10, 20, 30, 40), modal, joints))
    assert person.box_xyxy == mask_box(person.modal_mask) == (15, 25, 35, 45)
    assert person.joints is not None and person.joints[0].tolist() == [17.0, 17.0, 12.0]


@pytest.mark.parametrize("extend", ["auto", 30])
def test_in_the_end_what_nobody_reaches_is_black_or_gone(extend: str | int) -> None:
    modal = mask(10, 20, 30, 40)
    canvas = canvas_for(IMAGE, [modal], extend)  # type: ignore[arg-type]
    height, width = canvas.image.shape[:2]
    person = canvas.person(Person((10, 20, 30, 40), modal))
    x0, _, x1, y1 = person.box_xyxy
    amodal = person.modal_mask | mask(x0, y1, x1, y1 + 7, (height, width))
    painted = canvas.image.copy()
    painted[amodal & ~person.modal_mask] = (1, 2, 3)
    result = Deocclusion(
        painted, person.modal_mask, amodal, amodal.astype(np.float32), facts={"crop_xyxy": [0, 0, 9, 9]}
    )
    smaller, (cut,) = finished(canvas, [result])
    if extend == "auto":
        assert smaller.image.shape == (47, 60, 3) and smaller.photograph_box == (0, 0, 60, 40)
    else:
        assert smaller.image.shape == canvas.image.shape
    left, top, right, bottom = smaller.photograph_box
    assert np.array_equal(smaller.image[top:bottom, left:right], IMAGE)
    outside = np.ones(smaller.image.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert not smaller.image[outside].any() and not cut.rgb[outside & ~cut.amodal_mask].any()
    assert cut.invisible_mask.sum() == 140 and (cut.rgb[cut.invisible_mask] == (1, 2, 3)).all()
