"""Scenes as layers: flattened they are the photograph, taken apart they are the people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deocclude.layers.stacking import INVENTED_COLOUR, Layer, LayerStack, ScenePerson, flatten, stack_scene
from deocclude.types import Deocclusion

SIZE_HW = (8, 10)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE_HW, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def person(
    name: str, photograph: np.ndarray, modal: np.ndarray, amodal: np.ndarray, colour: tuple[int, int, int] = RED
) -> ScenePerson:
    """Completed in one colour."""
    rgb = photograph.copy()
    rgb[amodal & ~modal] = colour
    return ScenePerson(name, rgb, modal, amodal)


def scene_of(seed: int) -> tuple[np.ndarray, list[ScenePerson], list[int], tuple[int, int]]:
    """Anything: masks of noise that contradict each other and the order, a photograph smaller than the canvas."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 12, 2))
    (top, bottom), (left, right) = rng.integers(0, 3, (2, 2))
    size_hw = (height + top + bottom, width + left + right)
    photograph = rng.integers(0, 256, (height, width, 3), np.uint8)
    people = []
    for number in range(rng.integers(0, 5)):
        modal = np.zeros(size_hw, bool)
        modal[top : top + height, left : left + width] = rng.random((height, width)) < rng.random()
        amodal = modal | (rng.random(size_hw) < rng.random())
        amodal[0, 0] = True
        people.append(ScenePerson(str(number), rng.integers(0, 256, (*size_hw, 3), np.uint8), modal, amodal))
    if not people:
        return photograph, [], [], (0, 0)
    return photograph, people, list(rng.permutation(len(people))), (int(left), int(top))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_flattened_it_is_the_photograph(seed: int) -> None:
    photograph, people, order, offset_xy = scene_of(seed)
    stack = stack_scene(photograph, people, order, offset_xy=offset_xy)
    flat = flatten(stack)
    (x, y), (height, width) = offset_xy, photograph.shape[:2]
    inside = np.zeros(stack.size_hw, bool)
    inside[y : y + height, x : x + width] = True
    assert np.array_equal(flat[y : y + height, x : x + width, :3], photograph)
    assert (flat[inside, 3] == 255).all()
    # Beside the photograph there is nothing but people.
    somebody = np.any([each.amodal_mask for each in people], axis=0) if people else ~inside
    assert np.array_equal(flat[~inside, 3] == 255, np.broadcast_to(somebody, stack.size_hw)[~inside])
    beyond = int((~inside & somebody).sum())
    assert (stack.mark.num_invented if stack.mark else 0) == beyond


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_each_person_is_whole_and_what_was_invented_is_marked(seed: int) -> None:
    photograph, people, order, offset_xy = scene_of(seed)
    stack = stack_scene(photograph, people, order, offset_xy=offset_xy)
    layers = stack.of_kind("person")
    assert [layer.name for layer in layers] == [people[index].name for index in order]
    marks = {layer.name: layer for layer in stack.of_kind("invented")}
    for layer, index in zip(layers, order, strict=True):
        invisible = people[index].invisible_mask
        cutout = layer.on_canvas(stack.size_hw)
        assert np.array_equal(cutout[..., 3], people[index].amodal_mask * np.uint8(255))
        assert np.array_equal(cutout[invisible][:, :3], people[index].rgb[invisible])
        if not invisible.any():
            assert layer.mark is None
            continue
        assert layer.mark is not None and layer.mark.num_invented == invisible.sum()
        shown = marks.pop(layer.mark.mask)
        assert not shown.is_visible
        assert np.array_equal(shown.on_canvas(stack.size_hw)[..., 3] > 0, invisible)
        assert (shown.on_canvas(stack.size_hw)[invisible] == (*INVENTED_COLOUR, 255)).all()
    assert not marks


def test_a_person_alone_is_the_cutout_of_a_deocclusion() -> None:
    photograph = noise(*SIZE_HW, 3)
    modal, amodal = rectangle(2, 2, 5, 5), rectangle(2, 2, 5, 8)
    someone = person("someone", photograph, modal, amodal)
    stack = stack_scene(photograph, [someone], [0])
    layer = stack.of_kind("person")[0]
    result = Deocclusion(someone.rgb, modal, amodal, amodal.astype(np.float32))
    assert np.array_equal(layer.on_canvas(SIZE_HW), result.cutout)
    assert layer.rgba.shape == (6, 3, 4) and layer.offset_xy == (2, 2)
    assert [each.kind for each in stack.layers] == ["background", "person", "invented", "occluders"]
    occluders = stack.layers[-1].on_canvas(SIZE_HW)
    assert np.array_equal(occluders[..., 3] > 0, amodal & ~modal)


