"""Keypoints as maps that a network reads: one map a part of the body, left and right together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deocclude.models.diffusion.joint_heatmaps import gaussian_heatmaps
from deocclude.skeletons import BODY_25

GROUPS = (
    ("nose", "right-eye", "left-eye", "right-ear", "left-ear"),
    ("neck", "right-shoulder", "left-shoulder"),
    ("right-elbow", "left-elbow", "right-wrist", "left-wrist"),
    ("mid-hip", "right-hip", "left-hip"),
    ("right-knee", "left-knee"),
    ("right-ankle", "left-ankle"),
)
"""Head, shoulders, arms, hips, knees, ankles. Left and right share a map, so that a mirrored picture needs no swap."""
NUM_GROUPS = len(GROUPS)
STRIDE = 4
"""Pixels of the picture in a cell of the maps before they are enlarged."""
SIGMA = 0.02
"""Standard deviation of a keypoint's Gaussian, as a fraction of the picture's side."""


def keypoint_maps(joints: Tensor, size: int) -> Tensor:
    """BODY_25 joints (B, 25, 3) of x, y in pixels of a square of side `size` and confidence, to (B, 6, size, size).

    Each Gaussian's peak is its confidence, clipped to [0, 1]; a map holds the highest at each pixel. Joints outside the
    square are faint or absent.
    """
    cells = size // STRIDE
    xy = joints[..., :2] / STRIDE - 0.5
    confidence = joints[..., 2].clamp(0, 1)
    gaussians = gaussian_heatmaps(xy, confidence > 0, cells, SIGMA * cells) * confidence[..., None, None]
    groups = [gaussians[:, [BODY_25.index(name) for name in names]].amax(1) for names in GROUPS]
    return F.interpolate(torch.stack(groups, dim=1), (size, size), mode="bilinear", align_corners=False)
