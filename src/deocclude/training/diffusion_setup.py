"""From the command line's words to paper A's training: which U-Net, on which frozen prior, from which samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from deocclude.errors import InputError
from deocclude.models.diffusion.body_prior import PriorFeatures
from deocclude.models.diffusion.configs import PriorUNetConfig
from deocclude.models.diffusion.mask_completion import PriorUNet
from deocclude.stages import diffusion as stages
from deocclude.stages.completers import diffusion_loading, diffusion_tiny
from deocclude.training.config import DiffusionChoice, TrainingConfig
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
from deocclude.training.setup import TrainingImages, build_synthesis
from deocclude.training.synthesis import BatchSynthesisConfig, SynthesisBatch
from deocclude.types import MaskCompletion
from deocclude.weight_specs import WeightSpec
from deocclude.weights import asset_path, load_network

SYNTHESIS = BatchSynthesisConfig(ratio_mean=0.3, nothing_hidden=0.0)
"""Paper A's ratios are normally distributed; it gives no numbers, and evaluates on ratios up to a half."""
Network = Literal["mask-completion", "rgb-completion"]
MASK_WEIGHT_BESIDE_PICTURE = 10.0
"""Paper A's λ_BCE (Eq. (b))."""


def build_diffusion_training(
    network: Network,
    choice: DiffusionChoice,
    images: TrainingImages,
    config: TrainingConfig,
    *,
    start: Path | None,
    vgg16: Path | None,
    device: torch.device,
) -> tuple[PriorUNetTask, Samples]:
    """The task and where its batches come from.

    start: weights to go on from. vgg16: of
    the perceptual loss. Raises InputError for an unknown design, missing weights and files that cannot be used.
    """
    if any(size % 64 for size in config.sizes):
        raise InputError(f"paper A's U-Net halves six times; sizes must be multiples of 64, got {config.sizes}")
    unet = PriorUNet(_design(network, choice))
    if start is not None:
        unet = _started(unet, start)
    if vgg16 is not None and "rgb" not in unet.config.outputs:
        raise InputError("--vgg16 is for a design that paints; a mask compares no features")
    joints_of = _joints(choice, device)
    prior = _prior(network, choice, unet.config, joints_of, device)
    if prior is not None and choice.cache is not None:
        made_from = _made_from(network, choice, images, config)
        prior = PriorCache(choice.cache, prior, made_from, count=choice.samples)
    task = _task(unet, choice, prior, joints_of, vgg16, device)
    synthesis = build_synthesis(images, config, device=device, how=SYNTHESIS)
    if choice.cache is None:
        return task, synthesis
    kept_aside = config.validation_people
    return task, FixedSamples(synthesis, choice.samples, seed=config.seed, validation_people=kept_aside)


def _started(unet: PriorUNet, start: Path) -> PriorUNet:
    """The weights to go on from. Raises InputError where they are of another design than was asked for."""
    given: PriorUNet = load_network(start, expected="PriorUNet")[0]
    if given.config != unet.config:
        raise InputError(f"{start}: of another design than these options describe; give those it was trained with")
    return given.requires_grad_(True)


def _task(
    unet: PriorUNet,
    choice: DiffusionChoice,
    prior: PriorOf | None,
    joints_of: JointsOf,
    vgg16: Path | None,
    device: torch.device,
) -> PriorUNetTask:
    paints = "rgb" in unet.config.outputs
    losses = PriorUNetLossConfig(
        mask=MASK_WEIGHT_BESIDE_PICTURE if paints else 1.0, inaccurate_masks=choice.inaccurate_masks
    )
    features = None
    if paints:
        features = (Vgg16Features(vgg16) if vgg16 is not None else EfficientNetFeatures()).to(device)
    return PriorUNetTask(unet, losses, prior=prior, joints_of=joints_of, features=features)


