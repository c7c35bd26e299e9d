"""Masks as COCO writes them: polygons and run lengths (RLE). What is written here is read back exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from deocclude.errors import InputError

Segmentation = list[list[int]] | dict[str, Any]

MAX_PICTURES_OUTSIDE = 10
"""Polygons may leave the picture, but not by so many times its size: pycocotools walks every pixel of an edge."""


def decode_segmentation(segmentation: Any, size_hw: tuple[int, int]) -> np.ndarray:
    """One polygon [x, y, x, y, …], a list of polygons, or run lengths (compressed or not) to bool (H, W).

    Polygons of fewer than three points cover nothing. Raises InputError for anything else and for another size.
    """
    from pycocotools import mask as run_lengths

    try:
        if isinstance(segmentation, dict):
            encoded = _checked_run_lengths(segmentation, size_hw)
        else:
            polygons = _checked_polygons(segmentation, size_hw)
            if not polygons:
                return np.zeros(size_hw, bool)
            encoded = run_lengths.merge(run_lengths.frPyObjects(polygons, *size_hw))
        return run_lengths.decode(encoded).astype(bool)
    except InputError:
        raise
    except Exception as error:  # pycocotools raises what it likes
        raise InputError(f"is not a COCO segmentation ({type(error).__name__}: {error})") from error


def _checked_polygons(segmentation: Any, size_hw: tuple[int, int]) -> list[list[float]]:
    is_flat = len(segmentation) > 0 and not isinstance(segmentation[0], list)
    polygons = [segmentation] if is_flat else segmentation
    limit = MAX_PICTURES_OUTSIDE * max(size_hw)
    for polygon in polygons:
        # `not <=` refuses NaN too.
        if len(polygon) % 2 or not np.abs(np.asarray(polygon, np.float64)).max(initial=0) <= limit:
            raise InputError("has a polygon whose numbers are not the x and y of points in or near the picture")
    return [polygon for polygon in polygons if len(polygon) >= 6]


def _checked_run_lengths(segmentation: dict[str, Any], size_hw: tuple[int, int]) -> Any:
    from pycocotools import mask as run_lengths

    height, width = (int(length) for length in segmentation["size"])
    if (height, width) != tuple(size_hw):
        raise InputError(f"is a mask of {width}x{height} pixels, its picture has {size_hw[1]}x{size_hw[0]}")
    counts = segmentation["counts"]
    lengths = np.array(counts) if isinstance(counts, list) else _decompressed(counts)
    # pycocotools leaves pixels that no run covers as they were in memory.
    if lengths.dtype.kind != "i" or (lengths < 0).any() or lengths.sum() != height * width:
        raise InputError(f"has run lengths that do not add up to {width}x{height} pixels")
    if not isinstance(counts, list):
        return segmentation
    return run_lengths.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def _decompressed(counts: str) -> np.ndarray:
    """COCO's compressed run lengths, int64: pycocotools reads beyond the end of a string that is cut off.

    A character has five bits of a number, the lowest first, and says whether it goes on; the last one has the sign.
    From the fourth on a number is the difference to the length before the last.
    """
    bits = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    is_last = (bits & 32) == 0
    if not len(bits) or bits.min() < 0 or bits.max() > 63 or not is_last[-1]:
        raise InputError("has run lengths that are cut off, or are not COCO's")
    first = np.flatnonzero(np.concatenate([[True], is_last[:-1]]))
    place = np.arange(len(bits)) - np.repeat(first, np.diff([*first, len(bits)]))
    if place.max() > 6:
        raise InputError("has a run length that no picture has")
    lengths = np.add.reduceat((bits & 31) << (5 * place), first)
    lengths -= np.where(bits[is_last] & 16, 1 << (5 * (place[is_last] + 1)), 0)
    lengths[1::2] = lengths[1::2].cumsum()
    lengths[2::2] = lengths[2::2].cumsum()
    return lengths


def encode_run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Bool (H, W) to compressed run lengths, {size: [H, W], counts: str}."""
    from pycocotools import mask as run_lengths

    encoded = run_lengths.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(length) for length in mask.shape], "counts": encoded["counts"].decode("ascii")}


def encode_segmentation(mask: np.ndarray) -> Segmentation:
    """Bool (H, W) to polygons where pycocotools reads the very same mask from them, to run lengths elsewhere.

    Polygons follow the edges of the pixels, one for each 4-connected part. A mask with a hole has none, nor has an
    empty one.
    """
    polygons = _outlines(mask)
    if polygons and np.array_equal(decode_segmentation(polygons, (mask.shape[0], mask.shape[1])), mask):
        return polygons
    return encode_run_lengths(mask)


# --- outlines -----------------------------------------------------------------------------------------------

_Point = tuple[int, int]


def _outlines(mask: np.ndarray) -> list[list[int]]:
    """The boundary of each part as [x, y, …] along the edges of its pixels; [] for a mask with a hole."""
    following = _boundary_steps(mask)
    polygons = []
    while following:
        corners = list(_corners(_loop(following)))
        if _signed_area(corners) < 0:  # runs the other way round: the rim of a hole
            return []
        polygons.append([coordinate for corner in corners for coordinate in corner])
    return polygons


def _boundary_steps(mask: np.ndarray) -> dict[_Point, list[_Point]]:
    """From each corner (x, y) of a pixel on the boundary to the next ones, the mask on the right hand."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    following: dict[_Point, list[_Point]] = {}
    for outside, start, end in (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # nothing above: along the top edge, to the right
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    ):
        for y, x in np.argwhere(inside & ~outside).tolist():
            following.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    return following


def _loop(following: dict[_Point, list[_Point]]) -> list[_Point]:
    """Take one closed boundary out of `following`, corner by corner."""
    start = next(iter(following))
    points, before = [start], start
    while True:
        here = points[-1]
        point = _right_turn(before, here, following[here])
        following[here].remove(point)
        if not following[here]:
            del following[here]
        if point == start and start not in following:
            return points
        points.append(point)
        before = here


def _right_turn(before: _Point, here: _Point, choices: list[_Point]) -> _Point:
    """Where two pixels touch at a corner alone, stay with the same pixel: parts are 4-connected."""
    if len(choices) == 1:
        return choices[0]
    dx, dy = here[0] - before[0], here[1] - before[1]
    right = here[0] - dy, here[1] + dx
    return right if right in choices else choices[0]


def _corners(points: list[_Point]) -> Iterator[_Point]:
    """The points at which a closed way turns."""
    for index, (x, y) in enumerate(points):
        (x0, y0), (x1, y1) = points[index - 1], points[(index + 1) % len(points)]
        if (x - x0, y - y0) != (x1 - x, y1 - y):
            yield x, y


def _signed_area(corners: list[_Point]) -> int:
    """Twice the area, positive for a way that runs clockwise in a picture."""
    following = [*corners[1:], *corners[:1]]
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(corners, following, strict=True))
