"""NanoDet-g and MoveNet together: what the joining rule promises, and what they say of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from miniatures import movenet_network, nanodet_network, photograph, write_assets
from torch import Tensor, nn

from deocclude import weights
from deocclude.conditioning.boxes import ScoredBoxes
from deocclude.conditioning.embedded_detector import (
    MOVENET_ALONE,
    MOVENET_SCALE,
    NANODET_ALONE,
    SIZE,
    EmbeddedDetector,
    joined,
    load_embedded_detector,
)
from deocclude.conditioning.movenet import MoveNetEstimator
from deocclude.models.perception import nanodet
from deocclude.models.perception.nanodet import NanoDetOutput

BOX = (0.0, 0.0, 40.0, 100.0)
SHIFTED = (4.0, 0.0, 44.0, 100.0)
ELSEWHERE = (60.0, 0.0, 100.0, 100.0)


def boxes(*found: tuple[tuple[float, ...], float]) -> ScoredBoxes:
    return ScoredBoxes(
        np.array([box for box, _ in found], float).reshape(-1, 4), np.array([score for _, score in found], float)
    )


def test_a_person_whom_both_see_has_the_mean_box_and_is_surer_than_with_either() -> None:
    people, rows = joined(boxes((BOX, 0.6)), boxes((SHIFTED, 0.2)))
    assert people.boxes.tolist() == [[2, 0, 42, 100]] and rows.tolist() == [0]
    assert people.scores[0] == pytest.approx(1 - (1 - 0.6) * (1 - MOVENET_SCALE * 0.2))


def test_whom_one_sees_alone_has_a_lower_score_than_its_own() -> None:
    people, rows = joined(boxes((BOX, 0.6)), boxes((ELSEWHERE, 0.2)))
    assert people.scores == pytest.approx([NANODET_ALONE * 0.6, MOVENET_ALONE * MOVENET_SCALE * 0.2])
    assert rows.tolist() == [-1, 0]
    assert people.boxes.tolist() == [list(BOX), list(ELSEWHERE)]


def test_keypoints_stay_with_their_box_where_movenet_repeats_itself() -> None:
    """MoveNet's second person is the first one again, less sure; its third is the one NanoDet sees."""
    people, rows = joined(boxes((ELSEWHERE, 0.9)), boxes((BOX, 0.4), (BOX, 0.3), (ELSEWHERE, 0.2)))
    assert rows.tolist() == [2, 0] and len(people) == 2


def test_a_part_of_a_surer_person_is_no_person() -> None:
    people, _ = joined(boxes((BOX, 0.9)), boxes(((10.0, 0.0, 30.0, 40.0), 0.3)))
    assert people.boxes.tolist() == [list(BOX)]


def test_no_one_and_no_one_is_no_one() -> None:
    people, rows = joined(boxes(), boxes())
    assert len(people) == len(rows) == 0 and people.boxes.shape == (0, 4)


corner = st.integers(0, 60).map(float)
side = st.integers(1, 60).map(float)
box_strategy = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
found_strategy = st.lists(st.tuples(box_strategy, st.floats(0, 1)), max_size=5).map(lambda found: boxes(*found))


@given(of_nanodet=found_strategy, of_movenet=found_strategy)
def test_people_are_in_order_probable_inside_what_was_seen_and_no_keypoints_are_used_twice(
    of_nanodet: ScoredBoxes, of_movenet: ScoredBoxes
) -> None:
    people, rows = joined(of_nanodet, of_movenet)
    assert (np.diff(people.scores) <= 0).all() and (people.scores >= 0).all() and (people.scores <= 1).all()
    assert len(people) <= len(of_nanodet) + len(of_movenet)
    used = rows[rows >= 0].tolist()
    assert len(set(used)) == len(used) and all(row < len(of_movenet) for row in used)
    everything = np.concatenate([of_nanodet.boxes, of_movenet.boxes])
    if len(people):
        assert (people.boxes[:, :2] >= everything[:, :2].min(axis=0)).all()
        assert (people.boxes[:, 2:] <= everything[:, 2:].max(axis=0)).all()


