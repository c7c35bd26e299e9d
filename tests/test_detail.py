from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deocclude.crops import Box, SquareCrop, extract, restore_box
from deocclude.masks import mask_box
from deocclude.pipelines.detail import texture

SIZE, SCALE = 48, 6
SIDE = SIZE * SCALE


def cloth(seed: int = 0, colour: float = 0.4, grain: float = 0.05) -> np.ndarray:
    """A flat colour with a grain of one pixel, uint8 (SIDE, SIDE, 3)."""
    noise = np.random.default_rng(seed).normal(0, grain, (SIDE, SIDE, 3))
    return ((colour + noise).clip(0, 1) * 255).round().astype(np.uint8)


def halves() -> tuple[np.ndarray, np.ndarray, Box]:
    """The left half visible, a square in the right half invented: modal and invisible mask, the latter's box."""
    modal, invisible = np.zeros((2, SIDE, SIDE), bool)
    modal[:, : SIDE // 2] = True
    invisible[SIDE // 4 : SIDE // 2, SIDE // 2 : SIDE * 3 // 4] = True
    box = mask_box(invisible)
    assert box is not None
    return modal, invisible, box


def added(image: np.ndarray, painted: np.ndarray | None = None) -> np.ndarray:
    modal, invisible, box = halves()
    crop = SquareCrop(0, 0, SIDE)
    painted = extract(image, crop, SIZE, nearest=False) / np.float32(255) if painted is None else painted
    return texture(painted, image, crop, box, modal, invisible)


def test_flat_cloth_gets_the_grain_of_what_is_visible() -> None:
    image = cloth()
    detail = added(image)
    visible = image[:, : SIDE // 2] / 255
    assert detail.dtype == np.float32
    assert detail.std() == pytest.approx(visible.std(), rel=0.15)
    assert abs(float(detail.mean())) < 0.2 * detail.std()
    beside = np.corrcoef(detail[:, 1:].ravel(), detail[:, :-1].ravel())[0, 1]
    assert abs(beside) < 0.1, "the grain is as fine as the photograph's"


def test_stripes_finer_than_the_crop_come_along() -> None:
    """Columns of three pixels, light and dark: of six a crop pixel, so the stage cannot have seen them."""
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    image[:, np.arange(SIDE) % 6 < 3] = 140
    detail = added(image)
    assert 0.95 < np.abs(detail).mean() / (20 / 255) < 2, "all blocks are in step here, the worst case of their sum"
    assert np.abs(np.diff(detail, axis=0)).mean() < 0.1 * np.abs(np.diff(detail, axis=1)).mean()


@pytest.mark.parametrize("elsewhere", [0, 255])
def test_only_the_visible_person_is_copied_from(elsewhere: int) -> None:
    modal, _, _ = halves()
    image = cloth()
    painted = extract(image, SquareCrop(0, 0, SIDE), SIZE, nearest=False) / np.float32(255)
    other = np.where(modal[..., None], image, np.uint8(elsewhere))
    assert np.array_equal(added(image, painted), added(other, painted))


def test_a_pixel_shared_with_the_occluder_is_not_copied() -> None:
    """Bright specks of an occluder all over the person leave no block that is the person's alone."""
    modal, invisible, box = halves()
    image = cloth()
    modal[::40, ::40] = False
    image[~modal] = 255
    painted = np.full((SIZE, SIZE, 3), 0.4, np.float32)
    assert not texture(painted, image, SquareCrop(0, 0, SIDE), box, modal, invisible).any()


def test_cloth_is_no_texture_for_skin() -> None:
    image = cloth(colour=0.2)
    alike = added(image, np.full((SIZE, SIZE, 3), 0.2, np.float32))
    unlike = added(image, np.full((SIZE, SIZE, 3), (0.8, 0.6, 0.5), np.float32))
    assert unlike.std() < 0.01 * alike.std()


@pytest.mark.parametrize("side", [SIZE, SIZE - 8])
def test_a_crop_that_is_not_enlarged_gets_nothing(side: int) -> None:
    image, crop = cloth(), SquareCrop(SIDE // 2 - 24, SIDE // 4, side)
    modal, invisible, _ = halves()
    box = (SIDE // 2, SIDE // 4, SIDE // 2 + 10, SIDE // 4 + 10)
    assert not texture(np.full((SIZE, SIZE, 3), 0.4, np.float32), image, crop, box, modal, invisible).any()


def test_a_stage_smaller_than_a_block_gets_nothing() -> None:
    assert not added(cloth(), np.full((4, 4, 3), 0.4, np.float32)).any()


def test_a_smooth_person_gets_nothing() -> None:
    ramp = np.broadcast_to(np.linspace(60, 90, SIDE)[:, None, None], (SIDE, SIDE, 3)).round().astype(np.uint8)
    assert np.abs(added(ramp)).max() < 3 / 255


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(49, 230), st.sampled_from([16, 33, 48]))
def test_any_masks_and_crops_give_a_bounded_picture_of_the_box(seed: int, side: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (150, 170, 3), np.uint8)
    rows, columns = np.sort(rng.integers(0, 150, (2, 2))), np.sort(rng.integers(0, 170, (2, 2)))
    modal, invisible = np.zeros((2, 150, 170), bool)
    modal[rows[0, 0] : rows[0, 1], columns[0, 0] : columns[0, 1]] = True
    invisible[rows[1, 0] : rows[1, 1] + 1, columns[1, 0] : columns[1, 1] + 1] = True
    crop = SquareCrop(int(rng.integers(-30, 60)), int(rng.integers(-30, 60)), side)
    x0, y0, x1, y1 = crop.inside((150, 170))
    box = x0 + (x1 - x0) // 4, y0, x1, y1 - (y1 - y0) // 4
    painted, before = rng.random((size, size, 3), np.float32), image.copy()
    first = texture(painted, image, crop, box, modal, invisible & ~modal)
    assert first.shape == (box[3] - box[1], box[2] - box[0], 3)
    assert np.isfinite(first).all() and np.abs(first).max() <= 2
    assert np.array_equal(first, texture(painted, image, crop, box, modal, invisible & ~modal))
    assert np.array_equal(image, before)


def test_neighbouring_blocks_are_not_twins() -> None:
    """One block of visible cloth repeats itself in no row of the result."""
    detail = added(cloth())[..., 0]
    step = 4 * SCALE
    shifted = np.corrcoef(detail[:, step:].ravel(), detail[:, :-step].ravel())[0, 1]
    assert abs(shifted) < 0.2


def test_the_enlarged_picture_gains_nothing_that_the_stage_could_see() -> None:
    """At the crop's own scale the picture stays what it was."""
    image = cloth(grain=0.1)
    modal, invisible, box = halves()
    painted = np.full((SIZE, SIZE, 3), 0.4, np.float32)
    detail = texture(painted, image, SquareCrop(0, 0, SIDE), box, modal, invisible)
    enlarged = restore_box(painted, SquareCrop(0, 0, SIDE), box, bicubic=True)
    small = (enlarged + detail).reshape(SIZE // 4, SCALE, SIZE // 4, SCALE, 3).mean(axis=(1, 3))
    assert np.abs(small - 0.4).mean() < 0.25 * np.abs(detail).mean()
