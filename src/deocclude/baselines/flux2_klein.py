"""FLUX.2 [klein] 4B as an RGB stage: a current, distilled model that inpaints in four steps.

It edits: it sees the picture with what is in the hole, and would paint the occluder again. So the hole is grey, and the
prompt says what grey stands for.

Weights: Apache-2.0, from the hub; 16 GB in bfloat16. The 9B models of the family are non-commercial and not offered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from deocclude.baselines.inpainting_pipeline import InpaintingRgbCompleter
from deocclude.baselines.loading import hub_folder, load_part
from deocclude.errors import InputError

CROP_SIZE = 1024
CALL: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 1.0, "strength": 1.0}
INSTRUCTION = "{}; paint the hidden part of the body and its clothes where the picture is plain grey"
GREY = 0.5


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype) -> InpaintingRgbCompleter:
    """With the hub's weights. Raises InputError, saying how to get them, without."""
    folder, commit = hub_folder("flux2-klein")
    pipeline = load_pipeline(folder, device=device, dtype=dtype)
    return make_rgb_completer(pipeline, dtype=dtype, weights_sha256=commit)


def make_rgb_completer(
    pipeline: Any, *, size: int = CROP_SIZE, dtype: torch.dtype, weights_sha256: str | None = None
) -> InpaintingRgbCompleter:
    """The stage round a `Flux2KleinInpaintPipeline`."""
    return InpaintingRgbCompleter(
        pipeline,
        CALL,
        name="flux2-klein",
        size=size,
        dtype=dtype,
        instruction=INSTRUCTION,
        hole_colour=GREY,
        weights_sha256=weights_sha256,
    )


def load_pipeline(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline from the hub's folder. Raises InputError for files that are not its, and for an old `diffusers`."""
    try:
        from diffusers import (
            AutoencoderKLFlux2,
            FlowMatchEulerDiscreteScheduler,
            Flux2KleinInpaintPipeline,
            Flux2Transformer2DModel,
        )
        from transformers import Qwen2TokenizerFast, Qwen3ForCausalLM
    except ImportError as error:
        raise InputError("flux2-klein needs a newer diffusers; pip install --upgrade diffusers") from error
    kinds = {"vae": AutoencoderKLFlux2, "transformer": Flux2Transformer2DModel, "text_encoder": Qwen3ForCausalLM}
    networks = {name: load_part(kind, folder / name, dtype) for name, kind in kinds.items()}
    return Flux2KleinInpaintPipeline(
        **networks,
        tokenizer=Qwen2TokenizerFast.from_pretrained(folder / "tokenizer", local_files_only=True),
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
        is_distilled=True,
    ).to(device)
