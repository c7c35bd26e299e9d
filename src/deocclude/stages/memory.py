"""Whether a device has room for the stages chosen: said before gigabytes are read, with what would fit instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError
from deocclude.files import human_size
from deocclude.stages.catalogue import configured, default_dtype, find_stage, stage_specs
from deocclude.stages.presets import DEFAULT
from deocclude.stages.spec import StageSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Choice:
    """What is to be loaded, and where. dtype: None for each stage's own. options: of the RGB stage, by name."""

    mask_stage: str
    rgb_stage: str
    device: torch.device
    dtype: torch.dtype | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def stages(self) -> tuple[StageSpec, StageSpec]:
        """The two specs. Raises InputError for an unknown name."""
        return find_stage("mask", self.mask_stage), find_stage("RGB", self.rgb_stage)

    @property
    def arithmetic(self) -> torch.dtype:
        """The dtype of the larger stage."""
        mask, rgb = self.stages
        return self.dtype or default_dtype(mask if mask.dtype == "fast" else rgb, self.device)

    @property
    def needed(self) -> int:
        """Bytes of the stages' weights, those that both load counted once, and of their work, one after the other.

        Raises InputError where weights whose header says what else is loaded are missing.
        """
        mask, rgb = self.stages
        loaded = {*mask.weights_for(mask.options), *rgb.weights_for(configured(rgb, self.options))}
        work = max(mask.memory, rgb.memory)
        return (sum(spec.parameters for spec in loaded) * 4 + work) * self.arithmetic.itemsize // 4


def check_memory(choice: Choice) -> None:
    """Raises InputError, with what would fit, where the device has too little; never where its size is unknown."""
    from deocclude.devices import free_memory

    needed, free = choice.needed, free_memory(choice.device)
    if free is None or needed <= free:
        return
    dtype = str(choice.arithmetic).removeprefix("torch.")
    ways = [*_smaller(choice), f"--preset {DEFAULT} (under 1 GB)"]
    raise InputError(
        f"not enough memory on {choice.device}: {human_size(free)} free, and mask stage '{choice.mask_stage}' with RGB "
        f"stage '{choice.rgb_stage}' needs about {human_size(needed)} in {dtype}; what would fit: {', '.join(ways)}"
    )


def _smaller(choice: Choice) -> Iterator[str]:
    """The options, beside those given, with which it would fit: the nearest to what was asked for first."""
    import torch

    mask, rgb = choice.stages
    can_halve = choice.arithmetic == torch.float32
    smaller = replace(choice, dtype=torch.bfloat16)
    if can_halve:
        yield from _fitting(smaller, "--dtype bfloat16")
    if choice.device.type != "cpu":
        yield from _fitting(replace(choice, device=torch.device("cpu")), "--device cpu")
    if mask.memory and not rgb.needs_painting_mask_stage and rgb.name in stage_specs("RGB"):
        found = [*_fitting(replace(choice, rgb_stage=DEFAULT, options={}), f"--rgb-stage {DEFAULT}")]
        if can_halve and not found:
            option = f"--dtype bfloat16 --rgb-stage {DEFAULT}"
            found = [*_fitting(replace(smaller, rgb_stage=DEFAULT, options={}), option)]
        yield from found


def _fitting(choice: Choice, option: str) -> Iterator[str]:
    from deocclude.devices import free_memory

    needed, free = choice.needed, free_memory(choice.device)
    if free is not None and needed <= free:
        yield f"{option} ({human_size(needed)})"
