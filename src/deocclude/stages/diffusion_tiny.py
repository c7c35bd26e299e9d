"""Paper A's stages in miniature, each under its name with `-tiny`: seeded random weights, to see that all runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from deocclude.stages import diffusion
from deocclude.stages.spec import StageSpec

if TYPE_CHECKING:
    import torch

STEPS = 4
"""Denoising steps of every miniature."""


def _load_mask(name: str, *, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers.diffusion_tiny import tiny_mask_completer

    return tiny_mask_completer(name, device=device, dtype=dtype)


def _load_rgb(name: str, *, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers.diffusion_tiny import tiny_rgb_completer

    return tiny_rgb_completer(name, config, device=device, dtype=dtype)


def _load_unet_rgb(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers.diffusion_tiny import tiny_unet_rgb_completer

    return tiny_unet_rgb_completer(device=device, dtype=dtype)


def tiny_config(config: diffusion.DiffusionRgbConfig) -> diffusion.DiffusionRgbConfig:
    """The same in four steps, and two of the decoder's where it is tuned."""
    tuning = replace(config.tuning, steps=min(config.tuning.steps, 2))
    return replace(config, sampling=replace(config.sampling, steps=STEPS), tuning=tuning)


def _tiny(spec: StageSpec) -> StageSpec:
    """The same stage without weights. `one-stage` paints nothing by itself and serves both sizes."""
    if spec.kind == "mask":
        load: Any = partial(_load_mask, spec.name)
    else:
        load = _load_unet_rgb if spec.options is None else partial(_load_rgb, spec.name)
    return replace(
        spec,
        name=f"{spec.name}-tiny",
        title=f"{spec.title}, in miniature",
        licence="–",
        weights=(),
        needs=None,
        dtype="float32",
        options=None if spec.options is None else tiny_config(spec.options),
        role="miniature",
        memory=0,
        note="random weights: noise",
        load=load,
    )


STAGES = tuple(_tiny(spec) for spec in diffusion.STAGES if not spec.needs_painting_mask_stage)
