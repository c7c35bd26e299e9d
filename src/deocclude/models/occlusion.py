"""The occlusion network: of each pixel, is it this person, whole or visible, and is something in front of them there?

Ours, neither paper's. Paper B's stage 1 completes upright people behind small objects; asked about a person who sits,
is cut off or is wholly visible, it invents. This network is asked for the evidence: a body part is hidden only where
something is in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deocclude.models.encoder_decoder import EncoderDecoder
from deocclude.models.keypoint_maps import NUM_GROUPS


@dataclass(frozen=True, kw_only=True)
class OcclusionConfig:
    """Encoder EfficientNet-Lite0, a decoder with skips, one head of three maps."""

    decoder_channels: tuple[int, int, int] = (160, 96, 64)
    """Channels of the decoder at 1/16, 1/8 and 1/4 of the picture."""


@dataclass(frozen=True)
class OcclusionLogits:
    """All (B, 1, H, W). visible: the person's own visible body. amodal: their whole body, beyond the photograph too.
    front: something is in front of the person, or would be if they were there."""

    visible: Tensor
    amodal: Tensor
    front: Tensor


class OcclusionNetwork(EncoderDecoder):
    """Picture, modal mask, frame and keypoints to three maps; H and W multiples of 32."""

    def __init__(self, config: OcclusionConfig) -> None:
        super().__init__(5 + NUM_GROUPS, config.decoder_channels)
        self.config = config
        self.head = self.full_size_head(3)

    def forward(
        self, image: Tensor, modal_mask: Tensor, frame_mask: Tensor, keypoint_maps: Tensor | None = None
    ) -> OcclusionLogits:
        """image (B, 3, H, W) in [0, 1], 0 outside the photograph; modal_mask and frame_mask (B, 1, H, W), 0 or 1: what
        is visible of the person, perhaps wrong, and the photograph; keypoint_maps (B, 6, H, W) or None for unknown."""
        if keypoint_maps is None:
            keypoint_maps = image.new_zeros(len(image), NUM_GROUPS, *image.shape[2:])
        half, _ = self.features(torch.cat([image * 2 - 1, modal_mask, frame_mask, keypoint_maps], dim=1))
        return OcclusionLogits(*self.head(half).split(1, dim=1))
