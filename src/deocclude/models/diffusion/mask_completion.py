"""U_mask and its relatives (paper A, Eqs. 10, 18 and 20): a U-Net into which a body prior's maps are fed.

The paper gives no graph. This one, of our own design, halves a 256-px crop six times so that every map of the prior
joins at its own size, and has as many parameters as the paper counts: 18,020,321.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.diffusion.body_prior import HEATMAP_SIGMA, PriorFeatures
from deocclude.models.diffusion.joint_heatmaps import JointInputConfig

Input = Literal["modal_mask", "joints", "image", "invisible_mask"]
Output = Literal["amodal_mask", "rgb"]

INPUT_CHANNELS: dict[Input, int] = {"modal_mask": 1, "joints": 1, "image": 3, "invisible_mask": 1}


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


@dataclass(frozen=True)
class PriorUNetOutput:
    """amodal_logits: float (B, 1, S, S), a person above 0. rgb: float (B, 3, S, S) in [0, 1]. None: not predicted."""

    amodal_logits: Tensor | None
    rgb: Tensor | None


class PriorUNet(nn.Module):
    """Six halvings, skips, and the prior's maps concatenated to the bottleneck and to the skips of their size."""

    def __init__(self, config: PriorUNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = (config.in_channels, *config.encoder)
        self.encoder = nn.ModuleList(_block(a, b) for a, b in pairwise(widths))
        fed = config.projection if config.has_prior else 0
        self.projections = nn.ModuleList(_projection(count, fed) for count in config.fed_channels if fed)
        self.decoder = nn.ModuleList()
        below = config.encoder[6] + fed
        for step, width in enumerate(config.decoder):
            skip = config.encoder[5 - step] + (fed if step < 3 else 0)
            self.decoder.append(_block(below + skip, width))
            below = width
        self.head = nn.Conv2d(below, config.out_channels, 1)

    def forward(self, pictures: Tensor, prior: PriorFeatures | None = None) -> PriorUNetOutput:
        """pictures: float (B, in_channels, S, S), S a multiple of 64; prior: of the same crop (Eq. 10)."""
        fed = self._fed(prior)
        skips: list[Tensor] = []
        value = pictures
        for level, block in enumerate(self.encoder):
            value = block(F.max_pool2d(value, 2) if level else value)
            skips.append(value)
        value = _with(skips.pop(), fed, 0)
        for step, block in enumerate(self.decoder):
            value = F.interpolate(value, scale_factor=2, mode="bilinear", align_corners=False)
            value = block(torch.cat([value, _with(skips.pop(), fed, step + 1)], dim=1))
        return self._named(self.head(value))

    def _fed(self, prior: PriorFeatures | None) -> list[Tensor]:
        """The prior's maps from small to large, T after the F of its size, at one width."""
        if (prior is None) == self.config.has_prior:
            raise ValueError(f"this network {'needs a' if self.config.has_prior else 'has no'} body prior")
        if prior is None:
            return []
        smallest, small, middle, large = prior.features
        maps = [smallest, torch.cat([small, prior.attention[0]], 1), torch.cat([middle, prior.attention[1]], 1), large]
        return [project(value) for project, value in zip(self.projections, maps, strict=True)]

    def _named(self, values: Tensor) -> PriorUNetOutput:
        named: dict[str, Tensor] = {}
        first = 0
        for name in self.config.outputs:
            count = self.config.mask_logits if name == "amodal_mask" else 3
            named[name] = values[:, first : first + count]
            first += count
        mask, rgb = named.get("amodal_mask"), named.get("rgb")
        if mask is not None and self.config.mask_logits == 2:
            mask = mask[:, 1:] - mask[:, :1]  # softmax of two logits is the logistic function of their difference
        return PriorUNetOutput(mask, None if rgb is None else rgb.sigmoid())


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def _projection(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU())


def _with(value: Tensor, fed: list[Tensor], index: int) -> Tensor:
    return torch.cat([value, fed[index]], dim=1) if index < len(fed) else value
