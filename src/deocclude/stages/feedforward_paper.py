"""Human De-occlusion (paper B) at its own size: our networks with the configuration `paper`, trained by the user.

The shipped `feedforward` is a compact version of it. The weights of its authors are not published.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError
from deocclude.stages.spec import StageSpec
from deocclude.weight_specs import require, trained

if TYPE_CHECKING:
    import torch

NAME = "feedforward-paper"
MASK = trained(
    "mask-completion-paper",
    "paper B's stage 1",
    "mask-completion --config paper-inverse-l2 --losses paper --exact-masks 0 --templates FILE",
    size=54_000_000,
    parameters=27_000_000,
)
RGB = trained(
    "rgb-completion-paper",
    "paper B's stage 2",
    "rgb-completion --config paper --losses paper --parsing-dropout 0 --mask-network FILE",
    size=56_000_000,
    parameters=28_000_000,
)
WEIGHTS = (MASK, RGB)


def load_mask_completer(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    """Stage 1. Raises InputError for weights of another size too."""
    from deocclude.models.feedforward.mask_completion import MASK_COMPLETION_PRESETS
    from deocclude.stages.completers import feedforward

    path = require(MASK)
    stage = feedforward.load_mask_completer(path, device=device, dtype=dtype)
    saved: Any = stage.network.config
    # How many templates there are, and how they are weighted, is up to who trains.
    paper = replace(
        MASK_COMPLETION_PRESETS["paper"],
        num_templates=saved.num_templates,
        template_size=saved.template_size,
        template_weighting=saved.template_weighting,
    )
    return _as_paper(stage, paper, str(path))


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    """Stage 2. Raises InputError for weights of another size too."""
    from deocclude.models.feedforward.rgb_completion import RGB_COMPLETION_PRESETS
    from deocclude.stages.completers import feedforward

    path = require(RGB)
    stage = feedforward.load_rgb_completer(path, device=device, dtype=dtype)
    return _as_paper(stage, RGB_COMPLETION_PRESETS["paper"], str(path))


def _as_paper(stage: Any, paper: Any, file: str) -> Any:
    if stage.network.config != paper:
        raise InputError(f"{file}: trained with another configuration than paper; give the file itself as the stage")
    stage.name = NAME
    return stage


_BOTH: Any = partial(
    StageSpec,
    name=NAME,
    title="Human De-occlusion at its own size",
    paper="Human De-occlusion (paper B, 2021)",
    licence="yours",
    size=256,
    dtype="float32",
    accepts=frozenset(),
    options=None,
    batched=True,
    role="method",
    memory=0,
    note="the whole commands: `deocclude reproduce b-table-4 --rows all`, `b-table-6 --rows fused`",
)
STAGES = (
    _BOTH(kind="mask", weights=(MASK,), load=load_mask_completer),
    _BOTH(kind="RGB", weights=(RGB,), load=load_rgb_completer),
)
