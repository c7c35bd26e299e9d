from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from miniatures import TINY_MASK, TINY_RGB, mask_network, rgb_network
from torch import Tensor

from deocclude.errors import InputError
from deocclude.parsing import FLIPPED_LABELS
from deocclude.stages.catalogue import build_mask_stage, build_rgb_stage, stage_specs
from deocclude.stages.completers.feedforward import FeedforwardMaskCompleter, FeedforwardRgbCompleter
from deocclude.stages.presets import preset, presets
from deocclude.types import MaskCompletion


def inputs(batch: int = 2, size: int = 64) -> tuple[Tensor, Tensor]:
    image = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    modal_mask = torch.zeros(batch, 1, size, size, dtype=torch.bool)
    modal_mask[..., 10:40, 20:40] = True
    return image, modal_mask


@pytest.mark.parametrize("refine_modal", [False, True])
@pytest.mark.parametrize("parsing", [False, True])
def test_mask_stage_keeps_its_laws(refine_modal: bool, parsing: bool) -> None:
    image, modal_mask = inputs()
    stage = FeedforwardMaskCompleter(mask_network(replace(TINY_MASK, parsing=parsing)), size=64)
    completion = stage(image, modal_mask, refine_modal=refine_modal)
    assert completion.modal_mask.dtype == completion.amodal_mask.dtype == torch.bool
    assert completion.amodal_probability.dtype == torch.float32
    assert (completion.amodal_mask | ~completion.modal_mask).all()
    assert torch.equal(completion.amodal_mask, (completion.amodal_probability >= 0.5) | completion.modal_mask)
    assert torch.equal(completion.modal_mask, modal_mask) != refine_modal
    for labels, mask in (
        (completion.modal_parsing, completion.modal_mask),
        (completion.amodal_parsing, completion.amodal_mask),
    ):
        assert (labels is not None) == parsing
        if labels is not None:
            assert labels.dtype == torch.int64 and labels.shape == mask[:, 0].shape
            assert labels.min() >= 0 and labels.max() < 20 and not labels[~mask[:, 0]].any()


def test_a_mask_refined_to_nothing_is_not_believed() -> None:
    network = mask_network()
    image, modal_mask = inputs()
    for parameter in network.modal_head.mask.parameters():
        torch.nn.init.zeros_(parameter)  # logit 0 everywhere: not foreground
    completion = FeedforwardMaskCompleter(network)(image, modal_mask, refine_modal=True)
    assert torch.equal(completion.modal_mask, modal_mask)


def test_without_a_modal_branch_the_mask_stays() -> None:
    stage = FeedforwardMaskCompleter(mask_network(replace(TINY_MASK, modal_branch=False)))
    image, modal_mask = inputs()
    completion = stage(image, modal_mask, refine_modal=True)
    assert torch.equal(completion.modal_mask, modal_mask) and completion.modal_parsing is None


class Witness(torch.nn.Module):
    """Remembers what stage 2 is given."""

    def __init__(self) -> None:
        super().__init__()
        self.parameter = torch.nn.Parameter(torch.zeros(1))

    def forward(self, *tensors: Tensor) -> Tensor:
        self.tensors = tensors
        return tensors[0]


def test_rgb_stage_gets_one_hot_parts() -> None:
    image, modal_mask = inputs()
    amodal_mask = modal_mask.clone()
    amodal_mask[..., 40:60, 20:40] = True
    labels = torch.randint(0, 20, (2, 64, 64), generator=torch.Generator().manual_seed(0))
    network = Witness()
    FeedforwardRgbCompleter(network, mirror=False)(  # type: ignore[arg-type]
        image, MaskCompletion(modal_mask, amodal_mask, amodal_mask.float(), labels, labels)
    )
    _, modal, amodal, modal_parts, amodal_parts = network.tensors
    assert torch.equal(modal.bool(), modal_mask) and torch.equal(amodal.bool(), amodal_mask)
    for parts, mask in ((modal_parts, modal_mask), (amodal_parts, amodal_mask)):
        assert parts.shape == (2, 19, 64, 64) and parts.is_floating_point()
        assert torch.equal(parts.sum(1), ((labels > 0) & mask[:, 0]).float())
        assert torch.equal(parts[:, 13], ((labels == 14) & mask[:, 0]).float())
    FeedforwardRgbCompleter(network, mirror=False)(  # type: ignore[arg-type]
        image, MaskCompletion(modal_mask, amodal_mask, amodal_mask.float())
    )
    assert not network.tensors[3].any() and network.tensors[4].shape == (2, 19, 64, 64)


@pytest.mark.parametrize("copied_colours", [0, 2])
def test_real_networks_in_a_row(copied_colours: int) -> None:
    image, modal_mask = inputs()
    config = replace(TINY_RGB, copied_colours=copied_colours)
    for dtype in (torch.float32, torch.bfloat16):
        completion = FeedforwardMaskCompleter(mask_network().to(dtype))(image, modal_mask)
        rgb = FeedforwardRgbCompleter(rgb_network(config).to(dtype))(image, completion)
        assert rgb.shape == image.shape and rgb.dtype == torch.float32
        assert rgb.min() >= 0 and rgb.max() <= 1 and not rgb.requires_grad


def test_a_mirrored_person_gets_the_mirrored_answer() -> None:
    """Left and right parts exchanged included; a network by itself does not keep this law."""
    image, modal_mask = inputs()
    swap = torch.tensor(FLIPPED_LABELS)
    answers = []
    for flipped in (False, True):
        given = [value.flip(-1) if flipped else value for value in (image, modal_mask)]
        completion = FeedforwardMaskCompleter(mask_network())(*given)
        rgb = FeedforwardRgbCompleter(rgb_network())(given[0], completion)
        assert completion.amodal_parsing is not None
        parsing = completion.amodal_parsing
        maps = [completion.amodal_probability, rgb, swap[parsing] if flipped else parsing]
        answers.append([value.flip(-1) if flipped else value for value in maps])
    for straight, mirrored in zip(*answers, strict=True):
        torch.testing.assert_close(straight, mirrored, rtol=1e-4, atol=1e-5)
    alone = FeedforwardMaskCompleter(mask_network(), mirror=False)
    assert not torch.allclose(
        alone(image, modal_mask).amodal_probability,
        alone(image.flip(-1), modal_mask.flip(-1)).amodal_probability.flip(-1),
    )


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(InputError, match="no mask stage 'sdd'; choose from feedforward, "):
        build_mask_stage("sdd")
    with pytest.raises(InputError, match="no RGB stage 'convex-hull'; choose from feedforward, "):
        build_rgb_stage("convex-hull")
    with pytest.raises(InputError, match="no preset 'best'; choose from feedforward"):
        preset("best")


def test_presets_name_stages_that_exist() -> None:
    for one in presets().values():
        assert one.mask_stage in stage_specs("mask") and one.rgb_stage in stage_specs("RGB")


@pytest.mark.parametrize("name", ["copy-input", "convex-hull"])
def test_trivial_mask_stages(name: str) -> None:
    stage = build_mask_stage(name)
    completion = stage(*inputs())
    assert stage.name == name and (completion.amodal_mask | ~completion.modal_mask).all()


@pytest.mark.parametrize("name", ["copy-input", "mean-colour"])
def test_trivial_rgb_stages(name: str) -> None:
    image, modal_mask = inputs()
    stage = build_rgb_stage(name)
    rgb = stage(image, MaskCompletion(modal_mask, modal_mask, modal_mask.float()))
    assert stage.name == name and rgb.shape == image.shape
