"""Everybody in a photograph: find the people, complete their masks, put them in order, complete their pictures.

People who are hidden by one another are completed back to front, so that whoever stands in front is completed beside
the whole person behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deocclude.conditioning.people_finder import PeopleFinder
from deocclude.conditioning.sources import check_finder_name
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
from deocclude.pipelines.scene_people import NamedFinder, PointLooker, SceneRequest, meant_people, point_looker
from deocclude.types import Deocclusion, Person

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor


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
        return _with_invented(self.image, front_last, self.visible_mask)

    @property
    def visible_mask(self) -> np.ndarray:
        """Where anybody is visible, bool (H, W)."""
        return _union([person.modal_mask for person in self.people], self.image)

    @property
    def invented_mask(self) -> np.ndarray:
        """The invented pixels of `rgb`, bool (H, W)."""
        return _union([person.invisible_mask for person in self.people], self.image) & ~self.visible_mask


@dataclass(frozen=True)
class FoundPeople:
    """A photograph whose people are known: its canvas, and who is to be completed on it."""

    canvas: Canvas
    subjects: list[Subject] = field(default_factory=list)


class SceneDeoccluder:
    """De-occludes everybody in a photograph.

    deoccluder: the method. finder: finds the people where the request does not name them.
    look: the person at a point x, y of a photograph uint8 (H, W, 3); by default the deoccluder's segmenter looks.
    """

    def __init__(self, deoccluder: Deoccluder, finder: PeopleFinder, look: PointLooker | None = None) -> None:
        self.deoccluder, self.finder = deoccluder, finder
        self._look = look or point_looker(deoccluder)

    @classmethod
    def from_preset(cls, name: str, *, finder: str = "embedded", **options: Any) -> SceneDeoccluder:
        """A preset with a finder (`sources.FINDERS`); options as of `Deoccluder.from_preset`, InputErrors too."""
        return cls.with_finder(Deoccluder.from_preset(name, **options), finder, dtype=options.get("dtype"))

    @classmethod
    def with_finder(
        cls, deoccluder: Deoccluder, finder: str, *, dtype: str | torch.dtype | None = None
    ) -> SceneDeoccluder:
        """A method with the finder of that name, loaded when first asked. Raises InputError for an unknown name."""
        check_finder_name(finder)
        named = NamedFinder(finder, deoccluder.segmenter, device=deoccluder.device, dtype=checked_dtype(dtype))
        return cls(deoccluder, named)

    def person_at(self, image: np.ndarray, point_xy: tuple[float, float]) -> Person:
        """The person at a point x, y, in pixels of uint8 (H, W, 3). Raises InputError where nobody is."""
        return self._look(image, point_xy)

    def __call__(self, image: Image | np.ndarray | Tensor, request: SceneRequest | None = None) -> Scene:
        """Complete the people of one photograph, in any form `images.as_image` takes; nobody in it: a scene of nobody.

        Raises InputError for input that cannot be used, and where a box, a point or a wish meets nobody.
        """
        return self.complete([self.find(as_image(image), request or SceneRequest())])[0]

    def find(self, image: np.ndarray, request: SceneRequest) -> FoundPeople:
        """Who is to be completed in a photograph uint8 (H, W, 3). Raises InputError as a call does."""
        for control in request.controls:  # before anything is computed
            control.check(self.deoccluder.mask_completer, self.deoccluder.rgb_completer)
        people = meant_people(image, request, self.deoccluder, self.finder, self._look)
        if len(request.controls) > len(people):
            raise InputError(f"there are wishes for {len(request.controls)} people, and {len(people)} are there")
        modal_masks = [one.person.modal_mask for one in people]
        canvas = canvas_for(image, modal_masks, request.extend, max_pixels=request.max_canvas_pixels)
        controls = [*request.controls, *[Control()] * (len(people) - len(request.controls))]
        return FoundPeople(
            canvas,
            [
                self.deoccluder.subject(
                    canvas.image,
                    canvas.person(one.person),
                    modal_mask_is_exact=one.is_exact,
                    control=canvas.control(control),
                    facts={"found_by": one.found_by, "control": control.facts},  # in the photograph's pixels
                    photograph_box=canvas.photograph_box,
                )
                for one, control in zip(people, controls, strict=True)
            ],
        )

    def complete(self, found: Sequence[FoundPeople]) -> list[Scene]:
        """Complete the people of several photographs together: everybody as if the photograph were alone."""
        subjects = [subject for one in found for subject in one.subjects]
        masks = _split(self.deoccluder.complete_masks(subjects), found)
        masks = [_refined_apart(of_one, one) for of_one, one in zip(masks, found, strict=True)]
        orders = [_order(of_one) for of_one in masks]
        masks = [_without_claims_on_those_behind(of_one, order) for of_one, order in zip(masks, orders, strict=True)]
        people = self._back_to_front(found, masks, orders)
        facts = {**self.deoccluder.facts, "finder": self.finder.name}
        return [
            _scene(one.canvas, of_one, order, facts) for one, of_one, order in zip(found, people, orders, strict=True)
        ]

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
            # One picture for a scene: most have nobody behind, and need none of their own.
            seen = {
                scene: _with_invented(
                    found[scene].canvas.image,
                    done[scene].values(),
                    _union([one.modal_mask for one in masks[scene]], found[scene].canvas.image),
                )
                for scene in {scene for scene, _ in now}
            }
            results = self.deoccluder.complete_pictures(
                [found[scene].subjects[person] for scene, person in now],
                [masks[scene][person] for scene, person in now],
                seen=[seen[scene] for scene, _ in now],
            )
            for (scene, person), result in zip(now, results, strict=True):
                done[scene][person] = result
        return [[people[place] for place in range(len(people))] for people in done]


def _with_invented(image: np.ndarray, people: Iterable[Deocclusion], visible: np.ndarray) -> np.ndarray:
    """A picture uint8 (H, W, 3) with these people's invented pixels, each over those before, none where `visible`."""
    people = list(people)
    result = image.copy() if people else image
    for person in people:
        hidden = person.invisible_mask & ~visible
        result[hidden] = person.rgb[hidden]
    return result


