"""supervision and FiftyOne are optional: stand-ins here say what is handed to them, the real ones where installed."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_amodal import BEHIND, MAN, SIZE_HW, rectangle

from deocclude.data.detections import fiftyone_fields, supervision_detections

WOMAN, IN_FRONT = rectangle(SIZE_HW, BEHIND), rectangle(SIZE_HW, MAN)
MODAL, AMODAL = [IN_FRONT, WOMAN & ~IN_FRONT], [IN_FRONT, WOMAN]


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    def detections(**fields: Any) -> SimpleNamespace:
        return SimpleNamespace(**fields)

    detections.empty = lambda: "nobody"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=detections))
    monkeypatch.setitem(sys.modules, "fiftyone", SimpleNamespace(Detections=detections, Detection=detections))


def check_supervision(made: Any) -> None:
    assert np.array_equal(made.mask, np.stack(AMODAL)) and np.array_equal(made.data["modal"], np.stack(MODAL))
    assert np.array_equal(made.xyxy, [MAN, BEHIND]) and made.class_id.tolist() == [0, 0]
    assert made.data["occlusion_ratio"] == pytest.approx([0, 0.2])


def check_fiftyone(fields: dict[str, Any]) -> None:
    assert fields.keys() == {"modal", "amodal", "occlusion_ratio"}
    assert fields["occlusion_ratio"] == pytest.approx([0, 0.2])
    man, woman = fields["amodal"].detections
    assert (man.label, man.index, woman.index) == ("person", 0, 1)
    assert woman.bounding_box == pytest.approx([25 / 60, 10 / 40, 25 / 60, 25 / 40])
    assert woman.mask.shape == (25, 25) and woman.mask.all() and woman.occlusion_ratio == pytest.approx(0.2)
    assert fields["modal"].detections[1].mask.shape == (25, 20)


def test_supervision(stand_ins: None) -> None:
    check_supervision(supervision_detections(MODAL, AMODAL))
    check_supervision(supervision_detections(np.stack(MODAL), np.stack(AMODAL)))
    assert supervision_detections([], []) == "nobody"


def test_fiftyone(stand_ins: None) -> None:
    check_fiftyone(fiftyone_fields(MODAL, AMODAL))
    fields = fiftyone_fields([MODAL[0] & False, MODAL[1]], AMODAL)
    (woman,) = fields["modal"].detections
    assert woman.index == 1 and len(fields["amodal"].detections) == 2, "an empty mask has no box"


def test_the_real_supervision() -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    check_supervision(supervision_detections(MODAL, AMODAL))
    assert len(supervision_detections([], [])) == 0


def test_the_real_fiftyone() -> None:
    pytest.importorskip("fiftyone", reason="FiftyOne is not installed")
    check_fiftyone(fiftyone_fields(MODAL, AMODAL))


@pytest.mark.parametrize(
    ("function", "library"), [(supervision_detections, "supervision"), (fiftyone_fields, "fiftyone")]
)
def test_one_sentence_without_the_library(monkeypatch: pytest.MonkeyPatch, function: Any, library: str) -> None:
    monkeypatch.delitem(sys.modules, library, raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:2])
    with pytest.raises(ModuleNotFoundError, match=f"needs the package '{library}'; pip install {library}"):
        function(MODAL, AMODAL)


def test_other_masks_are_refused(stand_ins: None) -> None:
    for modal in (MODAL[0].astype(np.uint8), MODAL[0][None], MODAL[0][:5]):
        with pytest.raises(ValueError, match="bool"):
            supervision_detections([modal], AMODAL[:1])
    with pytest.raises(ValueError, match="argument"):
        fiftyone_fields(MODAL, AMODAL[:1])
