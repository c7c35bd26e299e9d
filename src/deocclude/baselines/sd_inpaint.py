"""Stable Diffusion 1.5's inpainting model as an RGB stage, with the settings of its card.

Weights: CreativeML OpenRAIL-M, use restrictions; from the hub, stored in float16. The safety checker, which blackens
pictures, is left out: who publishes results is to look at them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from deocclude.baselines.inpainting_pipeline import InpaintingRgbCompleter
from deocclude.baselines.loading import hub_folder, load_part, shared
from deocclude.models.diffusion.sampling import SamplingConfig, make_scheduler

CROP_SIZE = 512
CALL: dict[str, Any] = {"num_inference_steps": 50, "guidance_scale": 7.5, "strength": 1.0}


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype) -> InpaintingRgbCompleter:
    """With the hub's weights. Raises InputError, saying how to get them, without."""
    _, commit = hub_folder("sd15-inpaint")
    pipeline = shared_pipeline(device, dtype)
    return InpaintingRgbCompleter(pipeline, CALL, name="sd-inpaint", size=CROP_SIZE, dtype=dtype, weights_sha256=commit)


def shared_pipeline(device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline of the hub's weights, loaded once for all stages. Raises InputError, as `load_rgb_completer`."""

    def load() -> Any:
        return load_pipeline(hub_folder("sd15-inpaint")[0], device=device, dtype=dtype)

    return shared("sd15-inpaint", device, dtype, load)


def load_pipeline(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline from the hub's folder. Raises InputError for files that are not its."""
    from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    kinds = {"vae": AutoencoderKL, "unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}
    networks = {name: load_part(kind, folder / name, dtype, variant="fp16") for name, kind in kinds.items()}
    return StableDiffusionInpaintPipeline(
        **networks,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        # Deterministic between the steps: everything that is drawn is the first noise.
        scheduler=make_scheduler(SamplingConfig(solver="ddim")),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(device)
