"""The training loop that all three networks share: steps, averages, checkpoints, logs."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from deocclude.errors import InputError
from deocclude.files import written_whole
from deocclude.training.config import TrainingConfig
from deocclude.training.synthesis import SynthesisBatch
from deocclude.weights import save_network

logger = logging.getLogger(__name__)

GRADIENT_NORM = 5.0
"""Gradients are scaled down to this norm: a rare batch must not undo many."""


class Task(Protocol):
    """What one network adds to the loop."""

    network: Any
    """What is trained, and saved."""
    discriminator: Any
    """Its adversary, or None."""

    def generator_losses(
        self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Any]:
        """The weighted loss terms, and whatever `discriminator_loss` needs."""
        ...

    def discriminator_loss(self, made: Any) -> Tensor:
        """Loss of the discriminator on what the generator made, cut off from the generator."""
        ...

    def metrics(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Figures of each person, (B,), NaN where undefined."""
        ...

    def preview(self, network: nn.Module, batch: SynthesisBatch, generator: torch.Generator) -> np.ndarray:
        """A sheet of pictures, uint8 (H, W, 3)."""
        ...


class Samples(Protocol):
    """Where batches come from: `BatchSynthesis`, or `FixedSamples` of one."""

    photos: Any
    """As many as there are indices to draw."""

    @property
    def device(self) -> torch.device: ...
    @property
    def repeats(self) -> Tensor:
        """How often each index is in the pool that is drawn from, int64 (N,)."""
        ...

    def __call__(self, indices: Tensor, size: int, generator: torch.Generator) -> SynthesisBatch: ...


