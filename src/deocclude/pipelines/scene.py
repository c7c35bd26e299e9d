"""Everybody in a photograph: find the people, complete their masks, put them in order, complete their pictures.

People who are hidden by one another are completed back to front, so that whoever stands in front is completed beside
the whole person behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deocclude.conditioning.embedded_people import person_at
from deocclude.conditioning.people_finder import PeopleFinder
from deocclude.conditioning.segmenter import EmbeddedSegmenter
from deocclude.crops import Box
from deocclude.devices import checked_dtype
from deocclude.errors import InputError
from deocclude.images import as_image
from deocclude.pipelines.canvas import Canvas, canvas_for, finished
from deocclude.pipelines.completion import Subject
from deocclude.pipelines.control import Control
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.pipelines.occlusion_order import OcclusionOrder, occlusion_order
from deocclude.pipelines.photograph import CompletedMask
from deocclude.registry import build_finder, check_finder
from deocclude.types import Deocclusion, Person

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SceneRequest:
    """Which people of a photograph are meant, and how they are to be completed.

    people: how many of those that are found, the largest first.
    modal_masks, boxes, points: who is meant instead, in this order: the visible part, bool (H, W); x0, y0, x1, y1;
        x, y; all in pixels.
    extend: by how many pixels people may reach beyond the picture; `auto`: as far as those whom its edge cuts off need.
    controls: further wishes, in the order of the people; none for those beyond its end.
    """

    people: int | Literal["all"] = "all"
    modal_masks: Sequence[Any] = ()
    boxes: Sequence[tuple[float, float, float, float]] = ()
    points: Sequence[tuple[float, float]] = ()
    extend: int | Literal["auto"] = 0
    controls: Sequence[Control] = ()


@dataclass(frozen=True)
class Scene:
    """The people of one photograph, in the pixel grid of a canvas: the photograph, or more where people go beyond it.

    image: the canvas, uint8 (H, W, 3), black outside the photograph.
    photograph_box: where the photograph lies on it, x0, y0, x1, y1.
    people: as they were found or named. order: who is in front of whom.
    facts: what is the same for everybody: method, weights, seed.
    """

    image: np.ndarray
    photograph_box: Box
    people: tuple[Deocclusion, ...]
    order: OcclusionOrder
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def rgb(self) -> np.ndarray:
        """The canvas with everybody's invented pixels, but for those that a visible person covers, uint8 (H, W, 3)."""
        front_last = [self.people[one] for one in self.order.back_to_front]
        return _with_invented(self.image, front_last, [person.modal_mask for person in self.people])


@dataclass(frozen=True)
class FoundPeople:
    """A photograph whose people are known: its canvas, and who is to be completed on it."""

    canvas: Canvas
    subjects: list[Subject] = field(default_factory=list)


