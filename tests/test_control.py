"""What a user may say about a person."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from miniatures import GrowDown, Paint, RedSegmenter, photograph
from torch import Tensor

from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.pipelines.control import Control, limited, with_joints
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.skeletons import BODY_25
from deocclude.types import Hints, MaskCompletion

SHAPE = (40, 50)


def mask(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    result = np.zeros(SHAPE, bool)
    result[y0:y1, x0:x1] = True
    return result


def ramp(modal: np.ndarray) -> np.ndarray:
    """Probability that falls from 1 at the top to 0 at the bottom."""
    return np.broadcast_to(np.linspace(1, 0, SHAPE[0], dtype=np.float32)[:, None], SHAPE)


def test_a_person_fills_its_box_where_stage_one_sees_a_chance_of_it() -> None:
    modal = mask(20, 2, 30, 12)
    probability = ramp(modal)
    box = (15, 2, 35, 36)
    filled, notes = limited(modal | (probability > 0.9), modal, probability, Control(box_xyxy=box))
    assert mask_box(filled) == box and not notes
    assert not filled[:, :15].any() and not filled[36:].any(), "nothing is invented outside the box"


def test_the_lowest_threshold_counts_too() -> None:
    modal = mask(20, 2, 30, 12)
    faint = np.where(mask(15, 2, 35, 36), np.float32(0.03), np.float32(0)) + modal
    filled, notes = limited(modal, modal, faint.astype(np.float32), Control(box_xyxy=(15, 2, 35, 36)))
    assert mask_box(filled) == (15, 2, 35, 36) and not notes


@pytest.mark.parametrize(
    ("control", "sentence"),
    [
        (Control(joints={"left-knee": (float("nan"), 3)}), "outside the picture"),
        (Control(joints={"left-knee": (5000, -30)}), "outside the picture"),
        (Control(leave_alone=np.ones((3, 3), bool)), "leave alone"),
        (Control(box_xyxy=(0, 0, 500, 3)), "outside the picture"),
    ],
)
def test_a_wish_about_another_picture_is_refused(control: Control, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        control.checked(SHAPE)


def test_any_usual_form_of_a_region_and_a_box() -> None:
    region = mask(0, 0, 9, 9)
    for part in (np.zeros(SHAPE, bool), np.ones(SHAPE, np.uint8), ~mask(20, 20, 30, 30)):
        kept = Control(leave_alone=part).checked(SHAPE).leave_alone  # any part of the picture is one
        assert kept is not None and np.array_equal(kept, part > 0)
    checked = Control(leave_alone=region.astype(np.uint8), box_xyxy=(1.2, 2.0, 30.0, 20.7)).checked(SHAPE)  # type: ignore[arg-type]
    assert checked.leave_alone is not None and checked.leave_alone.dtype == bool
    assert np.array_equal(checked.leave_alone, region) and checked.box_xyxy == (1, 2, 30, 21)


def test_a_box_that_cannot_be_filled_is_told() -> None:
    modal = mask(20, 2, 30, 12)
    kept, notes = limited(modal, modal, modal.astype(np.float32), Control(box_xyxy=(0, 0, 50, 40)))
    assert np.array_equal(kept, modal) and "could not be made to fill" in notes[0]
    faint = modal + np.float32(0.3) * mask(10, 0, 40, 14)
    kept, notes = limited(modal, modal, faint.astype(np.float32), Control(box_xyxy=(0, 0, 50, 40)))
    assert np.array_equal(kept, modal) and notes, "no halo of what is believed in below a half"
    with pytest.raises(InputError, match="leaves out what is visible"):
        limited(modal, modal, faint.astype(np.float32), Control(box_xyxy=(0, 20, 50, 40)))


def test_a_region_is_left_alone_but_never_the_visible_person() -> None:
    modal, amodal = mask(20, 2, 30, 12), mask(15, 2, 35, 40)
    kept, _ = limited(amodal, modal, ramp(modal), Control(leave_alone=mask(0, 0, 50, 20)))
    assert np.array_equal(kept, modal | mask(15, 20, 35, 40))


def test_joints_take_the_place_of_those_found() -> None:
    found = np.full((25, 3), 0.3, np.float32)
    moved = with_joints(found, {"left-knee": (4.0, 5.0)})
    knee = BODY_25.index("left-knee")
    assert moved is not None and moved[knee].tolist() == [4.0, 5.0, 1.0]
    assert np.array_equal(np.delete(moved, knee, 0), np.delete(found, knee, 0)) and (found == 0.3).any()
    alone = with_joints(None, {"left-knee": (4.0, 5.0)})
    assert alone is not None and alone[:, 2].sum() == 1
    assert with_joints(None, {}) is None


@pytest.mark.parametrize(
    ("control", "sentence"),
    [
        (Control(joints={"left-knee": (1, 1)}), "'grow-down' reads no keypoints; --mask-stage diffusion would"),
        (Control(joints={"tail": (1, 1)}), "no joint 'tail'"),
        (Control(words="a man"), "'paint' reads no prompt; --rgb-stage amodal, .*flux2-klein"),
        (Control(more_words="a man"), "'paint' reads no prompt"),
        (
            Control(reference=np.zeros((4, 4, 3), np.uint8)),
            "'paint' reads no reference photograph; .*diffusion with --context image",
        ),
    ],
)
def test_what_these_stages_do_not_read_is_refused(control: Control, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        control.check(GrowDown(), Paint())


class Reads(Paint):
    """An RGB stage that reads a prompt and a reference."""

    accepts = frozenset({"prompt", "reference"})

    def describe(self, image: Tensor) -> list[str]:
        return ["a woman"] * len(image)

    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        self.given = hints
        return super().complete(image, completion, hints)


@pytest.mark.parametrize(
    ("control", "read"),
    [
        (Control(), "a woman"),
        (Control(words="a man in red"), "a man in red"),
        (Control(more_words="in red"), "a woman, in red"),
        (Control(words="a man", more_words="in red"), "a man, in red"),
    ],
)
def test_words_replace_or_follow_the_describers(control: Control, read: str) -> None:
    stage, modal = Reads(), mask(20, 2, 30, 12)
    deoccluder = Deoccluder(RedSegmenter(), GrowDown(), stage)
    result = deoccluder(photograph(*SHAPE), modal_mask=modal, control=control)
    assert stage.given.prompt == [read] and result.facts["words"] == read
    assert stage.given.reference is None


def test_a_reference_reaches_the_stage() -> None:
    stage, reference = Reads(), photograph(9, 7)
    Deoccluder(RedSegmenter(), GrowDown(), stage)(
        photograph(*SHAPE), modal_mask=mask(20, 2, 30, 12), control=Control(reference=reference)
    )
    assert torch.equal((stage.given.reference[0] * 255).round().byte(), torch.from_numpy(reference).permute(2, 0, 1))
