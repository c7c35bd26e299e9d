"""Human De-occlusion (paper B) at its own size: our networks with the configuration `paper`, trained by the user.

The shipped `feedforward` is a compact version of it. Weights: nobody publishes the authors'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError
from deocclude.models.feedforward.mask_completion import MASK_COMPLETION_PRESETS, MaskCompletionConfig
from deocclude.models.feedforward.rgb_completion import RGB_COMPLETION_PRESETS
from deocclude.pipelines import feedforward

if TYPE_CHECKING:
    import torch

NAME = "feedforward-paper"


def load_mask_completer(*, device: torch.device, dtype: torch.dtype) -> feedforward.FeedforwardMaskCompleter:
    """Stage 1. Raises InputError, saying how to train it, without weights, and for weights of another size."""
    from deocclude.weight_specs import require

    path = require("mask-completion-paper")
    stage = feedforward.load_mask_completer(path, device=device, dtype=dtype)
    config: MaskCompletionConfig = stage.network.config  # type: ignore[assignment]
    # How many templates there are, and how they are weighted, is up to who trains.
    paper = replace(
        MASK_COMPLETION_PRESETS["paper"],
        num_templates=config.num_templates,
        template_size=config.template_size,
        template_weighting=config.template_weighting,
    )
    return _as_paper(stage, config, paper, str(path))


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype) -> feedforward.FeedforwardRgbCompleter:
    """Stage 2. Raises InputError, saying how to train it, without weights, and for weights of another size."""
    from deocclude.weight_specs import require

    path = require("rgb-completion-paper")
    stage = feedforward.load_rgb_completer(path, device=device, dtype=dtype)
    return _as_paper(stage, stage.network.config, RGB_COMPLETION_PRESETS["paper"], str(path))


def _as_paper(stage: Any, config: Any, paper: Any, file: str) -> Any:
    if config != paper:
        raise InputError(f"{file}: trained with another configuration than paper; give the file itself as the stage")
    stage.name = NAME
    return stage
