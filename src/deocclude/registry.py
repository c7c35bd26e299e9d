"""The stages by name. A stage of one family goes with any stage of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from deocclude.errors import InputError
from deocclude.types import MaskCompleter, RgbCompleter

if TYPE_CHECKING:
    import torch

Builder = Callable[["torch.device", "torch.dtype"], Any]


def _feedforward(function: str) -> Builder:
    """Trained networks: their weights come from the package, and they move to the device."""

    def build(device: torch.device, dtype: torch.dtype) -> Any:
        return getattr(import_module("deocclude.pipelines.feedforward"), function)(device=device, dtype=dtype)

    return build


def _trivial(class_name: str) -> Builder:
    """Stages without weights, which work wherever their input is."""

    def build(device: torch.device, dtype: torch.dtype) -> Any:
        return getattr(import_module("deocclude.baselines.trivial"), class_name)()

    return build


MASK_STAGES: dict[str, Builder] = {
    "feedforward": _feedforward("load_mask_completer"),
    "copy-input": _trivial("CopyInputMask"),
    "convex-hull": _trivial("ConvexHullMask"),
}
RGB_STAGES: dict[str, Builder] = {
    "feedforward": _feedforward("load_rgb_completer"),
    "copy-input": _trivial("CopyInputRgb"),
    "mean-colour": _trivial("MeanColourRgb"),
}


def build_mask_stage(
    name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> MaskCompleter:
    """The mask stage `name`, on a device. Raises InputError for an unknown name."""
    return cast(MaskCompleter, _builder(name, MASK_STAGES, "mask stage")(*_placed(device, dtype)))


def build_rgb_stage(name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> RgbCompleter:
    """The RGB stage `name`, on a device. Raises InputError for an unknown name."""
    return cast(RgbCompleter, _builder(name, RGB_STAGES, "RGB stage")(*_placed(device, dtype)))


def _builder(name: str, stages: Mapping[str, Builder], kind: str) -> Builder:
    if name not in stages:
        raise InputError(f"no {kind} '{name}'; choose from {', '.join(stages)}")
    return stages[name]


def _placed(device: str | torch.device, dtype: torch.dtype | None) -> tuple[torch.device, torch.dtype]:
    import torch

    return torch.device(device), dtype or torch.float32
