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
        mask = mask.copy()
        for stroke in self._of(person, ("add", "erase")):
            mask[_painted(stroke, mask.shape)] = stroke.tool == "add"
        if not mask.any():
            raise InputError(f"nothing is left of person {person + 1}; add what is visible of them with the brush")
        return mask

    def left_alone(self, person: int, size_hw: tuple[int, ...]) -> np.ndarray | None:
        """Where nothing may be invented of a person, bool (H, W); None where the user does not say."""
        strokes = self._of(person, ("keep",))
        return np.any([_painted(stroke, size_hw) for stroke in strokes], axis=0) if strokes else None

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


def read_drawing(value: Any, num_people: int) -> Drawing:
    """What the page's picture says. Raises InputError for anything that it would not say."""
    try:
        chosen = value.get("chosen")
        if len(value["people"]) != num_people:
            raise ValueError("other people than were found")
        return Drawing(
            None if chosen is None else _person(chosen, num_people),
            tuple(_stroke(one, num_people) for one in value.get("strokes", [])),
            tuple(_moved(one, num_people) for one in value.get("moved", [])),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError("what was drawn cannot be read; load the page again") from error


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


def _painted(stroke: Stroke, size_hw: tuple[int, ...]) -> np.ndarray:
    """The pixels of a stroke with round ends and bends, bool (H, W)."""
    from PIL import Image, ImageDraw

    picture = Image.new("1", (size_hw[1], size_hw[0]))
    pen, radius = ImageDraw.Draw(picture), stroke.radius
    points = [(float(x), float(y)) for x, y in stroke.points_xy]
    if len(points) > 1:
        pen.line(points, fill=1, width=max(1, round(2 * radius)))
    for x, y in points:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    return np.array(picture)
