"""Everybody in a photograph: laws that hold whatever the stages are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from miniatures import GrowDown, Noise, Paint, RedSegmenter, photograph, rgb_network
from torch import Tensor

from deocclude.crops import SquareCrop
from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.pipelines.control import Control
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.pipelines.photograph import CompletedMask
from deocclude.pipelines.scene import Scene, SceneDeoccluder
from deocclude.pipelines.scene_people import SceneRequest
from deocclude.stages.completers.feedforward import FeedforwardRgbCompleter
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


def growing(**changes: Any) -> SceneDeoccluder:
    """Everybody goes on downwards, below the picture too; a real network paints."""
    rgb_completer = FeedforwardRgbCompleter(rgb_network(), size=64)
    rgb_completer.network.to(memory_format=torch.contiguous_format)
    return scenes(mask_completer=GrowsWithParts(64), rgb_completer=rgb_completer, **changes)


class GrowsWithParts(GrowDown):
    """`GrowDown`, everybody of a batch, with the parts that the feed-forward stage 2 reads."""

    batched = True

    def __call__(self, image: Tensor, modal_mask: Tensor, **more: Any) -> MaskCompletion:
        grown = [
            super(GrowsWithParts, self).__call__(one[None], mask[None])
            for one, mask in zip(image, modal_mask, strict=True)
        ]
        amodal_mask = torch.cat([one.amodal_mask for one in grown])
        parts = [5 * mask[:, 0].long() for mask in (modal_mask, amodal_mask)]
        return MaskCompletion(modal_mask, amodal_mask, amodal_mask * 0.9, *parts)


def assert_same_people(ones: Scene, others: Scene) -> None:
    for one, other in zip(ones.people, others.people, strict=True):
        assert one.invisible_mask.any()
        for name in ("rgb", "modal_mask", "amodal_mask", "amodal_probability", "joints", "own_picture"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        without_seconds = ({**person.facts, "seconds": None} for person in (one, other))
        assert len({str(facts) for facts in without_seconds}) == 1


def test_a_batch_of_photographs_equals_its_singles() -> None:
    many, request = growing(), SceneRequest(extend=9)
    images = [photograph(seed=seed) for seed in range(3)]
    together = many.complete([many.find(image, request) for image in images])
    for image, scene in zip(images, together, strict=True):
        assert_laws(scene, image)
        assert_same_people(scene, many(image, request))


def test_a_batch_on_a_device_gives_what_singles_give() -> None:
    one, several = growing()(IMAGE), growing(batch_size=8)(IMAGE)
    for alone, together in zip(one.people, several.people, strict=True):
        assert alone.invisible_mask.any() and np.array_equal(alone.amodal_mask, together.amodal_mask)
        assert np.abs(alone.rgb.astype(int) - together.rgb).max() <= 1


def test_a_refined_mask_stays_in_the_photograph_and_off_other_people() -> None:
    class Refines(GrowDown):
        """Calls everything visible."""

        def __call__(self, image: Tensor, modal_mask: Tensor, **more: Any) -> MaskCompletion:
            visible = torch.ones_like(modal_mask)
            return MaskCompletion(visible, visible, visible * 1.0)

    scene = scenes(mask_completer=Refines(), refine_modal=True)(IMAGE, SceneRequest(extend=6))
    front, back = scene.people
    assert not (front.modal_mask & back.modal_mask).any()
    x0, y0, x1, y1 = scene.photograph_box
    for person in scene.people:
        assert person.facts["modal_mask_from"] == "stage 1"
        assert person.modal_mask.sum() == person.modal_mask[y0:y1, x0:x1].sum()
    assert_laws(scene, IMAGE)


def test_people_who_are_named_have_no_common_pixel_and_are_named_once() -> None:
    first, second = person_at((10, 10, 30, 34), IMAGE.shape[:2]), person_at((20, 20, 50, 50), IMAGE.shape[:2])
    people = scenes()(IMAGE, SceneRequest(modal_masks=[first.modal_mask, second.modal_mask])).people
    assert np.array_equal(people[0].modal_mask, first.modal_mask)
    assert np.array_equal(people[1].modal_mask, second.modal_mask & ~first.modal_mask)
    with pytest.raises(InputError, match="point 1 and point 2 show the same person"):
        scenes()(IMAGE, SceneRequest(points=[(12, 12), (13, 13)]))
    with pytest.raises(InputError, match="mask 2 shows nobody"):
        scenes()(IMAGE, SceneRequest(modal_masks=[first.modal_mask, first.modal_mask]))


def test_people_who_hide_one_another_in_turn() -> None:
    """Three bars like the blades of a wheel: each goes on under the next."""
    boxes = [(10, 10, 40, 20), (40, 10, 50, 40), (10, 30, 40, 40)]
    under = {10: (40, 10, 46, 20), 40: (34, 30, 40, 40), 30: (10, 14, 20, 20)}

    class InTurn(GrowDown):
        def __call__(self, image: Tensor, modal_mask: Tensor, **more: Any) -> MaskCompletion:
            raise AssertionError("replaced below")

    scenes_ = scenes(mask_completer=InTurn())
    masks = [person_at(box, IMAGE.shape[:2]).modal_mask for box in boxes]

    def completed(subjects: Any) -> list[CompletedMask]:
        claims = [under[10], under[40], under[30]]
        return [
            CompletedMask(
                SquareCrop(0, 0, 64),
                MaskCompletion(*(torch.zeros(1, 1, 32, 32, dtype=torch.bool),) * 2, torch.zeros(1, 1, 32, 32)),
                mask,
                mask | person_at(claim, IMAGE.shape[:2]).modal_mask,
                mask.astype(np.float32),
            )
            for mask, claim in zip(masks, claims, strict=True)
        ]

    scenes_.deoccluder.complete_masks = completed  # type: ignore[method-assign]
    scene = scenes_(IMAGE, SceneRequest(modal_masks=masks))
    assert scene.order.cycles == ((0, 1, 2),) and scene.order.depth == (0, 0, 0)
    assert_laws(scene, IMAGE)


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
        SceneRequest(points=[(12, 12)], boxes=[BACK])


@pytest.mark.parametrize(
    "wrong", [{"people": -1}, {"people": "none"}, {"extend": -5}, {"extend": "AUTO"}, {"extend": 1.5}]
)
def test_a_request_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        SceneRequest(**wrong)


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
    box = Control(box_xyxy=(10, 10, 30, 60))
    person = scenes()(IMAGE, SceneRequest(modal_masks=masks, extend="auto", controls=[box])).people[0]
    assert person.facts["control"] == {"box_xyxy": [10, 10, 30, 60]}, "in the photograph's pixels"
    for wrong, sentence in (
        (Control(leave_alone=np.ones((5, 5), bool)), "leave alone"),
        (Control(box_xyxy=(10, 10, 10, 60)), "empty"),
    ):
        with pytest.raises(InputError, match=sentence):
            scenes()(IMAGE, SceneRequest(modal_masks=masks, extend=3, controls=[wrong]))
    with pytest.raises(InputError, match="wishes for 3 people, and 1"):
        scenes()(IMAGE, SceneRequest(modal_masks=masks, controls=[Control()] * 3))
