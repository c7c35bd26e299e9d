"""U_mask and its relatives (paper A, Eqs. 10, 18 and 20): a U-Net into which a body prior's maps are fed.

The paper gives no graph. This one, of our own design, halves a 256-px crop six times so that every map of the prior
joins at its own size, and has as many parameters as the paper counts: 18,020,321.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.diffusion.body_prior import PriorFeatures
from deocclude.models.diffusion.configs import PriorUNetConfig


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
