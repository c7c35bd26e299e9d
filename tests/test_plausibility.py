from __future__ import annotations

import numpy as np
import pytest

from deocclude.pipelines.plausibility import MAX_DOUBT, MAX_INVENTED_SHARE, judge


def masks(hidden_rows: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Somebody of 60 x 20 pixels, so many rows hidden: modal and amodal mask."""
    amodal = np.zeros((80, 40), bool)
    amodal[10:70, 10:30] = True
    modal = amodal.copy()
    modal[70 - hidden_rows : 70] = False
    return modal, amodal


def test_certain_stages_are_believed() -> None:
    modal, amodal = masks()
    found = judge(modal, amodal, amodal.astype(np.float32))
    assert found.plausible and found.reasons == ()
    assert found.figures == {"doubt": 0.0, "invented_share": 0.5}


def test_an_unsure_mask_stage_is_said() -> None:
    modal, amodal = masks()
    found = judge(modal, amodal, np.where(amodal, 0.85, 0.05).astype(np.float32))
    assert not found.plausible and len(found.reasons) == 1 and "unsure" in found.reasons[0]
    outside = ((~amodal).sum() / amodal.sum()) * 4 * 0.05 * 0.95
    assert found.figures["doubt"] == pytest.approx(4 * 0.85 * 0.15 + outside, abs=1e-3)


def test_much_invention_is_said() -> None:
    modal, amodal = masks(40)
    found = judge(modal, amodal, amodal.astype(np.float32))
    assert found.figures["invented_share"] == 2 and "invented" in found.reasons[0]


def test_every_reason_is_told() -> None:
    modal, amodal = masks(50)
    found = judge(modal, amodal, np.full(amodal.shape, 0.5, np.float32))
    assert len(found.reasons) == 2
    assert found.figures["doubt"] > MAX_DOUBT
    assert found.figures["invented_share"] > MAX_INVENTED_SHARE


def test_nothing_invented_is_nothing_to_doubt() -> None:
    _, amodal = masks()
    assert judge(amodal, amodal, np.full(amodal.shape, 0.5, np.float32)).plausible


def test_nothing_visible_is_infinitely_much_invention() -> None:
    _, amodal = masks()
    assert judge(amodal & False, amodal, amodal.astype(np.float32)).figures["invented_share"] == float("inf")


def test_figures_do_not_depend_on_the_size_of_the_photograph() -> None:
    modal, amodal = masks()
    probability = np.where(amodal, 0.9, 0.1).astype(np.float32)
    larger = (np.repeat(np.repeat(array, 3, axis=0), 3, axis=1) for array in (modal, amodal, probability))
    assert judge(*larger).figures == pytest.approx(judge(modal, amodal, probability).figures, abs=1e-3)
