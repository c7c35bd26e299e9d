"""Training what paper A trains: U_mask (Eq. 11), and for its ablations U_one and U_rgb (A.3, Eqs. (a) and (b))."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deocclude.models.diffusion.body_prior import BodyPrior, PriorFeatures
from deocclude.models.diffusion.joint_heatmaps import joint_input
from deocclude.models.diffusion.mask_completion import PriorUNet, PriorUNetOutput
from deocclude.models.segmenter import SegmenterNetwork
from deocclude.training.imperfect_masks import grown
from deocclude.training.losses import Features, feature_l1, mask_cross_entropy, style_l1
from deocclude.training.mask_completion import as_picture, iou
from deocclude.training.preview import sheet
from deocclude.training.segmenter import draw_boxes, joint_peaks
from deocclude.training.synthesis import SynthesisBatch

JointsOf = Callable[[SynthesisBatch], Tensor]
PriorOf = Callable[[SynthesisBatch], PriorFeatures]


@dataclass(frozen=True, kw_only=True)
class PriorUNetLossConfig:
    """Weights of the loss terms; the defaults are paper A's (A.3), of which U_mask has the first alone."""

    mask: float = 1.0
    """Binary cross-entropy of the amodal mask (Eq. 11); 10 beside the terms of a picture (λ_BCE)."""
    invisible: float = 6.0
    """λ_invis: L1 where the person is hidden."""
    visible: float = 1.0
    """λ_vis: L1 where the person is visible."""
    perceptual: float = 0.1
    """λ_prec."""
    style: float = 250.0
    """λ_style."""
    total_variation: float = 0.1
    """λ_tv, inside the person."""
    inaccurate_masks: float = 0.1
    """Share of the modal masks that are grown by 5 to 30 % (B.8)."""


class PriorUNetTask:
    """A U-Net fed with a frozen prior, in the training loop.

    prior: what the prior says of a batch; None for ablation #1. joints_of: the joints the network is told of.
    features: a frozen network for the perceptual and style terms, of a U-Net that predicts a picture.
    """

    discriminator = None

    def __init__(
        self,
        network: PriorUNet,
        config: PriorUNetLossConfig,
        *,
        prior: PriorOf | None,
        joints_of: JointsOf,
        features: Features | None = None,
    ) -> None:
        self.network, self.config = network, config
        self.prior, self.joints_of, self.features = prior, joints_of, features

    def __repr__(self) -> str:
        return f"{self.network.config} {self.config}"

    def generator_losses(
        self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Any]:
        config = self.config
        output = self._predict(network, batch, grown(batch.modal_mask, generator, probability=config.inaccurate_masks))
        losses = {}
        if output.amodal_logits is not None:
            entropy = mask_cross_entropy(output.amodal_logits, batch.amodal_mask, batch.scored.float())
            losses["mask"] = config.mask * entropy
        if output.rgb is not None:
            losses |= inpainting_losses(output.rgb, batch, config, self.features)
        return losses, None

    def discriminator_loss(self, made: Any) -> Tensor:
        raise AssertionError("paper A trains no discriminator")

    def metrics(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """IoU of the whole mask and of its hidden part; content L1 of a picture. The modal mask is the true one."""
        output = self._predict(network, batch, batch.modal_mask)
        invisible = batch.amodal_mask & ~batch.modal_mask
        figures = {}
        if output.amodal_logits is not None:
            amodal = (output.amodal_logits > 0) | batch.modal_mask
            figures["iou"] = iou(amodal, batch.amodal_mask, batch.scored)
            figures["invisible_iou"] = iou(amodal & ~batch.modal_mask, invisible, batch.scored)
        if output.rgb is not None:
            difference = (output.rgb - batch.whole).abs().mean(1) * invisible[:, 0]
            figures["content_l1"] = difference.flatten(1).sum(1) / invisible.flatten(1).sum(1)
        return figures

    def preview(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> np.ndarray:
        """Input, joints, predicted and true amodal mask, and the picture where one is predicted."""
        output = self._predict(network, batch, batch.modal_mask)
        joints = joint_input(self.joints_of(batch), batch.modal_mask, self.network.config.joint_input)
        columns = [batch.occluded, as_picture(joints)]
        if output.amodal_logits is not None:
            columns += [as_picture(output.amodal_logits.sigmoid()), as_picture(batch.amodal_mask.float())]
        if output.rgb is not None:
            columns += [output.rgb, batch.whole]
        return sheet(columns)

    def _predict(self, network: nn.Module, batch: SynthesisBatch, modal_mask: Tensor) -> PriorUNetOutput:
        config = self.network.config
        pictures = {
            "modal_mask": modal_mask.float(),
            "image": batch.occluded,
            "invisible_mask": (batch.amodal_mask & ~modal_mask).float(),
        }
        if "joints" in config.inputs:
            pictures["joints"] = joint_input(self.joints_of(batch), modal_mask, config.joint_input)
        inputs = torch.cat([pictures[name] for name in config.inputs], dim=1)
        output: PriorUNetOutput = network(inputs, self.prior(batch) if self.prior is not None else None)
        return output


def inpainting_losses(
    picture: Tensor, batch: SynthesisBatch, config: PriorUNetLossConfig, features: Features | None
) -> dict[str, Tensor]:
    """SSSD's inpainting loss (paper A, Eq. (a)): means over the whole tensor, of the picture and of its composite.

    picture: float (B, 3, S, S) in [0, 1].
    """
    visible, invisible = batch.modal_mask, batch.amodal_mask & ~batch.modal_mask
    difference = (picture - batch.whole).abs()
    composite = torch.where(invisible, picture, batch.whole)
    person = batch.amodal_mask[..., 1:, 1:]
    steps = (composite[..., 1:, 1:] - composite[..., :-1, 1:]).abs() + (
        composite[..., 1:, 1:] - composite[..., 1:, :-1]
    ).abs()
    losses = {
        "invisible": config.invisible * (difference * invisible).mean(),
        "visible": config.visible * (difference * visible).mean(),
        "total_variation": config.total_variation * (steps * person).mean(),
    }
    if features is not None:
        truth = features(batch.whole)
        both = [features(torch.where(batch.amodal_mask, picture, batch.whole)), features(composite)]
        losses["perceptual"] = config.perceptual * torch.stack([feature_l1(one, truth) for one in both]).sum()
        losses["style"] = config.style * torch.stack([style_l1(one, truth) for one in both]).sum()
    return losses


def labelled_joints(batch: SynthesisBatch) -> Tensor:
    """The labels: found on the unoccluded photograph, better than anything at test time."""
    return batch.joints


def embedded_joints(segmenter: SegmenterNetwork) -> JointsOf:
    """The joints that the embedded network finds in the occluded picture, given the person's box: as in use."""
    segmenter.eval().requires_grad_(False)

    @torch.no_grad()
    def joints(batch: SynthesisBatch) -> Tensor:
        unused = torch.Generator(batch.occluded.device)
        box = draw_boxes(batch.modal_mask, unused, given=1.0, is_exact=True)
        xy, confidence = joint_peaks(segmenter(batch.occluded, box).joint_heatmap_logits)
        return torch.cat([xy.float(), confidence[..., None].float()], dim=-1)

    return joints


def prior_of(body_prior: BodyPrior, joints_of: JointsOf) -> PriorOf:
    """F and T of a batch (Eq. 7), in float32."""

    def features(batch: SynthesisBatch) -> PriorFeatures:
        dtype = next(body_prior.parameters()).dtype
        return body_prior(batch.occluded.to(dtype), joints_of(batch)).map(Tensor.float)

    return features
