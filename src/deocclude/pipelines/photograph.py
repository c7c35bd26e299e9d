"""Between the photograph and the crop: which square to look at, and its masks in the photograph's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deocclude.crops import Box, SquareCrop, crop_around, extract, restore
from deocclude.errors import InputError
from deocclude.masks import invisible_mask, mask_box
from deocclude.pipelines.compositing import grow, shrink
from deocclude.types import MaskCompletion

SECOND_MARGIN = 1.3
"""Crop side over the whole person's longer side, once it is known."""
MIN_FILL = 0.6
"""A person shorter than this share of the crop is completed again on a closer one."""
SLIVER = 2
"""Half the width, in crop pixels, of an invisible region that is taken for a disagreement of contours."""
BOX_TOLERANCE = 2
"""Pixels by which a box may stick out of the picture: detectors round."""


@dataclass(frozen=True)
class CompletedMask:
    """Stage 1 in the photograph: masks and probability (H, W); what the stage said of its crop; notes for the user.

    occluder_mask: what is in front, as of `Deocclusion`.
    """

    crop: SquareCrop
    on_crop: MaskCompletion
    modal_mask: np.ndarray
    amodal_mask: np.ndarray
    amodal_probability: np.ndarray
    occluder_mask: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def painted_mask(self) -> np.ndarray:
        """Where stage 2's own picture is kept, bool (H, W): the person as returned and as stage 1 itself saw it."""
        return self.amodal_mask | (self.amodal_probability >= 0.5)


def better_crop(amodal_mask: np.ndarray, crop: SquareCrop, size: int) -> SquareCrop | None:
    """Another crop if the person runs out of this one or is small in it; None if this one is good.

    amodal_mask: bool (H, W). size: pixels to which the crop was resized.
    """
    height, width = amodal_mask.shape
    box = mask_box(amodal_mask)
    assert box is not None, "a completed person is never empty"
    x0, y0, x1, y1 = box
    left, top, right, bottom = crop.box_xyxy
    pixel = -(-crop.side // size)
    runs_out = (
        (left > 0 and x0 <= left + pixel)
        or (top > 0 and y0 <= top + pixel)
        or (right < width and x1 >= right - pixel)
        or (bottom < height and y1 >= bottom - pixel)
    )
    is_small = max(x1 - x0, y1 - y0) < MIN_FILL * crop.side
    if not (runs_out or is_small):
        return None
    other = crop_around(box, (height, width), margin=SECOND_MARGIN)
    return other if other != crop else None


def checked_box(box: tuple[float, float, float, float], image_hw: tuple[int, int]) -> Box:
    """The box in whole pixels, cut to the picture. Raises InputError if it is none, lies outside or holds no pixel."""
    height, width = image_hw
    shown = ",".join(f"{value:g}" for value in box)
    if len(box) != 4 or not all(np.isfinite(box)):
        raise InputError(f"a box is X0,Y0,X1,Y1 in pixels; got {shown}")
    x0, y0, x1, y1 = (round(value) for value in box)
    if min(x0, y0) < -BOX_TOLERANCE or x1 > width + BOX_TOLERANCE or y1 > height + BOX_TOLERANCE:
        raise InputError(f"the box {shown} lies outside the picture, which is {width} x {height}")
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if x1 <= x0 or y1 <= y0:
        raise InputError(f"the box {shown} is empty; a box is X0,Y0,X1,Y1 with X0 < X1 and Y0 < Y1")
    return x0, y0, x1, y1


def mask_on_crop(mask: np.ndarray, crop: SquareCrop, size: int) -> np.ndarray:
    """A mask on the resized crop; a person thinner than a pixel of it must not vanish."""
    small = extract(mask, crop, size, nearest=False)
    if small.any():
        return small
    return extract(mask.astype(np.uint8) * 255, crop, size, nearest=False) > 0


def in_photograph(
    on_crop: MaskCompletion, crop: SquareCrop, modal_mask: np.ndarray, given_on_crop: np.ndarray, *, refine: bool
) -> CompletedMask:
    """Stage 1's answer at the photograph's size.

    modal_mask: bool (H, W), as it was given; given_on_crop: the same on the crop, bool (S, S). What the answer has
    beyond it is added. refine: the answer's modal mask replaces it.
    """
    image_hw = (modal_mask.shape[0], modal_mask.shape[1])
    found = _as_array(on_crop.modal_mask)
    if refine:
        refined = _restore_mask(found, crop, image_hw)
        modal_mask = refined if refined.any() else modal_mask
    elif (added := found & ~given_on_crop).any():
        modal_mask = modal_mask | _restore_mask(added, crop, image_hw)
    probability = restore(_as_array(on_crop.amodal_probability.float()), crop, image_hw)
    invisible = _as_array(invisible_mask(on_crop.modal_mask, on_crop.amodal_mask))
    # The two contours of the visible person never agree to the pixel, less so once enlarged. Such slivers are
    # not hidden parts: thin ones are dropped, and a pixel's margin closes the gap to what remains.
    near_hidden = _restore_mask(grow(without_slivers(invisible)), crop, image_hw)
    amodal_mask = modal_mask | ((probability >= 0.5) & near_hidden)
    occluder_mask = None
    if on_crop.occluder_mask is not None:
        occluder_mask = _restore_mask(_as_array(on_crop.occluder_mask), crop, image_hw) & ~modal_mask
    return CompletedMask(crop, on_crop, modal_mask, amodal_mask, probability, occluder_mask)


def without_slivers(invisible: np.ndarray) -> np.ndarray:
    """The mask without what is at most 2 `SLIVER` pixels wide (a morphological opening), bool (S, S)."""
    opened = invisible
    for _ in range(SLIVER):
        opened = shrink(opened)
    for _ in range(SLIVER):
        opened = grow(opened)
    return opened


def _restore_mask(mask: np.ndarray, crop: SquareCrop, image_hw: tuple[int, int]) -> np.ndarray:
    """A mask bool (S, S) of the crop at the photograph's size, with the contour smoothed if enlarged."""
    return restore(mask.astype(np.uint8) * 255, crop, image_hw) >= 128


def _as_array(tensor: Tensor) -> np.ndarray:
    """(1, 1, S, S) to (S, S)."""
    return tensor[0, 0].cpu().numpy()


def resized(values: Tensor, size: int) -> Tensor:
    """float (1, C, s, s) to (1, C, size, size)."""
    if values.shape[-1] == size:
        return values
    return torch.nn.functional.interpolate(values, (size, size), mode="bilinear", align_corners=False)


def resized_labels(labels: Tensor | None, mask: Tensor) -> Tensor | None:
    """Labels (1, s, s) at the mask's size (1, 1, S, S), background outside it."""
    if labels is None:
        return None
    if labels.shape[-1] != mask.shape[-1]:
        resized = torch.nn.functional.interpolate(labels[:, None].float(), mask.shape[-2:], mode="nearest-exact")
        labels = resized[:, 0].long()
    return labels * mask[:, 0]
