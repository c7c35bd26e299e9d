from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import photograph
from PIL import Image

from deocclude.crops import SquareCrop, crop_around, extract, paper_crop, restore, restore_box

SIDES = st.integers(1, 60)


@st.composite
def boxes_in_pictures(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    height, width = draw(SIDES), draw(SIDES)
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return (x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))), (height, width)


@given(boxes_in_pictures(), st.floats(1, 4))
def test_crop_shows_the_box_and_wastes_no_picture(
    case: tuple[tuple[int, int, int, int], tuple[int, int]], margin: float
) -> None:
    (x0, y0, x1, y1), (height, width) = case
    crop = crop_around((x0, y0, x1, y1), (height, width), margin=margin)
    left, top, right, bottom = crop.box_xyxy
    assert left <= x0 and top <= y0 and x1 <= right and y1 <= bottom
    assert crop.side <= max(height, width)
    for start, end, length in ((left, right, width), (top, bottom, height)):
        if length >= crop.side:
            assert start >= 0 and end <= length
        else:  # the picture lies in the middle, to half a pixel
            assert start <= 0 and end >= length and abs(-start - (end - length)) <= 1


def test_crop_is_centred_on_the_box() -> None:
    assert crop_around((40, 45, 60, 55), (100, 100), margin=2.0) == SquareCrop(30, 30, 40)
    assert crop_around((0, 0, 100, 50), (50, 100), margin=1.0) == SquareCrop(0, -25, 100)


def test_paper_crop_is_the_formula() -> None:
    assert paper_crop((0, 0, 10, 100)).side == 110  # 1.1 h beats sqrt(3 w h) = 54.8
    assert paper_crop((0, 0, 60, 60)).side == 104  # sqrt(3) * 60 = 103.9
    crop = paper_crop((100, 200, 140, 280))
    assert crop.left + crop.side / 2 == pytest.approx(120, abs=1)
    assert crop.top + crop.side / 2 == pytest.approx(240, abs=1)


def test_same_size_passes_bit_identical() -> None:
    image, crop = photograph(32, 32), SquareCrop(0, 0, 32)
    assert np.array_equal(extract(image, crop, 32, nearest=False), image)
    values = np.random.default_rng(0).random((32, 32, 3), np.float32)
    assert np.array_equal(restore(values, crop, (32, 32)), values)


@given(st.integers(-20, 30), st.integers(-20, 30), st.integers(1, 40))
def test_round_trip_at_own_size(left: int, top: int, side: int) -> None:
    """What lies in the crop comes back exactly; the rest of the canvas is black."""
    image, crop = photograph(25, 35), SquareCrop(left, top, side)
    x0, y0, x1, y1 = crop.inside((25, 35))
    expected = np.zeros_like(image)
    if x0 < x1 and y0 < y1:
        expected[y0:y1, x0:x1] = image[y0:y1, x0:x1]
    assert np.array_equal(restore(extract(image, crop, side, nearest=False), crop, (25, 35)), expected)


def test_outside_the_picture_is_black() -> None:
    white = np.full((10, 10, 3), 255, np.uint8)
    window = extract(white, SquareCrop(-5, -5, 20), 20, nearest=False)
    assert window[5:15, 5:15].min() == 255 and window.sum() == white.sum()
    assert not extract(np.ones((10, 10), bool), SquareCrop(50, 50, 8), 4, nearest=False).any()


def drawn_whole(array: np.ndarray, crop: SquareCrop, size: int, *, nearest: bool) -> np.ndarray:
    """The plain way: the whole square at the picture's own scale, then resized."""
    square = np.zeros((crop.side, crop.side, 3), np.uint8)
    x0, y0, x1, y1 = crop.inside(array.shape[:2])
    if x0 < x1 and y0 < y1:
        square[y0 - crop.top : y1 - crop.top, x0 - crop.left : x1 - crop.left] = array[y0:y1, x0:x1]
    method = Image.Resampling.BICUBIC if size > crop.side else Image.Resampling.BOX
    return np.array(Image.fromarray(square).resize((size, size), Image.Resampling.NEAREST if nearest else method))


