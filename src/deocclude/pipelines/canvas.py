"""The picture's edge is an occluder too: a larger canvas on which people who are cut off by it can be completed.

Stage 1 has learned that people end where a picture turns black, so the canvas is filled with the edge's own pixels
while people are completed on it; what nobody fills is blank in the end (docs/scenes.md has what other fillings do).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deocclude.crops import Box
from deocclude.errors import InputError
from deocclude.images import MAX_PIXELS, as_region
from deocclude.masks import mask_box
from deocclude.pipelines.control import Control
from deocclude.types import Deocclusion, Person

CUT_SHARE = 0.05
"""Of a person's box: who touches the edge over a shorter stretch is not cut off by it."""
EDGE_SHARE = 0.01
"""Of the picture's side: masks, drawn or found, seldom go to the last pixel."""
REACH = 1.0
"""How far beyond the edge a person is looked for, over the longer side of its visible part."""


@dataclass(frozen=True)
class Canvas:
    """A photograph on a larger canvas, uint8 (H, W, 3); photograph_box: where it lies, x0, y0, x1, y1.

    is_generous: the canvas was made larger than people may need, and `finished` takes off what nobody reaches.
    """

    image: np.ndarray
    photograph_box: Box
    is_generous: bool = False

    @property
    def left(self) -> int:
        """How much further right a pixel of the photograph lies on the canvas."""
        return self.photograph_box[0]

    @property
    def top(self) -> int:
        """How much lower it lies."""
        return self.photograph_box[1]

    def person(self, person: Person) -> Person:
        """A person of the photograph, in the canvas's pixels."""
        if self.photograph_box == (0, 0, self.image.shape[1], self.image.shape[0]):
            return person
        x0, y0, x1, y1 = person.box_xyxy
        left, top, right, bottom = self.photograph_box
        mask = np.zeros(self.image.shape[:2], bool)
        mask[top:bottom, left:right] = person.modal_mask
        joints = person.joints
        if joints is not None:
            joints = joints + np.array([left, top, 0], np.float32)
        return Person((x0 + left, y0 + top, x1 + left, y1 + top), mask, joints)

    def control(self, control: Control) -> Control:
        """The wishes about a person of the photograph, in the canvas's pixels. Raises InputError for what is not of it.

        Joints and a box may lie beyond the photograph, wherever the canvas is.
        """
        region = control.leave_alone
        if region is not None:
            x0, y0, x1, y1 = self.photograph_box
            canvas = np.zeros(self.image.shape[:2], bool)
            canvas[y0:y1, x0:x1] = as_region(region, (y1 - y0, x1 - x0), "the region to leave alone")
            region = canvas
        return replace(control.shifted(self.left, self.top), leave_alone=region)


def canvas_for(
    image: np.ndarray,
    modal_masks: Sequence[np.ndarray],
    extend: int | Literal["auto"],
    *,
    max_pixels: int = MAX_PIXELS,
) -> Canvas:
    """The canvas for a photograph uint8 (H, W, 3) and the visible parts of its people, bool (H, W).

    extend: pixels on every side, or `auto`: on the sides that cut somebody off. Raises InputError for a canvas of more
    than `max_pixels`.
    """
    height, width = image.shape[:2]
    if extend == "auto":
        sides = np.max([(0, 0, 0, 0), *(_reach(mask) for mask in modal_masks)], axis=0)
    else:
        sides = np.full(4, extend)
    left, top, right, bottom = (int(side) for side in sides)
    if not sides.any():
        return Canvas(image, (0, 0, width, height))
    if (height + top + bottom) * (width + left + right) > max_pixels:
        way_out = "do without that, or make it smaller first" if extend == "auto" else "extend it by less"
        raise InputError(f"the picture, extended by {max(sides)} pixels, has more than {max_pixels:,}; {way_out}")
    canvas = np.pad(image, ((top, bottom), (left, right), (0, 0)), mode="edge")
    return Canvas(canvas, (left, top, left + width, top + height), is_generous=extend == "auto")


def _reach(modal_mask: np.ndarray) -> tuple[int, int, int, int]:
    """How far beyond the left, top, right and bottom edge a person may go: 0 where the edge does not cut it off."""
    box = mask_box(modal_mask)
    assert box is not None, "a found person is never empty"
    x0, y0, x1, y1 = box
    reach = round(REACH * max(x1 - x0, y1 - y0))
    height, width = (max(1, round(EDGE_SHARE * side)) for side in modal_mask.shape)
    rows, columns = (modal_mask[:height], modal_mask[-height:]), (modal_mask[:, :width], modal_mask[:, -width:])
    edges = columns[0].any(axis=1), rows[0].any(axis=0), columns[1].any(axis=1), rows[1].any(axis=0)
    lengths = (y1 - y0, x1 - x0, y1 - y0, x1 - x0)
    left, top, right, bottom = (
        reach if edge.sum() > max(2, CUT_SHARE * length) else 0 for edge, length in zip(edges, lengths, strict=True)
    )
    return left, top, right, bottom


def finished(canvas: Canvas, people: Sequence[Deocclusion]) -> tuple[Canvas, tuple[Deocclusion, ...]]:
    """Canvas and people, black where neither the photograph nor that person is, and no larger than is needed."""
    height, width = canvas.image.shape[:2]
    if canvas.photograph_box == (0, 0, width, height):
        return canvas, tuple(people)
    box = _reached(canvas, people) if canvas.is_generous else (0, 0, width, height)
    x0, y0 = box[:2]
    left, top, right, bottom = canvas.photograph_box
    beyond = np.ones((height, width), bool)
    beyond[top:bottom, left:right] = False
    return (
        Canvas(_cut(canvas.image, box, beyond), (left - x0, top - y0, right - x0, bottom - y0)),
        tuple(_cut_person(person, box, beyond) for person in people),
    )


def _reached(canvas: Canvas, people: Sequence[Deocclusion]) -> Box:
    boxes = np.array([canvas.photograph_box, *(person.box_xyxy for person in people)])
    x0, y0 = boxes[:, :2].min(axis=0).tolist()
    x1, y1 = boxes[:, 2:].max(axis=0).tolist()
    return x0, y0, x1, y1


def _cut(array: np.ndarray, box: Box, blank: np.ndarray | None = None) -> np.ndarray:
    """The part of (H, W[, C]) in a box; black where `blank`, bool (H, W)."""
    window = slice(box[1], box[3]), slice(box[0], box[2])
    part = array[window].copy()
    if blank is not None:
        part[blank[window]] = 0
    return part


def _cut_person(person: Deocclusion, box: Box, beyond: np.ndarray) -> Deocclusion:
    left, top = box[:2]
    blank = beyond & ~person.amodal_mask
    x0, y0, x1, y1 = person.facts["crop_xyxy"]
    return replace(
        person,
        rgb=_cut(person.rgb, box, blank),
        modal_mask=_cut(person.modal_mask, box),
        amodal_mask=_cut(person.amodal_mask, box),
        amodal_probability=_cut(person.amodal_probability, box),
        joints=None if person.joints is None else person.joints - np.array([left, top, 0], np.float32),
        candidates=tuple(_cut(one, box, blank) for one in person.candidates),
        own_picture=None if person.own_picture is None else _cut(person.own_picture, box),
        occluder_mask=None if person.occluder_mask is None else _cut(person.occluder_mask, box),
        facts=person.facts | {"crop_xyxy": [x0 - left, y0 - top, x1 - left, y1 - top]},
    )
