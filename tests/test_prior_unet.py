"""U_mask and its relatives in miniature. Their real sizes: `test_diffusion_parameters.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from deocclude.models.diffusion.body_prior import PriorFeatures
from deocclude.models.diffusion.configs import INPUT_CHANNELS, PriorUNetConfig
from deocclude.models.diffusion.mask_completion import PriorUNet
from deocclude.stages.completers.diffusion_tiny import tiny_unet_config
from deocclude.stages.diffusion import MASK_DESIGNS, RGB_DESIGN

CONFIGS = MASK_DESIGNS | {"two-stage-unet": RGB_DESIGN}
EVERY_CONFIG = pytest.mark.parametrize("name", CONFIGS)
SIZE = 128
U_MASK = MASK_DESIGNS["diffusion"]


def network(config: PriorUNetConfig) -> PriorUNet:
    torch.manual_seed(0)
    return PriorUNet(tiny_unet_config(config)).eval()


def pictures(unet: PriorUNet, batch: int = 2, size: int = SIZE) -> Tensor:
    return torch.rand(batch, unet.config.in_channels, size, size, generator=torch.Generator().manual_seed(1))


def prior_of(unet: PriorUNet, batch: int = 2, size: int = SIZE) -> PriorFeatures | None:
    """Random maps of the shapes that `body_prior` gives."""
    if not unet.config.has_prior:
        return None
    generator = torch.Generator().manual_seed(2)
    maps = [
        torch.randn(batch, channels, size // stride, size // stride, generator=generator)
        for channels, stride in zip(unet.config.prior_channels, (64, 32, 16, 8), strict=True)
    ]
    attention = [
        torch.rand(batch, unet.config.num_tokens, size // stride, size // stride, generator=generator)
        for stride in (32, 16)
    ]
    return PriorFeatures(tuple(maps), tuple(attention))


@EVERY_CONFIG
@pytest.mark.parametrize("size", [64, 128])
@torch.inference_mode()
def test_every_design_gives_what_it_promises(name: str, size: int) -> None:
    unet = network(CONFIGS[name])
    output = unet(pictures(unet, size=size), prior_of(unet, size=size))
    assert (output.amodal_logits is not None) == (name != "two-stage-unet")
    assert (output.rgb is not None) == (name in ("one-stage", "two-stage-unet"))
    if output.amodal_logits is not None:
        assert output.amodal_logits.shape == (2, 1, size, size)
        assert output.amodal_logits.std() > 0
    if output.rgb is not None:
        assert output.rgb.shape == (2, 3, size, size)
        assert output.rgb.min() >= 0 and output.rgb.max() <= 1 and output.rgb.std() > 0


def test_inputs_are_those_of_the_paper() -> None:
    """Table 3 and Eqs. 10, 18 and 20."""
    inputs = {name: config.inputs for name, config in CONFIGS.items()}
    mask_and_joints = ("modal_mask", "joints")
    assert inputs == {
        "diffusion": mask_and_joints,
        "mask-1": ("modal_mask",),
        "mask-2": ("modal_mask",),
        "mask-3": mask_and_joints,
        "mask-4": mask_and_joints,
        "one-stage": (*mask_and_joints, "image"),
        "two-stage-unet": ("image", "modal_mask", "invisible_mask"),
    }
    assert [name for name, config in CONFIGS.items() if not config.has_prior] == ["mask-1"]
    assert {name: config.joint_input.sub_joints for name, config in CONFIGS.items() if "joints" in config.inputs} == {
        "diffusion": 9,
        "mask-3": 0,
        "mask-4": 9,
        "one-stage": 9,
    }


@EVERY_CONFIG
@torch.inference_mode()
def test_every_input_counts(name: str) -> None:
    unet = network(CONFIGS[name])
    given, prior = pictures(unet), prior_of(unet)

    def answer(given: Tensor, prior: PriorFeatures | None) -> Tensor:
        output = unet(given, prior)
        return torch.cat([value for value in (output.amodal_logits, output.rgb) if value is not None], dim=1)

    plain, first = answer(given, prior), 0
    for channels in (INPUT_CHANNELS[name] for name in unet.config.inputs):
        changed = given.clone()
        changed[:, first : first + channels] = 0
        assert not torch.equal(answer(changed, prior), plain)
        first += channels
    assert first == given.shape[1]
    if prior is None:
        return
    for field in ("features", "attention"):
        for index in range(len(getattr(prior, field))):
            maps = [value * (position != index) for position, value in enumerate(getattr(prior, field))]
            assert not torch.equal(answer(given, replace(prior, **{field: tuple(maps)})), plain)


@torch.inference_mode()
def test_two_logits_say_what_their_difference_says() -> None:
    unet = network(replace(U_MASK, mask_logits=2))
    raw: list[Tensor] = []
    unet.head.register_forward_hook(lambda module, inputs, output: raw.append(output))
    logits = unet(pictures(unet), prior_of(unet)).amodal_logits
    assert logits is not None and raw[0].shape == (2, 2, SIZE, SIZE)
    torch.testing.assert_close(logits.sigmoid(), raw[0].softmax(1)[:, 1:])


@torch.inference_mode()
def test_one_stage_keeps_mask_and_picture_apart() -> None:
    unet = network(replace(MASK_DESIGNS["one-stage"], mask_logits=2))
    raw: list[Tensor] = []
    unet.head.register_forward_hook(lambda module, inputs, output: raw.append(output))
    output = unet(pictures(unet), prior_of(unet))
    assert output.amodal_logits is not None and output.rgb is not None
    assert torch.equal(output.amodal_logits, raw[0][:, 1:2] - raw[0][:, :1])
    assert torch.equal(output.rgb, raw[0][:, 2:].sigmoid())


@pytest.mark.parametrize(("name", "sentence"), [("mask-2", "needs a body prior"), ("mask-1", "has no body prior")])
def test_a_prior_that_is_missing_or_too_much_is_refused(name: str, sentence: str) -> None:
    unet = network(CONFIGS[name])
    prior = None if unet.config.has_prior else prior_of(network(CONFIGS["mask-2"]))
    with pytest.raises(ValueError, match=sentence):
        unet(pictures(unet), prior)


@pytest.mark.parametrize("mask_logits", [1, 2])
@EVERY_CONFIG
def test_gradients_reach_every_parameter(name: str, mask_logits: int) -> None:
    unet = network(replace(CONFIGS[name], mask_logits=mask_logits)).train()
    output = unet(pictures(unet), prior_of(unet))
    loss = sum(
        (value.square().mean() for value in (output.amodal_logits, output.rgb) if value is not None), torch.zeros(())
    )
    loss.backward()
    for key, parameter in unet.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), key


@EVERY_CONFIG
@torch.inference_mode()
def test_a_batch_equals_its_singles(name: str) -> None:
    unet = network(CONFIGS[name])
    given, prior = pictures(unet, 3), prior_of(unet, 3)
    together = unet(given, prior)
    for index in range(3):
        one = slice(index, index + 1)
        alone = unet(given[one], None if prior is None else prior.map(lambda value, one=one: value[one]))
        for single, batch in ((alone.amodal_logits, together.amodal_logits), (alone.rgb, together.rgb)):
            assert (single is None) == (batch is None)
            if single is not None and batch is not None:
                torch.testing.assert_close(single, batch[one], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"encoder": (4,) * 6}, "7 encoder and 6 decoder widths, got 6 and 6"),
        ({"decoder": (4,) * 7}, "got 7 and 7"),
        ({"inputs": ()}, "at least one input"),
        ({"outputs": ()}, "at least one input and one output"),
    ],
)
def test_impossible_designs_are_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PriorUNetConfig(**wrong)
