"""A warning where a completed mask is likely wrong: the stages are unsure, or were asked for more than they learnt.

The limits were chosen on 400 people synthesised from training photographs, told the picture alone with the embedded
system, where `plausible` should be False for an amodal IoU below 0.75. What was tried and told nothing there: whether
stage 1 corrects the modal mask, joints outside the amodal mask, invented pieces away from the visible person, and how
far the first crop's mask is from the second's. That hardly any joint was found told something there, but on COCO it was
said of everybody.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deocclude.masks import invisible_mask

MAX_DOUBT = 0.30
"""Of the amodal probability."""
MAX_INVENTED_SHARE = 1.2
"""Invented over visible area. Training hides at most half of a person: 1."""


@dataclass(frozen=True)
class Plausibility:
    """What a user should know before believing a mask.

    plausible: no reason against it was found. reasons: a sentence each.
    figures: what was measured. `doubt`: sum of 4 p (1 - p) over the amodal probability p, divided by the amodal area; 0
        for a certain mask, without an upper bound. `invented_share`: invisible over visible area, infinite where
        nothing is visible.
    """

    plausible: bool
    reasons: tuple[str, ...]
    figures: dict[str, float]


def judge(modal_mask: np.ndarray, amodal_mask: np.ndarray, amodal_probability: np.ndarray) -> Plausibility:
    """Look for reasons to doubt one person's masks.

    modal_mask, amodal_mask: bool (H, W), the amodal one not empty. amodal_probability: float32 (H, W) in [0, 1].

    A person of whom nothing is hidden is plausible: there is nothing to believe.
    """
    invisible = invisible_mask(modal_mask, amodal_mask)
    figures = {
        "doubt": float((4 * amodal_probability * (1 - amodal_probability)).sum()) / int(amodal_mask.sum()),
        "invented_share": int(invisible.sum()) / area if (area := int(modal_mask.sum())) else float("inf"),
    }
    reasons = _reasons(figures) if invisible.any() else ()
    return Plausibility(not reasons, reasons, {name: round(value, 4) for name, value in figures.items()})


def _reasons(figures: dict[str, float]) -> tuple[str, ...]:
    found = {
        "the mask stage is unsure where the person ends": figures["doubt"] > MAX_DOUBT,
        "much more of the person would be invented than is visible": figures["invented_share"] > MAX_INVENTED_SHARE,
    }
    return tuple(reason for reason, holds in found.items() if holds)
