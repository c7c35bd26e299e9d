"""From the command line's words to paper A's training: which U-Net, on which frozen prior, from which samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from deocclude.errors import InputError
from deocclude.models.diffusion.body_prior import PriorFeatures
from deocclude.models.diffusion.mask_completion import PriorUNet, PriorUNetConfig
from deocclude.pipelines import diffusion_stages, diffusion_tiny
from deocclude.training.config import TrainingConfig
from deocclude.training.diffusion import (
    JointsOf,
    PriorOf,
    PriorUNetLossConfig,
    PriorUNetTask,
    embedded_joints,
    labelled_joints,
    prior_of,
)
from deocclude.training.fixed_samples import FixedSamples, PriorCache
from deocclude.training.loop import Samples
from deocclude.training.perceptual import EfficientNetFeatures, Vgg16Features
from deocclude.training.setup import build_synthesis
from deocclude.training.synthesis import BatchSynthesisConfig, SynthesisBatch
from deocclude.types import MaskCompletion
from deocclude.weights import asset_path, load_network

SYNTHESIS = BatchSynthesisConfig(ratio_mean=0.3, nothing_hidden=0.0)
"""Paper A's ratios are normally distributed; it gives no numbers, and evaluates on ratios up to a half."""
MASK_WEIGHT_BESIDE_PICTURE = 10.0
"""Paper A's λ_BCE (Eq. (b))."""


@dataclass(frozen=True, kw_only=True)
class DiffusionChoice:
    """What the command line asked for."""

    network: Literal["mask-completion", "rgb-completion"]
    design: str
    mask_loss: Literal["bce", "ce"]
    prior: Literal["dpmesh", "sd15", "tiny"]
    joints: Literal["embedded", "labels"]
    cache: Path | None
    samples: int
    start: Path | None
    vgg16: Path | None


def build_diffusion_training(
    choice: DiffusionChoice,
    pictures: tuple[Path, Path, Path],
    config: TrainingConfig,
    *,
    limit: int | None,
    device: torch.device,
) -> tuple[PriorUNetTask, Samples]:
    """The task and where its batches come from.

    pictures: the people's folder, the occluders' COCO file and its pictures. Raises InputError for a design that does
    not exist, missing weights and files that cannot be used.
    """
    _refuse_unused(choice)
    design = _design(choice)
    if choice.prior == "tiny":
        design = diffusion_tiny.tiny_unet_config(design)
    elif choice.network == "mask-completion":
        design = diffusion_stages.with_profile(design, choice.prior)
    if any(size % 64 for size in config.sizes):
        raise InputError(f"paper A's U-Net halves six times; sizes must be multiples of 64, got {config.sizes}")
    network = PriorUNet(design)
    if choice.start is not None:
        network, _ = load_network(choice.start, expected="PriorUNet")
    joints_of = _joints(choice, device)
    prior = _prior(choice, network.config, joints_of, device)
    if prior is not None and choice.cache is not None:
        prior = PriorCache(choice.cache, prior, _made_from(choice, pictures, config, limit))
    paints = "rgb" in network.config.outputs
    losses = PriorUNetLossConfig(mask=MASK_WEIGHT_BESIDE_PICTURE if paints else 1.0)
    features = None
    if paints:
        features = (Vgg16Features(choice.vgg16) if choice.vgg16 is not None else EfficientNetFeatures()).to(device)
    task = PriorUNetTask(network, losses, prior=prior, joints_of=joints_of, features=features)
    synthesis = build_synthesis(*pictures, config, limit=limit, device=device, coco_people=None, how=SYNTHESIS)
    if choice.cache is None:
        return task, synthesis
    kept_aside = config.validation_people
    return task, FixedSamples(synthesis, choice.samples, seed=config.seed, validation_people=kept_aside)


def _made_from(
    choice: DiffusionChoice, pictures: tuple[Path, Path, Path], config: TrainingConfig, limit: int | None
) -> str:
    """All that a sample and what the prior says of it depend on."""
    paths = [str(path.resolve()) for path in pictures]
    hashes = {} if choice.prior == "tiny" else _hashes(choice)
    return (
        f"prior {choice.prior} {hashes}, joints {choice.joints}, samples {choice.samples}, seed {config.seed}, "
        f"kept aside {config.validation_people}, limit {limit}, pictures {paths}, {SYNTHESIS}"
    )


def _hashes(choice: DiffusionChoice) -> dict[str, str]:
    if choice.network == "rgb-completion":
        names: tuple[str, ...] = ("pix2gestalt", "controlnet-seg", "clip-text")
    else:
        names = diffusion_stages.PRIOR_WEIGHTS[choice.prior]  # type: ignore[index]
    return {name: diffusion_stages.weights_hash(name) for name in names}


def _refuse_unused(choice: DiffusionChoice) -> None:
    """Raises InputError for an option that would change nothing."""
    paints = choice.network == "rgb-completion" or choice.design == "one-stage"
    if choice.vgg16 is not None and not paints:
        raise InputError("--vgg16 is for a design that paints; a mask compares no features")
    if choice.network == "rgb-completion" and choice.prior == "sd15":
        raise InputError("rgb-completion has stage 2's own prior; leave --prior sd15 out")


def _design(choice: DiffusionChoice) -> PriorUNetConfig:
    if choice.network == "rgb-completion":
        designs = {"two-stage-unet": diffusion_stages.U_RGB}
    else:
        designs = diffusion_stages.MASK_STAGE_CONFIGS
    if choice.design not in designs:
        raise InputError(f"no design '{choice.design}' of {choice.network}; choose from {', '.join(designs)}")
    return replace(designs[choice.design], mask_logits=2 if choice.mask_loss == "ce" else 1)


def _joints(choice: DiffusionChoice, device: torch.device) -> JointsOf:
    if choice.joints == "labels":
        return labelled_joints
    segmenter, _ = load_network(asset_path("segmenter"), expected="SegmenterNetwork")
    return embedded_joints(segmenter.to(device))


def _prior(
    choice: DiffusionChoice, design: PriorUNetConfig, joints_of: JointsOf, device: torch.device
) -> PriorOf | None:
    """The frozen networks, in float32; None for the design that has none."""
    if not design.has_prior:
        if choice.cache is not None:
            raise InputError(f"the design '{choice.design}' has no prior to keep; leave --cache out")
        return None
    if choice.network == "rgb-completion":
        load = diffusion_tiny if choice.prior == "tiny" else diffusion_stages
        stage_2 = load.build_stage_2_prior(device=device, dtype=torch.float32)

        def features(batch: SynthesisBatch) -> PriorFeatures:
            known = MaskCompletion(batch.modal_mask, batch.amodal_mask, batch.amodal_mask.float())
            return stage_2.features(batch.occluded, known)

        return features
    if choice.prior == "tiny":
        return prior_of(diffusion_tiny.tiny_body_prior().to(device), joints_of)
    return prior_of(diffusion_stages.load_body_prior(choice.prior).to(device), joints_of)
