"""OpenCV's two classical inpaintings: Telea's fast marching and the Navier-Stokes one (Bertalmio et al.)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from deocclude.stages.spec import StageSpec

if TYPE_CHECKING:
    import torch

PAPERS = {"telea": "Telea 2004", "navier-stokes": "Bertalmio et al. 2001"}


def _load(method: Any, known: Any, *, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers.opencv import OpencvInpainting

    return OpencvInpainting(method, known)


def _stage(method: str, known: str) -> StageSpec:
    alone = known == "person"
    return StageSpec(
        name=method if alone else f"{method}-{known}",
        kind="RGB",
        title=f"OpenCV, {method}" if alone else f"OpenCV, {method}, whole picture",
        paper=PAPERS[method],
        licence="Apache-2.0 (OpenCV)",
        weights=(),
        size=256,
        dtype="float32",
        accepts=frozenset(),
        options=None,
        batched=False,
        role="floor",
        memory=0,
        note="from the visible person's pixels alone" if alone else "from all pixels that are not invisible",
        load=partial(_load, method, known),
    )


STAGES = tuple(_stage(method, known) for method in PAPERS for known in ("person", "whole-picture"))
