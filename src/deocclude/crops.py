"""Square crops: the networks see a square round the person, the photograph keeps its own size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels, x1 and y1 exclusive."""


@dataclass(frozen=True)
class SquareCrop:
    """A square of the picture, in its pixels. It may leave the picture: outside is black, or False."""

    left: int
    top: int
    side: int

    def __post_init__(self) -> None:
        if self.side < 1:
            raise ValueError(f"side must be at least 1, got {self.side}")

    @property
    def box_xyxy(self) -> Box:
        """The square as a box, which may leave the picture."""
        return self.left, self.top, self.left + self.side, self.top + self.side

    def inside(self, image_hw: tuple[int, int]) -> Box:
        """The part of the square that lies in the picture; empty (x1 <= x0 or y1 <= y0) if none does."""
        height, width = image_hw
        return box_overlap(self.box_xyxy, (0, 0, width, height))


def box_overlap(a: Box, b: Box) -> Box:
    """Where two boxes lie on each other; empty (x1 <= x0 or y1 <= y0) if nowhere."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def crop_around(box_xyxy: Box, image_hw: tuple[int, int], *, margin: float = 2.2) -> SquareCrop:
    """The square that shows a person and room for what is hidden.

    Its side is `margin` times the box's longer side, at most the picture's longer side. It is centred on the
    box and shifted into the picture where that is long enough, centred on the picture where it is not.
    """
    height, width = image_hw
    x0, y0, x1, y1 = box_xyxy
    side = max(1, min(math.ceil(margin * max(x1 - x0, y1 - y0)), max(height, width)))

    def start(low: int, high: int, length: int) -> int:
        if length < side:
            return -((side - length) // 2)
        return min(max((low + high - side) // 2, 0), length - side)

    return SquareCrop(start(x0, x1, width), start(y0, y1, height), side)


def paper_crop(box_xyxy: Box) -> SquareCrop:
    """The square of paper B's data reader: centred on the box, side max(sqrt(3wh), 1.1w, 1.1h)."""
    x0, y0, x1, y1 = box_xyxy
    width, height = x1 - x0, y1 - y0
    side = max(1, round(max(math.sqrt(3 * width * height), 1.1 * width, 1.1 * height)))
    return SquareCrop((x0 + x1 - side) // 2, (y0 + y1 - side) // 2, side)


def extract(array: np.ndarray, crop: SquareCrop, size: int, *, nearest: bool) -> np.ndarray:
    """The crop of `array`, resized to (size, size[, C]), of the same dtype.

    array: uint8, bool or float32 (H, W[, C]). nearest: for labels; otherwise pixels are averaged over their
        area when shrinking and interpolated bicubically when growing. A bool mask is averaged too, and is
        True from one half.
    """
    if crop.side == size:
        return _window(array, crop.box_xyxy)
    method = Image.Resampling.BICUBIC if size > crop.side else Image.Resampling.BOX
    if nearest:
        method = Image.Resampling.NEAREST
    # Only the pixels that show some of the picture are computed: for a long photograph the square would be many
    # times its size.
    resized = np.zeros((size, size, *array.shape[2:]), array.dtype)
    u0, v0, u1, v1 = shown = _shown(crop, size, array.shape[:2])
    if u0 < u1 and v0 < v1:
        resized[v0:v1, u0:u1] = _resized_part(array, crop, size, shown, method)
    return resized


def restore(values: np.ndarray, crop: SquareCrop, image_hw: tuple[int, int], *, bicubic: bool = False) -> np.ndarray:
    """Put the values of a crop back where they came from: (H, W[, C]) of the same dtype, 0 outside the crop.

    values: float32 or uint8 (S, S[, C]). Interpolated bilinearly, or bicubically for pictures.
    """
    canvas = np.zeros((*image_hw, *values.shape[2:]), values.dtype)
    x0, y0, x1, y1 = box = crop.inside(image_hw)
    if x0 < x1 and y0 < y1:
        canvas[y0:y1, x0:x1] = restore_box(values, crop, box, bicubic=bicubic)
    return canvas


def restore_box(values: np.ndarray, crop: SquareCrop, box_xyxy: Box, *, bicubic: bool = False) -> np.ndarray:
    """What `restore` gives inside a box of the picture that lies in the crop, alone: (h, w[, C]).

    Raises ValueError for a box that is empty or sticks out of the crop, of which there is nothing to restore.
    """
    x0, y0, x1, y1 = box_xyxy
    left, top, right, bottom = crop.box_xyxy
    if not (left <= x0 < x1 <= right and top <= y0 < y1 <= bottom):
        raise ValueError(f"the box {box_xyxy} is not a part of the crop {crop.box_xyxy}")
    size = values.shape[0]
    if size == crop.side:
        return values[y0 - crop.top : y1 - crop.top, x0 - crop.left : x1 - crop.left]
    scale = size / crop.side
    source = (
        (x0 - crop.left) * scale,
        (y0 - crop.top) * scale,
        (x1 - crop.left) * scale,
        (y1 - crop.top) * scale,
    )
    method = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    return _resize(values, (x1 - x0, y1 - y0), method, source)


def _shown(crop: SquareCrop, size: int, image_hw: tuple[int, int]) -> Box:
    """The pixels of the resized crop that show some of the picture, as a box; empty if none does."""
    if crop.side < size:  # small already, and bicubic interpolation reaches beyond the picture's edge
        return 0, 0, size, size
    x0, y0, x1, y1 = crop.inside(image_hw)
    return (
        (x0 - crop.left) * size // crop.side,
        (y0 - crop.top) * size // crop.side,
        -((crop.left - x1) * size // crop.side),  # rounded up
        -((crop.top - y1) * size // crop.side),
    )


def _resized_part(array: np.ndarray, crop: SquareCrop, size: int, part: Box, method: Image.Resampling) -> np.ndarray:
    """A box of the resized crop alone, (h, w[, C])."""
    u0, v0, u1, v1 = part
    x0, y0, x1, y1 = (pixel * crop.side / size for pixel in part)  # from the crop's corner
    left, top = math.floor(x0), math.floor(y0)
    around = crop.left + left, crop.top + top, crop.left + math.ceil(x1), crop.top + math.ceil(y1)
    window, box = _window(array, around), (x0 - left, y0 - top, x1 - left, y1 - top)
    if array.dtype == bool:
        return _resize(window.astype(np.uint8) * 255, (u1 - u0, v1 - v0), method, box) >= 128
    return _resize(window, (u1 - u0, v1 - v0), method, box)


def _window(array: np.ndarray, box_xyxy: Box) -> np.ndarray:
    """A box of the picture at its own scale, (h, w[, C]); 0 where it leaves the picture."""
    left, top, right, bottom = box_xyxy
    x0, y0, x1, y1 = box_overlap(box_xyxy, (0, 0, array.shape[1], array.shape[0]))
    if (x0, y0, x1, y1) == box_xyxy:
        return np.ascontiguousarray(array[y0:y1, x0:x1])
    window = np.zeros((bottom - top, right - left, *array.shape[2:]), array.dtype)
    if x0 < x1 and y0 < y1:
        window[y0 - top : y1 - top, x0 - left : x1 - left] = array[y0:y1, x0:x1]
    return window


def _resize(
    array: np.ndarray,
    size_wh: tuple[int, int],
    method: Image.Resampling,
    box: tuple[float, float, float, float],
) -> np.ndarray:
    """Pillow's resize, which filters over the area when shrinking: uint8 RGB at once, others by channel."""
    if array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2] == 3):
        return np.array(Image.fromarray(array).resize(size_wh, method, box))
    planes = [array] if array.ndim == 2 else [array[..., c] for c in range(array.shape[2])]
    resized = [
        np.asarray(Image.fromarray(np.asarray(plane, np.float32)).resize(size_wh, method, box)) for plane in planes
    ]
    return (resized[0] if array.ndim == 2 else np.stack(resized, axis=-1)).astype(array.dtype)
