"""The stages by name. A stage of one family goes with any stage of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from deocclude.errors import InputError
from deocclude.presets import RgbOptions
from deocclude.types import MaskCompleter, RgbCompleter

if TYPE_CHECKING:
    import numpy as np
    import torch

    from deocclude.conditioning.pose_estimator import DetectedPerson, PoseEstimator

Builder = Callable[..., Any]
"""Called with a device and a dtype."""


def _function(module: str, name: str, *arguments: str) -> Builder:
    """A function of a pipeline that loads a stage's weights and puts it on the device."""

    def build(device: torch.device, dtype: torch.dtype, **more: Any) -> Any:
        function = getattr(import_module(f"deocclude.pipelines.{module}"), name)
        return function(*arguments, device=device, dtype=dtype, **more)

    return build


def _class(module: str, name: str) -> Builder:
    """A stage without weights, which works wherever its input is."""

    def build(device: torch.device, dtype: torch.dtype) -> Any:
        return getattr(import_module(f"deocclude.{module}"), name)()

    return build


# Listed here, not read off `pipelines.diffusion_stages`, whose import takes seconds; a test compares them.
DIFFUSION_MASK_STAGES = ("diffusion", "mask-1", "mask-2", "mask-3", "mask-4", "one-stage")
DIFFUSION_RGB_STAGES = ("diffusion", "diffusion-paper", "rgb-5", "rgb-6", "rgb-7", "rgb-8", "rgb-image", "rgb-generic")

MASK_STAGES: dict[str, Builder] = {
    "feedforward": _function("feedforward", "load_mask_completer"),
    **{name: _function("diffusion_stages", "load_mask_completer", name) for name in DIFFUSION_MASK_STAGES},
    **{f"{name}-tiny": _function("diffusion_tiny", "tiny_mask_completer", name) for name in DIFFUSION_MASK_STAGES},
    "copy-input": _class("baselines.trivial", "CopyInputMask"),
    "convex-hull": _class("baselines.trivial", "ConvexHullMask"),
}
RGB_STAGES: dict[str, Builder] = {
    "feedforward": _function("feedforward", "load_rgb_completer"),
    **{name: _function("diffusion_stages", "load_rgb_completer", name) for name in DIFFUSION_RGB_STAGES},
    **{f"{name}-tiny": _function("diffusion_tiny", "tiny_rgb_completer", name) for name in DIFFUSION_RGB_STAGES},
    "one-stage": _class("pipelines.diffusion", "OneStageRgbCompleter"),
    "two-stage-unet": _function("diffusion_stages", "load_unet_rgb_completer"),
    "two-stage-unet-tiny": _function("diffusion_tiny", "tiny_unet_rgb_completer"),
    "copy-input": _class("baselines.trivial", "CopyInputRgb"),
    "mean-colour": _class("baselines.trivial", "MeanColourRgb"),
}

JOINT_SOURCES: dict[str, Builder] = {
    "embedded": lambda device, dtype: None,
    "vitpose": lambda device, dtype: import_module("deocclude.conditioning.pose_estimator").load_pose_estimator(
        import_module("deocclude.weight_specs").require("vitpose"), device=device, dtype=dtype
    ),
}
"""Who finds the joints: the embedded segmenter, which needs nothing more, or ViTPose."""

DETECTORS: dict[str, Builder] = {
    "rt-detr": lambda device, dtype: import_module("deocclude.conditioning.pose_estimator").load_person_detector(
        import_module("deocclude.weight_specs").require("detector"), device=device, dtype=dtype
    ),
}
"""Who finds people's boxes in a photograph, the largest person first."""


def build_detector(
    name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> Callable[[np.ndarray], Sequence[DetectedPerson]]:
    """The detector `name`. Raises InputError for an unknown name."""
    return cast(
        "Callable[[np.ndarray], Sequence[DetectedPerson]]",
        _builder(name, DETECTORS, "detector")(*_placed(device, dtype)),
    )


def build_joint_source(
    name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> PoseEstimator | None:
    """The joint source `name`; None for the segmenter itself. Raises InputError for an unknown name."""
    return cast("PoseEstimator | None", _builder(name, JOINT_SOURCES, "joint source")(*_placed(device, dtype)))


def build_mask_stage(
    name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> MaskCompleter:
    """The mask stage `name`, on a device. Raises InputError for an unknown name."""
    return cast(MaskCompleter, _builder(name, MASK_STAGES, "mask stage")(*_placed(device, dtype, name)))


def build_rgb_stage(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    options: RgbOptions | None = None,
) -> RgbCompleter:
    """The RGB stage `name`, on a device. Raises InputError for an unknown name, and for options it does not have."""
    builder, more = _builder(name, RGB_STAGES, "RGB stage"), {}
    if options is not None and options.given:
        if name.removesuffix("-tiny") not in DIFFUSION_RGB_STAGES:
            listed = ", ".join("--" + option.replace("_", "-") for option in options.given)
            raise InputError(f"the RGB stage '{name}' has no {listed}; those are for {', '.join(DIFFUSION_RGB_STAGES)}")
        more["options"] = options
    return cast(RgbCompleter, builder(*_placed(device, dtype, name), **more))


def check_weights(mask_stage: str, rgb_stage: str, joint_source: str) -> None:
    """Raises InputError, naming all, where these parts' weights are not on this machine (but for stage 1's prior)."""
    names: list[str] = []
    if mask_stage in DIFFUSION_MASK_STAGES:
        names += import_module("deocclude.pipelines.diffusion_stages").mask_weights(mask_stage)
    if rgb_stage in DIFFUSION_RGB_STAGES:
        stages = import_module("deocclude.pipelines.diffusion_stages")
        names += stages.rgb_weights(stages.RGB_STAGE_CONFIGS[rgb_stage])
    if joint_source == "vitpose":
        names.append("vitpose")
    if names:
        import_module("deocclude.weight_specs").require_all(names)


def check_memory(
    mask_stage: str,
    rgb_stage: str,
    *,
    device: torch.device,
    dtype: torch.dtype | None = None,
    options: RgbOptions | None = None,
) -> None:
    """Raises InputError, saying what would fit, where the diffusion stages among these will not fit on the device."""
    if mask_stage in DIFFUSION_MASK_STAGES or rgb_stage in (*DIFFUSION_RGB_STAGES, "two-stage-unet"):
        memory = import_module("deocclude.pipelines.diffusion_memory")
        memory.check_memory(memory.Choice(mask_stage, rgb_stage, device, dtype, options))


def _builder(name: str, stages: Mapping[str, Builder], kind: str) -> Builder:
    if name not in stages:
        raise InputError(f"no {kind} '{name}'; choose from {', '.join(stages)}")
    return stages[name]


def _placed(device: str | torch.device, dtype: torch.dtype | None, stage: str = "") -> tuple[torch.device, torch.dtype]:
    """Without a dtype float32, and what is fast for the thousands of millions of weights of a diffusion stage."""
    import torch

    from deocclude.devices import fast_dtype

    device = torch.device(device)
    is_large = stage in (*DIFFUSION_MASK_STAGES, *DIFFUSION_RGB_STAGES, "two-stage-unet")
    return device, dtype or (fast_dtype(device) if is_large else torch.float32)
