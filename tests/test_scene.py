"""Everybody in a photograph: laws that hold whatever the stages are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from miniatures import GrowDown, Noise, Paint, RedSegmenter, mask_network, photograph, rgb_network
from torch import Tensor

from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.pipelines.control import Control
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.pipelines.feedforward import FeedforwardMaskCompleter, FeedforwardRgbCompleter
from deocclude.pipelines.scene import Scene, SceneDeoccluder, SceneRequest
from deocclude.types import MaskCompletion, Person

IMAGE = photograph()
BACK, FRONT = (10, 10, 30, 34), (10, 34, 30, 60)


class TwoPeople:
    """Finds the same two people in every picture that is not black."""

    name = "two"

    def __call__(self, image: np.ndarray) -> list[Person]:
        return [person_at(box, image.shape[:2]) for box in (FRONT, BACK)] if image.any() else []

    def person_at(self, image: np.ndarray, point_xy: tuple[float, float]) -> Person:
        for box in (FRONT, BACK):
            if box[0] <= point_xy[0] < box[2] and box[1] <= point_xy[1] < box[3]:
                return person_at(box, image.shape[:2])
        raise InputError(f"no person found at {point_xy}")


def person_at(box: tuple[int, int, int, int], size_hw: tuple[int, ...]) -> Person:
    mask = np.zeros(size_hw, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return Person(box, mask)


def scenes(**changes: Any) -> SceneDeoccluder:
    parts = {"segmenter": RedSegmenter(), "mask_completer": GrowDown(), "rgb_completer": Paint()} | changes
    finder = TwoPeople()
    return SceneDeoccluder(Deoccluder(**parts), finder, finder.person_at)


def assert_laws(scene: Scene, image: np.ndarray) -> None:
    left, top, right, bottom = scene.photograph_box
    assert np.array_equal(scene.image[top:bottom, left:right], image)
    invented = np.zeros(scene.image.shape[:2], bool)
    visible = invented.copy()
    for person in scene.people:
        assert (person.amodal_mask | ~person.modal_mask).all()
        known = ~person.invisible_mask
        assert np.array_equal(person.rgb[known], scene.image[known])
        invented |= person.invisible_mask
        visible |= person.modal_mask
    kept = visible | ~invented
    assert np.array_equal(scene.rgb[kept], scene.image[kept])


def test_people_hidden_by_each_other() -> None:
    scene = scenes()(IMAGE)
    front, back = scene.people
    assert scene.order.back_to_front == (1, 0) and scene.order.is_behind(1, 0)
    assert front.facts["found_by"] == "two" and front.facts["modal_mask_from"] == "segmenter"
    assert (back.invisible_mask & front.modal_mask).any(), "GrowDown lets the upper one go on under the lower one"
    assert not (front.invisible_mask & back.modal_mask).any()
    assert_laws(scene, IMAGE)


def test_whoever_is_in_front_claims_nothing_of_those_behind() -> None:
    """Both claim some of the other; the larger claim is behind, and the smaller one is dropped."""

    class BothClaim(GrowDown):
        def __call__(self, image: Tensor, modal_mask: Tensor, **more: Any) -> MaskCompletion:
            box = mask_box(modal_mask[0, 0].numpy())
            assert box is not None
            amodal_mask = modal_mask.clone()
            amodal_mask[..., max(box[1] - 5, 0) : box[1] + 2 * (box[3] - box[1]), box[0] : box[2]] = True
            return MaskCompletion(modal_mask, amodal_mask, amodal_mask * 0.9)

    scene = scenes(mask_completer=BothClaim())(IMAGE)
    front, back = scene.people
    assert scene.order.is_behind(1, 0) and scene.order.scores[0, 1] < 1
    assert not (front.amodal_mask & back.modal_mask).any()
    assert_laws(scene, IMAGE)


def test_those_in_front_are_painted_beside_the_whole_person_behind() -> None:
    seen = []

    class Looks(Paint):
        def __call__(self, image: Tensor, completion: MaskCompletion, **more: Any) -> Tensor:
            seen.append(image)
            return super().__call__(image, completion, **more)

    class BackGoesFurther(GrowDown):
        """The person behind comes out below the one in front."""

        def __call__(self, image: Tensor, modal_mask: Tensor, **more: Any) -> MaskCompletion:
            completed = super().__call__(image, modal_mask, **more)
            wide = completed.amodal_mask | torch.roll(completed.amodal_mask, 4, dims=-1)
            return MaskCompletion(modal_mask, wide, wide * 0.9)

    scenes(mask_completer=BackGoesFurther(), rgb_completer=Looks())(IMAGE)
    green = [bool(((image[:, 1] == 1) & (image[:, 0] == 0) & (image[:, 2] == 0)).any()) for image in seen]
    assert green == [False, True], "the front person's stage sees what was painted of the one behind"


def test_a_batch_of_photographs_equals_its_singles() -> None:
    many = scenes(
        mask_completer=FeedforwardMaskCompleter(mask_network(), size=64),
        rgb_completer=FeedforwardRgbCompleter(rgb_network(), size=64),
    )
    images = [photograph(seed=seed) for seed in range(3)]
    request = SceneRequest(extend="auto")
    together = many.complete([many.find(image, request) for image in images])
    for image, scene in zip(images, together, strict=True):
        alone = many(image, request)
        assert_laws(scene, image)
        for one, other in zip(scene.people, alone.people, strict=True):
            assert np.array_equal(one.rgb, other.rgb) and np.array_equal(one.amodal_mask, other.amodal_mask)


def test_a_batch_on_a_device_gives_what_singles_give() -> None:
    stages: dict[str, Any] = {
        "mask_completer": FeedforwardMaskCompleter(mask_network(), size=64),
        "rgb_completer": FeedforwardRgbCompleter(rgb_network(), size=64),
    }
    one, several = scenes(**stages), scenes(**stages, batch_size=8)
    for alone, together in zip(one(IMAGE).people, several(IMAGE).people, strict=True):
        assert np.allclose(alone.amodal_probability, together.amodal_probability, atol=1e-5)


def test_every_persons_draws_are_their_own() -> None:
    people = scenes(rgb_completer=Noise())(IMAGE).people
    alone = scenes(rgb_completer=Noise())(IMAGE, SceneRequest(modal_masks=[people[1].modal_mask])).people
    assert np.array_equal(people[1].rgb, alone[0].rgb)


def test_who_is_meant() -> None:
    both = scenes()
    assert len(both(IMAGE, SceneRequest(people=1)).people) == 1
    assert both(IMAGE, SceneRequest(points=[(12, 12)])).people[0].modal_mask[12, 12]
    named = both(IMAGE, SceneRequest(modal_masks=[person_at(BACK, IMAGE.shape[:2]).modal_mask])).people
    assert named[0].facts["modal_mask_from"] == "given"
    with pytest.raises(InputError, match="no person found at"):
        both(IMAGE, SceneRequest(points=[(80, 5)]))
    with pytest.raises(InputError, match="not by several"):
        both(IMAGE, SceneRequest(points=[(12, 12)], boxes=[BACK]))


def test_a_picture_of_nobody_is_a_scene_of_nobody() -> None:
    black = np.zeros((20, 30, 3), np.uint8)
    scene = scenes()(black)
    assert scene.people == () and scene.order.back_to_front == () and np.array_equal(scene.rgb, black)


def test_wishes_move_with_the_photograph_and_hold() -> None:
    region = np.zeros(IMAGE.shape[:2], bool)
    region[:, :20] = True
    masks = [person_at((10, 10, 30, 34), IMAGE.shape[:2]).modal_mask]
    for extend in (0, 7):
        request = SceneRequest(modal_masks=masks, extend=extend, controls=[Control(leave_alone=region)])
        person = scenes()(IMAGE, request).people[0]
        left = extend + 20
        assert person.invisible_mask.any() and not person.invisible_mask[:, :left].any()
        assert person.facts["control"] == {"leave_alone_pixels": 20 * 64}
    with pytest.raises(InputError, match="wishes for 3 people, and 1"):
        scenes()(IMAGE, SceneRequest(modal_masks=masks, controls=[Control()] * 3))