class MovingAverage:
    """Exponential moving average of a network's weights; batch statistics are copied."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = dict(network.named_parameters())
        for key, value in network.state_dict().items():
            if key in parameters:
                self.average[key].lerp_(value.detach(), 1 - decay)
            else:
                self.average[key].copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        return self.average

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for key, value in state.items():
            self.average[key].copy_(value)


class Progress:
    """The step and the seconds so far, kept with the checkpoint."""

    def __init__(self) -> None:
        self.step, self.seconds = 0, 0.0

    def state_dict(self) -> dict[str, float]:
        return {"step": self.step, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.step, self.seconds = int(state["step"]), state["seconds"]


class Run:
    """One training run: the networks, their optimisers and where it stands."""

    def __init__(
        self,
        task: Task,
        synthesis: Samples,
        config: TrainingConfig,
        output: Path,
        *,
        bf16: bool = False,
    ) -> None:
        self.task, self.synthesis, self.config, self.output = task, synthesis, config, output
        self.device = synthesis.device
        self.accelerator = Accelerator(
            mixed_precision="bf16" if bf16 else "no",
            cpu=self.device.type == "cpu",
            device_placement=False,  # everything goes where the pictures are
            step_scheduler_with_optimizer=False,  # or the rate would move once for every process
        )
        output.mkdir(parents=True, exist_ok=True)
        _write_run(output, task, config, self.accelerator)
        torch.manual_seed(config.seed)
        # Channels last: convolutions take two thirds of the time, on a CPU as on a GPU.
        task.network.to(self.device, memory_format=torch.channels_last)
        self.average = MovingAverage(task.network, config.ema_decay)
        optimizer, schedule = _optimizer(task.network, config)
        self.network, self.optimizer, self.schedule = self.accelerator.prepare(task.network, optimizer, schedule)
        self.judge_optimizer = None
        if task.discriminator is not None:
            task.discriminator.to(self.device)
            judge_optimizer = torch.optim.Adam(task.discriminator.parameters(), 2e-4, betas=(0.5, 0.9))
            task.discriminator, self.judge_optimizer = self.accelerator.prepare(task.discriminator, judge_optimizer)
        self.progress = Progress()
        self.accelerator.register_for_checkpointing(self.average, self.progress)
        self._resume()
        self.pool = training_pool(synthesis, config)

    def _resume(self) -> None:
        """Go on from the last checkpoint, if there is one; rows that were logged after it are dropped."""
        if self.accelerator.is_main_process:
            _recover_checkpoint(self.output)
        self.accelerator.wait_for_everyone()
        checkpoint = self.output / "checkpoint"
        if checkpoint.exists():
            self.accelerator.load_state(str(checkpoint))
            logger.info("going on from step %d", self.progress.step)
        if self.accelerator.is_main_process:
            for name in ("losses.csv", "validation.csv"):
                drop_rows_after(self.output / name, self.progress.step)

    def step(self) -> dict[str, Tensor]:
        """One step of the generator, then one of the discriminator; the detached losses."""
        number = self.progress.step
        generator = step_generator(self.config.seed, number, self.accelerator.process_index, self.device)
        indices = _draw(self.pool, self.config.batch_size, generator)
        batch = self.synthesis(indices, self.config.size_at(number), generator)
        self.network.train()
        with self.accelerator.autocast():
            losses, made = self.task.generator_losses(self.network, batch, generator)
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(torch.stack(list(losses.values())).sum())
        self.accelerator.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        self.optimizer.step()
        self.schedule.step()
        if self.judge_optimizer is not None:
            with self.accelerator.autocast():
                losses["discriminator"] = self.task.discriminator_loss(made)
            self.judge_optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(losses["discriminator"])
            self.judge_optimizer.step()
        self.average.update(self.accelerator.unwrap_model(self.network), number)
        self.progress.step = number + 1
        return {name: value.detach().float() for name, value in losses.items()}

    def checkpoint(self) -> None:
        """Validate the averaged weights; write them, a preview and all that is needed to go on."""
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        with averaged_weights(self.task.network, self.average) as network:
            figures, picture = self._validate(network)
            append_row(
                self.output / "validation.csv",
                {"step": self.progress.step, "seconds": round(self.progress.seconds), **figures},
            )
            (self.output / "preview").mkdir(exist_ok=True)
            Image.fromarray(picture).save(self.output / "preview" / f"step_{self.progress.step:06d}.png")
            save_network(self.output / "network.safetensors", network, network.config, half=True)
        _save_state(self.accelerator, self.output)

    @torch.no_grad()
    def _validate(self, network: nn.Module) -> tuple[dict[str, float], np.ndarray]:
        """Mean figures over the photographs kept aside, always occluded in the same way, and a sheet of the first."""
        figures: dict[str, list[Tensor]] = defaultdict(list)
        generator = torch.Generator(self.device).manual_seed(0)
        size, picture = self.config.sizes[-1], np.zeros((1, 1, 3), np.uint8)
        for indices in torch.arange(self.config.validation_people, device=self.device).split(16):
            batch = self.synthesis(indices, size, generator)
            for name, values in self.task.metrics(network, batch, generator).items():
                figures[name].append(values.float().cpu())
            if indices[0] == 0:
                picture = self.task.preview(network, batch, generator)
        return {name: round(torch.cat(values).nanmean().item(), 4) for name, values in figures.items()}, picture


def train(
    task: Task,
    synthesis: Samples,
    config: TrainingConfig,
    output: Path,
    *,
    bf16: bool = False,
) -> Path:
    """Train `task.network` on endless batches of `synthesis`; a run that was cut off goes on where it was.

    All of it happens on the device of the pictures. Writes into `output`: network.safetensors (the averaged weights),
    losses.csv, validation.csv, preview/, checkpoint/ and run.json. Returns the path of the weights. Raises InputError
    where `output` holds a run with other settings, and for too few photographs.
    """
    run = Run(task, synthesis, config, output, bf16=bf16)
    progress, is_main = run.progress, run.accelerator.is_main_process
    window: dict[str, list[Tensor]] = defaultdict(list)
    started = time.monotonic() - progress.seconds
    bar = tqdm(total=config.steps, initial=progress.step, desc="training", unit="step", disable=not is_main)
    while progress.step < config.steps:
        for name, value in run.step().items():
            window[name].append(value)
        progress.seconds = time.monotonic() - started
        bar.update()
        is_last = progress.step == config.steps
        if is_main and (is_last or progress.step % config.log_every == 0):
            _log_losses(output, progress, run.schedule.get_last_lr()[0], window, bar)
        if is_last or progress.step % config.validate_every == 0:
            run.checkpoint()
    return output / "network.safetensors"


@contextmanager
def averaged_weights(network: nn.Module, average: MovingAverage) -> Iterator[Any]:
    """The network in eval mode with its averaged weights, for the length of a `with` block."""
    kept = {key: value.detach().clone() for key, value in network.state_dict().items()}
    network.load_state_dict(average.state_dict())
    network.eval()
    try:
        yield network
    finally:
        network.load_state_dict(kept)


def step_generator(seed: int, step: int, process: int, device: torch.device) -> torch.Generator:
    """All that is random in a step follows from the seed, the step and the process."""
    mixed = np.random.SeedSequence((seed, step, process)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed >> 1))


def training_pool(synthesis: Samples, config: TrainingConfig) -> Tensor:
    """Indices of the photographs that are trained on, as often as they are to be drawn: all but the first, kept aside.

    Raises InputError where none is left.
    """
    check_enough_photographs(len(synthesis.photos), config)
    indices = torch.arange(config.validation_people, len(synthesis.photos), device=synthesis.device)
    return indices.repeat_interleave(synthesis.repeats[config.validation_people :])


def check_enough_photographs(count: int, config: TrainingConfig) -> None:
    """Raises InputError where no photograph is left to train on."""
    if count <= config.validation_people:
        raise InputError(
            f"{count} photographs are too few: the first {config.validation_people} are kept aside to validate on "
            "(validation_people); give more"
        )


def _draw(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return pool[torch.randint(len(pool), (count,), generator=generator, device=pool.device)]


def _optimizer(network: nn.Module, config: TrainingConfig) -> tuple[torch.optim.Optimizer, Any]:
    """The optimiser and its schedule: one cycle for AdamW, constant between milestones for the papers' two."""
    parameters, rate = network.parameters(), config.learning_rate
    if config.optimizer == "adamw":
        adamw = torch.optim.AdamW(parameters, rate, weight_decay=config.weight_decay)
        return adamw, torch.optim.lr_scheduler.OneCycleLR(
            adamw, rate, total_steps=config.steps + 1, pct_start=0.05, cycle_momentum=False
        )
    optimizer: torch.optim.Optimizer
    if config.optimizer == "adam":
        optimizer = torch.optim.Adam(parameters, rate)
    else:
        optimizer = torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=config.weight_decay)
    return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, list(config.milestones))


