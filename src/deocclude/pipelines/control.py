"""What a user may say about one person besides where it is, and what it does to the two stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deocclude.crops import Box
from deocclude.errors import InputError
from deocclude.images import as_region
from deocclude.masks import mask_box
from deocclude.pipelines.photograph import checked_box
from deocclude.skeletons import BODY_25, NUM_JOINTS
from deocclude.stages.catalogue import check_hints
from deocclude.types import MaskCompleter, RgbCompleter

LOWER_THRESHOLDS = (0.4, 0.3, 0.2, 0.1, 0.05, 0.02)
"""Amodal probabilities below 0.5 that are tried in turn until the person fills its box."""
MIN_HELD = 0.9
"""Share of the visible person that a box to fill must hold."""
BOX_SLACK = 0.02
"""Share of a box's side that a person may leave free and still fill it."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """One person's wishes; everything may be left out.

    joints: x, y in pixels by the names of `skeletons.BODY_25`, instead of those that are found.
    box_xyxy: what the whole person must fill; nothing is invented outside it.
    leave_alone: bool (H, W), where nothing may be invented.
    words: the prompt, instead of the describer's. more_words: added to it.
    reference: another photograph of the person, uint8 (H, W, 3), for RGB stages that look at one.
    """

    joints: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    box_xyxy: Box | None = None
    leave_alone: np.ndarray | None = None
    words: str | None = None
    more_words: str | None = None
    reference: np.ndarray | None = None

    @property
    def mask_hints(self) -> frozenset[str]:
        """What the mask stage has to read: fields of `types.Hints`."""
        return frozenset({"keypoints"} if self.joints else ())

    @property
    def rgb_hints(self) -> frozenset[str]:
        """What the RGB stage has to read: fields of `types.Hints`."""
        asked = {"prompt": bool(self.words or self.more_words), "reference": self.reference is not None}
        return frozenset(hint for hint, is_asked in asked.items() if is_asked)

    def check(self, mask_completer: MaskCompleter, rgb_completer: RgbCompleter) -> None:
        """Raise InputError for what these stages cannot read, and for a joint of no such name."""
        if unknown := [name for name in self.joints if name not in BODY_25]:
            raise InputError(f"no joint '{unknown[0]}'; choose from {', '.join(BODY_25)}")
        check_hints("mask", mask_completer.name, mask_completer.accepts, self.mask_hints)
        check_hints("RGB", rgb_completer.name, rgb_completer.accepts, self.rgb_hints)

    def checked(self, size_hw: tuple[int, int]) -> Control:
        """The same with its box in whole numbers and its region bool, for a picture of (H, W).

        Raises InputError for a joint, a box or a region that is not of this picture.
        """
        height, width = size_hw
        for name, (x, y) in self.joints.items():
            if not (0 <= x <= width and 0 <= y <= height):  # so that NaN fails too
                raise InputError(f"the joint {name} at {x:g},{y:g} lies outside the picture, {width} x {height}")
        region = self.leave_alone
        return replace(
            self,
            box_xyxy=None if self.box_xyxy is None else checked_box(self.box_xyxy, size_hw),
            leave_alone=None if region is None else as_region(region, size_hw, "the region to leave alone"),
        )

    def shifted(self, x: int, y: int) -> Control:
        """The same for a picture in which everything lies x pixels further right and y lower, but for the region."""
        box = self.box_xyxy
        return replace(
            self,
            joints={name: (at[0] + x, at[1] + y) for name, at in self.joints.items()},
            box_xyxy=None if box is None else (box[0] + x, box[1] + y, box[2] + x, box[3] + y),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What was asked for, for a JSON file."""
        asked = {
            "joints": {name: list(at) for name, at in self.joints.items()},
            "box_xyxy": None if self.box_xyxy is None else list(self.box_xyxy),
            "leave_alone_pixels": None if self.leave_alone is None else int(np.count_nonzero(self.leave_alone)),
            "words": self.words,
            "more_words": self.more_words,
            "reference": None if self.reference is None else "given",
        }
        return {name: value for name, value in asked.items() if value not in (None, {})}


def with_joints(joints: np.ndarray | None, moved: Mapping[str, tuple[float, float]]) -> np.ndarray | None:
    """BODY_25 joints (25, 3) with some of them put elsewhere, of confidence 1; the others as they were, or missing."""
    if not moved:
        return joints
    result = np.zeros((NUM_JOINTS, 3), np.float32) if joints is None else joints.copy()
    for name, (x, y) in moved.items():
        result[BODY_25.index(name)] = x, y, 1.0
    return result


def limited(
    amodal_mask: np.ndarray, modal_mask: np.ndarray, probability: np.ndarray, control: Control
) -> tuple[np.ndarray, list[str]]:
    """The amodal mask within a person's box and without the region to leave alone, and what to tell the user.

    Masks bool (H, W), probability float (H, W). What is visible is never taken away.
    """
    notes: list[str] = []
    if control.box_xyxy is not None:
        _check_box_holds(modal_mask, control.box_xyxy)
        amodal_mask, filled = _filling(probability, amodal_mask, modal_mask, control.box_xyxy)
        if not filled:
            notes.append("the person could not be made to fill its box: stage 1 sees nobody in the rest of it")
    if control.leave_alone is not None:
        amodal_mask = amodal_mask & ~control.leave_alone
    return amodal_mask | modal_mask, notes


def _check_box_holds(modal_mask: np.ndarray, box_xyxy: Box) -> None:
    """Raises InputError for a box that leaves much of the visible person out."""
    x0, y0, x1, y1 = box_xyxy
    if modal_mask[max(y0, 0) : y1, max(x0, 0) : x1].sum() < MIN_HELD * modal_mask.sum():
        shown = ",".join(map(str, mask_box(modal_mask) or ()))
        raise InputError(f"the box to fill leaves out what is visible of the person, which lies in {shown}")


def _filling(
    probability: np.ndarray, amodal_mask: np.ndarray, modal_mask: np.ndarray, box_xyxy: Box
) -> tuple[np.ndarray, bool]:
    """The mask at the highest threshold at which the person fills the box, and whether there is one."""
    x0, y0, x1, y1 = box_xyxy
    inside = np.zeros_like(modal_mask)
    inside[max(y0, 0) : y1, max(x0, 0) : x1] = True
    at_half = mask = amodal_mask & inside | modal_mask
    if _fills(mask, box_xyxy):
        return mask, True
    for threshold in LOWER_THRESHOLDS:
        mask = _connected(((probability >= threshold) & inside) | mask, modal_mask)
        if _fills(mask, box_xyxy):
            return mask, True
    return at_half, False  # what would be believed below a half without filling it is a halo


def _fills(mask: np.ndarray, box_xyxy: Box) -> bool:
    """Whether a mask goes to all four sides of a box, or nearly."""
    found = mask_box(mask)
    assert found is not None, "a person is never empty"
    x0, y0, x1, y1 = box_xyxy
    slack_x, slack_y = BOX_SLACK * (x1 - x0), BOX_SLACK * (y1 - y0)
    left, top, right, bottom = found
    return left <= x0 + slack_x and top <= y0 + slack_y and right >= x1 - slack_x and bottom >= y1 - slack_y


def _connected(mask: np.ndarray, modal_mask: np.ndarray) -> np.ndarray:
    """The pieces of a mask that touch what is visible of the person."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask)
    return np.isin(labels, np.unique(labels[modal_mask & mask])) & mask
