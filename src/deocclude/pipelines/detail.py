"""Fine detail for the invented part of a large photograph: weave, skin and grain of the person's visible part.

A stage paints a crop of a few hundred pixels; enlarged to the photograph it is soft beside what is visible. Blocks of
the photograph's finest band (the photograph minus its own low-pass) are copied from visible places of the same person
that look like the painted ones at the crop's scale. Nothing is drawn at random, and only the person is copied from.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from deocclude.crops import Box, SquareCrop, box_overlap, extract, restore_box
from deocclude.masks import mask_box

Detail = Literal["plain", "texture"]
"""How the painted crop reaches the photograph's size: enlarged alone, or with the visible part's texture."""

BLOCK = 8
"""Side of a copied block in cells, as the crop's pixels are called here; blocks overlap by half."""
RANKS = 3
"""Neighbouring blocks copy different sources, in a pattern of RANKS x RANKS, so that no copy lies beside its twin."""
SHORTLIST = 3
"""Of SHORTLIST * RANKS^2 sources that look most like the painted block, the middling third by activity is used: a
button or a fold in the finest band is no texture, and a place out of focus has none."""
MAX_SOURCES = 6000
"""Blocks that are looked at; of more, an even choice."""
MISMATCH = 0.08
"""Root mean square difference of looks, of 1, at which a texture keeps 1/e of its strength: cloth is none for skin."""


def texture(
    painted: np.ndarray,
    image: np.ndarray,
    crop: SquareCrop,
    box_xyxy: Box,
    modal_mask: np.ndarray,
    invisible: np.ndarray,
) -> np.ndarray:
    """What to add to the enlarged picture in a box of the photograph, float32 (h, w, 3), about 0 in the mean.

    painted: the stage's picture of the crop, float32 (S, S, 3) in [0, 1]. image: the photograph, uint8 (H, W, 3).
    box_xyxy: inside the crop and the photograph. modal_mask, invisible: bool (H, W).

    Of the image, only pixels in the modal mask are read. All zeros where the crop is not enlarged and where no block of
    the person is wholly visible. Overlapping blocks are summed as sum(w r) / sqrt(sum(w^2)): the mean of textures that
    know nothing of each other is flatter than each of them; this keeps their variance. Blocks that happen to be in step
    (stripes) come out stronger than they are, at most twice.
    """
    x0, y0, x1, y1 = box_xyxy
    size = len(painted)
    places, turns = _places(extract(invisible, crop, size, nearest=False))
    usable = _usable(modal_mask, crop, size)
    sources = np.argwhere(_block_means(usable) > 1 - 1e-4)
    if crop.side <= size or not len(places) or not len(sources):
        return np.zeros((y1 - y0, x1 - x0, 3), np.float32)
    sources = sources[np.linspace(0, len(sources) - 1, min(len(sources), MAX_SOURCES)).astype(int)]

    # 1. Which block each place copies.
    small = extract(image, crop, size, nearest=False)
    band, left, top = _finest_band(image, small, crop, usable)
    activity = _activity(band, SquareCrop(crop.left - left, crop.top - top, crop.side), size)
    looks = _looks(painted, places), _looks(small.astype(np.float32) / 255, sources)
    chosen, strength = _choose(*looks, activity[tuple(sources.T)], turns)

    # 2. Copy, at the photograph's scale.
    scale = crop.side / size
    window = _window(int(BLOCK * scale))
    to = np.floor(places * scale).astype(int) + np.array((crop.top, crop.left))
    of = np.floor(sources[chosen] * scale).astype(int) + np.array((crop.top - top, crop.left - left))
    corner = np.minimum(to.min(axis=0), (y0, x0))
    added = np.zeros((*np.maximum(to.max(axis=0) + len(window), (y1, x1)) - corner, 3), np.float32)
    squares = np.zeros((*added.shape[:2], 1), np.float32)
    for there, here, share in zip(of, to - corner, strength / 255, strict=True):
        added[_square(here, window)] += share * window * band[_square(there, window)]
        squares[_square(here, window)] += window**2
    inside = slice(y0 - corner[0], y1 - corner[0]), slice(x0 - corner[1], x1 - corner[1])
    return added[inside] / np.sqrt(squares[inside]).clip(1e-6)


def _usable(modal_mask: np.ndarray, crop: SquareCrop, size: int) -> np.ndarray:
    """Cells, float32 (S, S) of 0 and 1, whose low-pass is made of visible pixels of the person alone."""
    visible = extract(modal_mask.astype(np.float32), crop, size, nearest=False) > 1 - 1e-4
    two_cells = np.ones((5, 5), bool)  # how far bicubic interpolation reaches
    return ndimage.binary_erosion(visible, two_cells, border_value=1).astype(np.float32)


