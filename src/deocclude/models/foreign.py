"""Other projects' checkpoints: what reading one gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Converted:
    """A network of ours, filled from another project's checkpoint.

    config: the dataclass the network was built from. unused: every key of the checkpoint that it has no use for.
    """

    network: nn.Module
    config: Any
    unused: tuple[str, ...]


def without_prefix(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose keys begin with `prefix`, under the rest of their keys."""
    return {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}


def needs(state_dict: Mapping[str, Tensor], keys: Iterable[str], what: str) -> None:
    """Raises ValueError, naming one, where keys that make a checkpoint a `what` are missing."""
    missing = [key for key in keys if key not in state_dict]
    if missing:
        raise ValueError(f"not a checkpoint of {what}: it has no '{missing[0]}'")
