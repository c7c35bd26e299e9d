"""pix2gestalt (Ozguroglu et al. 2024) in its own way: it paints the whole person on white, and white is not the person.

Paper A's row #5 (`rgb-5`) takes the same weights with eta 0. Weights: converted by the user.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from deocclude.stages.diffusion import PIX2GESTALT
from deocclude.stages.loading import load_converted, shared
from deocclude.stages.spec import WORK_TWICE, StageSpec

if TYPE_CHECKING:
    import torch


def _load_mask(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers.pix2gestalt import Pix2gestaltMaskCompleter

    return Pix2gestaltMaskCompleter(_load_painter(device, dtype))


def _load_rgb(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers.pix2gestalt import Pix2gestaltRgbCompleter

    return Pix2gestaltRgbCompleter(_load_painter(device, dtype))


def _load_painter(device: torch.device, dtype: torch.dtype) -> Any:
    """What both stages paint with, once for the two."""
    from deocclude.stages.completers.pix2gestalt import Pix2gestalt, Pix2gestaltConfig

    def load() -> Any:
        denoiser, sha256 = load_converted(PIX2GESTALT, "RgbDenoiser", device, dtype)
        return Pix2gestalt(denoiser, Pix2gestaltConfig(), weights_sha256=sha256)

    return shared(PIX2GESTALT, device, dtype, load)


_BOTH: Any = partial(
    StageSpec,
    name="pix2gestalt",
    title="pix2gestalt",
    paper="pix2gestalt (Ozguroglu et al. 2024)",
    licence=PIX2GESTALT.licence,
    weights=(PIX2GESTALT,),
    size=256,
    dtype="fast",
    options=None,
    batched=False,
    role="method",
    memory=WORK_TWICE,
    note="in its own way",
)
STAGES = (
    _BOTH(kind="mask", accepts=frozenset(), load=_load_mask),
    _BOTH(kind="RGB", accepts=frozenset({"generator"}), draws_candidates=True, load=_load_rgb),
)
