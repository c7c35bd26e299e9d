from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import photograph

from deocclude.crops import SquareCrop
from deocclude.masks import invisible_mask
from deocclude.pipelines.compositing import MAX_SHIFT, composite, gaussian_blur, grow, harmonise, shrink


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([16, 40, 64]))
def test_only_invisible_pixels_change(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    image = photograph(50, 60, seed)
    modal, amodal = rng.random((50, 60)) < 0.3, rng.random((50, 60)) < 0.3
    amodal |= modal
    crop = SquareCrop(int(rng.integers(-10, 30)), int(rng.integers(-10, 30)), side)
    before = image.copy()
    result = composite(image, rng.random((32, 32, 3), np.float32), crop, modal, amodal)
    known = ~invisible_mask(modal, amodal)
    assert result.dtype == np.uint8 and np.array_equal(result[known], image[known])
    assert np.array_equal(image, before)


def test_invisible_pixels_are_the_generated_ones() -> None:
    image, generated = photograph(32, 32), np.full((32, 32, 3), (0.2, 0.4, 0.6), np.float32)
    amodal = np.zeros((32, 32), bool)
    amodal[5:20, 5:20] = True
    result = composite(image, generated, SquareCrop(0, 0, 32), amodal & False, amodal)
    assert (result[amodal] == (51, 102, 153)).all()


def test_nothing_invisible_gives_the_photograph() -> None:
    image, mask = photograph(), np.ones((64, 96), bool)
    result = composite(image, np.zeros((8, 8, 3), np.float32), SquareCrop(0, 0, 96), mask, mask)
    assert np.array_equal(result, image) and result is not image


def test_seam_takes_the_colour_of_the_visible_side() -> None:
    """Left half visible at 0.6, right half invented at 0.5: no step where they meet, no change far away."""
    modal = np.zeros((64, 64), bool)
    modal[:, :32] = True
    image, generated = np.full((64, 64, 3), 0.6, np.float32), np.full((64, 64, 3), 0.5, np.float32)
    row = harmonise(generated, image, modal, ~modal)[32, :, 0]
    assert row[32] == pytest.approx(0.6, abs=0.03)
    assert row[60] == pytest.approx(0.5, abs=1e-6)
    assert (np.diff(row[32:]) <= 1e-6).all()


def test_background_and_occluder_do_not_bleed_in() -> None:
    """Only the visible person's pixels pull; without one the generated picture stays as it is."""
    invisible = np.zeros((32, 32), bool)
    invisible[8:24, 8:24] = True
    generated = np.full((32, 32, 3), 0.5, np.float32)
    assert np.array_equal(harmonise(generated, np.ones_like(generated), invisible & False, invisible), generated)


def test_a_mixed_pixel_at_the_seam_is_not_believed() -> None:
    modal = np.zeros((32, 32), bool)
    modal[:, :16] = True
    generated = np.full((32, 32, 3), 0.5, np.float32)
    image = generated.copy()
    image[:, 15] = 0.9
    assert np.allclose(harmonise(generated, image, modal, ~modal), generated, atol=1e-6)


def test_correction_is_bounded() -> None:
    modal = np.zeros((32, 32), bool)
    modal[:, :16] = True
    generated = np.full((32, 32, 3), 0.5, np.float32)
    shifted = harmonise(generated, np.ones_like(generated), modal, ~modal)
    assert MAX_SHIFT / 2 < (shifted - generated).max() <= MAX_SHIFT + 1e-6


def test_blur_keeps_the_sum_and_the_place() -> None:
    point = np.zeros((41, 41, 1), np.float32)
    point[20, 15] = 1
    blurred = gaussian_blur(point, 4.0)
    assert blurred.sum() == pytest.approx(1, abs=1e-4)
    assert np.unravel_index(blurred.argmax(), blurred.shape) == (20, 15, 0)
    assert blurred[20, 19, 0] / blurred[20, 15, 0] == pytest.approx(np.exp(-0.5), rel=1e-3)


def test_grow_and_shrink() -> None:
    mask = np.zeros((9, 9), bool)
    mask[3:6, 3:6] = True
    assert grow(mask).sum() == 25 and shrink(mask).sum() == 1
    assert np.array_equal(shrink(grow(mask)), mask)
    assert shrink(np.ones((4, 4), bool)).all()
