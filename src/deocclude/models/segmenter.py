"""The embedded segmenter: one compact network that finds the prominent person and all its joints.

Neither paper's: paper B takes a detector's mask, paper A takes OpenPose's joints, and both need a model hub or a
licence. This one is small enough to be shipped, and it is trained on occluded people, so it is asked for the hidden
joints as well as for the visible ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.efficientnet import FEATURE_CHANNELS, EfficientNetLite0
from deocclude.skeletons import NUM_JOINTS


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """Encoder EfficientNet-Lite0, a decoder with skips, two heads."""

    decoder_channels: tuple[int, int, int] = (160, 96, 64)
    """Channels of the decoder at 1/16, 1/8 and 1/4 of the picture."""


SEGMENTER_PRESETS = {"compact": SegmenterConfig()}


@dataclass(frozen=True)
class SegmenterOutput:
    """modal_logits: (B, 1, H, W). joint_heatmap_logits: (B, 25, H / 4, W / 4), BODY_25."""

    modal_logits: Tensor
    joint_heatmap_logits: Tensor


class SegmenterNetwork(nn.Module):
    """Picture and box to the person's modal mask and joints; H and W multiples of 32."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = EfficientNetLite0(in_channels=4)
        half, quarter, eighth, sixteenth, deepest = FEATURE_CHANNELS
        widths = config.decoder_channels
        self.context = nn.Sequential(nn.Conv2d(deepest, widths[0], 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        self.up16 = _fuse(widths[0] + sixteenth, widths[0])
        self.up8 = _fuse(widths[0] + eighth, widths[1])
        self.up4 = _fuse(widths[1] + quarter, widths[2])
        self.joint_head = nn.Conv2d(widths[2], NUM_JOINTS, 3, padding=1)
        # Each 1/2 cell answers for its four pixels.
        self.mask_head = nn.Sequential(
            nn.Conv2d(widths[2] + half, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 4, 3, padding=1), nn.PixelShuffle(2)
        )
        assert self.joint_head.bias is not None
        nn.init.constant_(self.joint_head.bias, -4.0)  # a joint is rare among pixels

    def forward(self, image: Tensor, box: Tensor) -> SegmenterOutput:
        """image (B, 3, H, W) in [0, 1]; box (B, 1, H, W), 1 where the person is asked for, all ones for anywhere."""
        half, quarter, eighth, sixteenth, deepest = self.encoder(torch.cat([image * 2 - 1, box], dim=1))
        x = self.context(deepest)
        for level, skip in ((self.up16, sixteenth), (self.up8, eighth), (self.up4, quarter)):
            x = level(torch.cat([_double(x), skip], dim=1))
        return SegmenterOutput(self.mask_head(torch.cat([_double(x), half], dim=1)), self.joint_head(x))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _fuse(in_channels: int, out_channels: int) -> nn.Sequential:
    """A cheap 3x3 block: 1x1 to the new width, then a full 3x3."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
