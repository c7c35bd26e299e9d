"""Contact sheets: strips of pictures side by side with a line of text beneath, several to a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deocclude.masks import mask_box
from deocclude.pipelines.overview import outline

TILE = 224
"""Side of one picture on the sheet, pixels."""
GAP, CAPTION, HEAD = 4, 22, 26
STRIPS_ACROSS, STRIPS_DOWN = 2, 6
PAPER, INK = (255, 255, 255), (20, 20, 20)
AMODAL_COLOUR, INVISIBLE_COLOUR = (0, 220, 120), (255, 60, 160)


@dataclass(frozen=True)
class Strip:
    """Pictures uint8 (H, W, 3) of any size, None for an empty place, and what is written beneath them.

    is_unreadable: a file could not be read; the caption says which and why.
    """

    pictures: tuple[np.ndarray | None, ...]
    caption: str
    is_unreadable: bool = False


def contact_sheets(strips: Sequence[Strip], titles: Sequence[str]) -> list[np.ndarray]:
    """Pages of at most 12 strips, uint8 (H, W, 3). `titles` stand above the columns of each strip."""
    per_page = STRIPS_ACROSS * STRIPS_DOWN
    return [_page(strips[start : start + per_page], titles) for start in range(0, len(strips), per_page)]


def _page(strips: Sequence[Strip], titles: Sequence[str]) -> np.ndarray:
    strip_width = len(titles) * (TILE + GAP) + 3 * GAP
    strip_height = TILE + CAPTION
    across = min(STRIPS_ACROSS, len(strips))
    down = -(-len(strips) // across)
    page = Image.new("RGB", (across * strip_width + GAP, HEAD + down * strip_height), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for column in range(across):
        for index, title in enumerate(titles):
            draw.text((GAP + column * strip_width + index * (TILE + GAP), 6), title, INK, font)
    for number, strip in enumerate(strips):
        left, top = GAP + number % across * strip_width, HEAD + number // across * strip_height
        for index, picture in enumerate(strip.pictures):
            if picture is not None:
                _paste(page, picture, left + index * (TILE + GAP), top)
        draw.text((left, top + TILE + 2), strip.caption, INK, font)
    return np.asarray(page)


def _paste(page: Image.Image, picture: np.ndarray, left: int, top: int) -> None:
    height, width = picture.shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    tile = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    page.paste(tile, (left + (TILE - size[0]) // 2, top + (TILE - size[1]) // 2))


def outlined(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = AMODAL_COLOUR) -> np.ndarray:
    """`picture` with a line round `mask`, outside it so that every painted pixel stays to be seen."""
    width = max(1, round(max(mask.shape) / TILE))  # about a pixel once the picture is a tile
    result = picture.copy()
    result[outline(mask, width)] = colour
    return result


def lifted(picture: np.ndarray, mask: np.ndarray, invisible: np.ndarray | None = None) -> np.ndarray:
    """`picture` dimmed outside `mask`; the invisible part, if given, tinted."""
    result = np.where(mask[..., None], picture, picture // 4 + 8).astype(np.uint8)
    if invisible is not None:
        result[invisible] = (result[invisible] // 2 + np.array(INVISIBLE_COLOUR) // 2).astype(np.uint8)
    return result


def window_around(mask: np.ndarray, *, margin: float = 0.25) -> tuple[slice, slice]:
    """Rows and columns of the mask's box, widened by `margin` of its longer side; all for an empty mask."""
    box = mask_box(mask)
    if box is None:
        return slice(None), slice(None)
    x0, y0, x1, y1 = box
    extra = round(margin * max(x1 - x0, y1 - y0))
    return slice(max(0, y0 - extra), y1 + extra), slice(max(0, x0 - extra), x1 + extra)
