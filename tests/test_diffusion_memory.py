"""Too little memory is told before anything is loaded, with what would fit; the figures are the networks' own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deocclude import Deoccluder, weight_specs
from deocclude.errors import InputError
from deocclude.models.diffusion.body_prior import BodyPrior, BodyPriorConfig
from deocclude.models.diffusion.mask_completion import PriorUNet
from deocclude.models.diffusion.rgb_completion import RgbDenoiser, RgbDenoiserConfig
from deocclude.models.diffusion.stable_diffusion import (
    StableDiffusionConfig,
    make_controlnet,
    make_unet,
    make_vae,
)
from deocclude.models.sdamodal import SdamodalConfig, SdamodalNetwork
from deocclude.stages.catalogue import stage_specs
from deocclude.stages.catalogue import weight_specs as all_weights
from deocclude.stages.completers.diffusion_loading import with_profile
from deocclude.stages.diffusion import MASK_DESIGNS, RGB_DESIGN
from deocclude.stages.memory import Choice, check_memory
from deocclude.stages.spec import WORK_TWICE
from deocclude.weight_specs import WeightSpec

PARAMETERS = {name: spec.parameters for name, spec in all_weights().items()}
CPU, GPU = torch.device("cpu"), torch.device("cuda")
GB = 1_000_000_000


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture
def no_memory() -> Iterator[None]:
    with torch.device("meta"):
        yield


@pytest.mark.usefixtures("no_memory")
def test_the_figures_are_those_of_the_networks() -> None:
    assert PARAMETERS["dpmesh"] == count(BodyPrior(BodyPriorConfig()))
    assert PARAMETERS["sd15"] == count(BodyPrior(BodyPriorConfig(profile="sd15", num_tokens=77)))
    assert PARAMETERS["pix2gestalt"] == count(RgbDenoiser(RgbDenoiserConfig()))
    assert PARAMETERS["controlnet-seg"] == count(make_controlnet(StableDiffusionConfig()))
    for config in (*MASK_DESIGNS.values(), RGB_DESIGN):
        assert count(PriorUNet(config)) < 1.001 * PARAMETERS["u-mask"]


@pytest.mark.usefixtures("no_memory")
def test_the_figures_are_those_of_other_peoples_networks() -> None:
    from transformers import BlipConfig, BlipForQuestionAnswering, CLIPTextConfig, CLIPTextModelWithProjection

    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
    )
    assert PARAMETERS["clip-text"] == count(CLIPTextModelWithProjection(text))
    blip = BlipConfig(text_config={"encoder_hidden_size": 768}, vision_config={"image_size": 384})
    assert PARAMETERS["blip-vqa"] == count(BlipForQuestionAnswering(blip))


@pytest.mark.usefixtures("no_memory")
def test_the_figures_of_the_baselines() -> None:
    """By their classes at the published sizes; FLUX.2's are half of the bytes of its files in bfloat16, too."""
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, Qwen3Config, Qwen3ForCausalLM

    config = StableDiffusionConfig()
    text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    parts = make_unet(config, in_channels=9), make_vae(config), CLIPTextModel(text)
    assert PARAMETERS["sd15-inpaint"] == sum(map(count, parts))
    unet = UNet2DConditionModel(
        cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True
    )
    assert PARAMETERS["sd21"] == count(unet) + count(make_vae(config))
    assert PARAMETERS["sdamodal"] == count(SdamodalNetwork(SdamodalConfig()))
    transformer = Flux2Transformer2DModel(
        in_channels=128,
        num_layers=5,
        num_single_layers=20,
        num_attention_heads=24,
        joint_attention_dim=7680,
        guidance_embeds=False,
    )
    qwen = Qwen3Config(
        vocab_size=151_936,
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    parts = transformer, Qwen3ForCausalLM(qwen), AutoencoderKLFlux2()
    assert PARAMETERS["flux2-klein"] == sum(map(count, parts))
    for parameters, bytes_ in zip(map(count, parts), (7_751_109_744, 8_044_981_992, 168_120_878), strict=True):
        assert 0 <= bytes_ - 2 * parameters < 60_000  # the header


@pytest.mark.usefixtures("no_memory")
def test_the_figures_of_flux_fill() -> None:
    """By its classes at the published sizes; its files in bfloat16 are about twice as many bytes."""
    from diffusers import AutoencoderKL, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    t5 = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    channels = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 16}
    parts = (
        FluxTransformer2DModel(in_channels=384, out_channels=64, guidance_embeds=True),
        T5EncoderModel(T5Config(**t5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
        CLIPTextModel(text),
        AutoencoderKL(**blocks, **channels, use_quant_conv=False, use_post_quant_conv=False),
    )
    assert PARAMETERS["flux-fill"] == sum(map(count, parts))
    for parameters, gigabytes in zip(map(count, parts), (23.8, 9.52, 0.246), strict=False):
        assert 2 * parameters / 1e9 == pytest.approx(gigabytes, rel=0.005)


@pytest.fixture
def u_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights file of each mask stage, of which the header is all that is looked at."""

    def write(name: str, config: object) -> None:
        metadata = {"network": "PriorUNet", "config": json.dumps(asdict(config))}  # type: ignore[call-overload]
        save_file({}, tmp_path / f"{name}.safetensors", metadata)

    for name, config in MASK_DESIGNS.items():
        write("u-mask" if name in ("diffusion", "mask-4") else f"u-{name}", config)
    write("u-mask-sd15", with_profile(MASK_DESIGNS["diffusion"], "sd15"))
    monkeypatch.setattr(weight_specs, "local_path", lambda spec: tmp_path / f"{spec.name}.safetensors")
    return tmp_path


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """What each kind of device has free, for a test to say."""
    bytes_: dict[str, int | None] = {"cpu": None, "cuda": None}
    monkeypatch.setattr("deocclude.devices.free_memory", lambda device: bytes_[device.type])
    monkeypatch.setattr(
        "deocclude.devices.fast_dtype", lambda device: torch.float32 if device.type == "cpu" else torch.bfloat16
    )
    return bytes_


def refused(choice: Choice) -> str:
    with pytest.raises(InputError) as caught:
        check_memory(choice)
    assert "\n" not in str(caught.value)
    return str(caught.value)


WHOLE = Choice("diffusion", "diffusion", CPU)


@pytest.mark.usefixtures("u_mask")
def test_what_is_needed_is_what_the_stages_load() -> None:
    in_float32 = replace(WHOLE, dtype=torch.float32)
    parts = ("dpmesh", "u-mask", "pix2gestalt", "controlnet-seg", "clip-text", "blip-vqa")
    assert in_float32.needed == 4 * sum(PARAMETERS[name] for name in parts) + WORK_TWICE
    assert replace(WHOLE, dtype=torch.bfloat16).needed == in_float32.needed // 2
    undescribed = replace(in_float32, options={"vqa": False})
    assert in_float32.needed - undescribed.needed == 4 * PARAMETERS["blip-vqa"]
    assert replace(in_float32, mask_stage="feedforward").needed < in_float32.needed - 4 * PARAMETERS["dpmesh"]
    assert replace(in_float32, mask_stage="mask-1", rgb_stage="copy-input").needed < GB
    small = replace(in_float32, mask_stage="feedforward", rgb_stage="feedforward").needed
    assert small == 4 * (PARAMETERS["mask-completion"] + PARAMETERS["rgb-completion"])


@pytest.mark.usefixtures("u_mask")
@pytest.mark.parametrize("kind", ["mask", "RGB"])
def test_every_stage_has_its_figures(kind: Any, free: dict[str, int | None]) -> None:
    """What works in a fast dtype is large, counts its work too, and is refused where there is little memory."""
    for name, spec in stage_specs(kind).items():
        choice = Choice(*((name, "copy-input") if kind == "mask" else ("copy-input", name)), CPU)
        assert (choice.needed > 0) == bool(spec.weights)
        assert (spec.memory > 0) == (spec.dtype == "fast") and (spec.memory == 0 or choice.needed > spec.memory // 2)
        free["cpu"] = choice.needed
        check_memory(choice)
        if spec.weights:
            free["cpu"] = choice.needed - 1
            assert refused(choice)


def test_networks_that_both_stages_share_count_once() -> None:
    both, one = (Choice("amodal", rgb, CPU, torch.float32).needed for rgb in ("amodal", "copy-input"))
    assert both == one == 4 * PARAMETERS["sd15-inpaint"] + WORK_TWICE


def test_the_prior_is_the_one_that_u_mask_was_trained_with(u_mask: Path) -> None:
    alone = replace(WHOLE, rgb_stage="copy-input", dtype=torch.float32)
    with_dpmesh = alone.needed
    (u_mask / "u-mask-sd15.safetensors").rename(u_mask / "u-mask.safetensors")
    without = PARAMETERS["sd15"] + PARAMETERS["clip-text"]  # which reads one sentence while all is loaded
    assert with_dpmesh - alone.needed == 4 * (PARAMETERS["dpmesh"] - without)


@pytest.mark.usefixtures("u_mask")
def test_what_fits_and_what_nobody_knows_is_let_through(free: dict[str, int | None]) -> None:
    check_memory(WHOLE)
    free["cpu"] = WHOLE.needed
    check_memory(WHOLE)
    free["cpu"] = WHOLE.needed - 1
    refused(WHOLE)


@pytest.mark.usefixtures("u_mask")
@pytest.mark.parametrize(
    ("gigabytes", "offered"),
    [
        (12, ["--dtype bfloat16 (7.5 GB)", "--rgb-stage feedforward (5.9 GB)"]),
        (7, ["--rgb-stage feedforward (5.9 GB)"]),
        (5, ["--dtype bfloat16 --rgb-stage feedforward (2.9 GB)"]),
        (2, []),
    ],
)
def test_the_sentence_says_what_would_fit(free: dict[str, int | None], gigabytes: int, offered: list[str]) -> None:
    free["cpu"] = gigabytes * GB
    said = refused(WHOLE)
    assert said.startswith(
        f"not enough memory on cpu: {gigabytes}.0 GB free, and mask stage 'diffusion' with RGB stage "
    )
    assert "needs about 15.0 GB in float32" in said
    assert said.endswith("; what would fit: " + ", ".join([*offered, "--preset feedforward (under 1 GB)"]))


@pytest.mark.usefixtures("u_mask")
def test_a_small_gpu_beside_a_large_memory(free: dict[str, int | None]) -> None:
    """A GPU's own dtype is the small one already."""
    free |= {"cuda": 6 * GB, "cpu": 16 * GB}
    said = refused(replace(WHOLE, device=GPU))
    assert "needs about 7.5 GB in bfloat16; what would fit: --device cpu (15.0 GB), --rgb-stage feedforward" in said
    assert "--dtype" not in said
    free["cpu"] = 8 * GB
    assert "--device cpu" not in refused(replace(WHOLE, device=GPU))
    assert "--device cpu (7.5 GB)" in refused(replace(WHOLE, device=GPU, dtype=torch.bfloat16))
    one_stage = replace(WHOLE, mask_stage="one-stage", rgb_stage="one-stage", dtype=torch.float32)
    free["cpu"] = 4 * GB
    said = refused(one_stage)
    assert "--dtype bfloat16" in said and "--rgb-stage" not in said  # its picture comes with its mask


@pytest.mark.usefixtures("u_mask")
def test_a_preset_is_refused_before_it_is_loaded(free: dict[str, int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights are said to be here; whoever opened one would fail."""
    asked: list[str] = []

    def local_path(spec: WeightSpec, found: object = weight_specs.local_path) -> Path:
        asked.append(spec.name)
        return found(spec)  # type: ignore[operator, no-any-return]

    monkeypatch.setattr(weight_specs, "local_path", local_path)
    free["cpu"] = 2 * GB
    with pytest.raises(InputError, match="not enough memory on cpu"):
        Deoccluder.from_preset("diffusion")
    assert "u-mask" in asked
    with pytest.raises(InputError, match="not weights that this version"):
        Deoccluder.from_preset("mask-1")
