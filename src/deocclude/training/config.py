"""What every training run has in common."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run."""

    steps: int = 10_000
    """Optimiser steps."""
    batch_size: int = 16
    """People in a batch, of one process."""
    sizes: tuple[int, ...] = (128, 192, 256)
    """Side of the training pictures, pixels: small ones first, which is many times faster and nearly as good."""
    size_shares: tuple[float, ...] = (0.6, 0.2, 0.2)
    """Share of the steps at each size."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """AdamW with a one-cycle rate; `adam` and `sgd` (momentum 0.9) keep it, as paper B does, until `milestones`."""
    learning_rate: float = 2e-3
    """Highest learning rate."""
    milestones: tuple[int, ...] = ()
    """Steps at which `adam` and `sgd` go on with a tenth of their rate."""
    weight_decay: float = 1e-2
    """Weight decay."""
    ema_decay: float = 0.998
    """Decay of the moving average of the weights, which is what is validated and saved; 0 for none."""
    seed: int = 0
    """Every draw of the run follows from this and the step."""
    validation_people: int = 48
    """Training photographs kept aside to validate on."""
    log_every: int = 20
    """Steps between two rows of losses.csv."""
    validate_every: int = 500
    """Steps between two rows of validation.csv, previews and checkpoints."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validation_people", "log_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.sizes or any(size < 64 or size % 32 for size in self.sizes):
            raise ValueError(f"sizes must be multiples of 32 from 64 up, got {self.sizes}")
        if len(self.sizes) != len(self.size_shares):
            raise ValueError(f"{len(self.sizes)} sizes need as many size_shares, got {len(self.size_shares)}")
        if not all(share >= 0 for share in self.size_shares) or not math.isclose(
            sum(self.size_shares), 1, abs_tol=0.01
        ):
            raise ValueError(f"size_shares must be at least 0 and add up to 1, got {self.size_shares}")
        if not 0 < self.learning_rate < math.inf or not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                f"need learning_rate > 0 and weight_decay >= 0, got {self.learning_rate} and {self.weight_decay}"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {self.ema_decay}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")

    def size_at(self, step: int) -> int:
        """Side of the pictures of `step`."""
        done = 0.0
        for size, share in zip(self.sizes, self.size_shares, strict=True):
            done += share
            if step < done * self.steps:
                return size
        return self.sizes[-1]


DIFFUSION_TRAINING = TrainingConfig(
    steps=14_000,
    sizes=(256,),
    size_shares=(1.0,),
    optimizer="sgd",
    learning_rate=1e-3,
    milestones=(8_000, 12_000),
    weight_decay=1e-4,
    ema_decay=0.0,
)
"""Paper A's training of U_mask (its 4.2 and B.4); momentum, decay and milestones are SDAmodal's, whose recipe it is."""


@dataclass(frozen=True, kw_only=True)
class DiffusionChoice:
    """What paper A trains (--family diffusion)."""

    design: str | None = None
    """diffusion (none), mask-1, mask-2, mask-3 or one-stage; rgb-completion has two-stage-unet alone."""
    prior: Literal["dpmesh", "sd15", "tiny", "none"] = "dpmesh"
    """The frozen networks; tiny is a seeded miniature to try it out; none trains the design without F and T."""
    width: float = 1.0
    """Share of the design's channels, for trials that a small machine can do."""
    joints: Literal["embedded", "labels"] = "embedded"
    """Found in the occluded picture, or given."""
    mask_loss: Literal["bce", "ce"] = "bce"
    """Cross-entropy of one logit or of two (Table G)."""
    inaccurate_masks: float = 0.1
    """Share of the modal masks that are grown by 5 to 30 % (B.8, Table L)."""
    joint_input: Literal["occluded-heatmap", "whole-heatmap", "occluded-mask"] | None = None
    """How joints are drawn (Table F); none is the design's."""
    sub_joints: int | None = None
    """Joints between each pair (Table E); none is the design's."""
    joint_sigma: float | None = None
    """Width of the joints drawn, pixels (Table C); none is the design's."""
    heatmap_sigma: float | None = None
    """Width of the prior's heatmaps, pixels of the latent (Table D); none is the design's."""
    cache: Path | None = None
    """Folder that keeps what the prior says of a fixed number of samples, 1.2 MB each."""
    samples: int = 55_347
    """How many samples there are then; paper A's number."""

    def __post_init__(self) -> None:
        if not 0 <= self.inaccurate_masks <= 1:
            raise ValueError(f"inaccurate_masks must be in [0, 1], got {self.inaccurate_masks}")
        if not 0 < self.width <= 1:
            raise ValueError(f"width must be above 0 and at most 1, got {self.width}")
