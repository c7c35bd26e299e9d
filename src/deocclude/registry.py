"""The stages by name. A stage of one family goes with any stage of another.

A weights file that `deocclude train` wrote is a name too: FILE.safetensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from deocclude.errors import InputError
from deocclude.presets import RgbOptions
from deocclude.types import MaskCompleter, RgbCompleter
from deocclude.weight_specs import BASELINE_WEIGHTS

if TYPE_CHECKING:
    import torch

    from deocclude.conditioning.people_finder import PeopleFinder
    from deocclude.conditioning.pose_estimator import Detector, PoseEstimator

Builder = Callable[..., Any]
"""Called with a device and a dtype."""


def _function(module: str, name: str, *arguments: str) -> Builder:
    """A function of a pipeline or a baseline that loads a stage's weights and puts it on the device."""

    def build(device: torch.device, dtype: torch.dtype, **more: Any) -> Any:
        function = getattr(import_module(f"deocclude.{module}"), name)
        return function(*arguments, device=device, dtype=dtype, **more)

    return build


def _baseline(name: str, function: str) -> Builder:
    """A function of the file that is called as the stage."""
    return _function(f"baselines.{name.replace('-', '_')}", function)


def _class(module: str, name: str, *arguments: str) -> Builder:
    """A stage without weights, which works wherever its input is."""

    def build(device: torch.device, dtype: torch.dtype) -> Any:
        return getattr(import_module(f"deocclude.{module}"), name)(*arguments)

    return build


# Listed here, not read off `pipelines.diffusion_stages`, whose import takes seconds; a test compares them.
DIFFUSION_MASK_STAGES = ("diffusion", "mask-1", "mask-2", "mask-3", "mask-4", "one-stage")
DIFFUSION_RGB_STAGES = ("diffusion", "diffusion-paper", "rgb-5", "rgb-6", "rgb-7", "rgb-8", "rgb-image", "rgb-generic")

# Other methods' networks of thousands of millions of weights.
LARGE_BASELINES = ("sdamodal", "pix2gestalt", "amodal", "sd-inpaint", "flux2-klein")
_LARGE_RGB_STAGES = (*DIFFUSION_RGB_STAGES, "two-stage-unet", *LARGE_BASELINES)

_OPENCV = ("baselines.opencv_inpainting", "OpencvInpainting")

MASK_STAGES: dict[str, Builder] = {
    "feedforward": _function("pipelines.feedforward", "load_mask_completer"),
    **{name: _function("pipelines.diffusion_stages", "load_mask_completer", name) for name in DIFFUSION_MASK_STAGES},
    **{
        f"{name}-tiny": _function("pipelines.diffusion_tiny", "tiny_mask_completer", name)
        for name in DIFFUSION_MASK_STAGES
    },
    "copy-input": _class("baselines.trivial", "CopyInputMask"),
    "convex-hull": _class("baselines.trivial", "ConvexHullMask"),
    **{name: _baseline(name, "load_mask_completer") for name in BASELINE_WEIGHTS["mask"]},
}
RGB_STAGES: dict[str, Builder] = {
    "feedforward": _function("pipelines.feedforward", "load_rgb_completer"),
    **{name: _function("pipelines.diffusion_stages", "load_rgb_completer", name) for name in DIFFUSION_RGB_STAGES},
    **{
        f"{name}-tiny": _function("pipelines.diffusion_tiny", "tiny_rgb_completer", name)
        for name in DIFFUSION_RGB_STAGES
    },
    "one-stage": _class("pipelines.diffusion", "OneStageRgbCompleter"),
    "two-stage-unet": _function("pipelines.diffusion_stages", "load_unet_rgb_completer"),
    "two-stage-unet-tiny": _function("pipelines.diffusion_tiny", "tiny_unet_rgb_completer"),
    "copy-input": _class("baselines.trivial", "CopyInputRgb"),
    "mean-colour": _class("baselines.trivial", "MeanColourRgb"),
    "telea": _class(*_OPENCV, "telea", "person"),
    "telea-whole-picture": _class(*_OPENCV, "telea", "whole-picture"),
    "navier-stokes": _class(*_OPENCV, "navier-stokes", "person"),
    "navier-stokes-whole-picture": _class(*_OPENCV, "navier-stokes", "whole-picture"),
    **{name: _baseline(name, "load_rgb_completer") for name in BASELINE_WEIGHTS["RGB"]},
}

