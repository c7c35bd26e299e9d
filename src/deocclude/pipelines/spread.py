"""One picture of several answers: the candidates side by side, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deocclude.crops import Box, box_overlap
from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.pipelines.overview import outlined, panel_size, shrunk, side_by_side

MARGIN = 0.1
"""Round the person, share of the box's longer side."""
FULL_HEAT = 0.25
"""Standard deviation, of 1, that is shown in the brightest colour; half of the largest there is."""
HEAT = ((0, 0, 0), (120, 0, 130), (240, 70, 30), (255, 250, 230))
"""From no difference to `FULL_HEAT`, in even steps."""


def spread_picture(candidates: Sequence[np.ndarray], modal_mask: np.ndarray, amodal_mask: np.ndarray) -> np.ndarray:
    """Panels of the candidates, cropped round the person, and of their spread: uint8 (h, w, 3).

    candidates: at least two completed photographs, uint8 (H, W, 3). modal_mask, amodal_mask: bool (H, W).
    Raises InputError for fewer than two.
    """
    if len(candidates) < 2:
        raise InputError("the spread of candidates wants at least two; ask for more (--candidates N)")
    x0, y0, x1, y1 = _round_person(amodal_mask)
    window = slice(y0, y1), slice(x0, x1)
    size_wh = panel_size(x1 - x0, y1 - y0)
    invisible = shrunk((amodal_mask & ~modal_mask)[window], size_wh)
    panels = {
        f"candidate {rank}": outlined(shrunk(candidate[window], size_wh), invisible)
        for rank, candidate in enumerate(candidates, start=1)
    }
    heat = _heat(spread([candidate[window] for candidate in candidates]))
    panels["spread"] = outlined(shrunk(heat, size_wh), invisible)
    return side_by_side(panels)


def spread(candidates: Sequence[np.ndarray]) -> np.ndarray:
    """Standard deviation of each pixel over the candidates uint8 (H, W, 3), mean of R, G, B: float32 (H, W), of 1.

    It lies in [0, 1/2], and is 0 where all agree, so wherever nothing was invented.
    """
    total = np.zeros(candidates[0].shape, np.float32)
    squares = np.zeros_like(total)
    for candidate in candidates:  # one at a time: a stack of photographs need not fit in memory
        values = candidate.astype(np.float32)
        total += values
        squares += values**2
    variance = squares / len(candidates) - (total / len(candidates)) ** 2
    deviation: np.ndarray = np.sqrt(variance.clip(min=0)).mean(axis=2) / 255
    return deviation


def _heat(values: np.ndarray) -> np.ndarray:
    """Colours of float32 (H, W): uint8 (H, W, 3)."""
    places = np.linspace(0, FULL_HEAT, len(HEAT))
    channels = [np.interp(values, places, colours) for colours in zip(*HEAT, strict=True)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _round_person(amodal_mask: np.ndarray) -> Box:
    """The box of the person with a margin, inside the photograph."""
    box = mask_box(amodal_mask)
    assert box is not None, "a de-occluded person is never empty"
    x0, y0, x1, y1 = box
    margin = round(MARGIN * max(x1 - x0, y1 - y0))
    height, width = amodal_mask.shape
    return box_overlap((x0 - margin, y0 - margin, x1 + margin, y1 + margin), (0, 0, width, height))
