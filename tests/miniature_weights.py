"""All weights that stages load, in miniature, each under its name as converters, trainings and the hub leave it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from miniature_baselines import lama_state_dict, write_flux2_klein, write_flux_fill, write_stable_diffusion
from safetensors.torch import save_file
from test_diffusion_loading import write_tokenizer
from test_sssd import TINY_CONTENT, TINY_MASK, with_statistics

from deocclude import weight_specs
from deocclude.models.sdamodal import SdamodalConfig, SdamodalNetwork
from deocclude.models.sssd import SssdContentNetwork, SssdMaskNetwork
from deocclude.stages.completers.amodal import ProgressConfig
from deocclude.stages.completers.diffusion_tiny import (
    tiny_body_prior,
    tiny_denoiser,
    tiny_mask_completer,
    tiny_rgb_completer,
    tiny_unet_rgb_completer,
)
from deocclude.stages.completers.mixed_context import MixedContextConfig
from deocclude.stages.completers.pix2gestalt import Pix2gestaltConfig
from deocclude.stages.diffusion import MASK_DESIGNS
from deocclude.weight_specs import WeightSpec
from deocclude.weights import save_network

SIZE = 64
SDAMODAL = SdamodalConfig(
    encoder_channels=(4, 4, 8, 8, 8, 8),
    decoder_channels=(8, 8, 8, 4, 4),
    feature_channels=(64, 64, 32, 32),
    projection_channels=8,
)
PLACE: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32}


def save(folder: Path, name: str, network: Any) -> None:
    save_network(folder / f"{name}.safetensors", network, network.config, half=False)


def write_baselines(folder: Path) -> None:
    """What other methods' stages load."""
    torch.manual_seed(0)
    save(folder, "sssd-mask", with_statistics(SssdMaskNetwork(TINY_MASK)))
    save(folder, "sssd-content", with_statistics(SssdContentNetwork(TINY_CONTENT)))
    save(folder, "sdamodal", with_statistics(SdamodalNetwork(SDAMODAL)))
    save(folder, "pix2gestalt", tiny_denoiser())
    write_stable_diffusion(folder / "sd21", in_channels=4)
    write_stable_diffusion(folder / "sd15-inpaint", in_channels=9)
    write_flux2_klein(folder / "flux2-klein")
    write_flux_fill(folder / "flux-fill")
    (folder / "lama").mkdir()
    save_file(lama_state_dict(), folder / "lama" / "big-lama.safetensors")


def write_diffusion(folder: Path) -> None:
    """What paper A's stages load; of the describer, the pose estimator and the detector an empty folder."""
    for name in MASK_DESIGNS:
        weights = "u-mask" if name in ("diffusion", "mask-4") else f"u-{name}"
        save(folder, weights, tiny_mask_completer(name, **PLACE).unet)
    save(folder, "u-rgb", tiny_unet_rgb_completer(**PLACE).unet)
    save(folder, "dpmesh", tiny_body_prior())
    stage = tiny_rgb_completer("diffusion", **PLACE)
    save(folder, "pix2gestalt", stage.denoiser)
    assert stage.controlnet is not None and stage.sentence_encoder is not None
    stage.controlnet.save_pretrained(folder / "controlnet-seg")
    stage.sentence_encoder.model.save_pretrained(folder / "clip-text")
    write_tokenizer(folder / "clip-text")
    for name in ("blip-vqa", "vitpose", "detector"):
        (folder / name).mkdir()


def look_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Weights are looked for in a folder; the names that were asked for."""
    names: set[str] = set()

    def local_path(spec: WeightSpec) -> Path | None:
        names.add(spec.name)
        path = folder / spec.name
        path = path if path.is_dir() else folder / f"{spec.name}.safetensors"
        return path if path.exists() else None

    monkeypatch.setattr(weight_specs, "local_path", local_path)
    return names


def quick(stage: Any) -> Any:
    """At a small size and with few steps."""
    stage.size = SIZE
    if hasattr(stage, "window_size"):
        stage.window_size = 32
    if hasattr(stage, "call"):
        stage.call = {**stage.call, "num_inference_steps": 2}
    if hasattr(stage, "denoiser") and hasattr(stage, "config"):
        config = stage.config
        tuning = replace(config.tuning, steps=min(config.tuning.steps, 1))
        stage.config = replace(config, sampling=replace(config.sampling, steps=2), tuning=tuning)
    painter = getattr(stage, "painter", None)
    if stage.name == "pix2gestalt":
        painter.config = Pix2gestaltConfig(steps=2)
    if stage.name == "amodal":
        painter.inpaint.config = MixedContextConfig(steps=2, plain_steps=1)
        painter.config = ProgressConfig(max_rounds=2)
    return stage
