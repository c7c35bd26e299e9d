from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from tiny_amodal import random_mask, rectangle

from deocclude.data.segmentations import decode_segmentation, encode_run_lengths, encode_segmentation
from deocclude.errors import InputError


@settings(max_examples=80)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 40), width=st.integers(1, 40))
def test_a_round_trip_returns_the_mask(seed: int, height: int, width: int) -> None:
    mask = random_mask(np.random.default_rng(seed), (height, width))
    for encoded in (encode_segmentation(mask), encode_run_lengths(mask)):
        assert np.array_equal(decode_segmentation(encoded, mask.shape), mask)


def test_polygons_wherever_there_is_no_hole() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        mask = random_mask(rng, (24, 30))
        _, num_backgrounds = label(np.pad(~mask, 1, constant_values=True), structure=np.ones((3, 3)))
        assert isinstance(encode_segmentation(mask), list) == (mask.any() and num_backgrounds == 1)


def test_parts_and_edges() -> None:
    mask = rectangle((10, 12), (0, 0, 3, 10)) | rectangle((10, 12), (5, 2, 12, 4))
    assert encode_segmentation(mask) == [[0, 0, 3, 0, 3, 10, 0, 10], [5, 2, 12, 2, 12, 4, 5, 4]]
    assert isinstance(encode_segmentation(mask & ~rectangle((10, 12), (1, 1, 2, 2))), dict), "a hole"
    assert isinstance(encode_segmentation(np.zeros((4, 4), bool)), dict), "nothing"
    assert encode_segmentation(np.eye(2, dtype=bool)) == [[0, 0, 1, 0, 1, 1, 0, 1], [1, 1, 2, 1, 2, 2, 1, 2]]


def test_one_flat_polygon_is_read_as_cocoa_writes_it() -> None:
    assert np.array_equal(decode_segmentation([1, 2, 5.0, 2, 5, 6, 1, 6], (8, 8)), rectangle((8, 8), (1, 2, 5, 6)))
    assert not decode_segmentation([], (8, 8)).any()
    assert not decode_segmentation([[1, 1, 2, 2]], (8, 8)).any()


def test_a_hand_drawn_outline_is_another_list_and_the_same_mask() -> None:
    drawn = [[3.3, 2.1, 17.8, 4.4, 15.2, 16.9, 9.1, 11.5, 2.7, 18.6]]
    mask = decode_segmentation(drawn, (20, 20))
    assert np.array_equal(decode_segmentation(encode_segmentation(mask), (20, 20)), mask)


@pytest.mark.parametrize(
    "segmentation",
    [
        5,
        None,
        "x",
        {},
        {"size": [3, 3]},
        {"size": [4, 3], "counts": [12]},
        {"size": [3, 3], "counts": [8]},
        {"size": [3, 3], "counts": [-1, 10]},
        {"size": [3, 3], "counts": "zzzzzzzzzzzz"},
        {"size": [3, 3], "counts": 7},
        [[1, 2, 3]],
        [["a"] * 6],
        [[float("nan")] * 6],
        [[1e12, 0, 0, 0, 5, 5]],
        [{"x": 1}],
    ],
)
def test_what_is_no_mask_is_refused(segmentation: Any) -> None:
    with pytest.raises(InputError):
        decode_segmentation(segmentation, (3, 3))
