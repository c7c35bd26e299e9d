"""The hourglass module of paper B: a five-level U-Net with batch normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (1, 2, 4, 8, 8)
"""Channels of the encoder levels in units of the base channels."""


def double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """(3x3 convolution, batch normalisation, ReLU) twice, size kept."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Hourglass(nn.Module):
    """HG_m and HG_a of paper B, Eqs. 1-2: features at the resolution of the input.

    Takes (B, in_channels, H, W), returns (B, base_channels, H, W). Any H and W from 16 up.
    """

    def __init__(self, in_channels: int, base_channels: int) -> None:
        super().__init__()
        widths = [base_channels * width for width in WIDTHS]
        self.down = nn.ModuleList(
            double_conv(before, after) for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        # The decoder mirrors the encoder; each level already halves its channels for the next skip.
        outputs = [widths[2], widths[1], widths[0], widths[0]]
        inputs = [widths[4] + widths[3], outputs[0] + widths[2], outputs[1] + widths[1], outputs[2] + widths[0]]
        self.up = nn.ModuleList(double_conv(before, after) for before, after in zip(inputs, outputs, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.down[0](x)]
        for level in self.down[1:]:
            skips.append(level(F.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for level in self.up:
            x = level(torch.cat([skips[-1], _upsample_to(x, skips.pop())], dim=1))
        return x


def _upsample_to(x: Tensor, skip: Tensor) -> Tensor:
    """Bilinear x2, then zero rows and columns where the skip had an odd size."""
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    rows, columns = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
    return F.pad(x, (0, columns, 0, rows)) if rows or columns else x