def _made_from(
    network: Network,
    choice: DiffusionChoice,
    images: TrainingImages,
    config: TrainingConfig,
) -> str:
    """All that a sample and what the prior says of it depend on."""
    paths = [str(path.resolve()) for path in (images.people, *images.occluders[0])]
    hashes = {} if choice.prior == "tiny" else _hashes(network, choice)
    return (
        f"{network}, prior {choice.prior} {hashes}, sigma {choice.heatmap_sigma}, joints {choice.joints}, "
        f"samples {choice.samples}, seed {config.seed}, "
        f"kept aside {config.validation_people}, limit {images.limit}, pictures {paths}, {SYNTHESIS}"
    )


def _hashes(network: Network, choice: DiffusionChoice) -> dict[str, str]:
    if network == "rgb-completion":
        specs: tuple[WeightSpec, ...] = stages.STAGE_2_PRIOR
    else:
        specs = stages.PRIOR_WEIGHTS[choice.prior]  # type: ignore[index]
    return {spec.name: diffusion_loading.weights_hash(spec) for spec in specs}


def _design(network: Network, choice: DiffusionChoice) -> PriorUNetConfig:
    """The U-Net that the options describe, as wide as the prior asks for."""
    name = choice.design or ("two-stage-unet" if network == "rgb-completion" else "diffusion")
    designs = {"two-stage-unet": stages.RGB_DESIGN} if network == "rgb-completion" else stages.MASK_DESIGNS
    if name not in designs:
        raise InputError(f"no design '{name}' of {network}; choose from {', '.join(designs)}")
    design = replace(designs[name], mask_logits=2 if choice.mask_loss == "ce" else 1)
    drawn: dict[str, Any] = {"kind": choice.joint_input, "sub_joints": choice.sub_joints, "sigma": choice.joint_sigma}
    asked = {key: value for key, value in drawn.items() if value is not None}
    if asked and "joints" not in design.inputs:
        raise InputError(
            f"the design '{name}' draws no joints; leave --joint-input, --sub-joints and --joint-sigma out"
        )
    try:
        design = replace(design, joint_input=replace(design.joint_input, **asked))
    except ValueError as error:
        raise InputError(str(error)) from error
    if choice.heatmap_sigma is not None:
        design = replace(design, heatmap_sigma=choice.heatmap_sigma)
    if choice.width != 1:
        design = replace(design, encoder=_narrowed(design.encoder, choice), decoder=_narrowed(design.decoder, choice))
    if network == "rgb-completion" and choice.prior in ("sd15", "none"):
        raise InputError(f"rgb-completion has stage 2's own prior; leave --prior {choice.prior} out")
    if choice.prior == "none":
        return replace(design, has_prior=False)
    if choice.prior == "tiny":
        return diffusion_tiny.tiny_unet_config(design)
    return design if network == "rgb-completion" else diffusion_loading.with_profile(design, choice.prior)


def _narrowed(channels: tuple[int, ...], choice: DiffusionChoice) -> tuple[int, ...]:
    return tuple(max(4, round(count * choice.width)) for count in channels)


def _joints(choice: DiffusionChoice, device: torch.device) -> JointsOf:
    if choice.joints == "labels":
        return labelled_joints
    segmenter, _ = load_network(asset_path("segmenter"), expected="SegmenterNetwork")
    return embedded_joints(segmenter.to(device))


def _prior(
    network: Network, choice: DiffusionChoice, design: PriorUNetConfig, joints_of: JointsOf, device: torch.device
) -> PriorOf | None:
    """The frozen networks, in float32; None for a design that has none."""
    if not design.has_prior:
        if choice.cache is not None:
            raise InputError("this design has no prior to keep; leave --cache out")
        return None
    if network == "rgb-completion":
        load = diffusion_tiny if choice.prior == "tiny" else diffusion_loading
        stage_2 = load.build_stage_2_prior(device=device, dtype=torch.float32)

        def features(batch: SynthesisBatch) -> PriorFeatures:
            known = MaskCompletion(batch.modal_mask, batch.amodal_mask, batch.amodal_mask.float())
            return stage_2.features(batch.occluded, known)

        return features
    if choice.prior == "tiny":
        return prior_of(diffusion_tiny.tiny_body_prior().to(device), joints_of)
    assert choice.prior != "none", "a design without a prior"
    return prior_of(diffusion_loading.load_body_prior(choice.prior, design.heatmap_sigma).to(device), joints_of)
