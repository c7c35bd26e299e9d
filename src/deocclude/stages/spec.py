"""What a stage is: the fields that the command line, the page, ComfyUI, the memory check, docs and tests read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deocclude.errors import InputError
from deocclude.types import HINTS
from deocclude.weight_specs import WeightSpec

Kind = Literal["mask", "RGB"]
Role = Literal["method", "floor", "ablation", "miniature", "own"]
Load = Callable[..., Any]
"""Called with device=, dtype= and config=, the stage's configuration (None for a stage without one); returns the stage
on the device. Raises InputError, saying how to get them, where its weights are not on this machine."""

WORK_ONCE, WORK_TWICE = 750_000_000, 1_500_000_000
"""For `StageSpec.memory`: 1.5 GB were measured for a denoising step at 256 px, which sees a person twice (with the
condition and without), half of it for a U-Net that sees it once. Candidates and decoder tuning take more, and so do
pose estimator and detector: they are not counted, so that nothing is refused that might fit."""


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One stage of one method. A field without a default has to be thought about; a spec that lacks it fails.

    name: as typed. title: as a menu shows it. paper: authors, year or place; None for what is no published method.
    licence: of the weights, or of the library that computes.
    weights: everything it may load. needs: what it loads with a given configuration, where that depends on it or on a
        file's header; else None.
    size: side of the square crop it works on, pixels. dtype: its arithmetic where the user names none; `fast` is what
        `devices.fast_dtype` says.
    accepts: the fields of `types.Hints` that it reads. accepts_with: those that it reads with an option, by hint.
    options: its configuration with the stage's own values, of which the command line makes options; None without one.
    batched: whether several people may share a call and come out as alone.
    draws_candidates: whether it can paint several pictures of a person.
    needs_painting_mask_stage: whether it shows the picture that a mask stage made.
    role: a `method` that menus and `--help` offer; what every table starts from (`floor`), a row of a paper's tables
        (`ablation`), seeded random weights (`miniature`), a user's weights file (`own`).
    memory: bytes beside the weights while it works in float32; 0 where that is little.
    note: one sentence for the table in docs/baselines.md.
    """

    name: str
    kind: Kind
    title: str
    paper: str | None
    licence: str
    weights: tuple[WeightSpec, ...]
    size: int
    dtype: Literal["float32", "fast"]
    accepts: frozenset[str]
    options: Any | None
    batched: bool
    role: Role
    memory: int
    note: str
    load: Load
    needs: Callable[[Any], tuple[WeightSpec, ...]] | None = None
    accepts_with: Mapping[str, str] = field(default_factory=dict)
    draws_candidates: bool = False
    needs_painting_mask_stage: bool = False

    @property
    def listed(self) -> bool:
        """Whether menus and `--help` offer it."""
        return self.role == "method"

    def __post_init__(self) -> None:
        unknown = {*self.accepts, *self.accepts_with} - {*HINTS}
        if unknown:
            raise ValueError(f"{self.name}: no hint '{sorted(unknown)[0]}'; choose from {', '.join(HINTS)}")
        if self.size < 1 or self.memory < 0:
            raise ValueError(f"{self.name}: need size >= 1 and memory >= 0, got {self.size} and {self.memory}")

    def weights_for(self, config: Any) -> tuple[WeightSpec, ...]:
        """What it loads with this configuration."""
        return self.weights if self.needs is None else self.needs(config)

    def configured(self, given: Mapping[str, Any]) -> Any:
        """Its configuration with the options that were given, by name. Raises InputError for values that make no sense.

        The names are those of `option_fields`; the caller has checked that this stage has them.
        """
        if not given:
            return self.options
        return _replaced(self.options, given)


def option_fields(config: Any, prefix: str = "") -> dict[str, tuple[Any, dataclasses.Field[Any]]]:
    """Option name → the configuration that holds the field, and the field, those of nested configurations included.

    A nested configuration's options begin with the field's `metadata["prefix"]`; one without it is chosen by the stage
    alone, and so is a field whose metadata says `option=False`.
    """
    found: dict[str, tuple[Any, dataclasses.Field[Any]]] = {}
    if config is None:
        return found
    for one in dataclasses.fields(config):
        value = getattr(config, one.name)
        if dataclasses.is_dataclass(value):
            if "prefix" in one.metadata:
                found |= option_fields(value, prefix + one.metadata["prefix"])
        elif one.metadata.get("option", True):
            found[prefix + one.name] = (config, one)
    return found


def _replaced(config: Any, given: Mapping[str, Any], prefix: str = "") -> Any:
    changes: dict[str, Any] = {}
    try:
        for one in dataclasses.fields(config):
            value = getattr(config, one.name)
            if dataclasses.is_dataclass(value) and "prefix" in one.metadata:
                changes[one.name] = _replaced(value, given, prefix + one.metadata["prefix"])
            elif prefix + one.name in given:
                changes[one.name] = given[prefix + one.name]
        return dataclasses.replace(config, **changes)
    except ValueError as error:
        raise InputError(str(error)) from error