class OneCell(nn.Module):
    """In NanoDet's place: one cell, of level 32, sees a person with a score and class 16 with another."""

    def __init__(self, person: float, other: float) -> None:
        super().__init__()
        self.like = nn.Parameter(torch.zeros(()))
        self.person, self.other = person, other

    def forward(self, image: Tensor) -> NanoDetOutput:
        scores = torch.zeros(1, 3549, 80)
        scores[0, -1, 0], scores[0, -1, 16] = self.person, self.other
        return NanoDetOutput(scores, torch.zeros(1, 3549, 4, 11))


@pytest.mark.parametrize(("other", "count"), [(0.7, 1), (0.9, 0)])
def test_what_is_more_clearly_something_else_is_no_person(other: float, count: int) -> None:
    movenet = MoveNetEstimator(movenet_network(finds=False), long_side=64)
    detector = EmbeddedDetector(OneCell(0.8, other), movenet)  # type: ignore[arg-type]
    assert len(detector(photograph(48, 64))) == count


class Recorder(nn.Module):
    """In NanoDet's place: it keeps what it is shown and sees no one."""

    def __init__(self) -> None:
        super().__init__()
        self.like = nn.Parameter(torch.zeros(()))
        self.inputs: list[Tensor] = []

    def forward(self, image: Tensor) -> NanoDetOutput:
        self.inputs.append(image)
        return NanoDetOutput(torch.zeros(1, 3549, 80), torch.zeros(1, 3549, 4, 11))


def miniature(*, finds: bool, movenet_finds: bool | None = None) -> EmbeddedDetector:
    movenet = movenet_network(finds=finds if movenet_finds is None else movenet_finds)
    return EmbeddedDetector(nanodet_network(finds=finds), MoveNetEstimator(movenet, long_side=64))


def test_nanodet_is_shown_bgr_stretched_to_its_square_and_normalised() -> None:
    network = Recorder()
    detector = EmbeddedDetector(network, MoveNetEstimator(movenet_network(finds=False)))  # type: ignore[arg-type]
    image = np.zeros((30, 200, 3), np.uint8)
    image[:] = (255, 0, 128)
    assert detector(image) == []
    (seen,) = network.inputs
    assert seen.shape == (1, 3, SIZE, SIZE)
    back = seen[0] * torch.tensor(nanodet.STD_BGR).view(3, 1, 1) + torch.tensor(nanodet.MEAN_BGR).view(3, 1, 1)
    assert torch.allclose(back, torch.tensor([128.0, 0, 255]).view(3, 1, 1).expand_as(back), atol=1e-3)


@pytest.mark.parametrize("size_hw", [(48, 64), (64, 48), (1, 1), (3, 300)])
def test_a_person_who_fills_the_photograph(size_hw: tuple[int, int]) -> None:
    (person,) = miniature(finds=True)(photograph(*size_hw))
    assert person.box_xyxy == (0, 0, size_hw[1], size_hw[0]) and person.confidence > 0.95
    assert person.joints is not None and person.joints.shape == (25, 3) and person.joints_from == "movenet"


def test_a_person_whom_movenet_did_not_see_has_no_joints() -> None:
    (person,) = miniature(finds=True, movenet_finds=False)(photograph(48, 64))
    assert person.joints is None and person.joints_from is None
    assert person.confidence == pytest.approx(NANODET_ALONE * torch.tensor(5.0).sigmoid().item(), abs=1e-4)


def test_below_the_threshold_is_no_one() -> None:
    assert miniature(finds=False)(photograph(48, 64)) == []
    seen = miniature(finds=True)
    seen.threshold = 1.01
    assert seen(photograph(48, 64)) == []


def test_networks_are_loaded_once_for_a_set_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_assets(tmp_path)
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    device = torch.device("cpu")
    first, second = (load_embedded_detector(device=device) for _ in range(2))
    assert first.network is second.network and first.movenet is second.movenet
    monkeypatch.undo()
    assert load_embedded_detector(device=device).network is not first.network


def test_the_shipped_detector_sees_the_astronaut_and_no_one_in_noise_or_coffee() -> None:
    skimage_data = pytest.importorskip("skimage.data")
    detector = load_embedded_detector(device=torch.device("cpu"))
    (person,) = detector(skimage_data.astronaut())
    x0, y0, x1, y1 = person.box_xyxy
    assert x0 < 60 and y0 < 40 and x1 > 340 and y1 > 480 and person.confidence > 0.8
    assert person.joints is not None and (np.abs(person.joints[0, :2] - (222, 120)) < 15).all()  # the nose
    assert detector(skimage_data.coffee()) == []
    assert detector(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)) == []