class SceneDeoccluder:
    """De-occludes everybody in a photograph.

    deoccluder: the method. finder: finds the people where the request does not name them.
    person_at: the person at a point x, y of a photograph uint8 (H, W, 3); by default the deoccluder's segmenter looks.
    """

    def __init__(
        self,
        deoccluder: Deoccluder,
        finder: PeopleFinder,
        person_at: Callable[[np.ndarray, tuple[float, float]], Person] | None = None,
    ) -> None:
        self.deoccluder, self.finder = deoccluder, finder
        self._person_at = person_at

    @classmethod
    def from_preset(cls, name: str, *, finder: str = "embedded", **options: Any) -> SceneDeoccluder:
        """A preset with a finder (`registry.FINDERS`); options as of `Deoccluder.from_preset`, InputErrors too."""
        check_finder(finder)
        deoccluder = Deoccluder.from_preset(name, **options)
        dtype = checked_dtype(options.get("dtype"))
        return cls(deoccluder, build_finder(finder, deoccluder.segmenter, device=deoccluder.device, dtype=dtype))

    def person_at(self, image: np.ndarray, point_xy: tuple[float, float]) -> Person:
        """The person at a point x, y, in pixels of uint8 (H, W, 3). Raises InputError where nobody is."""
        if self._person_at is not None:
            return self._person_at(image, point_xy)
        if not isinstance(self.deoccluder.segmenter, EmbeddedSegmenter):
            raise InputError("there is no segmenter here to look at a point with; give a modal mask")
        return person_at(image, point_xy, self.deoccluder.segmenter)

    def __call__(self, image: Image | np.ndarray | Tensor, request: SceneRequest | None = None) -> Scene:
        """Complete the people of one photograph, in any form `images.as_image` takes; nobody in it: a scene of nobody.

        Raises InputError for input that cannot be used, and where a box, a point or a wish meets nobody.
        """
        return self.complete([self.find(as_image(image), request or SceneRequest())])[0]

    def find(self, image: np.ndarray, request: SceneRequest) -> FoundPeople:
        """Who is to be completed in a photograph uint8 (H, W, 3). Raises InputError as a call does."""
        people, are_exact = self._people(image, request)
        if len(request.controls) > len(people):
            raise InputError(f"there are wishes for {len(request.controls)} people, and {len(people)} are there")
        canvas = canvas_for(image, [person.modal_mask for person in people], request.extend)
        controls = [*request.controls, *[Control()] * (len(people) - len(request.controls))]
        return FoundPeople(
            canvas,
            [
                self.deoccluder.subject(
                    canvas.image,
                    canvas.person(person),
                    modal_mask_is_exact=are_exact,
                    control=control.shifted(canvas.left, canvas.top, canvas.image.shape[:2]),
                    facts={"found_by": "mask given" if are_exact else self.finder.name},
                )
                for person, control in zip(people, controls, strict=True)
            ],
        )

    def complete(self, found: Sequence[FoundPeople]) -> list[Scene]:
        """Complete the people of several photographs together: everybody as if the photograph were alone."""
        subjects = [subject for one in found for subject in one.subjects]
        masks = _split(self.deoccluder.complete_masks(subjects), found)
        orders = [_order(of_one) for of_one in masks]
        masks = [_without_claims_on_those_behind(of_one, order) for of_one, order in zip(masks, orders, strict=True)]
        people = self._back_to_front(found, masks, orders)
        facts = {**self.deoccluder.facts, "finder": self.finder.name}
        return [
            _scene(one.canvas, of_one, order, facts) for one, of_one, order in zip(found, people, orders, strict=True)
        ]

    def _people(self, image: np.ndarray, request: SceneRequest) -> tuple[list[Person], bool]:
        """The people meant, and whether their masks were given."""
        named = [bool(one) for one in (request.modal_masks, request.boxes, request.points)]
        if sum(named) > 1:
            raise InputError("say where people are by masks, by boxes or by points, not by several of these")
        if request.modal_masks:
            return [self.deoccluder.find(image, mask) for mask in request.modal_masks], True
        if request.boxes:
            return [self.deoccluder.find(image, box=box) for box in request.boxes], False
        if request.points:
            return [self.deoccluder.with_found_joints(image, self.person_at(image, at)) for at in request.points], False
        people = self.finder(image)
        wanted = people if request.people == "all" else people[: request.people]
        return [self.deoccluder.with_found_joints(image, person) for person in wanted], False

    def _back_to_front(
        self, found: Sequence[FoundPeople], masks: Sequence[list[CompletedMask]], orders: Sequence[OcclusionOrder]
    ) -> list[list[Deocclusion]]:
        """Stage 2 for everybody: those of all photographs who have nobody behind them first, and so on forwards."""
        done: list[dict[int, Deocclusion]] = [{} for _ in found]
        deepest = max((depth for order in orders for depth in order.depth), default=0)
        for depth in range(deepest + 1):
            now = [
                (scene, person)
                for scene, order in enumerate(orders)
                for person, its_depth in enumerate(order.depth)
                if its_depth == depth
            ]
            seen = [
                _with_invented(
                    found[scene].canvas.image, done[scene].values(), [one.modal_mask for one in masks[scene]]
                )
                for scene, _ in now
            ]
            results = self.deoccluder.complete_pictures(
                [found[scene].subjects[person] for scene, person in now],
                [masks[scene][person] for scene, person in now],
                seen=seen,
            )
            for (scene, person), result in zip(now, results, strict=True):
                done[scene][person] = result
        return [[people[place] for place in range(len(people))] for people in done]


def _with_invented(image: np.ndarray, people: Iterable[Deocclusion], modal_masks: Sequence[np.ndarray]) -> np.ndarray:
    """A picture uint8 (H, W, 3) with the invented pixels of these people, each over those before; none where a modal
    mask is.
    """
    result = image.copy()
    visible = np.any([np.zeros(image.shape[:2], bool), *modal_masks], axis=0)
    for person in people:
        hidden = person.invisible_mask & ~visible
        result[hidden] = person.rgb[hidden]
    return result


def _order(masks: Sequence[CompletedMask]) -> OcclusionOrder:
    return occlusion_order([one.modal_mask for one in masks], [one.amodal_mask for one in masks])


def _without_claims_on_those_behind(masks: Sequence[CompletedMask], order: OcclusionOrder) -> list[CompletedMask]:
    """Amodal masks that do not run under people who stand behind."""
    result = []
    for one, mask in enumerate(masks):
        amodal_mask = mask.amodal_mask
        for other in range(len(masks)):
            if order.is_behind(other, one) and not order.is_behind(one, other):
                amodal_mask = amodal_mask & ~masks[other].modal_mask
        result.append(replace(mask, amodal_mask=amodal_mask | mask.modal_mask))
    return result


def _scene(canvas: Canvas, people: Sequence[Deocclusion], order: OcclusionOrder, facts: dict[str, Any]) -> Scene:
    canvas, people = finished(canvas, people)
    return Scene(canvas.image, canvas.photograph_box, tuple(people), order, facts)


def _split(items: Sequence[CompletedMask], found: Sequence[FoundPeople]) -> list[list[CompletedMask]]:
    """What was computed for everybody, photograph by photograph."""
    left = iter(items)
    return [[next(left) for _ in one.subjects] for one in found]
