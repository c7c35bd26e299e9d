"""Configurations of paper A's networks and of their use: plain dataclasses, read without importing torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

MAX_STEPS = {"ddim": 999, "unipc": 999, "dpm++": 999, "lcm": 50}
"""By solver. More would meet a timestep twice, or one that the schedule lacks; `lcm` is distilled from 50."""

HEATMAP_SIGMA = 2.5
"""Paper A's σ1 and DPMesh's, in pixels of a 32-px heatmap."""

Kind = Literal["occluded-heatmap", "whole-heatmap", "occluded-mask"]
Input = Literal["modal_mask", "joints", "image", "invisible_mask"]
Output = Literal["amodal_mask", "rgb"]

INPUT_CHANNELS: dict[Input, int] = {"modal_mask": 1, "joints": 1, "image": 3, "invisible_mask": 1}


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the latent is denoised."""

    solver: Literal["ddim", "unipc", "dpm++", "lcm"] = "unipc"
    """`ddim` with eta 0 is paper A's Eq. 15; the others need far fewer steps; `lcm` needs weights distilled for it."""
    steps: int = 15
    """Denoising steps; paper A gives no number, pix2gestalt's own is 200."""
    guidance: float = 2.0
    """Weight of the condition (classifier-free guidance); 1 halves the cost. pix2gestalt's own is 2."""

    def __post_init__(self) -> None:
        if self.solver not in MAX_STEPS:
            raise ValueError(f"no solver '{self.solver}'; choose from {', '.join(MAX_STEPS)}")
        if not 1 <= self.steps <= MAX_STEPS[self.solver]:
            raise ValueError(f"steps of {self.solver} must be 1 to {MAX_STEPS[self.solver]}, got {self.steps}")
        if not 0 <= self.guidance < math.inf:  # not a number included
            raise ValueError(f"guidance must be at least 0 and finite, got {self.guidance}")


@dataclass(frozen=True, kw_only=True)
class DecoderTuningConfig:
    """How the decoder is tuned. Where paper A is silent, as in Blended Latent Diffusion, which it follows."""

    steps: int = 50
    """Optimiser steps; paper A's Table H tries 0 to 200."""
    learning_rate: float = 1e-4
    """Of Adam."""
    visible_weight: float = 100.0
    """λ of Eq. 16."""
    together: bool = False
    """One decoder for the whole batch instead of one a person: fewer copies, and no longer the paper's result."""
    stop_below: float | None = None
    """Stop once Eq. 16's visible term, a mean over the whole picture, lies below this; None makes every step."""

    def __post_init__(self) -> None:
        if self.steps < 0 or not 0 < self.learning_rate < math.inf or not 0 <= self.visible_weight < math.inf:
            raise ValueError(
                "need steps >= 0, learning_rate > 0 and visible_weight >= 0, got "
                f"{self.steps}, {self.learning_rate} and {self.visible_weight}"
            )
        if self.stop_below is not None and not 0 <= self.stop_below < math.inf:
            raise ValueError(f"stop_below must be at least 0, got {self.stop_below}")


@dataclass(frozen=True, kw_only=True)
class JointInputConfig:
    """How joints enter the mask completion U-Net. The defaults are paper A's final configuration."""

    kind: Kind = "occluded-heatmap"
    """What is drawn (paper A, B.3 and Table F): occluded joints, all joints, or discs in place of Gaussians."""
    sub_joints: int = 9
    """Joints put between each of the 14 pairs (Table E's s)."""
    sigma: float = 8.0
    """Standard deviation in pixels of a 256-px crop (Table C's σ2); 0 draws nothing."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"no kind of joint input '{self.kind}'; choose from {', '.join(get_args(Kind))}")
        if self.sub_joints < 0 or self.sigma < 0:
            raise ValueError(f"sub_joints and sigma must be at least 0, got {self.sub_joints} and {self.sigma}")


@dataclass(frozen=True, kw_only=True)
class PriorUNetConfig:
    """What goes in, what comes out, and the widths. The defaults are paper A's U_mask."""

    inputs: tuple[Input, ...] = ("modal_mask", "joints")
    """Pictures that are concatenated, in this order; `joints` is drawn as `joint_input` says."""
    outputs: tuple[Output, ...] = ("amodal_mask",)
    """What is predicted, in this order."""
    mask_logits: Literal[1, 2] = 1
    """One logit for binary cross-entropy, two for the cross-entropy of paper A's Table G."""
    joint_input: JointInputConfig = field(default_factory=JointInputConfig)
    """How joints are drawn."""
    has_prior: bool = True
    """Whether F and T are fed in; without them this is paper A's ablation #1."""
    prior_channels: tuple[int, int, int, int] = (1280, 1280, 640, 320)
    """Channels of F at 4, 8, 16 and 32 px."""
    num_tokens: int = 30
    """Channels of T at 8 and 16 px."""
    heatmap_sigma: float = HEATMAP_SIGMA
    """Standard deviation of the prior's joint heatmaps, pixels of the latent (Table D's σ1)."""
    encoder: tuple[int, ...] = (32, 64, 128, 256, 256, 256, 256)
    """Channels from the full size down to 1/64 of it."""
    projection: int = 512
    """Channels to which each map of the prior is brought."""
    decoder: tuple[int, ...] = (384, 256, 128, 64, 32, 32)
    """Channels from 1/32 of the size up to the full one."""

    def __post_init__(self) -> None:
        if len(self.encoder) != 7 or len(self.decoder) != 6:
            raise ValueError(f"need 7 encoder and 6 decoder widths, got {len(self.encoder)} and {len(self.decoder)}")
        if not self.inputs or not self.outputs:
            raise ValueError("need at least one input and one output")

    @property
    def in_channels(self) -> int:
        return sum(INPUT_CHANNELS[name] for name in self.inputs)

    @property
    def out_channels(self) -> int:
        return sum(self.mask_logits if name == "amodal_mask" else 3 for name in self.outputs)

    @property
    def fed_channels(self) -> tuple[int, int, int, int]:
        """Of what the prior feeds in at 4, 8, 16 and 32 px: F, and T where there is one."""
        smallest, small, middle, large = self.prior_channels
        return smallest, small + self.num_tokens, middle + self.num_tokens, large