JOINT_SOURCES: dict[str, Builder] = {
    "movenet": lambda device, dtype: import_module("deocclude.conditioning.movenet").load_movenet(
        device=device, dtype=dtype
    ),
    "embedded": lambda device, dtype: None,
    "vitpose": lambda device, dtype: import_module("deocclude.conditioning.pose_estimator").load_pose_estimator(
        import_module("deocclude.weight_specs").require("vitpose"), device=device, dtype=dtype
    ),
}
"""Who finds the joints: MoveNet, the embedded segmenter, which needs nothing more, or ViTPose."""

DETECTORS: dict[str, Builder] = {
    "embedded": lambda device, dtype: import_module("deocclude.conditioning.embedded_detector").load_embedded_detector(
        device=device, dtype=dtype
    ),
    "rt-detr": lambda device, dtype: import_module("deocclude.conditioning.pose_estimator").load_person_detector(
        import_module("deocclude.weight_specs").require("detector"), device=device, dtype=dtype
    ),
}
"""Who finds people's boxes in a photograph."""


def _detector_finder(name: str) -> Callable[[Any, torch.device, torch.dtype], PeopleFinder]:
    """Boxes of a detector, masks of the embedded segmenter in them."""

    def build(segmenter: Any, device: torch.device, dtype: torch.dtype) -> PeopleFinder:
        module = import_module("deocclude.conditioning.embedded_people")
        return cast("PeopleFinder", module.DetectedPeopleFinder(DETECTORS[name](device, dtype), segmenter))

    return build


def _eomt_finder(segmenter: Any, device: torch.device, dtype: torch.dtype) -> PeopleFinder:
    folder = import_module("deocclude.weight_specs").require("eomt")
    module = import_module("deocclude.conditioning.instance_segmenter")
    return cast("PeopleFinder", module.load_instance_segmenter(folder, device=device, dtype=dtype))


FINDERS: dict[str, Callable[[Any, torch.device, torch.dtype], PeopleFinder]] = {
    **{name: _detector_finder(name) for name in DETECTORS},
    "eomt": _eomt_finder,
}
"""Who finds all people of a photograph: the embedded segmenter in a detector's boxes, or EoMT."""

_FINDER_WEIGHTS = {"rt-detr": ("detector",), "eomt": ("eomt",)}


def check_finder_name(name: str) -> None:
    """Raises InputError for an unknown finder."""
    _builder(name, FINDERS, "finder")


