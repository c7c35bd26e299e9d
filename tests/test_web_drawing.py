"""Strokes and joints as the page sends them: what they do to a mask, and what is not believed."""

from __future__ import annotations

import contextlib
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deocclude.errors import InputError
from deocclude.web.drawing import Drawing, outline, read_drawing
from deocclude.web.limits import Limits


def value(**parts: Any) -> dict[str, Any]:
    return {"people": [{}, {}], "chosen": 0, "strokes": [], "moved": [], **parts}


def stroke(tool: str, *points: float, person: int = 0, radius: float = 4) -> dict[str, Any]:
    return {"person": person, "tool": tool, "radius": radius, "points": list(points)}


@pytest.fixture
def mask() -> np.ndarray:
    result = np.zeros((60, 80), bool)
    result[20:40, 30:50] = True
    return result


def test_without_strokes_a_mask_stays_as_it_is(mask: np.ndarray) -> None:
    assert (read_drawing(value(), 2, Limits()).mask_of(0, mask) == mask).all()


def test_strokes_act_in_their_order_and_on_their_person(mask: np.ndarray) -> None:
    drawing = read_drawing(
        value(strokes=[stroke("add", 10, 10, 40, 10), stroke("erase", 10, 10), stroke("add", 70, 50, person=1)]),
        2,
        Limits(),
    )
    mine, other = drawing.mask_of(0, mask), drawing.mask_of(1, mask)
    assert mine[10, 30] and not mine[10, 10] and not mine[50, 70]
    assert other[50, 70] and not other[10, 30]
    assert (mine[mask]).all()


def test_a_stroke_is_a_line_with_round_ends(mask: np.ndarray) -> None:
    painted = (
        read_drawing(value(strokes=[stroke("add", 10, 50, 30, 50, radius=5)]), 2, Limits()).mask_of(0, mask) & ~mask
    )
    rows, columns = np.nonzero(painted)
    assert abs(painted.sum() - (20 * 10 + np.pi * 25)) < 40
    assert rows.min() in (44, 45) and columns.min() in (4, 5, 6) and columns.max() in (34, 35, 36)


def test_a_person_with_nothing_left_is_refused(mask: np.ndarray) -> None:
    drawing = read_drawing(value(strokes=[stroke("erase", 40, 30, radius=60)]), 2, Limits())
    with pytest.raises(InputError, match="nothing is left of person 1"):
        drawing.mask_of(0, mask)


def test_places_to_leave_alone_are_no_part_of_the_mask(mask: np.ndarray) -> None:
    drawing = read_drawing(value(strokes=[stroke("keep", 5, 5)]), 2, Limits())
    alone = drawing.left_alone(0, mask.shape)
    assert alone is not None and alone[5, 5] and not alone[30, 40]
    assert (drawing.mask_of(0, mask) == mask).all()
    assert drawing.left_alone(1, mask.shape) is None


def test_people_who_go_take_their_strokes_with_them() -> None:
    strokes = [stroke("add", 1.0, 2.0, person=0), stroke("keep", 3.0, 4.0, person=1)]
    moved = [{"person": 1, "joint": "left-knee", "x": 5.0, "y": 6.0}]
    drawing = read_drawing(value(strokes=strokes, moved=moved), 2, Limits())
    kept = drawing.only([1])
    again = read_drawing({"people": [{}], "chosen": 0, **kept}, 1, Limits())
    assert [one.tool for one in again.strokes] == ["keep"] and again.joints_of(0) == {"left-knee": (5.0, 6.0)}
    assert drawing.only([0, 1])["strokes"] == strokes


def test_a_place_outside_the_picture_is_no_place_to_leave_alone(mask: np.ndarray) -> None:
    strokes = [stroke("keep", -50, -50, 500, -50), stroke("keep", 5, 5, person=1)]
    drawing = read_drawing(value(strokes=strokes), 2, Limits())
    assert drawing.left_alone(0, mask.shape) is None
    assert drawing.left_alone(1, mask.shape) is not None


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "erase"]), st.integers(-9, 89), st.integers(-9, 69), st.integers(1, 20)),
        max_size=6,
    ),
    st.integers(0, 6),
)
def test_strokes_together_do_what_they_do_one_after_the_other(
    drawn: list[tuple[str, int, int, int]], half: int
) -> None:
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:50] = mask[0, 0] = True
    strokes = [stroke(tool, x, y, 40, 30, radius=radius) for tool, x, y, radius in drawn]

    def painted(part: list[dict[str, Any]], mask: np.ndarray) -> np.ndarray:
        return read_drawing(value(strokes=part), 2, Limits()).mask_of(0, mask)

    with contextlib.suppress(InputError):  # nothing is left
        assert (painted(strokes[half:], painted(strokes[:half], mask)) == painted(strokes, mask)).all()


