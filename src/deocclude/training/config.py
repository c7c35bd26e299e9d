"""What every training run has in common."""

from __future__ import annotations

from dataclasses import dataclass
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
    """AdamW with a one-cycle rate; `adam` and `sgd` (momentum 0.9) keep the rate constant, as paper B does."""
    learning_rate: float = 2e-3
    """Highest learning rate."""
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
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError("steps and batch_size must be at least 1")
        if len(self.sizes) != len(self.size_shares):
            raise ValueError(f"{len(self.sizes)} sizes need as many size_shares, got {len(self.size_shares)}")

    def size_at(self, step: int) -> int:
        """Side of the pictures of `step`."""
        done = 0.0
        for size, share in zip(self.sizes, self.size_shares, strict=True):
            done += share
            if step < done * self.steps:
                return size
        return self.sizes[-1]
