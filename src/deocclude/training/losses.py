"""The loss terms of paper B, and the few of our own. Every one is differentiable to the generator."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.parsing import IGNORE_LABEL

Features = Callable[[Tensor], list[Tensor]]
"""A frozen network: picture (B, 3, H, W) in [0, 1] to feature maps."""


def mask_cross_entropy(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Two-class cross-entropy of a mask (CE_m, CE_a of paper B's L_m; paper A, Eq. 11), weighted mean over pixels.

    logits: foreground minus background, (B, 1, H, W); mask: bool; weight: float, 0 where a pixel is not scored.
    """
    losses = F.binary_cross_entropy_with_logits(logits, mask.to(logits.dtype), reduction="none")
    return (losses * weight).sum() / weight.sum().clamp(min=1)


def parsing_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of a parsing (CE_pm, CE_pa), ignored pixels left out; 0 where every pixel is ignored.

    logits: (B, 20, h, w); labels: int64 (B, H, W), read at the resolution of the logits.
    """
    labels = F.interpolate(labels[:, None].float(), logits.shape[-2:], mode="nearest-exact")[:, 0].long()
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE_LABEL, reduction="sum")
    return losses / (labels != IGNORE_LABEL).sum().clamp(min=1)


def soft_iou_loss(probability: Tensor, mask: Tensor, region: Tensor) -> Tensor:
    """1 - soft intersection over soft union inside `region`, mean over the people who have anything there.

    Ours: cross-entropy counts pixels, the metric counts people. probability: float, mask and region: bool (B, 1, H, W).
    """
    probability, target = probability * region, (mask & region).to(probability.dtype)
    intersection = (probability * target).flatten(1).sum(1)
    union = (probability + target - probability * target).flatten(1).sum(1)
    present = target.flatten(1).sum(1) > 0
    losses = 1 - intersection / union.clamp(min=1)
    return losses[present].mean() if present.any() else losses.sum() * 0


def feature_l1(features: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Perceptual term: mean absolute difference of each feature map, summed over the maps."""
    return torch.stack([F.l1_loss(ours, theirs) for ours, theirs in zip(features, targets, strict=True)]).sum()


def style_l1(features: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Style term: mean absolute difference of the Gram matrices over channels, summed over the maps."""
    pairs = zip(features, targets, strict=True)
    return torch.stack([F.l1_loss(gram(ours), gram(theirs)) for ours, theirs in pairs]).sum()


def gram(features: Tensor) -> Tensor:
    """Gram matrix over channels divided by C H W, (B, C, C)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def generator_adversarial(fake_logits: Tensor) -> Tensor:
    """Non-saturating generator term: the discriminator should take the generated picture or mask for a real one."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Binary cross-entropy of the discriminator: real is 1, generated is 0."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def judge_frozen(discriminator: nn.Module, *inputs: Tensor) -> Tensor:
    """The discriminator's verdict with gradients to its inputs and none to itself."""
    discriminator.requires_grad_(False)
    verdict = discriminator(*inputs)
    discriminator.requires_grad_(True)
    return verdict
