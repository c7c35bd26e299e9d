"""The trivial stages keep the promises of the two protocols."""

import numpy as np
import pytest
import torch

from deocclude.stages.completers.trivial import ConvexHullMask, CopyInputMask, CopyInputRgb, MeanColourRgb
from deocclude.types import MaskCompletion


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def modal_mask() -> torch.Tensor:
    """A ring and a single pixel."""
    mask = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    mask[0, 0, 2:12, 3:13] = True
    mask[0, 0, 4:10, 5:11] = False
    mask[1, 0, 7, 7] = True
    return mask


@pytest.mark.parametrize("stage", [CopyInputMask(), ConvexHullMask()])
def test_the_visible_part_belongs_to_the_person(stage, image: torch.Tensor, modal_mask: torch.Tensor) -> None:
    completion = stage(image, modal_mask)

    assert completion.amodal_mask.dtype == torch.bool and completion.amodal_mask.shape == modal_mask.shape
    assert (completion.amodal_mask | ~modal_mask).all()
    assert torch.equal(completion.modal_mask, modal_mask)
    assert torch.equal(completion.amodal_probability > 0.5, completion.amodal_mask)


def test_the_hull_fills_the_ring_and_stays_in_its_box(image: torch.Tensor, modal_mask: torch.Tensor) -> None:
    amodal_mask = ConvexHullMask()(image, modal_mask).amodal_mask

    assert int(amodal_mask[0].sum()) == 100
    assert int(amodal_mask[1].sum()) == 1


def test_the_hull_of_nothing_is_nothing(image: torch.Tensor) -> None:
    assert not ConvexHullMask()(image, torch.zeros(2, 1, 16, 16, dtype=torch.bool)).amodal_mask.any()


def test_mean_colour_is_the_mean_of_visible_pixels(image: torch.Tensor, modal_mask: torch.Tensor) -> None:
    painted = MeanColourRgb()(image, MaskCompletion(modal_mask, modal_mask, modal_mask.float()))

    assert painted.shape == image.shape
    for index in range(2):
        visible = image[index].permute(1, 2, 0)[modal_mask[index, 0]].numpy()
        expected = np.broadcast_to(visible.mean(axis=0)[:, None, None], (3, 16, 16))
        np.testing.assert_allclose(painted[index].numpy(), expected, rtol=1e-5)


def test_copy_input_paints_nothing(image: torch.Tensor, modal_mask: torch.Tensor) -> None:
    assert torch.equal(CopyInputRgb()(image, MaskCompletion(modal_mask, modal_mask, modal_mask.float())), image)
