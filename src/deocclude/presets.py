"""Presets: which stages go together under one name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deocclude.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A whole method."""

    mask_stage: str
    """Name of the stage that completes the mask (`registry.MASK_STAGES`)."""
    rgb_stage: str
    """Name of the stage that completes the picture (`registry.RGB_STAGES`)."""
    joints: str = "movenet"
    """Who finds the joints (`registry.JOINT_SOURCES`)."""
    detector: str = "embedded"
    """Who says where people are, where neither mask nor box does (`registry.DETECTORS`)."""


_ROWS = {
    **{f"mask-{row}": (f"mask-{row}", "copy-input") for row in (1, 2, 3, 4)},
    **{f"rgb-{row}": ("diffusion", f"rgb-{row}") for row in (5, 6, 7, 8, "image", "generic")},
    "one-stage": ("one-stage", "one-stage"),
    "two-stage-unet": ("diffusion", "two-stage-unet"),
}
"""Paper A's ablations: Table 3's rows (masks alone), Table 4's, other words (Tables 5, K), other designs (Table 5)."""


def _hub(mask_stage: str, rgb_stage: str) -> Preset:
    """With detector and pose estimator from the hub."""
    return Preset(mask_stage=mask_stage, rgb_stage=rgb_stage, joints="vitpose", detector="rt-detr")


def _tiny(stage: str) -> str:
    return stage if stage in ("copy-input", "one-stage") else f"{stage}-tiny"


PRESETS = {
    "feedforward": Preset(mask_stage="feedforward", rgb_stage="feedforward"),
    "diffusion": _hub("diffusion", "diffusion"),
    "diffusion-paper": _hub("diffusion", "diffusion-paper"),
    "diffusion-tiny": Preset(mask_stage="diffusion-tiny", rgb_stage="diffusion-tiny"),
    **{name: _hub(mask, rgb) for name, (mask, rgb) in _ROWS.items()},
    **{f"{name}-tiny": Preset(mask_stage=f"{mask}-tiny", rgb_stage=_tiny(rgb)) for name, (mask, rgb) in _ROWS.items()},
}


@dataclass(frozen=True, kw_only=True)
class RgbOptions:
    """Settings of a diffusion RGB stage (none: as the stage's name has it)."""

    solver: Literal["ddim", "unipc", "dpm++", "lcm"] | None = None
    """How the latent is denoised; ddim is the paper's Eq. 15."""
    steps: int | None = None
    """Denoising steps."""
    guidance: float | None = None
    """Weight of the condition; 1 halves the cost."""
    context: Literal["text_pooled", "image", "image+text", "text_tokens", "text_tokens_projected"] | None = None
    """What the U-Net reads about the person."""
    vqa: bool | None = None
    """Ask a VQA model about the person; otherwise everybody is "a photo of a human"."""
    hint_colour: Literal["ade20k", "coco", "white"] | None = None
    """Colour of the amodal mask in the ControlNet's hint."""
    decoder_tuning_steps: int | None = None
    """Steps of decoder fine-tuning (Eq. 16)."""
    decoder_tuning_stop: float | None = None
    """Stop tuning earlier, once Eq. 16's visible term (a mean over the whole picture) is below this."""
    lcm_lora: Path | None = None
    """Low-rank weights distilled for few steps (safetensors), for the solver lcm."""

    @property
    def given(self) -> dict[str, Any]:
        """The settings that were given."""
        return {name: value for name, value in vars(self).items() if value is not None}


def preset(name: str) -> Preset:
    """The preset `name`. Raises InputError for an unknown one."""
    if name not in PRESETS:
        raise InputError(f"no preset '{name}'; choose from {', '.join(PRESETS)}")
    return PRESETS[name]
