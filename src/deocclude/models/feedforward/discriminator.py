"""The patch discriminators D_m and D_c (paper B, sections 3.2 and 3.3): one structure, four convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Patch discriminator, conditional on masks."""

    width: int = 64
    """Channels of the first convolution; the next two double them."""
    num_masks: int = 1
    """Mask channels beside the picture."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.num_masks < 0:
            raise ValueError(f"need width >= 1 and num_masks >= 0, got {self.width} and {self.num_masks}")


class PatchDiscriminator(nn.Module):
    """Judges patches of a picture together with its masks.

    For D_m the mask is what is judged, soft or hard, and the picture the condition; for D_c the other way
    round. Three 4x4 convolutions of stride 2 with spectral normalisation and LeakyReLU, and a fourth to one
    logit a patch: the paper says "four conv layers", and its authors' 256-channel logits cannot be read as a
    probability.
    """

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorConfig()
        channels = [3 + config.num_masks, config.width, 2 * config.width, 4 * config.width]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 4, padding=1))

    def forward(self, image: Tensor, masks: Tensor) -> Tensor:
        """Logits, positive where a patch looks real, (B, 1, H/8 - 1, W/8 - 1).

        image: float (B, 3, H, W) in [0, 1], H and W at least 16. masks: float (B, num_masks, H, W) in [0, 1].
        """
        return self.layers(torch.cat([image, masks], dim=1) * 2 - 1)
