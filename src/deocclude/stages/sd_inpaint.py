"""Stable Diffusion 1.5's inpainting model as an RGB stage, with the settings of its card.

Weights: from the hub, stored in float16. The safety checker, which blackens pictures, is left out: look at the
results before you publish them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.stages.loading import hub_folder, load_part, shared
from deocclude.stages.spec import WORK_TWICE, StageSpec
from deocclude.weight_specs import CLIP_TOKENIZER, FLOAT16_FILE, from_hub

if TYPE_CHECKING:
    import torch

# Hub pages tree/8a4288a76071…/unet and vae ("License: creativeml-openrail-m"): its only safetensors are float16. A
# clone of runwayml's repository, which is gone. No sha256 was found.
SD15_INPAINT = from_hub(
    "sd15-inpaint",
    "baseline: Stable Diffusion 1.5, inpainting",
    "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "8a4288a76071f7280aedbdb3253bdb9e9d5d84bb",
    text=f"vae/config.json unet/config.json text_encoder/config.json {CLIP_TOKENIZER}",
    weights={
        f"vae/{FLOAT16_FILE}": None,
        f"unet/{FLOAT16_FILE}": None,
        "text_encoder/model.fp16.safetensors": None,
    },
    size=2_135_000_000,
    parameters=1_066_249_707,
    licence="CreativeML OpenRAIL-M: use restrictions",
)
WEIGHTS = (SD15_INPAINT,)


@dataclass(frozen=True, kw_only=True)
class SdInpaintConfig:
    """How it samples; the defaults are the card's."""

    steps: int = 50
    """Denoising steps."""
    guidance: float = 7.5
    """Weight of the prompt."""


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype, config: SdInpaintConfig) -> Any:
    """With the hub's weights."""
    from deocclude.stages.completers.inpainting import InpaintingRgbCompleter

    _, commit = hub_folder(SD15_INPAINT)
    (spec,) = STAGES
    call = {"num_inference_steps": config.steps, "guidance_scale": config.guidance, "strength": 1.0}
    return InpaintingRgbCompleter(
        shared_pipeline(device, dtype), call, name=spec.name, size=spec.size, dtype=dtype, weights_sha256=commit
    )


def shared_pipeline(device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline of the hub's weights, loaded once for all stages. Raises InputError, as `load_rgb_completer`."""

    def load() -> Any:
        return load_pipeline(hub_folder(SD15_INPAINT)[0], device=device, dtype=dtype)

    return shared(SD15_INPAINT, device, dtype, load)


def load_pipeline(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline from the hub's folder. Raises InputError for files that are not its."""
    from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from deocclude.models.diffusion.configs import SamplingConfig
    from deocclude.models.diffusion.sampling import make_scheduler

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


STAGES = (
    StageSpec(
        name="sd-inpaint",
        kind="RGB",
        title="Stable Diffusion 1.5 inpainting",
        paper="Stable Diffusion (Rombach et al. 2022)",
        licence=SD15_INPAINT.licence,
        weights=WEIGHTS,
        size=512,
        dtype="fast",
        accepts=frozenset({"prompt", "generator"}),
        options=SdInpaintConfig(),
        batched=False,
        role="method",
        memory=WORK_TWICE,
        note="the invisible region is its hole",
        load=load_rgb_completer,
    ),
)