@given(st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 90), st.sampled_from([8, 12, 16, 32]), st.booleans())
def test_a_square_is_resized_as_if_drawn_whole(left: int, top: int, side: int, size: int, nearest: bool) -> None:
    """Bit for bit where it lies in the picture. At a power of two, the networks' sizes, also where it does not, but for
    rounding: Pillow chooses by the shape which axis it resizes first.
    """
    image, crop = photograph(25, 35), SquareCrop(left, top, side)
    resized, expected = extract(image, crop, size, nearest=nearest), drawn_whole(image, crop, size, nearest=nearest)
    if crop.inside((25, 35)) == crop.box_xyxy or (nearest and size != 12):
        assert np.array_equal(resized, expected)
    elif size != 12:
        assert np.abs(resized.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("size", [48, 50, 64])
def test_a_long_picture_keeps_its_places(size: int) -> None:
    """A rectangle's area and centre, also where the picture's edge cuts a pixel of the crop in two."""
    image = np.zeros((61, 1000), np.float32)
    image[5:45, 300:507] = 1
    crop = crop_around((0, 0, 1000, 61), (61, 1000), margin=1.0)
    small, scale = extract(image, crop, size, nearest=False), size / crop.side
    y, x = np.mgrid[0.5:size, 0.5:size]
    assert small.sum() / scale**2 == pytest.approx(40 * 207, rel=0.05)
    assert (x * small).sum() / small.sum() == pytest.approx((403.5 - crop.left) * scale, abs=0.05)
    assert (y * small).sum() / small.sum() == pytest.approx((25 - crop.top) * scale, abs=0.05)


def test_shrinking_averages_areas() -> None:
    image = photograph(64, 64)
    small = extract(image, SquareCrop(0, 0, 64), 16, nearest=False)
    blocks = image.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - blocks).max() <= 1
    labels = image[..., 0]
    assert set(np.unique(extract(labels, SquareCrop(3, 3, 50), 16, nearest=True))) <= set(np.unique(labels))


def test_masks_keep_their_type_and_area() -> None:
    mask = np.zeros((100, 100), bool)
    mask[20:80, 33:71] = True
    small = extract(mask, SquareCrop(0, 0, 100), 25, nearest=False)
    assert small.dtype == bool and np.array_equal(small, mask[2::4, 2::4])


def test_restoring_keeps_places() -> None:
    """A smooth picture survives shrinking and enlarging: nothing is shifted by half a pixel."""
    y, x = np.mgrid[0:120, 0:150].astype(np.float32)
    smooth = np.stack([np.sin(x / 25), np.cos(y / 30), x / 150], axis=-1)
    crop = SquareCrop(20, 10, 96)
    for bicubic in (False, True):
        back = restore(extract(smooth, crop, 48, nearest=False), crop, (120, 150), bicubic=bicubic)
        assert np.abs(back - smooth)[14:102, 24:112].max() < 0.005
        assert not back[:10].any() and not back[:, 116:].any()


CROP = SquareCrop(-3, 5, 60)
"""In a picture of 90 x 90."""


@st.composite
def boxes_in_the_crop(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x0, y0 = draw(st.integers(0, 56)), draw(st.integers(5, 64))
    return x0, y0, draw(st.integers(x0 + 1, 57)), draw(st.integers(y0 + 1, 65))


@settings(max_examples=30)
@given(boxes_in_the_crop(), st.sampled_from([16, 60]))
def test_a_box_is_restored_as_the_whole_is(box: tuple[int, int, int, int], size: int) -> None:
    values = np.random.default_rng(1).random((size, size), np.float32)
    whole = restore(values, CROP, (90, 90))
    part = restore_box(values, CROP, box)
    assert np.allclose(part, whole[box[1] : box[3], box[0] : box[2]], atol=1e-5)


@pytest.mark.parametrize("size", [16, 60])
@pytest.mark.parametrize(
    "box", [(38, 20, 58, 40), (-4, 20, 10, 40), (5, 4, 10, 40), (5, 20, 10, 66), (5, 20, 5, 40), (9, 20, 5, 40)]
)
def test_a_box_that_sticks_out_of_the_crop_is_refused(box: tuple[int, int, int, int], size: int) -> None:
    with pytest.raises(ValueError, match="is not a part of the crop"):
        restore_box(np.zeros((size, size), np.float32), CROP, box)
