"""SSSD (Zhan et al. 2020): PCNet-M completes the mask, PCNet-C the colours. Weights: converted by the user."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from deocclude.stages.loading import load_converted
from deocclude.stages.spec import StageSpec
from deocclude.weight_specs import Converted, WeightSpec

if TYPE_CHECKING:
    import torch

_FOLDER = "https://drive.google.com/drive/folders/1O89ItVWucCoL_VxIbLM1XLxr9JFfyj_Y"
_NETWORKS = "deocclude.models.sssd"
# README and LICENSE (Apache-2.0) of XiaohangZhan/deocclusion; of the weights they say nothing. Size and sha256: what
# another project computed from its own download.
_LICENCE = "not stated by its authors (code: Apache-2.0)"
MASK = WeightSpec(
    name="sssd-mask",
    what="baseline: SSSD's PCNet-M",
    source=Converted(
        file="COCOA_pcnet_m.pth.tar",
        address=_FOLDER,
        converter=(_NETWORKS, "sssd_mask_from_checkpoint"),
        size=26_870_559,
        sha256="3740e8f709f824068dd36be46bd44ffd18105c4f606c099789c93f3ae4b860f7",
    ),
    size=6_700_000,
    parameters=3_350_000,
    licence=_LICENCE,
)
CONTENT = WeightSpec(
    name="sssd-content",
    what="baseline: SSSD's PCNet-C",
    source=Converted(
        file="the PCNet-C checkpoint", address=_FOLDER, converter=(_NETWORKS, "sssd_content_from_checkpoint")
    ),
    size=52_000_000,
    parameters=26_000_000,
    licence=_LICENCE,
)
WEIGHTS = (MASK, CONTENT)


def load_mask_completer(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    """PCNet-M with the weights that the user converted."""
    from deocclude.stages.completers.sssd import SssdMaskCompleter

    network, sha256 = load_converted(MASK, "SssdMaskNetwork", device, dtype)
    return SssdMaskCompleter(network, weights_sha256=sha256)


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    """PCNet-C with the weights that the user converted."""
    from deocclude.stages.completers.sssd import SssdRgbCompleter

    network, sha256 = load_converted(CONTENT, "SssdContentNetwork", device, dtype)
    return SssdRgbCompleter(network, weights_sha256=sha256)


_BOTH: Any = partial(
    StageSpec,
    name="sssd",
    title="SSSD",
    paper="SSSD (Zhan et al. 2020)",
    licence=_LICENCE,
    dtype="float32",
    options=None,
    batched=False,
    role="method",
    memory=0,
)
STAGES = (
    _BOTH(
        kind="mask",
        weights=(MASK,),
        size=512,  # about as many pixels of the photograph as the network's square of 256 has
        accepts=frozenset({"occluder_mask"}),
        note="PCNet-M",
        load=load_mask_completer,
    ),
    _BOTH(
        kind="RGB",
        weights=(CONTENT,),
        size=256,
        accepts=frozenset(),
        note="PCNet-C",
        load=load_rgb_completer,
    ),
)
