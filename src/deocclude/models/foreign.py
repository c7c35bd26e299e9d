"""Other projects' checkpoints: what reading one gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Value = TypeVar("Value")


@dataclass(frozen=True)
class Converted:
    """A network of ours, filled from another project's checkpoint.

    config: the dataclass the network was built from. unused: every key of the checkpoint that it has no use for.
    notice: whose weights they are, and their licence, to be written into the file.
    """

    network: nn.Module
    config: Any
    unused: tuple[str, ...]
    notice: str = ""


@dataclass(frozen=True)
class Traced:
    """A tensor and the checkpoint's keys that it was made of.

    It stands in for its tensor in converters that rename tensors, cut them, and drop without a word what they have no
    name for: which keys were used is read off what comes out.
    """

    tensor: Tensor
    keys: frozenset[str]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def ndim(self) -> int:
        return self.tensor.ndim

    def __getitem__(self, index: Any) -> Traced:
        return Traced(self.tensor[index], self.keys)


def traced(state_dict: Mapping[str, Tensor]) -> dict[str, Traced]:
    """Every tensor of a checkpoint with its own key."""
    return {key: Traced(value, frozenset({key})) for key, value in state_dict.items()}


def unused_keys(state_dict: Mapping[str, Tensor], filled: Iterable[Traced]) -> tuple[str, ...]:
    """The checkpoint's keys that nothing with which a network was filled was made of."""
    used = frozenset[str]().union(*(value.keys for value in filled))
    return tuple(key for key in state_dict if key not in used)


def without_prefix(state_dict: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The tensors whose keys begin with `prefix`, under the rest of their keys."""
    return {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}


def needs(state_dict: Mapping[str, Any], keys: Iterable[str], what: str) -> None:
    """Raises ValueError, naming one, where keys that make a checkpoint a `what` are missing."""
    missing = [key for key in keys if key not in state_dict]
    if missing:
        raise ValueError(f"not a checkpoint of {what}: it has no '{missing[0]}'")


def fill(parameter: Tensor | None, value: Tensor, name: str) -> None:
    """Copy a checkpoint's tensor `name` into a parameter. Raises ValueError where the shapes disagree."""
    assert parameter is not None, "a layer that was built with it"
    if parameter.shape != value.shape:
        raise ValueError(f"'{name}' has the shape {tuple(value.shape)} instead of {tuple(parameter.shape)}")
    with torch.no_grad():
        parameter.copy_(value)