def test_the_background_has_nobody_and_everything_else() -> None:
    photograph = noise(*SIZE_HW, 3)
    modal, amodal = rectangle(2, 2, 5, 5), rectangle(2, 2, 5, 8)
    background = stack_scene(photograph, [person("someone", photograph, modal, amodal)], [0]).layers[0]
    rgba = background.on_canvas(SIZE_HW)
    assert np.array_equal(rgba[..., 3] == 255, ~modal)  # the occluder stays in it as well
    assert np.array_equal(rgba[~modal][:, :3], photograph[~modal])


def test_taking_the_one_in_front_away_shows_the_one_behind() -> None:
    photograph = noise(*SIZE_HW, 3)
    front, whole = rectangle(4, 0, 8, 8), rectangle(0, 0, 6, 8)
    people = [
        person("front", photograph, front, front),
        person("behind", photograph, whole & ~front, whole, GREEN),
    ]
    stack = stack_scene(photograph, people, [1, 0])
    assert [layer.kind for layer in stack.layers] == ["background", "person", "invented", "person"]
    without = replace(stack, layers=tuple(layer for layer in stack.layers if layer.name != "front"))
    flat = flatten(without)
    assert (flat[whole & front] == (*GREEN, 255)).all()
    assert (flat[front & ~whole, 3] == 0).all()  # nobody knows what is behind both


def test_people_who_hide_each_other_in_turn() -> None:
    photograph = noise(*SIZE_HW, 3)
    a, b = rectangle(0, 0, 6, 8), rectangle(4, 0, 10, 8)
    upper = rectangle(0, 0, 10, 4)
    both = a & b
    people = [
        person("a", photograph, a & ~(both & ~upper), a, RED),  # in front above, behind below
        person("b", photograph, b & ~(both & upper), b, BLUE),
    ]
    for order, in_front_too in (([0, 1], "a"), ([1, 0], "b")):
        stack = stack_scene(photograph, people, order)
        assert np.array_equal(flatten(stack)[..., :3], photograph)
        assert [layer.name for layer in stack.of_kind("visible parts")] == [f"{in_front_too}: visible parts"]
        assert stack.of_kind("visible parts")[0].rgba.shape[:2] == (4, 2)
        assert not stack.of_kind("occluders")


def test_visible_pixels_are_the_photographs_even_if_the_completed_picture_is_not() -> None:
    photograph = noise(*SIZE_HW, 3)
    modal, amodal = rectangle(2, 2, 5, 5), rectangle(2, 2, 5, 8)
    brightened = ScenePerson("someone", np.full((*SIZE_HW, 3), 9, np.uint8), modal, amodal)
    stack = stack_scene(photograph, [brightened], [0])
    assert np.array_equal(flatten(stack)[..., :3], photograph)
    assert np.array_equal(stack.layers[1].on_canvas(SIZE_HW)[modal][:, :3], photograph[modal])


def test_layers_reach_over_the_edge_of_the_canvas() -> None:
    rgba = noise(4, 4, 4) | np.uint8([0, 0, 0, 255])
    for offset_xy in ((-2, -3), (3, 2), (-9, 0), (0, 9), (5, 5)):
        layer = Layer("any", "other", rgba, offset_xy)
        wide = Layer("any", "other", rgba, (offset_xy[0] + 10, offset_xy[1] + 10)).on_canvas((30, 30))
        assert np.array_equal(layer.on_canvas((5, 5)), wide[10:15, 10:15])
        assert np.array_equal(flatten(LayerStack((5, 5), (layer,))), wide[10:15, 10:15])


def test_what_does_not_fit_is_refused() -> None:
    photograph = noise(*SIZE_HW, 3)
    modal, amodal = rectangle(2, 2, 5, 5), rectangle(2, 2, 5, 8)
    one = person("one", photograph, modal, amodal)
    with pytest.raises(ValueError, match="each of 1 people once"):
        stack_scene(photograph, [one], [0, 0])
    with pytest.raises(ValueError, match="different names"):
        stack_scene(photograph, [one, one], [0, 1])
    with pytest.raises(ValueError, match="does not lie inside"):
        stack_scene(photograph, [one], [0], offset_xy=(1, 0))
    with pytest.raises(ValueError, match="outside the photograph"):
        stack_scene(photograph[:3], [one], [0])
    with pytest.raises(ValueError, match=r"uint8 \(h, w, 3\)"):
        stack_scene(photograph / 255, [one], [0])
    with pytest.raises(ValueError, match="holds the modal one"):
        replace(one, amodal_mask=rectangle(2, 2, 5, 4))
    with pytest.raises(ValueError, match="masks are bool"):
        replace(one, modal_mask=modal.astype(np.uint8))
    with pytest.raises(ValueError, match="of one size"):
        replace(one, rgb=photograph[:3])
