"""Training stage 1: the losses of paper B's L_m on synthesised people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deocclude.models.feedforward.discriminator import PatchDiscriminator
from deocclude.models.feedforward.mask_completion import MaskCompletionNetwork, MaskLogits
from deocclude.training.imperfect_masks import detector_like
from deocclude.training.losses import (
    Features,
    discriminator_loss,
    feature_l1,
    generator_adversarial,
    judge_frozen,
    mask_cross_entropy,
    parsing_cross_entropy,
    soft_iou_loss,
)
from deocclude.training.preview import sheet
from deocclude.training.synthesis import SynthesisBatch, modal_parsing


@dataclass(frozen=True, kw_only=True)
class MaskLossConfig:
    """Weights of the loss terms. The defaults are paper B's; what it does not have is said to be ours."""

    cross_entropy: float = 1.0
    """λ1, of the modal and the amodal mask."""
    parsing: float = 1.0
    """λ1 again, of the two parsings; the authors' code has 0.2."""
    adversarial: float = 1.0
    """λ2."""
    l1: float = 0.1
    """λ3, of the amodal mask's L1 (Eq. 3; the authors' code adds the modal mask's)."""
    perceptual: float = 0.1
    """λ3, of the amodal mask's feature distance."""
    occluder_weight: float = 1.0
    """Weight of a pixel under an occluder in the amodal cross-entropy; ours, 1 is the paper."""
    soft_iou: float = 0.0
    """Weight of the soft IoU, of the whole mask and of its invisible part; ours, 0 is the paper."""
    exact_masks: float = 0.5
    """Share of the initial modal masks that are exact, the others have a detector's errors (`detector_like`).

    Ours, so that the network also serves people who give an exact mask; the paper's are all a detector's, which is 0.
    """


class MaskCompletionTask:
    """Stage 1 in the training loop."""

    def __init__(
        self, network: MaskCompletionNetwork, config: MaskLossConfig, *, features: Features | None = None
    ) -> None:
        self.network, self.config, self.features = network, config, features
        self.discriminator = PatchDiscriminator() if config.adversarial else None

    def __repr__(self) -> str:
        return f"{self.network.config} {self.config}"

    def generator_losses(
        self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Any]:
        config = self.config
        initial = detector_like(batch.modal_mask, batch.occluder_mask, generator, exact=config.exact_masks)
        logits: MaskLogits = network(batch.occluded, initial)
        scored, known = batch.scored.float(), batch.scored & batch.known.body_scored
        body = known.float()
        weight = body * (1 + (config.occluder_weight - 1) * batch.occluder_mask)
        losses = {"amodal": config.cross_entropy * mask_cross_entropy(logits.amodal, batch.amodal_mask, weight)}
        amodal = logits.amodal.sigmoid()
        if logits.modal is not None:
            losses["modal"] = config.cross_entropy * mask_cross_entropy(logits.modal, batch.modal_mask, scored)
        if logits.amodal_parsing is not None and config.parsing:
            losses["amodal_parsing"] = config.parsing * parsing_cross_entropy(logits.amodal_parsing, batch.parsing)
        if logits.modal_parsing is not None and config.parsing:
            labels = modal_parsing(batch.parsing, batch.modal_mask)
            losses["modal_parsing"] = config.parsing * parsing_cross_entropy(logits.modal_parsing, labels)
        if config.l1:
            losses["l1"] = config.l1 * ((amodal - batch.amodal_mask.float()).abs() * body).mean()
        if config.perceptual and self.features is not None:
            ours, truth = (self.features(as_picture(mask)) for mask in (amodal, batch.amodal_mask.float()))
            losses["perceptual"] = config.perceptual * feature_l1(ours, truth)
        if config.soft_iou:
            hidden = known & ~batch.modal_mask
            losses["soft_iou"] = config.soft_iou * (
                soft_iou_loss(amodal, batch.amodal_mask, known) + soft_iou_loss(amodal, batch.amodal_mask, hidden)
            )
        if self.discriminator is not None:
            # Carried bags are not judged: the generator may call them what it likes.
            made = amodal * body
            verdict = judge_frozen(self.discriminator, batch.occluded, made)
            losses["adversarial"] = config.adversarial * generator_adversarial(verdict)
            return losses, (batch.occluded, made.detach(), batch.amodal_mask * body)
        return losses, None

    def discriminator_loss(self, made: Any) -> Tensor:
        assert self.discriminator is not None
        picture, fake, real = made
        return discriminator_loss(self.discriminator(picture, real), self.discriminator(picture, fake))

    def metrics(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """IoU given the true modal mask, and given a detector's."""
        figures = {}
        for name, exact in (("given", 1.0), ("detected", 0.0)):
            initial = detector_like(batch.modal_mask, batch.occluder_mask, generator, exact=exact)
            logits = network(batch.occluded, initial)
            modal = initial > 0.5 if name == "given" or logits.modal is None else logits.modal > 0
            amodal = (logits.amodal > 0) | modal
            scored = batch.known.body_scored & batch.scored
            figures[f"{name}_modal_iou"] = iou(modal, batch.modal_mask, batch.scored)
            figures[f"{name}_iou"] = iou(amodal, batch.amodal_mask, scored)
            invisible = batch.amodal_mask & ~batch.modal_mask
            figures[f"{name}_invisible_iou"] = iou(amodal & ~modal, invisible, scored)
        return figures

    def preview(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> np.ndarray:
        """Input, initial mask, predicted and true amodal mask, parsing."""
        initial = detector_like(batch.modal_mask, batch.occluder_mask, generator, exact=0.5)
        logits = network(batch.occluded, initial)
        columns = [batch.occluded, as_picture(initial), as_picture(logits.amodal.sigmoid())]
        columns.append(as_picture(batch.amodal_mask.float()))
        return sheet(columns)


def iou(prediction: Tensor, target: Tensor, scored: Tensor) -> Tensor:
    """Intersection over union of each mask over the scored pixels, (B,); NaN where both are empty."""
    prediction, target = prediction & scored, target & scored
    return (prediction & target).flatten(1).sum(1) / (prediction | target).flatten(1).sum(1)


def as_picture(mask: Tensor) -> Tensor:
    """(B, 1, H, W) as (B, 3, H, W)."""
    return mask.expand(-1, 3, -1, -1)
