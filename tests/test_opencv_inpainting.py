"""OpenCV's inpaintings as stages: what they may continue, and where."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from miniatures import GrowDown, RedSegmenter, photograph, with_red_person
from test_deoccluder import assert_laws
from torch import Tensor

from deocclude import Deoccluder, InputError
from deocclude.stages.catalogue import build_rgb_stage
from deocclude.types import MaskCompletion

PERSON_ONLY = ["telea", "navier-stokes"]
WHOLE_PICTURE = [f"{method}-whole-picture" for method in PERSON_ONLY]
SIZE = 32


def completed() -> tuple[Tensor, MaskCompletion]:
    """Two people who go on downwards; the second has a hole in the middle too."""
    image = (torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    modal_mask = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.bool)
    modal_mask[..., 4:16, 8:24] = True
    modal_mask[1, :, 8:12, 12:16] = False
    amodal_mask = torch.zeros_like(modal_mask)
    amodal_mask[..., 4:28, 8:24] = True
    return image, MaskCompletion(modal_mask, amodal_mask, amodal_mask.float())


@pytest.mark.parametrize("name", PERSON_ONLY + WHOLE_PICTURE)
def test_known_pixels_stay_and_unknown_ones_are_continued(name: str) -> None:
    image, completion = completed()
    stage = build_rgb_stage(name)
    painted = stage(image, completion)
    assert stage.name == name and painted.shape == image.shape and painted.dtype == torch.float32
    assert painted.min() >= 0 and painted.max() <= 1
    known = completion.modal_mask.expand_as(image)
    torch.testing.assert_close(painted[known], image[known])
    hidden = (completion.amodal_mask & ~completion.modal_mask).expand_as(image)
    assert not torch.equal(painted[hidden], image[hidden])


@pytest.mark.parametrize("name", PERSON_ONLY + WHOLE_PICTURE)
def test_one_colour_goes_on_as_that_colour(name: str) -> None:
    _, completion = completed()
    colour = torch.tensor([0.2, 0.4, 0.8]).view(1, 3, 1, 1)
    painted = build_rgb_stage(name)(colour.expand(2, 3, SIZE, SIZE), completion)
    torch.testing.assert_close(painted, colour.expand_as(painted), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", PERSON_ONLY)
def test_by_default_the_person_alone_is_continued(name: str) -> None:
    image, completion = completed()
    elsewhere = torch.where(completion.modal_mask, image, 1 - image)
    stage = build_rgb_stage(name)
    assert torch.equal(stage(image, completion), stage(elsewhere, completion))


@pytest.mark.parametrize("name", WHOLE_PICTURE)
def test_the_whole_picture_counts_where_that_is_asked_for(name: str) -> None:
    image, completion = completed()
    elsewhere = torch.where(completion.amodal_mask, image, 1 - image)
    stage = build_rgb_stage(name)
    first, second = stage(image, completion), stage(elsewhere, completion)
    assert not torch.equal(first[..., 20:28, 8:24], second[..., 20:28, 8:24])
    hidden = completion.amodal_mask & ~completion.modal_mask
    occluder = torch.where(hidden, 1 - image, image)
    assert torch.equal(stage(occluder, completion), first)  # what hides the person never counts


@pytest.mark.parametrize("name", PERSON_ONLY + WHOLE_PICTURE)
def test_people_of_a_batch_are_painted_one_by_one(name: str) -> None:
    image, completion = completed()
    stage = build_rgb_stage(name)
    together = stage(image, completion)
    for index in range(2):
        one = slice(index, index + 1)
        masks = (completion.modal_mask[one], completion.amodal_mask[one], completion.amodal_probability[one])
        assert torch.equal(stage(image[one], MaskCompletion(*masks)), together[one])


def test_of_nobody_nothing_is_continued() -> None:
    image, completion = completed()
    nobody = MaskCompletion(completion.modal_mask & False, completion.amodal_mask, completion.amodal_probability)
    torch.testing.assert_close(build_rgb_stage("telea")(image, nobody), image)


@pytest.mark.parametrize("name", PERSON_ONLY + WHOLE_PICTURE)
def test_from_photograph_to_result(name: str) -> None:
    image, mask = with_red_person(photograph(96, 80), (25, 20, 55, 60))
    stage = build_rgb_stage(name)
    first, again = (Deoccluder(RedSegmenter(), GrowDown(), stage)(image, mask) for _ in range(2))
    assert_laws(image, first)
    assert np.array_equal(first.rgb, again.rgb)
    if name in PERSON_ONLY:
        # Red, but for the contour, whose pixels on the crop are mixed with what is beside it.
        assert np.abs(first.rgb[first.invisible_mask].mean(axis=0) - (255, 0, 0)).max() < 40


def test_without_opencv_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"needs OpenCV; pip install 'deocclude\[baselines\]'"):
        build_rgb_stage("telea")
