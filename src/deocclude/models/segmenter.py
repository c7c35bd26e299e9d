"""The embedded segmenter: one compact network that finds a person's visible part and all their joints.

Neither paper's: paper B takes a detector's mask, paper A takes OpenPose's joints, and both need a model hub or a
licence. This one is small enough to be shipped, and it is trained on occluded people, so it is asked for the hidden
joints as well as for the visible ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deocclude.models.encoder_decoder import EncoderDecoder
from deocclude.models.keypoint_maps import NUM_GROUPS
from deocclude.skeletons import NUM_JOINTS


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """Encoder EfficientNet-Lite0, a decoder with skips, two heads."""

    decoder_channels: tuple[int, int, int] = (160, 96, 64)
    """Channels of the decoder at 1/16, 1/8 and 1/4 of the picture."""
    reads_keypoints: bool = False
    """Whether it is shown the person's keypoints, which tell apart two people in one box."""


SEGMENTER_PRESETS = {"compact": SegmenterConfig(reads_keypoints=True)}


@dataclass(frozen=True)
class SegmenterOutput:
    """modal_logits: (B, 1, H, W). joint_heatmap_logits: (B, 25, H / 4, W / 4), BODY_25."""

    modal_logits: Tensor
    joint_heatmap_logits: Tensor


class SegmenterNetwork(EncoderDecoder):
    """Picture, box and keypoints to the person's modal mask and joints; H and W multiples of 32."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__(4 + NUM_GROUPS * config.reads_keypoints, config.decoder_channels)
        self.config = config
        self.joint_head = nn.Conv2d(config.decoder_channels[2], NUM_JOINTS, 3, padding=1)
        self.mask_head = self.full_size_head(1)
        assert self.joint_head.bias is not None
        nn.init.constant_(self.joint_head.bias, -4.0)  # a joint is rare among pixels

    def forward(self, image: Tensor, box: Tensor, keypoint_maps: Tensor | None = None) -> SegmenterOutput:
        """image (B, 3, H, W) in [0, 1]; box (B, 1, H, W), 1 where the person is asked for, all ones for anywhere;
        keypoint_maps (B, 6, H, W) of `keypoint_maps.keypoint_maps`, or None where no keypoint is known."""
        inputs = [image * 2 - 1, box]
        if self.config.reads_keypoints:
            unknown = box.new_zeros(len(box), NUM_GROUPS, *box.shape[2:])
            inputs.append(unknown if keypoint_maps is None else keypoint_maps)
        half, quarter = self.features(torch.cat(inputs, dim=1))
        return SegmenterOutput(self.mask_head(half), self.joint_head(quarter))
