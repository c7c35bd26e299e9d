"""What is invented, on masks drawn by hand: `#` both masks, `o` amodal alone, `m` modal alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deocclude.metrics.inventions import Islands, background_invention, invented_fraction, islands, self_invention

MASK = arrays(bool, (5, 6))
EMPTY = np.zeros((5, 6), bool)


def drawn(*lines: str) -> np.ndarray:
    """Characters (H, W)."""
    return np.array([list(line) for line in lines])


def masks(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The method's amodal mask and its own modal mask."""
    return np.isin(picture, ["#", "o"]), np.isin(picture, ["#", "m"])


def test_fractions_of_the_visible_body_by_hand() -> None:
    """The method sees the upper two of four visible rows and calls one of the lower two hidden."""
    amodal, own = masks(drawn("......", ".####.", ".####.", ".oooo.", ".....o"))
    visible = np.zeros((5, 6), bool)
    visible[1:5, 1:5] = True

    assert self_invention(amodal, own, visible) == 4 / 16
    assert invented_fraction(amodal, own, visible) == 5 / 16
    assert background_invention(amodal, own, visible, ~visible) == 1 / 16
    assert math.isnan(background_invention(amodal, own, visible, EMPTY)), "no background is known"


def test_a_method_that_was_given_the_modal_mask_claims_nothing_of_it() -> None:
    amodal, own = masks(drawn("oooooo", "o####o", "o####o", "oooooo", "......"))

    assert self_invention(amodal, own, own) == 0
    assert invented_fraction(amodal, own, own) == 16 / 8


def test_islands_are_pieces_that_do_not_touch_the_body() -> None:
    """One piece beside the body, one that touches it by a corner alone, one apart."""
    amodal, own = masks(drawn("##o...", "##....", "..o..o", ".....o", "ooo..."))

    assert islands(amodal, own) == Islands(area=5, invented=7)
    assert islands(amodal, own).fraction == 5 / 7


def test_a_piece_that_touches_at_its_far_end_is_no_island() -> None:
    amodal, own = masks(drawn("#ooooo", ".....o", "..oooo", "......", "......"))

    assert islands(amodal, own) == Islands(area=0, invented=10)


def test_nothing_invented_and_nothing_visible() -> None:
    assert islands(EMPTY, EMPTY) == Islands(0, 0) and math.isnan(islands(EMPTY, EMPTY).fraction)
    assert islands(~EMPTY, EMPTY) == Islands(30, 30), "without a visible body everything is apart"
    assert islands(~EMPTY, ~EMPTY) == Islands(0, 0)
    assert math.isnan(self_invention(~EMPTY, EMPTY, EMPTY)) and math.isnan(invented_fraction(~EMPTY, EMPTY, EMPTY))


@given(MASK, MASK, MASK, st.booleans())
def test_as_sets_of_pixels(amodal: np.ndarray, own: np.ndarray, visible: np.ndarray, has_background: bool) -> None:
    def pixels(mask: np.ndarray) -> set[tuple[int, int]]:
        return {(int(row), int(column)) for row, column in np.argwhere(mask)}

    invented, body = pixels(amodal) - pixels(own), pixels(visible)
    background = ~visible if has_background else EMPTY
    found = islands(amodal, own)

    assert found.invented == len(invented) and 0 <= found.area <= found.invented
    if body:
        assert self_invention(amodal, own, visible) == pytest.approx(len(invented & body) / len(body))
        assert invented_fraction(amodal, own, visible) == pytest.approx(len(invented) / len(body))
    if body and background.any():
        parts = self_invention(amodal, own, visible) + background_invention(amodal, own, visible, background)
        assert parts == pytest.approx(invented_fraction(amodal, own, visible))


@given(MASK, MASK)
def test_an_island_is_found_by_growing_the_body_through_what_is_invented(amodal: np.ndarray, own: np.ndarray) -> None:
    """The plain way: what can be walked to from the body over invented pixels, by 8 neighbours, is no island."""
    invented = amodal & ~own
    reached = {(int(row), int(column)) for row, column in np.argwhere(own)}
    border = list(reached)
    while border:
        row, column = border.pop()
        for step in np.ndindex(3, 3):
            there = row + step[0] - 1, column + step[1] - 1
            if 0 <= there[0] < 5 and 0 <= there[1] < 6 and there not in reached and invented[there]:
                reached.add(there)
                border.append(there)
    apart = [place for place in map(tuple, np.argwhere(invented)) if place not in reached]

    assert islands(amodal, own).area == len(apart)
