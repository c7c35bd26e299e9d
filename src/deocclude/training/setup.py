"""From the command line's words to a task and its pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState

from deocclude.devices import checked_device
from deocclude.errors import InputError
from deocclude.imagenet import imagenet_state_dict
from deocclude.models.feedforward.mask_completion import MASK_COMPLETION_PRESETS, MaskCompletionNetwork
from deocclude.models.feedforward.rgb_completion import RGB_COMPLETION_PRESETS, RgbCompletionNetwork
from deocclude.models.occlusion import OcclusionConfig, OcclusionNetwork
from deocclude.models.segmenter import SEGMENTER_PRESETS, SegmenterNetwork
from deocclude.training.config import TrainingConfig
from deocclude.training.loop import Task, check_enough_photographs
from deocclude.training.mask_completion import MaskCompletionTask, MaskLossConfig
from deocclude.training.occlusion import OcclusionLossConfig, OcclusionTask
from deocclude.training.perceptual import EfficientNetFeatures, Vgg16Features
from deocclude.training.rgb_completion import RgbCompletionTask, RgbLossConfig
from deocclude.training.segmenter import SegmenterLossConfig, SegmenterTask
from deocclude.training.store import (
    is_hand_drawn,
    join,
    load_coco_people,
    load_occluders,
    load_photos,
    load_scenes,
)
from deocclude.training.synthesis import BatchSynthesis, BatchSynthesisConfig
from deocclude.training.templates import load_templates
from deocclude.weights import load_network

Config = TypeVar("Config")
LossConfig = TypeVar("LossConfig", MaskLossConfig, RgbLossConfig)

NUM_PEOPLE_AS_OCCLUDERS = 400
NUM_SHAPES = 400

# What the shipped weights were trained with: the terms that count people instead of pixels, and none that asks a second
# network at every step (adversary, feature distance), which two CPU cores had no time for.
COMPACT_MASK_LOSSES = MaskLossConfig(
    parsing=0.2, adversarial=0.0, l1=0.0, perceptual=0.0, occluder_weight=4.0, soft_iou=0.5
)
COMPACT_RGB_LOSSES = RgbLossConfig(
    adversarial=0.0, l1=0.5, invisible_l1=0.0, invisible_l1_per_person=1.0, perceptual=0.0, style=0.0
)


def training_device(name: str | None) -> torch.device:
    """The device of pictures and networks: the named one; without a name a GPU where there is one.

    Each process of `accelerate launch` has its own. Raises InputError for a device that this machine lacks, and for a
    name where several processes would share it.
    """
    processes = PartialState(cpu=name == "cpu")
    if name is None:
        return processes.device
    if processes.num_processes > 1 and name != "cpu":
        raise InputError(f"each of {processes.num_processes} processes has a device of its own; leave '{name}' out")
    return checked_device(name)


@dataclass(frozen=True, kw_only=True)
class TrainingImages:
    """What training reads.

    people: a CCP folder. occluders: COCO files with their image folders, whose objects are pasted and whose pictures
    without people are scenes. coco_people: the same of files whose people are trained on as well. limit: only the first
    photographs of the CCP folder.
    """

    people: Path
    occluders: tuple[tuple[Path, Path], ...]
    coco_people: tuple[tuple[Path, Path], ...] = ()
    limit: int | None = None


def build_synthesis(
    images: TrainingImages,
    config: TrainingConfig,
    *,
    device: torch.device,
    how: BatchSynthesisConfig | None = None,
    hand_drawn: bool = False,
) -> BatchSynthesis:
    """Photographs and occluders on the training device.

    how: the pictures are made; the feed-forward networks' way by default. hand_drawn: of CCP, train on the photographs
    whose masks people drew alone; those kept aside stay the same.

    Raises InputError for files that cannot be used and too few photographs.
    """
    photos = load_photos(images.people, limit=images.limit)
    check_enough_photographs(len(photos), config)
    others = [store for source in images.coco_people for store in load_coco_people(*source)]
    occluders = load_occluders(
        images.occluders,
        [photos, *others],
        num_people=NUM_PEOPLE_AS_OCCLUDERS,
        num_shapes=NUM_SHAPES,
        seed=config.seed,
    )
    if hand_drawn:
        kept = is_hand_drawn(photos)
        kept[: config.validation_people] = True
        photos = photos.select(kept.nonzero().squeeze(1))
        check_enough_photographs(len(photos), config)
    scenes = load_scenes(images.occluders)
    photos = join([photos, *others])
    return BatchSynthesis(photos.to(device), occluders.to(device), scenes.to(device), how or BatchSynthesisConfig())


def build_task(
    network: str,
    *,
    config: str,
    losses: str,
    start: Path | None,
    templates: Path | None,
    mask_network: Path | None,
    vgg16: Path | None,
    exact_masks: float | None,
    parsing_dropout: float | None,
    device: torch.device,
) -> Task:
    """The network, fresh (its weights follow torch's seed) or from `start`, with its losses.

    config: of a new completion network, by name. losses: `compact`, `paper`, or `no-adversary`, the paper's without it.
    exact_masks, parsing_dropout: in place of the losses' own.
    Raises InputError for an unknown configuration and weights that cannot be used.
    """
    if network == "segmenter":
        return _segmenter_task(start)
    if network == "occlusion":
        return OcclusionTask(_occlusion_network(start), OcclusionLossConfig())
    if network == "mask-completion":
        mask_losses = _losses(MaskLossConfig(), COMPACT_MASK_LOSSES, losses)
        if exact_masks is not None:
            mask_losses = replace(mask_losses, exact_masks=exact_masks)
        features = _features(vgg16, device) if mask_losses.perceptual else None
        return MaskCompletionTask(_mask_network(config, start, templates), mask_losses, features=features)
    rgb_losses = _losses(RgbLossConfig(), COMPACT_RGB_LOSSES, losses)
    if parsing_dropout is not None:
        rgb_losses = replace(rgb_losses, parsing_dropout=parsing_dropout)
    features = _features(vgg16, device) if rgb_losses.perceptual or rgb_losses.style else None
    parser = None
    if mask_network is not None:
        parser = load_network(mask_network, expected="MaskCompletionNetwork")[0]
        parser.to(device, memory_format=torch.channels_last)
    if start is not None:
        rgb_network = load_network(start, expected="RgbCompletionNetwork")[0]
    else:
        rgb_network = RgbCompletionNetwork(_named(RGB_COMPLETION_PRESETS, config))
    return RgbCompletionTask(rgb_network, rgb_losses, features=features, mask_network=parser)


def _losses(paper: LossConfig, compact: LossConfig, name: str) -> LossConfig:
    return {"paper": paper, "compact": compact, "no-adversary": replace(paper, adversarial=0.0)}[name]


def _named(presets: dict[str, Config], name: str) -> Config:
    if name not in presets:
        raise InputError(f"no configuration '{name}' of this network; choose from {', '.join(presets)}")
    return presets[name]


def _segmenter_task(start: Path | None) -> SegmenterTask:
    network = SegmenterNetwork(SEGMENTER_PRESETS["compact"])
    if start is None:
        network.encoder.load_imagenet(imagenet_state_dict())
    else:
        network.start_from(load_network(start, expected="SegmenterNetwork")[0])
    return SegmenterTask(network, SegmenterLossConfig())


def _occlusion_network(start: Path | None) -> OcclusionNetwork:
    """A new network (encoder from ImageNet), or one that starts from a segmenter or an occlusion network."""
    network = OcclusionNetwork(OcclusionConfig())
    if start is None:
        network.encoder.load_imagenet(imagenet_state_dict())
        return network
    given = load_network(start)[0]
    if isinstance(given, OcclusionNetwork):
        return given
    if not isinstance(given, SegmenterNetwork):
        raise InputError(
            f"{start}: holds a {type(given).__name__}; an occlusion network starts from its like or a segmenter"
        )
    network.start_from(given)
    return network


def _mask_network(config: str, start: Path | None, templates: Path | None) -> MaskCompletionNetwork:
    if start is not None:
        return load_network(start, expected="MaskCompletionNetwork")[0]
    chosen = _named(MASK_COMPLETION_PRESETS, config)
    if templates is None:
        return MaskCompletionNetwork(replace(chosen, num_templates=0))
    centres = load_templates(templates)
    network = MaskCompletionNetwork(replace(chosen, num_templates=len(centres), template_size=centres.shape[-1]))
    network.templates.copy_(centres)
    return network


def _features(vgg16: Path | None, device: torch.device) -> EfficientNetFeatures | Vgg16Features:
    extractor = Vgg16Features(vgg16) if vgg16 is not None else EfficientNetFeatures()
    return extractor.to(device)
