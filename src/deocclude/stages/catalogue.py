"""All stages by name, read from the files beside this one without importing torch.

A stage of one method goes with any stage of another. A weights file that `deocclude train` wrote is a name too:
FILE.safetensors.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from deocclude import stages
from deocclude.conditioning import sources
from deocclude.errors import InputError, no_such
from deocclude.stages.spec import Kind, StageSpec, option_fields
from deocclude.weight_specs import Shipped, WeightSpec, require_all

if TYPE_CHECKING:
    import torch

    from deocclude.types import MaskCompleter, RgbCompleter

HINT_WORDS = {
    "keypoints": "keypoints",
    "prompt": "prompt",
    "reference": "reference photograph",
    "occluder_mask": "occluder mask",
    "generator": "generator",
}
"""What the field of `types.Hints` is called in a sentence."""
OPTION_OF = {"mask": "--mask-stage", "RGB": "--rgb-stage"}


@cache
def _modules() -> tuple[ModuleType, ...]:
    """The files that declare stages."""
    names = [found.name for found in pkgutil.iter_modules(stages.__path__) if not found.ispkg]
    modules = [import_module(f"{stages.__name__}.{name}") for name in names]
    return tuple(module for module in modules if "STAGES" in vars(module))


@cache
def stage_specs(kind: Kind) -> Mapping[str, StageSpec]:
    """The stages of a kind by name: what the package brings the weights for, then menus' choices, then the others."""
    found = [spec for module in _modules() for spec in module.STAGES if spec.kind == kind]
    ordered = sorted(found, key=lambda spec: (not _is_shipped(spec), not spec.listed, spec.name))
    named = {spec.name: spec for spec in ordered}
    assert len(named) == len(found), f"two {kind} stages of one name"
    return named


@cache
def weight_specs() -> Mapping[str, WeightSpec]:
    """All weights by name: the package's own first, then what finds people, then those of each stage's file."""
    found = [*sources.WEIGHTS, *(spec for module in _modules() for spec in vars(module).get("WEIGHTS", ()))]
    ordered = sorted(found, key=lambda spec: not isinstance(spec.source, Shipped))
    named = {spec.name: spec for spec in ordered}
    assert len(named) == len(found), "two weights of one name"
    return named


def weight_spec(name: str) -> WeightSpec:
    """The weights `name`. Raises InputError for an unknown name."""
    if name not in weight_specs():
        raise no_such("weights", name, weight_specs())
    return weight_specs()[name]


def find_stage(kind: Kind, name: str) -> StageSpec:
    """The stage `name`, which may be a weights file. Raises InputError for an unknown name and for another file."""
    if name.endswith(".safetensors"):
        from deocclude.stages.weights_file import stage_of_file

        return stage_of_file(name, kind)
    specs = stage_specs(kind)
    if name not in specs:
        raise InputError(f"no {kind} stage '{name}'; choose from {', '.join(specs)}")
    return specs[name]


def build_mask_stage(
    name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> MaskCompleter:
    """The mask stage `name`, on a device. Raises InputError for an unknown name, and where its weights are not here."""
    return cast("MaskCompleter", _built(find_stage("mask", name), device, dtype, {}))


def build_rgb_stage(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    options: Mapping[str, Any] | None = None,
) -> RgbCompleter:
    """The RGB stage `name`, on a device.

    options: in place of the stage's own, by name. Raises InputError for an unknown name, for options that it does not
    have or that make no sense, and where its weights are not here.
    """
    return cast("RgbCompleter", _built(find_stage("RGB", name), device, dtype, options or {}))


def _built(
    spec: StageSpec, device: str | torch.device, dtype: torch.dtype | None, options: Mapping[str, Any]
) -> MaskCompleter | RgbCompleter:
    import torch

    config = configured(spec, options)
    device = torch.device(device)
    return cast(
        "MaskCompleter | RgbCompleter",
        spec.load(device=device, dtype=dtype or default_dtype(spec, device), config=config),
    )


def default_dtype(spec: StageSpec, device: torch.device) -> torch.dtype:
    """The arithmetic of a stage where the user names none."""
    import torch

    from deocclude.devices import fast_dtype

    return fast_dtype(device) if spec.dtype == "fast" else torch.float32


def configured(spec: StageSpec, options: Mapping[str, Any]) -> Any:
    """A stage's configuration with these options in place of its own. Raises InputError for those it does not have."""
    lacking = [name for name in options if name not in option_fields(spec.options)]
    if lacking:
        able = [one.name for one in stage_specs(spec.kind).values() if one.listed and {*lacking} <= {*_options_of(one)}]
        listed = ", ".join("--" + name.replace("_", "-") for name in lacking)
        raise InputError(f"the {spec.kind} stage '{spec.name}' has no {listed}; those are for {', '.join(able)}")
    return spec.configured(options)


def _options_of(spec: StageSpec) -> Collection[str]:
    return option_fields(spec.options)


def check_hints(kind: Kind, name: str, accepts: Collection[str], given: Iterable[str]) -> None:
    """Raises InputError for a hint that the stage does not read, with the stages that do."""
    for hint in given:
        if hint not in accepts:
            raise InputError(f"the {kind} stage '{name}' reads no {HINT_WORDS[hint]}; {_readers(kind, hint)}")


def _readers(kind: Kind, hint: str) -> str:
    """Which stages read a hint, as options of the command line."""
    found = [spec.name for spec in stage_specs(kind).values() if spec.listed and hint in spec.accepts]
    found += [
        f"{spec.name} with {spec.accepts_with[hint]}"
        for spec in stage_specs(kind).values()
        if spec.listed and hint in spec.accepts_with
    ]
    return f"{OPTION_OF[kind]} {', '.join(found)} would" if found else f"no {kind} stage does"


def stages_with_option() -> dict[str, list[StageSpec]]:
    """Option name → the RGB stages that have it, of those that menus offer."""
    found: dict[str, list[StageSpec]] = {}
    for spec in stage_specs("RGB").values():
        for name in _options_of(spec) if spec.listed else ():
            found.setdefault(name, []).append(spec)
    return found


def check_weights(
    mask_stage: str, rgb_stage: str, keypoint_source: str, options: Mapping[str, Any] | None = None
) -> None:
    """Raises InputError, naming all, where the weights of these parts are not on this machine.

    What the package brings is left to its reader, which names the file.
    """
    mask, rgb = find_stage("mask", mask_stage), find_stage("RGB", rgb_stage)
    needed = [*mask.weights_for(mask.options), *rgb.weights_for(configured(rgb, options or {}))]
    needed += sources.joint_weights(keypoint_source)
    require_all(spec for spec in needed if not isinstance(spec.source, Shipped))


def _is_shipped(spec: StageSpec) -> bool:
    return bool(spec.weights) and all(isinstance(one.source, Shipped) for one in spec.weights)