def build_finder(
    name: str, segmenter: Any, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> PeopleFinder:
    """The finder `name`, with the embedded segmenter where it needs one.

    Raises InputError for an unknown name, and where its weights are not on this machine.
    """
    if name in _FINDER_WEIGHTS:
        import_module("deocclude.weight_specs").require_all(_FINDER_WEIGHTS[name])
    return cast("PeopleFinder", _builder(name, FINDERS, "finder")(segmenter, *_placed(device, dtype)))


def build_detector(name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> Detector:
    """The detector `name`. Raises InputError for an unknown name."""
    return cast("Detector", _builder(name, DETECTORS, "detector")(*_placed(device, dtype)))


def build_joint_source(
    name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> PoseEstimator | None:
    """The joint source `name`; None for the segmenter itself. Raises InputError for an unknown name."""
    return cast("PoseEstimator | None", _builder(name, JOINT_SOURCES, "joint source")(*_placed(device, dtype)))


def build_mask_stage(
    name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> MaskCompleter:
    """The mask stage `name`, on a device. Raises InputError for an unknown name."""
    builder = _own("load_mask_completer", name) or _builder(name, MASK_STAGES, "mask stage")
    is_large = name in (*DIFFUSION_MASK_STAGES, *LARGE_BASELINES) or bool(_own_prior(name, "mask"))
    return cast(MaskCompleter, builder(*_placed(device, dtype, is_large=is_large)))


def build_rgb_stage(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    options: RgbOptions | None = None,
) -> RgbCompleter:
    """The RGB stage `name`, on a device. Raises InputError for an unknown name, and for options it does not have."""
    builder, more = _own("load_rgb_completer", name) or _builder(name, RGB_STAGES, "RGB stage"), {}
    if options is not None and options.given:
        if name.removesuffix("-tiny") not in DIFFUSION_RGB_STAGES:
            listed = ", ".join("--" + option.replace("_", "-") for option in options.given)
            raise InputError(f"the RGB stage '{name}' has no {listed}; those are for {', '.join(DIFFUSION_RGB_STAGES)}")
        more["options"] = options
    is_large = name in _LARGE_RGB_STAGES or bool(_own_prior(name, "RGB"))
    return cast(RgbCompleter, builder(*_placed(device, dtype, is_large=is_large), **more))


def check_weights(mask_stage: str, rgb_stage: str, joint_source: str) -> None:
    """Raises InputError, naming all, where these parts' weights are not on this machine (but for stage 1's prior)."""
    names: list[str] = []
    if mask_stage in DIFFUSION_MASK_STAGES:
        names += import_module("deocclude.pipelines.diffusion_stages").mask_weights(mask_stage)
    if rgb_stage in DIFFUSION_RGB_STAGES:
        stages = import_module("deocclude.pipelines.diffusion_stages")
        names += stages.rgb_weights(stages.RGB_STAGE_CONFIGS[rgb_stage])
    if rgb_stage == "two-stage-unet":
        names += import_module("deocclude.pipelines.diffusion_stages").UNET_RGB_WEIGHTS
    names += [*BASELINE_WEIGHTS["mask"].get(mask_stage, ()), *BASELINE_WEIGHTS["RGB"].get(rgb_stage, ())]
    names += [*_own_prior(mask_stage, "mask"), *_own_prior(rgb_stage, "RGB")]
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
    is_large = mask_stage in (*DIFFUSION_MASK_STAGES, *LARGE_BASELINES) or rgb_stage in _LARGE_RGB_STAGES
    if is_large or _own_prior(mask_stage, "mask") or _own_prior(rgb_stage, "RGB"):
        memory = import_module("deocclude.pipelines.diffusion_memory")
        memory.check_memory(memory.Choice(mask_stage, rgb_stage, device, dtype, options))


def _own(function: str, name: str) -> Builder | None:
    """A function of `pipelines.own_weights` where the name is that of a file."""
    return _function("pipelines.own_weights", function, name) if name.endswith(".safetensors") else None


def _own_prior(name: str, stage: str) -> tuple[str, ...]:
    """What a stage that is a file needs beside it. Raises InputError for a file that is no such stage."""
    if not name.endswith(".safetensors"):
        return ()
    return cast("tuple[str, ...]", import_module("deocclude.pipelines.own_weights").prior_weights(name, stage))


def _builder(name: str, stages: Mapping[str, Builder], kind: str) -> Builder:
    if name not in stages:
        raise InputError(f"no {kind} '{name}'; choose from {', '.join(stages)}")
    return stages[name]


def _placed(
    device: str | torch.device, dtype: torch.dtype | None, *, is_large: bool = False
) -> tuple[torch.device, torch.dtype]:
    """Without a dtype float32, and what is fast for the thousands of millions of weights of a diffusion stage."""
    import torch

    from deocclude.devices import fast_dtype

    device = torch.device(device)
    return device, dtype or (fast_dtype(device) if is_large else torch.float32)
