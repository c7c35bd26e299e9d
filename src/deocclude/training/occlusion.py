"""Training the occlusion network on what a training picture tells for certain (`training.knowledge`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.keypoint_maps import keypoint_maps
from deocclude.models.occlusion import OcclusionLogits, OcclusionNetwork
from deocclude.training.found_keypoints import found_keypoints
from deocclude.training.imperfect_masks import detector_like
from deocclude.training.losses import mask_cross_entropy, soft_iou_loss
from deocclude.training.mask_completion import as_picture, iou
from deocclude.training.preview import sheet
from deocclude.training.synthesis import SynthesisBatch

FRONT_MARGIN = 2
"""Pixels by which what is in front is grown for training: an evidence that is 0 on the contour leaves slits there."""


@dataclass(frozen=True, kw_only=True)
class OcclusionLossConfig:
    """Weights of the loss terms."""

    amodal: float = 1.0
    """Cross-entropy of the whole body."""
    visible: float = 0.5
    """Cross-entropy of the visible body."""
    front: float = 1.0
    """Cross-entropy of what is in front."""
    soft_iou: float = 0.5
    """Soft IoU of the whole body and of its hidden part."""
    hidden_weight: float = 1.5
    """Weight of a pixel under an occluder in the amodal cross-entropy; more than 2 inflates the masks."""
    point_weight: float = 10.0
    """Weight of a pixel at a marked hidden keypoint, for the body and for what is in front."""
    exact_masks: float = 0.5
    """Fraction of the modal masks that are exact; the others have a detector's errors."""


class OcclusionTask:
    """The occlusion network in the training loop."""

    discriminator = None

    def __init__(self, network: OcclusionNetwork, config: OcclusionLossConfig) -> None:
        self.network, self.config = network, config

    def __repr__(self) -> str:
        return f"{self.network.config} {self.config}"

    def generator_losses(
        self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Any]:
        config, known = self.config, batch.known
        logits = self._predict(network, batch, generator, exact=config.exact_masks)
        at_points = 1 + (config.point_weight - 1) * known.points
        weight = known.body_scored * (1 + (config.hidden_weight - 1) * batch.occluder_mask) * at_points
        front = F.max_pool2d(known.front.float(), 2 * FRONT_MARGIN + 1, stride=1, padding=FRONT_MARGIN) > 0.5
        body = logits.amodal.sigmoid()
        hidden = known.body_scored & ~batch.modal_mask
        overlap = soft_iou_loss(body, known.body, known.body_scored) + soft_iou_loss(body, known.body, hidden)
        losses = {
            "amodal": config.amodal * mask_cross_entropy(logits.amodal, known.body, weight),
            "visible": config.visible * mask_cross_entropy(logits.visible, batch.modal_mask, batch.scored.float()),
            "front": config.front * mask_cross_entropy(logits.front, front, known.front_scored * at_points),
            "soft_iou": config.soft_iou * overlap,
        }
        return losses, None

    def discriminator_loss(self, made: Any) -> Tensor:
        raise AssertionError("the occlusion network has no discriminator")

    def metrics(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """IoU of the three maps, of the hidden body, and of that where the network sees something in front."""
        logits = self._predict(network, batch, generator, exact=1.0)
        known = batch.known
        amodal, front = logits.amodal > 0, logits.front > 0
        hidden, unseen = known.body & ~batch.modal_mask, known.body_scored & ~batch.modal_mask
        return {
            "visible_iou": iou(logits.visible > 0, batch.modal_mask, batch.scored),
            "amodal_iou": iou(amodal, known.body, known.body_scored),
            "hidden_iou": iou(amodal, hidden, unseen),
            "gated_iou": iou(amodal & front, hidden, unseen),
            "front_iou": iou(front, known.front, known.front_scored),
        }

    def preview(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> np.ndarray:
        """Input, predicted and known body, predicted and known front; what is not known is grey."""
        logits, known = self._predict(network, batch, generator, exact=1.0), batch.known
        columns = [batch.occluded]
        for predicted, truth, scored in (
            (logits.amodal, known.body, known.body_scored),
            (logits.front, known.front, known.front_scored),
        ):
            columns += [as_picture(predicted.sigmoid()), as_picture(torch.where(scored, truth.float(), 0.5))]
        return sheet(columns)

    def _predict(
        self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator, *, exact: float
    ) -> OcclusionLogits:
        modal = detector_like(batch.modal_mask, batch.occluder_mask, generator, exact=exact)
        maps = keypoint_maps(found_keypoints(batch, generator), batch.occluded.shape[-1])
        logits: OcclusionLogits = network(batch.occluded, modal, batch.frame_mask.float(), maps)
        return logits
