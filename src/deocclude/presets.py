"""Presets: which stages go together under one name."""

from __future__ import annotations

from dataclasses import dataclass

from deocclude.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A whole method."""

    mask_stage: str
    """Name of the stage that completes the mask (`registry.MASK_STAGES`)."""
    rgb_stage: str
    """Name of the stage that completes the picture (`registry.RGB_STAGES`)."""


PRESETS = {"feedforward": Preset(mask_stage="feedforward", rgb_stage="feedforward")}


def preset(name: str) -> Preset:
    """The preset `name`. Raises InputError for an unknown one."""
    if name not in PRESETS:
        raise InputError(f"no preset '{name}'; choose from {', '.join(PRESETS)}")
    return PRESETS[name]
