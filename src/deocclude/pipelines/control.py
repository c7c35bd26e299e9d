"""What a user may say about one person besides where it is, and what it does to the two stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deocclude.crops import Box
from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.skeletons import BODY_25, NUM_JOINTS

LOWER_THRESHOLDS = (0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02)
"""Amodal probabilities that are tried in turn until the person fills its box."""
BOX_SLACK = 0.02
"""Share of a box's side that a person may leave free and still fill it."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """One person's wishes; everything may be left out.

    joints: x, y in pixels by the names of `skeletons.BODY_25`, instead of those that are found.
    box_xyxy: what the whole person must fill; nothing is invented outside it.
    leave_alone: bool (H, W), where nothing may be invented.
    words: a sentence about the person, instead of the describer's. more_words: said after the describer's.
    reference: another photograph of the person, uint8 (H, W, 3), for RGB stages that look at one.
    """

    joints: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    box_xyxy: Box | None = None
    leave_alone: np.ndarray | None = None
    words: str | None = None
    more_words: str | None = None
    reference: np.ndarray | None = None

    def check(self, mask_completer: Any, rgb_completer: Any) -> None:
        """Raise InputError for a wish that these stages cannot fulfil, and for a joint of no such name."""
        if unknown := [name for name in self.joints if name not in BODY_25]:
            raise InputError(f"no joint '{unknown[0]}'; choose from {', '.join(BODY_25)}")
        if self.joints and not getattr(mask_completer, "uses_joints", False):
            raise InputError(f"the mask stage '{mask_completer.name}' reads no joints; --mask-stage diffusion does")
        if (self.words or self.more_words) and not getattr(rgb_completer, "reads_words", False):
            raise InputError(f"the RGB stage '{rgb_completer.name}' reads no words; --rgb-stage diffusion does")
        if self.reference is not None and not getattr(rgb_completer, "looks_at_reference", False):
            raise InputError(
                f"the RGB stage '{rgb_completer.name}' looks at no reference; "
                "--rgb-stage diffusion with --context image does"
            )

    def shifted(self, x: int, y: int, size_hw: tuple[int, int]) -> Control:
        """The same on a canvas of size (H, W) on which the photograph lies x pixels further right and y lower."""
        box, region = self.box_xyxy, self.leave_alone
        if region is not None:
            height, width = region.shape
            canvas = np.zeros(size_hw, bool)
            canvas[y : y + height, x : x + width] = region
            region = canvas
        return replace(
            self,
            joints={name: (at[0] + x, at[1] + y) for name, at in self.joints.items()},
            box_xyxy=None if box is None else (box[0] + x, box[1] + y, box[2] + x, box[3] + y),
            leave_alone=region,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What was asked for, for a JSON file."""
        asked = {
            "joints": {name: list(at) for name, at in self.joints.items()},
            "box_xyxy": None if self.box_xyxy is None else list(self.box_xyxy),
            "leave_alone_pixels": None if self.leave_alone is None else int(self.leave_alone.sum()),
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
        amodal_mask, filled = _filling(probability, amodal_mask, modal_mask, control.box_xyxy)
        if not filled:
            notes.append("the person could not be made to fill its box: stage 1 sees nobody in the rest of it")
    if control.leave_alone is not None:
        amodal_mask = amodal_mask & ~control.leave_alone
    return amodal_mask | modal_mask, notes


def _filling(
    probability: np.ndarray, amodal_mask: np.ndarray, modal_mask: np.ndarray, box_xyxy: Box
) -> tuple[np.ndarray, bool]:
    """The mask at the highest threshold at which the person fills the box, and whether there is one."""
    x0, y0, x1, y1 = box_xyxy
    inside = np.zeros_like(modal_mask)
    inside[max(y0, 0) : y1, max(x0, 0) : x1] = True
    slack = BOX_SLACK * (x1 - x0), BOX_SLACK * (y1 - y0)
    mask = amodal_mask & inside | modal_mask
    for threshold in LOWER_THRESHOLDS:
        found = mask_box(mask)
        assert found is not None, "a person is never empty"
        left, top, right, bottom = found
        if left <= x0 + slack[0] and top <= y0 + slack[1] and right >= x1 - slack[0] and bottom >= y1 - slack[1]:
            return mask, True
        mask = _connected(((probability >= threshold) & inside) | mask, modal_mask)
    return mask, False


def _connected(mask: np.ndarray, modal_mask: np.ndarray) -> np.ndarray:
    """The pieces of a mask that touch what is visible of the person."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask)
    return np.isin(labels, np.unique(labels[modal_mask & mask])) & mask