def _union(masks: Sequence[np.ndarray], image: np.ndarray) -> np.ndarray:
    """Where any of the masks is, bool (H, W) of the image."""
    union = np.zeros(image.shape[:2], bool)
    for mask in masks:
        union |= mask
    return union


def _refined_apart(masks: Sequence[CompletedMask], found: FoundPeople) -> list[CompletedMask]:
    """Modal masks as stage 1 refined them, but neither beyond the photograph nor on anybody else's visible part."""
    taken = _union([subject.person.modal_mask for subject in found.subjects], found.canvas.image)
    inside = np.zeros_like(taken)
    left, top, right, bottom = found.canvas.photograph_box
    inside[top:bottom, left:right] = True
    result = []
    for mask, subject in zip(masks, found.subjects, strict=True):
        if subject.refine:
            own = subject.person.modal_mask
            refined = mask.modal_mask & inside & (own | ~taken)
            modal_mask = refined if refined.any() else own
            taken |= modal_mask
            mask = replace(mask, modal_mask=modal_mask, amodal_mask=mask.amodal_mask | modal_mask)
        result.append(mask)
    return result


def _order(masks: Sequence[CompletedMask]) -> OcclusionOrder:
    return occlusion_order([one.modal_mask for one in masks], [one.amodal_mask for one in masks])


def _without_claims_on_those_behind(masks: Sequence[CompletedMask], order: OcclusionOrder) -> list[CompletedMask]:
    """Amodal masks that do not run under people who stand behind."""
    result = []
    for one, mask in enumerate(masks):
        amodal_mask = mask.amodal_mask
        for other in range(len(masks)):
            if order.is_behind(other, one):
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