@pytest.mark.parametrize("tool", ["keep", "add"])
def test_many_strokes_take_the_memory_of_a_few(tool: str) -> None:
    size = (1500, 2000)
    strokes = [stroke(tool, 10 * number, 700, 10 * number, 800) for number in range(150)]
    drawing = read_drawing(value(strokes=strokes), 2, Limits())
    tracemalloc.start()
    painted = drawing.left_alone(0, size) if tool == "keep" else drawing.mask_of(0, np.zeros(size, bool))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert painted is not None and all(painted[750, 10 * number] for number in range(150))
    assert peak < 12 * size[0] * size[1]


@pytest.mark.parametrize("strokes", [1, 20, 20_001])
def test_more_strokes_than_anybody_paints_are_refused(strokes: int) -> None:
    points = [1.5] * (2 * (20_001 // strokes + 1))
    with pytest.raises(InputError, match="over 20,000; take the last ones back with Undo"):
        read_drawing(value(strokes=[stroke("keep", *points)] * strokes), 2, Limits())
    with pytest.raises(InputError, match="6 points, over 5"):
        read_drawing(value(strokes=[stroke("add", 1, 1, 2, 2)] * 3), 2, Limits(brush_points=5))
    assert len(read_drawing(value(strokes=[stroke("add", 1, 1)] * 5), 2, Limits(brush_points=5)).strokes) == 5


WRONG: dict[str, Any] = {
    "nothing": None,
    "a list": [],
    "other people": value(people=[{}]),
    "nobody such": value(chosen=2),
    "somebody negative": value(chosen=-1),
    "a word": value(chosen="0"),
    "a stroke of nobody": value(strokes=[stroke("add", 1, 1, person=5)]),
    "no tool": value(strokes=[stroke("cut", 1, 1)]),
    "no points": value(strokes=[stroke("add")]),
    "half a point": value(strokes=[stroke("add", 1, 1, 1)]),
    "no number": value(strokes=[stroke("add", float("nan"), 1)]),
    "far away": value(strokes=[stroke("add", 1e9, 1)]),
    "a huge brush": value(strokes=[stroke("add", 1, 1, radius=1e9)]),
    "no such joint": value(moved=[{"person": 0, "joint": "tail", "x": 1, "y": 1}]),
    "a joint nowhere": value(moved=[{"person": 0, "joint": "nose", "x": float("inf"), "y": 1}]),
    "strokes that are none": value(strokes={"a": 1}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_page_would_not_send_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="load the page again"):
        read_drawing(WRONG[name], 2, Limits())


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["people", "chosen", "strokes", "moved", "person", "tool", "radius", "points", "joint", "x"]),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150)
@given(anything)
def test_whatever_is_sent_is_a_drawing_or_a_sentence(content: Any) -> None:
    with contextlib.suppress(InputError):
        assert isinstance(read_drawing(content, 2, Limits()), Drawing)


@pytest.mark.parametrize("size", [(50, 70), (900, 1400)])
def test_an_outline_encloses_the_mask(size: tuple[int, int]) -> None:
    from PIL import Image, ImageDraw

    height, width = size
    rows, columns = np.mgrid[:height, :width]
    mask = (rows - height / 2) ** 2 / (height / 2.5) ** 2 + (columns - width / 2) ** 2 / (width / 3) ** 2 < 1
    (line,) = outline(mask)
    picture = Image.new("1", (width, height))
    ImageDraw.Draw(picture).polygon(line, fill=1)
    filled = np.array(picture)
    assert (filled & mask).sum() / (filled | mask).sum() > 0.95


def test_an_outline_goes_round_holes_and_along_the_edge() -> None:
    mask = np.ones((40, 40), bool)
    mask[10:20, 10:20] = False
    lines = [np.array(line).reshape(-1, 2) for line in outline(mask)]
    assert len(lines) == 2
    assert max(line.max() for line in lines) == pytest.approx(40, abs=1) and min(line.min() for line in lines) <= 0