def _places(invisible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First cells (n, 2) of the blocks that cover a mask bool (S, S), row and column; each one's turn (n,)."""
    last = len(invisible) - BLOCK
    starts = np.unique([*range(0, last + 1, BLOCK // 2), max(last, 0)])
    grid = np.array(np.meshgrid(starts, starts, indexing="ij")).reshape(2, -1)
    turns = np.array(np.meshgrid(*2 * [np.arange(len(starts)) % RANKS], indexing="ij")).reshape(2, -1)
    holds = _block_means(invisible.astype(np.float32))[tuple(grid)] > 0 if last >= 0 else np.zeros(1, bool)
    return grid.T[holds], (turns[0] * RANKS + turns[1])[holds]


def _block_means(values: np.ndarray) -> np.ndarray:
    """Mean of each block of a float32 (S, S), by its first cell: (S - BLOCK + 1, S - BLOCK + 1); empty if S < BLOCK."""
    for axis in (0, 1):
        if values.shape[axis] < BLOCK:
            return np.zeros((0, 0), np.float32)
        values = np.lib.stride_tricks.sliding_window_view(values, BLOCK, axis).mean(axis=-1)
    return values


def _finest_band(
    image: np.ndarray, small: np.ndarray, crop: SquareCrop, usable: np.ndarray
) -> tuple[np.ndarray, int, int]:
    """The photograph minus the enlarged crop round the usable cells, int16 (h, w, 3), and its left and top there."""
    cells = mask_box(usable > 0)
    assert cells is not None, "there are sources"
    scale = crop.side / len(small)
    u0, v0, u1, v1 = (int(cell * scale) for cell in cells)
    x0, y0, x1, y1 = box = box_overlap(
        (crop.left + u0, crop.top + v0, crop.left + u1, crop.top + v1), (0, 0, image.shape[1], image.shape[0])
    )
    low = restore_box(small, crop, box, bicubic=True)
    return np.subtract(image[y0:y1, x0:x1], low, dtype=np.int16), x0, y0


def _activity(band: np.ndarray, crop: SquareCrop, size: int) -> np.ndarray:
    """Mean absolute value of the band in each block, as `_block_means`. crop: in the band's own pixels."""
    return _block_means(extract(np.abs(band).mean(axis=2, dtype=np.float32), crop, size, nearest=False))


def _looks(picture: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 cells of each block, float32 (n, 3 * BLOCK^2 / 4). picture: float32 (S, S, 3)."""
    means = (picture[:-1, :-1] + picture[1:, :-1] + picture[:-1, 1:] + picture[1:, 1:]) / 4
    steps = range(0, BLOCK, 2)
    return np.concatenate([means[blocks[:, 0] + row, blocks[:, 1] + column] for row in steps for column in steps], 1)


def _choose(
    painted: np.ndarray, seen: np.ndarray, activity: np.ndarray, turns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The source of each place, int (n,), and how strongly to copy it, in [0, 1] (n,).

    painted, seen: looks of places (n, d) and of sources (m, d). activity: of the sources (m,). turns: of the places
    (n,), in [0, RANKS^2).
    """
    squared = (painted**2).sum(1)[:, None] + (seen**2).sum(1) - 2 * painted @ seen.T
    difference = squared.clip(0) / painted.shape[1]
    count = min(SHORTLIST * RANKS**2, len(seen))
    shortlist = np.sort(np.argpartition(difference, count - 1, axis=1)[:, :count], axis=1)
    by_activity = np.take_along_axis(shortlist, np.argsort(activity[shortlist], axis=1, kind="stable"), axis=1)
    taken = min(RANKS**2, count)
    rows = np.arange(len(painted))
    chosen = by_activity[rows, (count - taken) // 2 + turns % taken]
    return chosen, np.exp(-difference[rows, chosen] / MISMATCH**2)


def _window(side: int) -> np.ndarray:
    """Weight of each pixel of a block, float32 (side, side, 1): 1 in the middle, nearly 0 at the border."""
    weight = np.sin(np.pi * (np.arange(side, dtype=np.float32) + 0.5) / side) ** 2
    return (weight[:, None] * weight)[..., None]


def _square(corner: np.ndarray, window: np.ndarray) -> tuple[slice, slice]:
    return slice(corner[0], corner[0] + len(window)), slice(corner[1], corner[1] + len(window))