def _write_run(output: Path, task: Task, config: TrainingConfig, accelerator: Accelerator) -> None:
    """run.json says what the run is; a folder that holds another run is refused."""
    run = {"network": type(task.network).__name__, "task": repr(task), "training": asdict(config)}
    text = json.dumps(run, indent=1)
    path = output / "run.json"
    if path.exists() and path.read_text() != text:
        raise InputError(f"{path}: this folder holds a run with other settings; choose another --output to start anew.")
    if accelerator.is_main_process:
        with written_whole(path) as unfinished:
            unfinished.write_text(text)


def _save_state(accelerator: Accelerator, output: Path) -> None:
    """The checkpoint folder is replaced whole: whenever a kill comes, `_recover_checkpoint` finds a complete one."""
    names = ("checkpoint.partial", "checkpoint.new", "checkpoint.old", "checkpoint")
    partial, new, old, checkpoint = (output / name for name in names)
    for leftover in (partial, new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    accelerator.save_state(str(partial))
    os.replace(partial, new)  # what is called new is complete
    if checkpoint.exists():
        os.replace(checkpoint, old)
    os.replace(new, checkpoint)
    shutil.rmtree(old, ignore_errors=True)


def _recover_checkpoint(output: Path) -> None:
    """A kill between the renames of `_save_state` leaves no checkpoint/: put the newest complete one in its place."""
    checkpoint = output / "checkpoint"
    for complete in (output / "checkpoint.new", output / "checkpoint.old"):
        if not checkpoint.exists() and complete.exists():
            os.replace(complete, checkpoint)


def _log_losses(output: Path, progress: Progress, rate: float, window: dict[str, list[Tensor]], bar: tqdm) -> None:
    means = {name: torch.stack(values).mean().item() for name, values in window.items()}
    window.clear()
    row = {"step": progress.step, "seconds": round(progress.seconds), "learning_rate": f"{rate:.3g}"}
    append_row(output / "losses.csv", row | {name: f"{value:.5g}" for name, value in means.items()})
    bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})


def append_row(path: Path, row: dict[str, Any]) -> None:
    """One row more at the end of a CSV; a new file gets the header."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def drop_rows_after(path: Path, step: int) -> None:
    """Leave out the rows of a CSV whose `step` is later, whole or not at all: a resumed run writes them again."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        names, rows = reader.fieldnames or (), list(reader)
    kept = [row for row in rows if int(row["step"]) <= step]
    if len(kept) < len(rows):
        with written_whole(path) as unfinished, unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(kept)


def batches(synthesis: Samples, config: TrainingConfig, count: int) -> Iterator[SynthesisBatch]:
    """`count` training batches without training: for the templates and for looking at the pictures."""
    pool = training_pool(synthesis, config)
    for step in range(count):
        generator = torch.Generator(synthesis.device).manual_seed(config.seed * 1_000_003 + step)
        yield synthesis(_draw(pool, config.batch_size, generator), config.sizes[-1], generator)
