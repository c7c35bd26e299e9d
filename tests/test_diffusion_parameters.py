"""Paper A's networks at their real size, counted without memory: what nobody can check against its weights here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from deocclude.models.diffusion.body_prior import BodyPrior, BodyPriorConfig
from deocclude.models.diffusion.mask_completion import PriorUNet, PriorUNetConfig
from deocclude.models.diffusion.rgb_completion import RgbDenoiser, RgbDenoiserConfig
from deocclude.models.diffusion.stable_diffusion import StableDiffusionConfig, make_controlnet, make_unet, make_vae
from deocclude.stages.diffusion import MASK_DESIGNS, RGB_DESIGN

LOW_RANK = 64
"""Of DPMesh's weights."""
U_MASK = MASK_DESIGNS["diffusion"]


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(scope="module", autouse=True)
def no_memory() -> Iterator[None]:
    with torch.device("meta"):
        yield


@pytest.fixture(scope="module")
def unet(no_memory: None) -> nn.Module:
    return make_unet(StableDiffusionConfig())


@pytest.fixture(scope="module")
def vae(no_memory: None) -> nn.Module:
    return make_vae(StableDiffusionConfig())


@pytest.fixture(scope="module")
def prior(no_memory: None) -> BodyPrior:
    return BodyPrior(BodyPriorConfig())


def test_unet(unet: nn.Module) -> None:
    assert count(unet) == 859_520_964


def test_low_rank_weights_of_dpmesh(unet: nn.Module) -> None:
    """On every linear layer of attention and of the gated units, as DPMesh places them."""
    layers = [
        module
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear) and (".attn1." in name or ".attn2." in name or name.endswith(".ff.net.0.proj"))
    ]
    assert len(layers) == 144
    assert sum(LOW_RANK * (layer.in_features + layer.out_features) for layer in layers) == 19_943_424


def test_controlnets(prior: BodyPrior) -> None:
    assert count(make_controlnet(StableDiffusionConfig())) == 361_279_120
    assert count(prior.controlnet) == 360_279_040


def test_vae(vae: nn.Module) -> None:
    assert count(vae) == 83_653_863
    assert count(vae.decoder) == 49_490_179
    assert count(vae.encoder) + count(vae.quant_conv) + count(vae.post_quant_conv) == 34_163_684


def test_body_prior(prior: BodyPrior) -> None:
    """U-Net, ControlNet, the VAE's encoder, and one linear layer for the joints' tokens; nothing else."""
    encoder = 34_163_684 - 20  # the decoder's first convolution, which the paper's count has and nobody needs
    assert count(prior.joint_tokens) == 3 * 768
    assert count(prior) == 859_520_964 + 360_279_040 + encoder + 3 * 768
    plain = BodyPrior(BodyPriorConfig(profile="sd15", num_tokens=77))
    assert count(plain) == 859_520_964 + encoder


def test_rgb_denoiser() -> None:
    denoiser = RgbDenoiser(RgbDenoiserConfig())
    assert count(denoiser.unet) == 859_544_004
    assert count(denoiser.vae) == 83_653_863
    assert count(denoiser.image_encoder) == 303_966_208
    assert count(denoiser.projection) == 590_592


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (U_MASK, 18_020_321),
        (replace(U_MASK, num_tokens=25), 18_015_201),
        (MASK_DESIGNS["mask-2"], 18_020_033),
        (MASK_DESIGNS["one-stage"], 18_021_284),
        (MASK_DESIGNS["mask-1"], 10_874_561),
        (MASK_DESIGNS["mask-3"], 18_020_321),
        (replace(U_MASK, mask_logits=2), 18_020_321 + 33),
        (RGB_DESIGN, 18_020_321 + 3 * 9 * 32 + 2 * 33 - 2 * 29 * 512),
    ],
    ids=["U_mask", "25 tokens", "no joints", "U_one", "no prior", "no sub-joints", "two logits", "U_rgb"],
)
def test_u_mask_and_its_relatives(config: PriorUNetConfig, parameters: int) -> None:
    assert count(PriorUNet(config)) == parameters


def test_the_default_is_the_papers_u_mask() -> None:
    assert PriorUNetConfig() == MASK_DESIGNS["diffusion"] == MASK_DESIGNS["mask-4"]


def test_the_prior_fits_u_mask(prior: BodyPrior) -> None:
    assert prior.config.feature_channels == U_MASK.prior_channels
    assert prior.config.num_tokens == U_MASK.num_tokens


def test_the_mask_stage_is_counted_as_the_paper_counts_it(prior: BodyPrior) -> None:
    """1444.33 M: the whole DPMesh model, mesh head and text tower included, and U_mask."""
    text_tower, fusion, mesh_head, vposer = 123_060_480, 13_223_234, 15_446_951, 673_596
    loaded = count(prior) - count(prior.joint_tokens) + 20 + 19_943_424
    total = loaded + text_tower + fusion + mesh_head + vposer + count(PriorUNet(U_MASK))
    assert f"{total / 1e6:.2f}" == "1444.33"
