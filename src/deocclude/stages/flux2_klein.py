"""FLUX.2 [klein] 4B as an RGB stage: a distilled model that inpaints in four steps.

It edits: it sees the picture with what is in the hole, and would paint the occluder again. So the hole is grey, and the
prompt says what grey stands for. Weights: from the hub. The 9B models of the family are non-commercial and not offered.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError
from deocclude.stages.loading import hub_folder, load_part
from deocclude.stages.spec import WORK_TWICE, StageSpec
from deocclude.weight_specs import DIFFUSERS_FILE, from_hub

if TYPE_CHECKING:
    import torch

INSTRUCTION = "{}; paint the hidden part of the body and its clothes where the picture is plain grey"
GREY = 0.5

# README of black-forest-labs/flux2 and the hub page ("License: apache-2.0"; the family's 9B models are non-commercial).
# Revision, sizes and sha256 stand together in several public pins.
FLUX2_KLEIN = from_hub(
    "flux2-klein",
    "baseline: FLUX.2 [klein] 4B",
    "black-forest-labs/FLUX.2-klein-4B",
    "e7b7dc27f91deacad38e78976d1f2b499d76a294",
    text="vae/config.json transformer/config.json text_encoder/config.json text_encoder/generation_config.json "
    "text_encoder/model.safetensors.index.json scheduler/scheduler_config.json tokenizer/vocab.json "
    "tokenizer/merges.txt tokenizer/added_tokens.json tokenizer/tokenizer_config.json "
    "tokenizer/special_tokens_map.json tokenizer/chat_template.jinja",
    weights={
        f"vae/{DIFFUSERS_FILE}": "ca70d2202afe6415bdbcb8793ba8cd99fd159cfe6192381504d6c4d3036e0f04",
        f"transformer/{DIFFUSERS_FILE}": "9f29f9edcfdae452a653ffb51a534ca4decd389952c225724ff3b94042612a6e",
        "text_encoder/model-00001-of-00002.safetensors": (
            "8c0506e7f4936fa7e26183a4fd8da4e2bdbc5990ba64ae441f965d51228f36ea"
        ),
        "text_encoder/model-00002-of-00002.safetensors": (
            "82f2bd839378541b0557bfabaf37c7d3d637071fdcb73302dedd7cf61162ce07"
        ),
    },
    size=15_969_000_000,
    parameters=7_982_058_787,
    licence="Apache-2.0",
)
WEIGHTS = (FLUX2_KLEIN,)


@dataclass(frozen=True, kw_only=True)
class Flux2KleinConfig:
    """How it samples. The model is distilled: it has no guidance to set."""

    steps: int = 4
    """Denoising steps."""


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype, config: Flux2KleinConfig) -> Any:
    """With the hub's weights."""
    from deocclude.stages.completers.inpainting import InpaintingRgbCompleter

    folder, commit = hub_folder(FLUX2_KLEIN)
    (spec,) = STAGES
    return InpaintingRgbCompleter(
        load_pipeline(folder, device=device, dtype=dtype),
        {"num_inference_steps": config.steps, "guidance_scale": 1.0, "strength": 1.0},
        name=spec.name,
        size=spec.size,
        dtype=dtype,
        instruction=INSTRUCTION,
        hole_colour=GREY,
        weights_sha256=commit,
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


STAGES = (
    StageSpec(
        name="flux2-klein",
        kind="RGB",
        title="FLUX.2 [klein] 4B inpainting",
        paper="FLUX.2 [klein] (Black Forest Labs 2026)",
        licence=FLUX2_KLEIN.licence,
        weights=WEIGHTS,
        size=1024,
        dtype="fast",
        accepts=frozenset({"prompt", "generator"}),
        options=Flux2KleinConfig(),
        batched=False,
        role="method",
        memory=WORK_TWICE,
        note="an editor told to paint what is grey",
        load=load_rgb_completer,
    ),
)
