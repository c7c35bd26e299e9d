"""Training the embedded segmenter: the prominent person's modal mask and all its joints, hidden ones included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.keypoint_maps import keypoint_maps
from deocclude.models.segmenter import SegmenterNetwork, SegmenterOutput
from deocclude.training.found_keypoints import found_keypoints
from deocclude.training.losses import mask_cross_entropy, soft_iou_loss
from deocclude.training.mask_completion import as_picture, iou
from deocclude.training.preview import sheet
from deocclude.training.synthesis import SynthesisBatch

JOINT_STRIDE = 4
"""Pixels of the picture in one cell of the joint maps."""


@dataclass(frozen=True, kw_only=True)
class SegmenterLossConfig:
    """Weights of the loss terms."""

    mask: float = 1.0
    """Cross-entropy of the modal mask."""
    soft_iou: float = 1.0
    """Soft IoU of the modal mask."""
    joints: float = 0.3
    """Cross-entropy of the joint maps against Gaussians."""
    joint_sigma: float = 1.5
    """Width of those Gaussians, cells of the joint map."""
    box_given: float = 0.9
    """Fraction of the samples that come with the person's box, loosely drawn."""


class SegmenterTask:
    """The segmenter in the training loop."""

    discriminator = None

    def __init__(self, network: SegmenterNetwork, config: SegmenterLossConfig) -> None:
        self.network, self.config = network, config

    def __repr__(self) -> str:
        return f"{self.network.config} {self.config}"

    def generator_losses(
        self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Any]:
        config = self.config
        box = draw_boxes(batch.modal_mask, generator, given=config.box_given)
        maps = keypoint_maps(found_keypoints(batch, generator), batch.occluded.shape[-1])
        output: SegmenterOutput = network(batch.occluded, box, maps)
        height, width = output.joint_heatmap_logits.shape[-2:]
        heatmaps, weight = joint_targets(batch.joints, (height, width), config.joint_sigma)
        joints = F.binary_cross_entropy_with_logits(output.joint_heatmap_logits, heatmaps, reduction="none")
        # Summed over the few cells of a Gaussian, averaged over joints: the same weight at every size of picture.
        joints = (joints * weight[:, :, None, None]).sum((2, 3)).mean() / (2 * torch.pi * config.joint_sigma**2)
        soft = soft_iou_loss(output.modal_logits.sigmoid(), batch.modal_mask, batch.scored)
        losses = {
            "mask": config.mask * mask_cross_entropy(output.modal_logits, batch.modal_mask, batch.scored.float()),
            "soft_iou": config.soft_iou * soft,
            "joints": config.joints * joints,
        }
        return losses, None

    def discriminator_loss(self, made: Any) -> Tensor:
        raise AssertionError("the segmenter has no discriminator")

    def metrics(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Modal IoU, and the share of joints within 10 % of the person's height, hidden and visible apart."""
        output = network(batch.occluded, draw_boxes(batch.modal_mask, generator, given=1.0))
        xy, _ = joint_peaks(output.joint_heatmap_logits)
        rows = batch.amodal_mask.any(dim=3).flatten(1).sum(1)
        near = (xy - batch.joints[..., :2]).norm(dim=-1) < 0.1 * rows[:, None]
        inside, hidden = _joint_places(batch)
        figures = {"modal_iou": iou(output.modal_logits > 0, batch.modal_mask, batch.scored)}
        for name, chosen in (("visible", inside & ~hidden), ("hidden", inside & hidden)):
            figures[f"joints_{name}"] = (near & chosen).sum(1) / chosen.sum(1)
        return figures

    def preview(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> np.ndarray:
        """Input, found mask, true mask, joint maps over the picture."""
        output = network(batch.occluded, draw_boxes(batch.modal_mask, generator, given=1.0))
        strongest = output.joint_heatmap_logits.sigmoid().amax(dim=1, keepdim=True)
        joints = F.interpolate(strongest, batch.occluded.shape[-2:])
        found = as_picture(output.modal_logits.sigmoid())
        return sheet([batch.occluded, found, as_picture(batch.modal_mask.float()), (batch.whole + joints) / 2])


def draw_boxes(mask: Tensor, generator: torch.Generator, *, given: float, is_exact: bool = False) -> Tensor:
    """Box channel (B, 1, H, W): the mask's box with up to 15 % play on each side, or all ones for `1 - given`."""
    batch, _, height, width = mask.shape
    play = torch.rand((batch, 4), generator=generator, device=mask.device) * 0.3 - 0.15
    play = torch.zeros_like(play) if is_exact else play
    is_given = torch.rand(batch, generator=generator, device=mask.device) < given
    sides = []
    for axis, index, side in ((2, 0, width), (3, 2, height)):
        profile = mask.any(dim=axis).squeeze(1).float()
        first, last = profile.argmax(1), side - profile.flip(1).argmax(1)
        extent = last - first
        places = torch.arange(side, device=mask.device) + 0.5
        after = places >= (first - play[:, index] * extent)[:, None]
        before = places <= (last + play[:, index + 1] * extent)[:, None]
        sides.append(after & before)
    columns, rows = sides
    boxes = (columns[:, None, None, :] & rows[:, None, :, None]).float()
    return torch.where(is_given[:, None, None, None], boxes, 1.0)


def joint_targets(joints: Tensor, size_hw: tuple[int, int], sigma: float) -> tuple[Tensor, Tensor]:
    """Gaussian maps (B, 25, h, w) with peak 1, and each joint's weight (B, 25).

    joints: (B, 25, 3), pixels of the picture and the label's confidence. A joint outside the picture has an empty map.
    """
    y = torch.arange(size_hw[0], device=joints.device) + 0.5
    x = torch.arange(size_hw[1], device=joints.device) + 0.5
    cells = joints[..., :2] / JOINT_STRIDE
    squared = (y[:, None] - cells[..., 1, None, None]).square() + (x - cells[..., 0, None, None]).square()
    return (-squared / (2 * sigma**2)).exp(), joints[..., 2].clamp(0, 1)


def joint_peaks(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Highest cell of each map: x, y in pixels of the picture (B, 25, 2), and its probability (B, 25)."""
    peak, index = logits.flatten(2).max(dim=2)
    width = logits.shape[-1]
    cells = torch.stack([index % width, index // width], dim=-1)
    return (cells + 0.5) * JOINT_STRIDE, peak.sigmoid()


def _joint_places(batch: SynthesisBatch) -> tuple[Tensor, Tensor]:
    """Which labelled joints lie in the picture, and which of them an occluder hides, both bool (B, 25)."""
    height, width = batch.occluded.shape[-2:]
    x, y, confidence = batch.joints.unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (confidence > 0.5)
    columns, rows = x.long().clamp(0, width - 1), y.long().clamp(0, height - 1)
    hidden = batch.occluder_mask[:, 0].flatten(1).gather(1, rows * width + columns)
    return inside, hidden
