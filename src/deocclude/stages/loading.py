"""What the stages' loaders share: converted networks, and pipelines of the hub's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from deocclude.errors import InputError
from deocclude.weight_specs import WeightSpec, require

if TYPE_CHECKING:
    import torch

Loaded = TypeVar("Loaded")
_SHARED: WeakValueDictionary[tuple[str, ...], Any] = WeakValueDictionary()


def shared(spec: WeightSpec, device: torch.device, dtype: torch.dtype, load: Callable[[], Loaded]) -> Loaded:
    """What `load` makes of these weights, made once for as long as a stage holds it: two of them share it.

    Raises InputError, saying how to get them, where the weights are not on this machine.
    """
    key = str(require(spec)), str(device), str(dtype), load.__module__, load.__qualname__
    loaded = _SHARED.get(key)
    if loaded is None:
        loaded = _SHARED[key] = load()
    return loaded


def load_converted(spec: WeightSpec, network: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, str]:
    """The converted weights as the network of that class, and the file's sha256.

    Raises InputError, saying how to get them, where they are not on this machine, and for a file of another network.
    """
    from deocclude.weights import load_network

    loaded, sha256 = load_network(require(spec), expected=network, dtype=dtype)
    return loaded.to(device).eval().requires_grad_(False), sha256


def hub_folder(spec: WeightSpec) -> tuple[Path, str]:
    """Where these files of the hub lie, and what identifies them in a JSON file.

    Raises InputError, saying how to get them, where they are not on this machine.
    """
    folder = require(spec)
    return folder, f"commit {folder.name}"


def load_part(kind: type[Any], folder: Path, dtype: torch.dtype, *, variant: str | None = None) -> Any:
    """A network of `diffusers` or `transformers` from its folder, frozen, on the CPU, every weight of it loaded.

    variant: the part of the files' names that says in which number type they are stored.
    Raises InputError where the folder does not hold just this network's weights.
    """
    # Each of the two libraries has its own word for the number type.
    number_type = {"dtype" if kind.__module__.startswith("transformers.") else "torch_dtype": dtype}
    try:
        loaded, report = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            variant=variant,
            output_loading_info=True,
            **number_type,
        )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise InputError(f"{folder}: no weights of a {kind.__name__} ({_first_line(error)})") from error
    wrong = {problem: keys for problem, keys in report.items() if keys}
    if wrong:
        problem, keys = next(iter(wrong.items()))
        raise InputError(f"{folder}: not the weights of a {kind.__name__} ({problem.replace('_', ' ')}: {_one(keys)})")
    return loaded.eval().requires_grad_(False)


def _one(keys: Any) -> Any:
    return sorted(map(str, keys))[0] if isinstance(keys, (list, set, tuple)) else keys


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
