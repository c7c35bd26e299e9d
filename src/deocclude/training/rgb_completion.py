"""Training stage 2: the losses of paper B's content recovery on synthesised people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deocclude.masks import invisible_mask
from deocclude.models.feedforward.discriminator import PatchDiscriminator
from deocclude.models.feedforward.mask_completion import MaskCompletionNetwork, parsing_labels
from deocclude.models.feedforward.rgb_completion import RgbCompletionNetwork, dim_background, one_hot_parts
from deocclude.parsing import IGNORE_LABEL
from deocclude.training.losses import (
    Features,
    discriminator_loss,
    feature_l1,
    generator_adversarial,
    judge_frozen,
    style_l1,
)
from deocclude.training.mask_completion import as_picture
from deocclude.training.preview import sheet
from deocclude.training.synthesis import SynthesisBatch


@dataclass(frozen=True, kw_only=True)
class RgbLossConfig:
    """Weights of the loss terms. The defaults are paper B's β1 to β4; what it does not have is said to be ours."""

    adversarial: float = 0.1
    """β1."""
    l1: float = 1.0
    """β2, over the whole picture, background dimmed."""
    invisible_l1: float = 0.0
    """Times β2: L1 once more over the composite, which only the invisible region can change. Not in the paper; the
    authors' code has 5."""
    invisible_l1_per_person: float = 0.0
    """L1 averaged over each person's own invisible pixels; ours, so that a small hole counts as much as a large one."""
    perceptual: float = 1.0
    """β3, between composite and truth."""
    style: float = 40.0
    """β4, between composite and truth."""
    parsing_dropout: float = 0.15
    """Share of the people whose parsing is withheld, so that the stage also works without any; ours, 0 is the paper."""


class RgbCompletionTask:
    """Stage 2 in the training loop.

    mask_network: a trained stage 1 whose parsing the network is given, as it will be when it is used; without one the
    labels are given, and nothing where nobody labelled.
    """

    def __init__(
        self,
        network: RgbCompletionNetwork,
        config: RgbLossConfig,
        *,
        features: Features | None = None,
        mask_network: MaskCompletionNetwork | None = None,
    ) -> None:
        self.network, self.config, self.features = network, config, features
        self.mask_network = mask_network.eval().requires_grad_(False) if mask_network is not None else None
        self.discriminator = PatchDiscriminator() if config.adversarial else None

    def __repr__(self) -> str:
        given = "stage 1" if self.mask_network is not None else "labels"
        return f"{self.network.config} {self.config} parsing from {given}"

    def generator_losses(
        self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Any]:
        config = self.config
        picture, composite, invisible, target = self._complete(network, batch, generator, config.parsing_dropout)
        difference = (picture - target).abs()
        losses = {"l1": config.l1 * (difference.mean() + config.invisible_l1 * (difference * invisible).mean())}
        if config.invisible_l1_per_person:
            hole = invisible.flatten(1).sum(1)
            per_person = (difference.mean(1) * invisible[:, 0]).flatten(1).sum(1) / hole.clamp(min=1)
            losses["invisible_l1"] = config.invisible_l1_per_person * per_person.sum() / (hole > 0).sum().clamp(min=1)
        if self.features is not None and (config.perceptual or config.style):
            ours, truth = self.features(composite), self.features(target)
            losses["perceptual"] = config.perceptual * feature_l1(ours, truth)
            losses["style"] = config.style * style_l1(ours, truth)
        if self.discriminator is not None:
            body = batch.amodal_mask.float()
            verdict = judge_frozen(self.discriminator, composite * body, invisible)
            losses["adversarial"] = config.adversarial * generator_adversarial(verdict)
            return losses, (composite.detach() * body, target * body, invisible)
        return losses, None

    def discriminator_loss(self, made: Any) -> Tensor:
        assert self.discriminator is not None
        fake, real, invisible = made
        return discriminator_loss(self.discriminator(real, invisible), self.discriminator(fake, invisible))

    def metrics(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Content L1 in the invisible region; NaN where nothing is hidden."""
        _, composite, invisible, target = self._complete(network, batch, generator, 0.0)
        difference = (composite - target).abs().mean(1) * invisible[:, 0]
        return {"content_l1": difference.flatten(1).sum(1) / invisible.flatten(1).sum(1)}

    def preview(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> np.ndarray:
        """Input, completed, truth, the network's own picture."""
        picture, _, invisible, _ = self._complete(network, batch, generator, 0.0)
        completed = torch.where(invisible > 0, picture, batch.occluded)
        return sheet([batch.occluded, completed, batch.whole, picture, as_picture(invisible)])

    def _complete(
        self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator, dropout: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The network's picture, the composite, the invisible mask (float) and the truth, background dimmed."""
        modal, amodal = batch.modal_mask.float(), batch.amodal_mask.float()
        invisible = invisible_mask(batch.modal_mask, batch.amodal_mask).float()
        modal_parts, amodal_parts = self._parts(batch, generator, dropout)
        picture = network(batch.occluded, modal, amodal, modal_parts, amodal_parts)
        weight = self.network.config.background_weight
        target = dim_background(batch.whole, amodal, weight)
        seen = dim_background(batch.occluded, amodal, weight)
        return picture, torch.where(invisible > 0, picture, seen), invisible, target

    def _parts(self, batch: SynthesisBatch, generator: torch.Generator, dropout: float) -> tuple[Tensor, Tensor]:
        """One-hot body parts (B, 19, H, W) of the modal and the amodal mask; zeros for people who get none."""
        labelled = torch.where(batch.parsing == IGNORE_LABEL, 0, batch.parsing)
        modal: Tensor | None = labelled
        amodal: Tensor | None = labelled
        if self.mask_network is not None:
            with torch.no_grad():
                logits = self.mask_network(batch.occluded, batch.modal_mask.float())
            modal = parsing_labels(logits.modal_parsing, batch.modal_mask)
            amodal = parsing_labels(logits.amodal_parsing, batch.amodal_mask)
        draws = torch.rand((len(batch.modal_mask), 1, 1, 1), generator=generator, device=generator.device)
        kept = draws >= dropout
        return (
            one_hot_parts(modal, batch.modal_mask & kept).float(),
            one_hot_parts(amodal, batch.amodal_mask & kept).float(),
        )
