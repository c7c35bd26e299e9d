"""FLUX.1 Fill [dev] as an RGB stage: a rectified flow transformer of 12 billion parameters, trained to fill holes.

Weights: from the hub, which asks a user to accept the licence first; non-commercial.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError
from deocclude.stages.loading import hub_folder, load_part
from deocclude.stages.spec import WORK_TWICE, StageSpec
from deocclude.weight_specs import CLIP_TOKENIZER, DIFFUSERS_FILE, from_hub

if TYPE_CHECKING:
    import torch

_TRANSFORMER = "transformer/diffusion_pytorch_model"
# The hub page says "License: flux-1-dev-non-commercial-license" and asks to accept it before it gives the files. The
# full revision stands in the cache paths of several public projects that load this pipeline; the files' names and
# sizes are those of listings of its copies. No sha256 was found. Parameters: counted on the four classes at the
# published sizes.
FLUX_FILL = from_hub(
    "flux-fill",
    "baseline: FLUX.1 Fill [dev]",
    "black-forest-labs/FLUX.1-Fill-dev",
    "358293da0354175698b67ec8299acf928313a78a",
    text="vae/config.json transformer/config.json transformer/diffusion_pytorch_model.safetensors.index.json "
    "text_encoder/config.json text_encoder_2/config.json text_encoder_2/model.safetensors.index.json "
    f"scheduler/scheduler_config.json {CLIP_TOKENIZER} tokenizer_2/tokenizer.json tokenizer_2/tokenizer_config.json "
    "tokenizer_2/special_tokens_map.json tokenizer_2/spiece.model",
    weights={
        f"vae/{DIFFUSERS_FILE}": None,
        **{f"{_TRANSFORMER}-{part:05}-of-00003.safetensors": None for part in (1, 2, 3)},
        "text_encoder/model.safetensors": None,
        **{f"text_encoder_2/model-{part:05}-of-00002.safetensors": None for part in (1, 2)},
    },
    size=33_900_000_000,
    parameters=16_871_582_179,
    licence="FLUX.1 [dev] licence: non-commercial",
)
WEIGHTS = (FLUX_FILL,)


@dataclass(frozen=True, kw_only=True)
class FluxFillConfig:
    """How it samples; the defaults are the card's."""

    steps: int = 50
    """Denoising steps."""
    guidance: float = 30.0
    """Weight of the prompt, which the model was distilled to read as a number: it costs nothing."""


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype, config: FluxFillConfig) -> Any:
    """With the hub's weights."""
    from deocclude.stages.completers.inpainting import InpaintingRgbCompleter

    folder, commit = hub_folder(FLUX_FILL)
    (spec,) = STAGES
    return InpaintingRgbCompleter(
        load_pipeline(folder, device=device, dtype=dtype),
        {"num_inference_steps": config.steps, "guidance_scale": config.guidance, "strength": 1.0},
        name=spec.name,
        size=spec.size,
        dtype=dtype,
        weights_sha256=commit,
    )


def load_pipeline(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline from the hub's folder. Raises InputError for files that are not its, and for an old `diffusers`."""
    try:
        from diffusers import (
            AutoencoderKL,
            FlowMatchEulerDiscreteScheduler,
            FluxFillPipeline,
            FluxTransformer2DModel,
        )
    except ImportError as error:
        raise InputError("flux-fill needs a newer diffusers; pip install --upgrade diffusers") from error
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

    kinds = {
        "vae": AutoencoderKL,
        "transformer": FluxTransformer2DModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel,
    }
    networks = {name: load_part(kind, folder / name, dtype) for name, kind in kinds.items()}
    return FluxFillPipeline(
        **networks,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        tokenizer_2=T5TokenizerFast.from_pretrained(folder / "tokenizer_2", local_files_only=True),
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
    ).to(device)


STAGES = (
    StageSpec(
        name="flux-fill",
        kind="RGB",
        title="FLUX.1 Fill [dev]",
        paper="FLUX.1 Fill [dev] (Black Forest Labs 2024)",
        licence=FLUX_FILL.licence,
        weights=WEIGHTS,
        size=1024,
        dtype="fast",
        accepts=frozenset({"prompt", "generator"}),
        options=FluxFillConfig(),
        batched=False,
        role="method",
        memory=WORK_TWICE,
        note="the invisible region is its hole",
        load=load_rgb_completer,
    ),
)
