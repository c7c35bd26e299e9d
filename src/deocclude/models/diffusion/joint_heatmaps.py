"""Joints as pictures: Gaussian heatmaps (paper A, Eq. 4), the occluded-joint heatmap H_o (Eqs. 8 and 9, A.1, B.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from deocclude.models.diffusion.configs import JointInputConfig
from deocclude.skeletons import BODY_25

MIN_CONFIDENCE = 0.05
"""A joint at most as confident as this was not found (DPMesh's threshold)."""

NUM_BODY_JOINTS = 19
"""BODY_25 without its six foot joints, which come last: J_body."""

JOINT_PAIRS = (
    (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7),
    (1, 8), (8, 9), (9, 10), (10, 11), (8, 12), (12, 13), (13, 14),
)  # fmt: skip
"""Pairs of BODY_25 joints between which joints are put (paper A, Table A)."""

assert all("toe" in name or "heel" in name for name in BODY_25[NUM_BODY_JOINTS:])


def gaussian_heatmaps(joints_xy: Tensor, drawn: Tensor, size: int, sigma: float) -> Tensor:
    """One Gaussian a joint, peak 1, on the pixel grid 0 … size - 1 (paper A, Eq. 4).

    joints_xy: float (B, K, 2) in pixels of the heatmap. drawn: bool (B, K); the other maps are empty.
    Returns float32 (B, K, size, size).
    """
    grid = torch.arange(size, device=joints_xy.device, dtype=torch.float32)
    # A Gaussian is a product: two small tables instead of one exponential a pixel.
    columns, rows = ((-(grid - joints_xy[..., axis, None].float()).square() / (2 * sigma**2)).exp() for axis in (0, 1))
    return rows[..., :, None] * columns[..., None, :] * drawn[..., None, None]


def dense_joints(joints: Tensor, sub_joints: int) -> Tensor:
    """J_dense: the 19 body joints and `sub_joints` points between the two joints of each pair (paper A, 3.3 and A.1).

    joints: float (B, 25, 3), x, y, confidence. Returns (B, 19 + 14 `sub_joints`, 3); a point between two joints is as
    confident as the less confident of them, so that one between a joint and a missing one is missing too: it would be
    a streak to where missing joints lie, at (0, 0).
    """
    body = joints[:, :NUM_BODY_JOINTS]
    first, second = (joints[:, [pair[end] for pair in JOINT_PAIRS]] for end in (0, 1))
    share = torch.arange(1, sub_joints + 1, device=joints.device, dtype=joints.dtype) / (sub_joints + 1)
    xy = first[:, :, None, :2] + share[:, None] * (second - first)[:, :, None, :2]
    confidence = torch.minimum(first[..., 2], second[..., 2])[:, :, None, None].expand(*xy.shape[:3], 1)
    return torch.cat([body, torch.cat([xy, confidence], dim=-1).flatten(1, 2)], dim=1)


def found(joints: Tensor, size: int) -> Tensor:
    """Which joints were detected and lie on the crop: bool (B, K). joints: (B, K, 3) in pixels of a crop of `size`."""
    x, y, confidence = joints.unbind(-1)
    return (confidence > MIN_CONFIDENCE) & (x >= 0) & (x < size) & (y >= 0) & (y < size)


def occluded(joints: Tensor, modal_mask: Tensor) -> Tensor:
    """J_o: which joints were found where the person is not visible, bool (B, K) (paper A, Eq. 8).

    joints: (B, K, 3) in pixels of the crop. modal_mask: bool (B, 1, S, S).
    """
    size = modal_mask.shape[-1]
    columns, rows = (joints[..., axis].round().long().clamp(0, size - 1) for axis in (0, 1))
    visible = modal_mask.flatten(1).gather(1, rows * size + columns)
    return found(joints, size) & ~visible


def joint_input(joints: Tensor | None, modal_mask: Tensor, config: JointInputConfig) -> Tensor:
    """The picture of joints that U_mask gets: by default the occluded-joint heatmap H_o (paper A, Eq. 9).

    joints: BODY_25, float (B, 25, 3) in pixels of the crop; None or none found gives an empty picture.
    modal_mask: bool (B, 1, S, S). Returns float32 (B, 1, S, S) in [0, 1].
    """
    size = modal_mask.shape[-1]
    if joints is None or config.sigma == 0:
        return torch.zeros_like(modal_mask, dtype=torch.float32)
    # Points between two joints of which one is off the crop are as unreliable as those between missing ones.
    usable = found(joints, size)[..., None]
    dense = dense_joints(torch.cat([joints[..., :2], joints[..., 2:] * usable], dim=-1), config.sub_joints)
    drawn = found(dense, size) if config.kind == "whole-heatmap" else occluded(dense, modal_mask)
    sigma = config.sigma * size / 256
    heatmap = gaussian_heatmaps(dense[..., :2], drawn, size, sigma).amax(dim=1, keepdim=True)
    if config.kind == "occluded-mask":
        # The paper does not say how large M_o is; discs as wide as the Gaussians' standard deviation.
        return ((heatmap >= torch.tensor(-0.5).exp()) & ~modal_mask).float()
    return heatmap
