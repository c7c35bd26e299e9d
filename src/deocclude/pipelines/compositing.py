"""Back into the photograph: what is known stays as it was, bit for bit; what is invisible is painted in.

The seam between visible and invented pixels of the person is blended on the invented side only, by shifting
the generated colours there towards what the photograph shows next to them.
"""

from __future__ import annotations

import numpy as np

from deocclude.crops import SquareCrop, box_overlap, extract, restore_box
from deocclude.masks import invisible_mask, mask_box
from deocclude.pipelines.detail import Detail, texture

SEAM_SIGMA = 4.0
"""How far the correction reaches into the invisible region: standard deviation of a Gaussian, crop pixels."""
MAX_SHIFT = 0.2
"""The largest correction of a colour, of 1: more is texture or an error, not a shift between two pictures."""


def composite(
    image: np.ndarray,
    generated: np.ndarray,
    crop: SquareCrop,
    modal_mask: np.ndarray,
    amodal_mask: np.ndarray,
    *,
    detail: Detail = "texture",
) -> np.ndarray:
    """The photograph with the invisible region painted in, uint8 (H, W, 3).

    image: uint8 (H, W, 3). generated: the stage's own picture of the crop, float32 (S, S, 3) in [0, 1].
    modal_mask, amodal_mask: bool (H, W). Invisible pixels outside the crop stay as they are.
    detail: whether a crop that has to be enlarged gets the visible part's texture.
    """
    result = image.copy()
    invisible = invisible_mask(modal_mask, amodal_mask)
    hole = mask_box(invisible)
    if hole is None:
        return result
    x0, y0, x1, y1 = box = box_overlap(hole, crop.inside(image.shape[:2]))
    if x1 <= x0 or y1 <= y0:
        return result
    harmonised = harmonise(
        generated,
        extract(image, crop, len(generated), nearest=False).astype(np.float32) / 255,
        extract(modal_mask, crop, len(generated), nearest=False),
        extract(invisible, crop, len(generated), nearest=False),
    )
    patch = restore_box(harmonised, crop, box, bicubic=True)
    if detail == "texture":
        patch = patch + texture(harmonised, image, crop, box, modal_mask, invisible)
    inside = invisible[y0:y1, x0:x1]
    result[y0:y1, x0:x1][inside] = (patch[inside] * 255).round().clip(0, 255).astype(np.uint8)
    return result


def own_picture(generated: np.ndarray, crop: SquareCrop, painted_mask: np.ndarray) -> np.ndarray:
    """The stage's own picture of the whole person on white, visible pixels included: uint8 (H, W, 3).

    It is what paper A scores. generated: float32 (S, S, 3) in [0, 1]. painted_mask: bool (H, W).
    """
    result = np.full((*painted_mask.shape, 3), 255, np.uint8)
    person = mask_box(painted_mask)
    assert person is not None, "a de-occluded person is never empty"
    x0, y0, x1, y1 = box = box_overlap(person, crop.inside((painted_mask.shape[0], painted_mask.shape[1])))
    if x0 < x1 and y0 < y1:
        patch = restore_box(generated, crop, box, bicubic=True)
        inside = painted_mask[y0:y1, x0:x1]
        result[y0:y1, x0:x1][inside] = (patch[inside] * 255).round().clip(0, 255).astype(np.uint8)
    return result


def harmonise(generated: np.ndarray, image: np.ndarray, modal_mask: np.ndarray, invisible: np.ndarray) -> np.ndarray:
    """Shift generated colours near the visible person by the photograph's difference from the generation.

    generated, image: float32 (S, S, 3) in [0, 1]; modal_mask, invisible: bool (S, S). Returns float32
    (S, S, 3) in [0, 1]. The difference d at the visible pixels, where w = 1, continues as
    G(d w) / max(G(w), 1/2), G a Gaussian: the mean difference at a straight seam, nothing far from one.
    """
    # The pixels right at the seam may be a mixture with the occluder.
    used = (modal_mask & ~grow(invisible)).astype(np.float32)[..., None]
    shift = (image - generated).clip(-MAX_SHIFT, MAX_SHIFT) * used
    spread = gaussian_blur(np.concatenate([shift, used], axis=-1), SEAM_SIGMA)
    return (generated + spread[..., :3] / spread[..., 3:].clip(min=0.5)).clip(0, 1)


def grow(mask: np.ndarray) -> np.ndarray:
    """The mask and its eight neighbours, bool (H, W)."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def shrink(mask: np.ndarray) -> np.ndarray:
    """The pixels whose eight neighbours are in the mask too, bool (H, W); beyond the picture all are."""
    return ~grow(~mask)


def gaussian_blur(values: np.ndarray, sigma: float) -> np.ndarray:
    """float32 (H, W, C), blurred by a Gaussian cut at three sigmas; zero outside."""
    radius = round(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1, dtype=np.float32) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        width = [(0, 0), (0, 0), (0, 0)]
        width[axis] = (radius, radius)
        padded, length = np.pad(values, width), values.shape[axis]
        values = sum(
            weight * np.take(padded, range(start, start + length), axis) for start, weight in enumerate(kernel)
        )
    return values
