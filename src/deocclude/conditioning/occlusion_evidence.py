"""What speaks for and against a hidden part: of each pixel, is this person visible there, and is something in front?

Every mask stage's answer is held against it (`pipelines.hidden_ground`): a stage may only complete a person where
something hides them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deocclude.models.keypoint_maps import keypoint_maps
from deocclude.weights import asset_path, load_network

if TYPE_CHECKING:
    from torch import Tensor

    from deocclude.models.occlusion import OcclusionNetwork

CROP_SIZE = 192
"""The side at which the network looks, pixels."""


@dataclass(frozen=True)
class OcclusionEvidence:
    """Probabilities on a crop, float32 (B, 1, S, S) in [0, 1].

    visible: the person's own visible body. amodal: their whole body. front: something is in front of the person, or
    would be if they were there.
    """

    visible: Tensor
    amodal: Tensor
    front: Tensor

    def one(self, index: int) -> OcclusionEvidence:
        """One person of the batch, as a batch of one."""
        return OcclusionEvidence(*(value[index : index + 1] for value in vars(self).values()))


class OcclusionEstimator:
    """The occlusion network on crops.

    mirror: ask the network about the mirrored crop too and average.
    """

    name = "embedded"

    def __init__(
        self,
        network: OcclusionNetwork,
        *,
        size: int = CROP_SIZE,
        mirror: bool = True,
        weights_sha256: str | None = None,
    ) -> None:
        self.network, self.size, self.mirror = network.eval(), size, mirror
        self.weights_sha256 = weights_sha256

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's arithmetic."""
        return next(self.network.parameters()).dtype

    @torch.inference_mode()
    def __call__(
        self, image: Tensor, modal_mask: Tensor, frame_mask: Tensor, joints: Tensor | None = None
    ) -> OcclusionEvidence:
        """What is seen on crops.

        image: float (B, 3, S, S) in [0, 1], 0 outside the photograph. modal_mask, frame_mask (the photograph): bool
        (B, 1, S, S). joints: BODY_25 (B, 25, 3) of x, y in pixels of the crop and confidence, 0 for unknown ones.
        """
        side = image.shape[-1]
        maps = None if joints is None else keypoint_maps(joints, side)
        inputs = [image, modal_mask.float(), frame_mask.float(), *([] if maps is None else [maps])]
        small = [
            F.interpolate(value, (self.size, self.size), mode="bilinear", antialias=True).to(self.dtype)
            for value in inputs
        ]
        logits = list(vars(self.network(*small)).values())
        if self.mirror:
            mirrored = vars(self.network(*(value.flip(-1) for value in small))).values()
            logits = [(one + other.flip(-1)) / 2 for one, other in zip(logits, mirrored, strict=True)]
        enlarged = (F.interpolate(one.float(), (side, side), mode="bilinear", align_corners=False) for one in logits)
        return OcclusionEvidence(*(one.sigmoid() for one in enlarged))


def load_occlusion_estimator(
    path: Path | None = None, *, device: torch.device, dtype: torch.dtype = torch.float32
) -> OcclusionEstimator:
    """The estimator, with the package's weights unless `path` names others. Raises InputError without any."""
    network, sha256 = load_network(path or asset_path("occlusion"), expected="OcclusionNetwork")
    return OcclusionEstimator(network.to(device, dtype, memory_format=torch.channels_last), weights_sha256=sha256)
