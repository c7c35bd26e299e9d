"""Human De-occlusion (paper B), compact: both stages, with the weights inside the package.

Stage 1 takes the mean of its own answer and the occlusion network's, which knows people who sit, crowd and are cut off,
and may correct the modal mask; stage 2 reads stage 1's parsing where there is one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from deocclude.stages.spec import StageSpec
from deocclude.weight_specs import shipped

if TYPE_CHECKING:
    import torch

CROP_SIZE = 256
"""The side the networks are trained at, pixels."""

BODY_WEIGHT = 0.8
"""Of the occlusion network's estimate of the whole body, beside paper B's network."""

MASK = shipped("mask-completion", "feed-forward stage 1", size=14_400_000, parameters=6_900_000)
RGB = shipped("rgb-completion", "feed-forward stage 2", size=8_100_000, parameters=4_020_000)
WEIGHTS = (MASK, RGB)


def load_mask_completer(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    """Stage 1 with the package's weights."""
    from deocclude.stages.completers.feedforward import load_mask_completer

    return load_mask_completer(device=device, dtype=dtype, body_weight=BODY_WEIGHT)


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    """Stage 2 with the package's weights."""
    from deocclude.stages.completers.feedforward import load_rgb_completer

    return load_rgb_completer(device=device, dtype=dtype)


_BOTH: Any = partial(
    StageSpec,
    name="feedforward",
    title="deocclude, built in",
    paper="Human De-occlusion (paper B, 2021), compact",
    licence="Apache-2.0",
    size=CROP_SIZE,
    dtype="float32",
    options=None,
    batched=True,
    role="method",
    memory=0,
    note="the package's own",
)
STAGES = (
    _BOTH(kind="mask", accepts=frozenset({"body_probability"}), weights=(MASK,), load=load_mask_completer),
    _BOTH(kind="RGB", accepts=frozenset(), weights=(RGB,), load=load_rgb_completer),
)
