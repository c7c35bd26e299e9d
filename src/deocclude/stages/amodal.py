"""Amodal completion by progressive inpainting (Xu et al. 2024), training-free: mask and picture grow together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from deocclude.stages.loading import hub_folder, shared
from deocclude.stages.sd_inpaint import SD15_INPAINT, shared_pipeline
from deocclude.stages.spec import WORK_TWICE, StageSpec

if TYPE_CHECKING:
    import torch


def _load_mask(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers.amodal import AmodalMaskCompleter

    return AmodalMaskCompleter(_load_painter(device, dtype))


def _load_rgb(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers.amodal import AmodalRgbCompleter

    return AmodalRgbCompleter(_load_painter(device, dtype))


def _load_painter(device: torch.device, dtype: torch.dtype) -> Any:
    """What both stages paint with, once for the two."""
    from deocclude.stages.completers.amodal import ProgressConfig, ProgressiveInpainting
    from deocclude.stages.completers.mixed_context import MixedContextConfig, MixedContextInpainting

    def load() -> Any:
        _, commit = hub_folder(SD15_INPAINT)
        inpaint = MixedContextInpainting(shared_pipeline(device, dtype), MixedContextConfig(), weights_sha256=commit)
        return ProgressiveInpainting(inpaint, ProgressConfig())

    return shared(SD15_INPAINT, device, dtype, load)


_BOTH: Any = partial(
    StageSpec,
    name="amodal",
    title="progressive mixed context diffusion",
    paper="Amodal Completion via Progressive Mixed Context Diffusion (Xu et al. 2024)",
    licence=SD15_INPAINT.licence,
    weights=(SD15_INPAINT,),
    size=512,
    dtype="fast",
    options=None,
    batched=False,
    role="method",
    memory=WORK_TWICE,
    note="without training",
)
STAGES = (
    _BOTH(kind="mask", accepts=frozenset({"prompt", "occluder_mask"}), load=_load_mask),
    _BOTH(kind="RGB", accepts=frozenset({"prompt", "generator"}), load=_load_rgb),
)
