from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from miniatures import RedNetwork, photograph, segmenter_network, with_red_person

from deocclude.conditioning.segmenter import EmbeddedSegmenter, joints_of, main_parts
from deocclude.crops import SquareCrop
from deocclude.errors import InputError
from deocclude.models.segmenter import SegmenterConfig, SegmenterNetwork, SegmenterOutput
from deocclude.skeletons import FLIPPED_JOINTS


@pytest.fixture
def segmenter() -> EmbeddedSegmenter:
    return EmbeddedSegmenter(RedNetwork(), size=64, mirror=False, larger_size=None)  # type: ignore[arg-type]


def dark(height: int, width: int) -> np.ndarray:
    return photograph(height, width) // 4


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("size_hw", [(64, 64), (200, 120), (90, 300)])
def test_finds_the_person_at_the_photographs_size(segmenter: EmbeddedSegmenter, size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    box = (width // 4, height // 8, width // 4 + width // 3, height // 8 + 3 * height // 4)
    image, mask = with_red_person(dark(height, width), box)
    person = segmenter(image)
    assert person.modal_mask.shape == size_hw and person.modal_mask.dtype == bool
    assert iou(person.modal_mask, mask) > 0.9
    assert np.abs(np.array(person.box_xyxy) - box).max() <= 3
    assert person.joints is not None and person.joints.shape == (25, 3) and person.joints.dtype == np.float32


def test_small_person_is_looked_at_twice(segmenter: EmbeddedSegmenter) -> None:
    image, mask = with_red_person(dark(600, 800), (500, 300, 531, 347))
    person = segmenter(image)
    whole, closer = segmenter.network.boxes  # type: ignore[misc]
    assert whole.all() and 0 < closer.mean() < 1
    assert iou(person.modal_mask, mask) > 0.9


def test_large_person_is_looked_at_once(segmenter: EmbeddedSegmenter) -> None:
    segmenter(with_red_person(dark(100, 100), (20, 10, 60, 95))[0])
    assert len(segmenter.network.boxes) == 1  # type: ignore[arg-type]


def test_box_chooses_the_person(segmenter: EmbeddedSegmenter) -> None:
    image, left = with_red_person(dark(128, 256), (20, 20, 60, 110))
    image, right = with_red_person(image, (150, 20, 190, 110))
    for box, mask in (((15, 15, 65, 115), left), ((145, 15, 195, 115), right)):
        assert iou(segmenter(image, box).modal_mask, mask) > 0.9


def test_nobody_is_an_error(segmenter: EmbeddedSegmenter) -> None:
    with pytest.raises(InputError, match="no person found in the picture"):
        segmenter(dark(80, 80))
    image, _ = with_red_person(dark(80, 80), (10, 10, 20, 40))
    with pytest.raises(InputError, match="no person found in the box 50,10,80,70"):
        segmenter(image, (50, 10, 80, 70))
    with pytest.raises(InputError, match="no person found"):
        segmenter(with_red_person(dark(640, 640), (10, 10, 12, 13))[0])  # a speck


def test_a_person_split_by_an_occluder_stays_whole_and_specks_go() -> None:
    mask = np.zeros((50, 50), bool)
    mask[5:20, 10:20] = mask[25:40, 10:20] = True
    specks = mask.copy()
    specks[45:47, 45:47] = True
    everywhere = np.ones_like(mask)
    assert np.array_equal(main_parts(specks, everywhere), mask)
    upper = np.zeros_like(mask)
    upper[:20] = True
    assert np.array_equal(main_parts(specks, upper), mask & upper)
    assert not main_parts(mask & False, everywhere).any()


def test_joints_are_found_between_the_cells() -> None:
    """A Gaussian, drawn as in training, is read back to a tenth of a cell, in the photograph's pixels."""
    crop, (x, y) = SquareCrop(100, -20, 512), (341.0, 207.0)
    centres = (np.arange(64) + 0.5) * 8
    squared = (centres[:, None] - (y + 20)) ** 2 + (centres[None] - (x - 100)) ** 2
    logits = np.stack([3 - squared / (2 * 12**2)] * 25).astype(np.float32)
    joints = joints_of(logits, crop)
    assert np.abs(joints[:, :2] - (x, y)).max() < 0.8
    assert joints[:, 2] == pytest.approx(1 / (1 + np.exp(-logits.max())), abs=1e-6)


def test_joints_at_the_border_stay_inside() -> None:
    logits = np.zeros((25, 8, 8), np.float32)
    logits[:, 0, 7] = 5
    joints = joints_of(logits, SquareCrop(0, 0, 80))
    assert joints[0] == pytest.approx([75, 5, 1 / (1 + np.exp(-5))], abs=1e-4)


def test_joints_for_a_known_mask(segmenter: EmbeddedSegmenter) -> None:
    image = dark(100, 140)
    image[60:68, 40:48, 2] = 255
    segmenter.larger_size = 96
    joints = segmenter.locate_joints(image, (20, 30, 70, 90))
    assert [box.shape[-1] for box in segmenter.network.boxes] == [64], "the larger picture is for the mask alone"  # type: ignore[attr-defined]
    assert np.abs(joints[:, :2] - (44, 64)).max() < 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_real_network(dtype: torch.dtype) -> None:
    everything = EmbeddedSegmenter(segmenter_network(finds=True).to(dtype), size=64, larger_size=96)
    assert everything(photograph()).modal_mask.all()
    nothing = EmbeddedSegmenter(segmenter_network(finds=False).to(dtype), size=64, larger_size=96)
    with pytest.raises(InputError):
        nothing(photograph())


def test_a_mirrored_photograph_gets_the_mirrored_person() -> None:
    torch.manual_seed(0)
    network = SegmenterNetwork(SegmenterConfig(decoder_channels=(8, 8, 8)))
    segmenter = EmbeddedSegmenter(network, size=64, larger_size=96)
    image = photograph(64, 64)
    look, mirrored = segmenter.look(image, None), segmenter.look(image[:, ::-1].copy(), None)
    assert look.probability.any()
    np.testing.assert_allclose(mirrored.probability[:, ::-1], look.probability, atol=1e-4)
    expected = look.joint_heatmap_logits[list(FLIPPED_JOINTS)]
    np.testing.assert_allclose(mirrored.joint_heatmap_logits[:, :, ::-1], expected, atol=1e-3)


def test_two_sizes_are_averaged() -> None:
    """A network that is sure at its own size and says the contrary, twice as sure, at the larger one."""

    class BySize(RedNetwork):
        def forward(self, image: torch.Tensor, box: torch.Tensor) -> SegmenterOutput:
            output, side = super().forward(image, box), image.shape[-1]
            return replace(output, modal_logits=output.modal_logits * (1.0 if side == 64 else -2.0))

    image, mask = with_red_person(dark(64, 64), (16, 16, 48, 60))
    alone, both = (
        EmbeddedSegmenter(BySize(), size=64, mirror=False, larger_size=larger).look(image, None).mask  # type: ignore[arg-type]
        for larger in (None, 128)
    )
    assert iou(alone, mask) > 0.9 and iou(both, ~mask) > 0.9
