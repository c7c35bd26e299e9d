from __future__ import annotations

import numpy as np
import pytest
from miniatures import photograph

from deocclude.errors import InputError
from deocclude.pipelines.overview import GAP, LABEL_HEIGHT, MAX_HEIGHT, OUTLINE
from deocclude.pipelines.spread import FULL_HEAT, HEAT, spread, spread_picture


def person(height: int = 60, width: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Modal and amodal mask of somebody whose lower half is hidden, away from the picture's edge."""
    amodal = np.zeros((height, width), bool)
    amodal[height // 6 : height - height // 6, width // 4 : width - width // 4] = True
    modal = amodal.copy()
    modal[height // 2 :] = False
    return modal, amodal


def candidates(values: tuple[int, ...], modal: np.ndarray, amodal: np.ndarray) -> tuple[np.ndarray, ...]:
    image = photograph(*modal.shape)
    return tuple(np.where((amodal & ~modal)[..., None], np.uint8(value), image) for value in values)


def test_the_spread_is_the_standard_deviation_where_something_was_invented() -> None:
    modal, amodal = person()
    found = spread(candidates((10, 20, 60), modal, amodal))
    assert found.dtype == np.float32
    assert found[amodal & ~modal] == pytest.approx(np.std([10, 20, 60]) / 255, rel=1e-5)
    assert not found[~(amodal & ~modal)].any()


def test_the_order_of_candidates_does_not_matter() -> None:
    modal, amodal = person()
    some = candidates((10, 20, 60), modal, amodal)
    assert np.array_equal(spread(some), spread(some[::-1]))


def test_a_panel_for_each_candidate_and_one_of_heat() -> None:
    modal, amodal = person()
    some = candidates((0, 255), modal, amodal)
    sheet = spread_picture(some, modal, amodal)
    height, width = 40 + 2 * 4, 20 + 2 * 4  # the person and a tenth of its longer side all round
    assert sheet.shape == (height + LABEL_HEIGHT, 3 * (width + GAP) - GAP, 3)
    panels = [sheet[LABEL_HEIGHT:, place * (width + GAP) :][:, :width] for place in range(3)]
    rows, columns = slice(24, 44), slice(4, 24)
    assert (panels[0][rows, columns] == 0).all() and (panels[1][rows, columns] == 255).all()
    assert (panels[2][rows, columns] == HEAT[-1]).all(), "nothing differs more than black and white"
    assert np.array_equal(panels[0][4:23, columns], some[0][10:29, 10:30])
    assert tuple(panels[2][44, 10]) == OUTLINE and not panels[2][:20].any()


def test_equal_candidates_are_cold() -> None:
    modal, amodal = person()
    sheet = spread_picture(candidates((90, 90), modal, amodal), modal, amodal)
    assert tuple(sheet[LABEL_HEIGHT + 30, 2 * (28 + GAP) + 14]) == HEAT[0]


def test_half_the_heat_lies_between() -> None:
    modal, amodal = person()
    half = round(FULL_HEAT * 255)  # the standard deviation of two values is half their distance
    sheet = spread_picture(candidates((60, 60 + half), modal, amodal), modal, amodal)
    middle = sheet[LABEL_HEIGHT + 30, 2 * (28 + GAP) + 14].astype(float)
    assert np.abs(middle - (np.array(HEAT[1], float) + HEAT[2]) / 2).max() <= 2


def test_a_large_person_is_shown_smaller() -> None:
    modal, amodal = person(3000, 1000)
    sheet = spread_picture(candidates((0, 255), modal, amodal), modal, amodal)
    assert sheet.shape[0] == MAX_HEIGHT + LABEL_HEIGHT


def test_one_candidate_has_no_spread() -> None:
    modal, amodal = person()
    with pytest.raises(InputError, match="at least two"):
        spread_picture(candidates((0,), modal, amodal), modal, amodal)
