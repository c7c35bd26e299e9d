"""Pasting an occluder: its size, its look and its place."""

from __future__ import annotations

import numpy as np
from PIL import Image

from deocclude.crops import Box, paper_crop
from deocclude.data.occluders import bleed, cut_out
from deocclude.masks import mask_box

RatioBin = tuple[float, float]
"""(low, high]: the occlusion ratio is above `low` and at most `high`."""


def render_occluder(
    rgba: np.ndarray,
    person_box: Box,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float],
    degrees: float,
    colour_jitter: float,
) -> np.ndarray:
    """The occluder as it will be pasted, uint8 (h, w, 4), tight, alpha 0 or 255.

    Brought to the person's scale (the crop rule would give both the same square), then scaled, mirrored,
    turned and coloured a little. Alpha stays hard, so that every pixel of the picture belongs to one object.

    rgba: uint8 (H, W, 4). scale: range of the factor. degrees: the largest turn. colour_jitter: see `jitter_colour`.
    """
    height, width = rgba.shape[:2]
    zoom = rng.uniform(*scale) * paper_crop(person_box).side / paper_crop((0, 0, width, height)).side
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    colour, alpha = Image.fromarray(bleed(rgba)), Image.fromarray(np.ascontiguousarray(rgba[..., 3]))
    method = Image.Resampling.BOX if zoom < 1 else Image.Resampling.BICUBIC
    angle = rng.uniform(-degrees, degrees)
    planes = [_turned(np.asarray(plane.resize(size, method)), angle) for plane in (colour, alpha)]
    if rng.random() < 0.5:
        planes = [plane[:, ::-1] for plane in planes]
    return cut_out(jitter_colour(planes[0], colour_jitter, rng), planes[1] >= 128)


def _turned(plane: np.ndarray, degrees: float) -> np.ndarray:
    """Rotated about its middle, on a canvas that holds it all."""
    # The turn mixes in what lies outside: a rim of the object's own colours keeps its edge from going dark.
    rim = ((2, 2), (2, 2), (0, 0))
    padded = np.pad(plane, rim, mode="edge") if plane.ndim == 3 else np.pad(plane, rim[:2])
    return np.asarray(Image.fromarray(padded).rotate(degrees, Image.Resampling.BILINEAR, expand=True))


def jitter_colour(rgb: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Saturation, contrast and brightness of uint8 (H, W, 3), each times U(1 - strength, 1 + strength)."""
    saturation, contrast, brightness = rng.uniform(1 - strength, 1 + strength, 3)
    values = rgb.astype(np.float32)
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * saturation
    middle = grey.mean()
    values = (middle + (values - middle) * contrast) * brightness
    return np.rint(values).clip(0, 255).astype(np.uint8)


def find_place(
    person: np.ndarray,
    occluder: np.ndarray,
    bin: RatioBin,
    rng: np.random.Generator,
    *,
    overlap: tuple[float, float],
    max_tries: int,
) -> tuple[int, int] | None:
    """Row and column of the occluder's corner that hides a share in `bin` of the person; None if no try does.

    person: bool (H, W), not empty. occluder: bool (h, w), which may leave the picture. overlap: see `draw_place`.
    """
    box, area = mask_box(person), int(person.sum())
    if box is None or not occluder.size:
        return None
    for _ in range(max_tries):
        corner = draw_place(box, occluder.shape, overlap, rng)
        there, part = meeting(person.shape, occluder.shape, corner)
        hidden = int(np.count_nonzero(person[there] & occluder[part])) / area
        if bin[0] < hidden <= bin[1]:
            return corner
    return None


def draw_place(
    person_box: Box, occluder_hw: tuple[int, ...], overlap: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int]:
    """A corner (row, column) at which the boxes overlap by o ~ U(overlap) on each axis.

    The centres are (1 - o) times the distance apart at which the boxes would touch, on either side.
    """
    x0, y0, x1, y1 = person_box
    corner = []
    for low, high, length in ((y0, y1, occluder_hw[0]), (x0, x1, occluder_hw[1])):
        distance = (1 - rng.uniform(*overlap)) * (high - low + length) / 2
        centre = (low + high) / 2 + rng.choice((-1, 1)) * distance
        corner.append(round(centre - length / 2))
    return corner[0], corner[1]


def meeting(
    canvas_hw: tuple[int, ...], patch_hw: tuple[int, ...], corner: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a patch lies on a canvas, and which part of the patch that is."""
    there, part = [], []
    for length, patch, start in zip(canvas_hw, patch_hw, corner, strict=True):
        low, high = max(0, start), max(0, min(length, start + patch))
        there.append(slice(low, max(low, high)))
        part.append(slice(low - start, max(low, high) - start))
    return (there[0], there[1]), (part[0], part[1])
