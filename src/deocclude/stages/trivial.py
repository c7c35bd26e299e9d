"""The floor under every table: stages that know nothing about people and need no weights."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from deocclude.stages.spec import StageSpec

if TYPE_CHECKING:
    import torch


def _load(name: str, *, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers import trivial

    return getattr(trivial, name)()


_FLOOR: Any = partial(
    StageSpec,
    paper=None,
    licence="–",
    weights=(),
    size=256,
    dtype="float32",
    accepts=frozenset(),
    options=None,
    batched=False,
    role="floor",
    memory=0,
)
STAGES = (
    _FLOOR(
        name="copy-input",
        kind="mask",
        title="nothing is hidden",
        note="nothing is hidden",
        load=partial(_load, "CopyInputMask"),
    ),
    _FLOOR(
        name="convex-hull",
        kind="mask",
        title="convex hull",
        note="hull of the visible part",
        load=partial(_load, "ConvexHullMask"),
    ),
    _FLOOR(
        name="copy-input",
        kind="RGB",
        title="the occluder stays",
        note="the occluder stays",
        load=partial(_load, "CopyInputRgb"),
    ),
    _FLOOR(
        name="mean-colour",
        kind="RGB",
        title="mean colour",
        note="mean of the visible pixels",
        load=partial(_load, "MeanColourRgb"),
    ),
)
