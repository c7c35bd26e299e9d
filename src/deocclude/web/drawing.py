"""What a user draws on the picture: brush strokes and joints, as the page sends them, and what they do to a mask.

The page sends lines, not pixels, so that a stroke is as fine as the photograph and small on the wire. What arrives was
written by a browser, or by anybody: everything is checked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from deocclude.errors import InputError
from deocclude.skeletons import BODY_25
from deocclude.web.limits import Limits

Tool = Literal["add", "erase", "keep"]
OUTLINE_SIDE = 640
"""Outlines are as exact as in a picture of this longer side."""


@dataclass(frozen=True)
class Stroke:
    """One stroke of the brush on a person, in pixels of the photograph.

    tool: `add` to the visible part, `erase` from it, or `keep`: nothing is to be invented there.
    points_xy: float (N, 2). radius: of the brush.
    """

    person: int
    tool: Tool
    radius: float
    points_xy: np.ndarray


@dataclass(frozen=True)
class Drawing:
    """All that was drawn on a picture. moved_joints: x, y by person and joint."""

    chosen: int | None
    strokes: tuple[Stroke, ...] = ()
    moved_joints: tuple[tuple[int, str, tuple[float, float]], ...] = ()

    def mask_of(self, person: int, mask: np.ndarray) -> np.ndarray:
        """A person's visible part, bool (H, W), as it was corrected. Raises InputError where nothing is left of it."""
        mask = _painted(mask, self._of(person, ("add", "erase")))
        if not mask.any():
            raise InputError(f"nothing is left of person {person + 1}; add what is visible of them with the brush")
        return mask

    def left_alone(self, person: int, size_hw: tuple[int, ...]) -> np.ndarray | None:
        """Where nothing may be invented of a person, bool (H, W); None where that is nowhere."""
        strokes = self._of(person, ("keep",))
        region = _painted(np.zeros(size_hw, bool), strokes) if strokes else None
        return region if region is not None and region.any() else None

    def joints_of(self, person: int) -> dict[str, tuple[float, float]]:
        """The joints that were put elsewhere, x, y by name."""
        return {joint: at for owner, joint, at in self.moved_joints if owner == person}

    def only(self, kept: Sequence[int]) -> dict[str, Any]:
        """The same for the page, with these of the people, by their number, in their new order."""
        place = {number: new for new, number in enumerate(kept)}
        return {
            "strokes": [
                {
                    "person": place[one.person],
                    "tool": one.tool,
                    "radius": one.radius,
                    "points": one.points_xy.ravel().tolist(),
                }
                for one in self.strokes
                if one.person in place
            ],
            "moved": [
                {"person": place[person], "joint": joint, "x": x, "y": y}
                for person, joint, (x, y) in self.moved_joints
                if person in place
            ],
        }

    def _of(self, person: int, tools: Sequence[str]) -> list[Stroke]:
        return [stroke for stroke in self.strokes if stroke.person == person and stroke.tool in tools]


def read_drawing(value: Any, num_people: int, limits: Limits) -> Drawing:
    """What the page's picture says. Raises InputError for anything that it would not say, and beyond the limits."""
    try:
        chosen = value.get("chosen")
        if len(value["people"]) != num_people:
            raise ValueError("other people than were found")
        drawing = Drawing(
            None if chosen is None else _person(chosen, num_people),
            tuple(_stroke(one, num_people) for one in value.get("strokes", [])),
            tuple(_moved(one, num_people) for one in value.get("moved", [])),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError("what was drawn cannot be read; load the page again") from error
    points = sum(len(stroke.points_xy) for stroke in drawing.strokes)
    if points > limits.brush_points:
        raise InputError(
            f"the brush strokes have {points:,} points, over {limits.brush_points:,}; "
            "take the last ones back with Undo, and paint with a larger brush"
        )
    return drawing


def outline(mask: np.ndarray) -> list[list[float]]:
    """The borders of a mask, bool (H, W), holes included: closed lines of x, y, x, y, … in its pixels."""
    from skimage.measure import approximate_polygon, find_contours

    step = max(1, math.ceil(max(mask.shape) / OUTLINE_SIDE))
    small = np.pad(mask[step // 2 :: step, step // 2 :: step], 1)
    lines = [approximate_polygon(line, 0.4) for line in find_contours(small.astype(np.float32), 0.5)]
    # find_contours names the middle of a pixel by its number; the padding has shifted everything by one.
    return [((line[:, ::-1] - 0.5) * step).round(1).ravel().tolist() for line in lines if len(line) > 3]


def _person(value: Any, num_people: int) -> int:
    if not isinstance(value, int) or not 0 <= value < num_people:
        raise ValueError(f"no person {value}")
    return value


def _stroke(value: Any, num_people: int) -> Stroke:
    points = np.array(value["points"], np.float64).reshape(-1, 2)
    radius = float(value["radius"])
    if value["tool"] not in get_args(Tool) or not len(points) or not np.isfinite(points).all():
        raise ValueError("no such stroke")
    if not 0.5 <= radius <= 2000 or np.abs(points).max() > 1e6:
        raise ValueError("a stroke out of reach")
    return Stroke(_person(value["person"], num_people), value["tool"], radius, points)


def _moved(value: Any, num_people: int) -> tuple[int, str, tuple[float, float]]:
    x, y = float(value["x"]), float(value["y"])
    if value["joint"] not in BODY_25 or not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError("no such joint")
    return _person(value["person"], num_people), value["joint"], (x, y)


def _painted(mask: np.ndarray, strokes: Sequence[Stroke]) -> np.ndarray:
    """A mask, bool (H, W), after these strokes with round ends and bends, one after the other on one picture."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(mask)
    pen = ImageDraw.Draw(picture)
    for stroke in strokes:
        radius, fill = stroke.radius, int(stroke.tool != "erase")
        points = [(float(x), float(y)) for x, y in stroke.points_xy]
        if len(points) > 1:
            pen.line(points, fill=fill, width=max(1, round(2 * radius)))
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    return np.array(picture)
