"""Keypoints as a pose estimator would find them: the training labels, made as uncertain as what is met in use.

Running one on each training picture would cost more than the training itself. The figures follow what MoveNet does on
COCO people of the training split: hidden keypoints within a fifth of the body's size for six in ten.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deocclude.training.synthesis import SynthesisBatch


def found_keypoints(batch: SynthesisBatch, generator: torch.Generator, *, none: float = 0.3) -> Tensor:
    """BODY_25 joints (B, 25, 3) of x, y in pixels and confidence; 0 for those that were not found.

    none: probability that a person's keypoints are all unknown.
    """
    joints = batch.joints
    count, num_joints, _ = joints.shape
    size = batch.occluded.shape[-1]

    def draw(low: float, high: float) -> Tensor:
        return torch.rand((count, num_joints), generator=generator, device=joints.device) * (high - low) + low

    columns, rows = (joints[..., axis].long().clamp(0, size - 1) for axis in (0, 1))
    inside = (joints[..., :2] >= 0).all(-1) & (joints[..., :2] < size).all(-1)
    at = rows * size + columns
    covered = batch.occluder_mask[:, 0].flatten(1).gather(1, at)
    in_frame = batch.frame_mask[:, 0].flatten(1).gather(1, at)
    hidden = covered | batch.hidden_joints
    extent = batch.amodal_mask.flatten(1).sum(1).sqrt()[:, None]
    spread = torch.where(hidden, 0.12, 0.03) * extent
    noise = torch.randn((count, num_joints, 2), generator=generator, device=joints.device) * spread[..., None]
    confidence = torch.where(hidden, draw(0.05, 0.6), draw(0.35, 1.0))
    lost = draw(0, 1) < torch.where(hidden, 0.35, 0.1)
    nothing = torch.rand((count, 1), generator=generator, device=joints.device) < none
    found = inside & in_frame & (joints[..., 2] > 0.3) & ~lost & ~nothing
    return torch.cat([joints[..., :2] + noise, (confidence * found)[..., None]], dim=-1)
