"""Other projects' checkpoints: reading the file without running anything in it, and the network that it becomes.

A torch pickle is a program that torch.load runs. `weights_only=True` is an interpreter that builds tensors and plain
containers and refuses the rest; there is no way round it here.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deocclude import weight_specs
from deocclude.errors import InputError
from deocclude.tfjs import read_tfjs
from deocclude.weights import read_header

if TYPE_CHECKING:
    from torch import Tensor

    from deocclude.models.foreign import Converted

INERT = ("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",)
"""Classes that checkpoints merely name: old Lightning files, pix2gestalt's among them, have this one as a key of a
dictionary. An empty class of ours stands in for it; the other project's code is not imported."""

_WRONG_KIND = {
    b"<": "a web page, not a checkpoint: the download went wrong (a login or a warning page?); fetch it again",
    b"version https://git-lfs": "a Git LFS pointer, not the checkpoint itself; fetch it with 'git lfs pull'",
}
"""What files that are no checkpoint often begin with."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    how: the way it was read. ignored: names of the entries that are no tensors. files: those with the tensors, if they
    lie beside the one that was named.
    """

    tensors: dict[str, Tensor]
    how: str
    ignored: tuple[str, ...]
    files: tuple[Path, ...] = ()


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU, mapped from the file where its format allows.

    Raises InputError like `open_checkpoint`, and logs what it leaves out.
    """
    checkpoint = open_checkpoint(path)
    if checkpoint.ignored:
        logger.info("%s: ignored, no tensors: %s", path, ", ".join(checkpoint.ignored))
    return checkpoint.tensors


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read a safetensors file or a torch pickle, whose `state_dict` is what counts, or a TF.js graph model's JSON.

    Raises InputError for a file that is missing, empty, damaged, no checkpoint, or one that wants code to be run.
    """
    path = Path(path)
    start = _first_bytes(path)
    for beginning, what in _WRONG_KIND.items():
        if start.lstrip().startswith(beginning):
            raise InputError(f"{path}: {what}")
    if start.lstrip().startswith(b"{"):
        tensors, files = read_tfjs(path)
        return Checkpoint(tensors, "as a TF.js graph model", (), files)
    how = "as safetensors"
    if _is_safetensors(path):
        content: Any = _read_safetensors(path)
    elif path.suffix == ".safetensors":
        kind = "a torch pickle" if zipfile.is_zipfile(path) or start.startswith(b"\x80") else "no safetensors file"
        raise InputError(f"{path}: {kind} under the name of one; nothing was read (a pickle is named .pth or .ckpt)")
    else:
        how, content = "as a torch pickle with weights_only=True", _unpickle(path)
    tensors, ignored = _tensors_of(content, path)
    return Checkpoint(tensors, how, ignored)


def convert(sources: Mapping[str, weight_specs.Converted], tensors: Mapping[str, Tensor]) -> tuple[str, Converted]:
    """The network that a checkpoint's tensors are, by the first of these converters that takes them, and whose it is.

    Raises ValueError, as the last of them, where none does.
    """
    *others, last = sources
    for name in others:
        with contextlib.suppress(ValueError):
            return name, _converter(sources[name])(tensors)
    return last, _converter(sources[last])(tensors)


def _converter(source: weight_specs.Converted) -> Callable[[Mapping[str, Tensor]], Converted]:
    module, function = source.converter
    return cast("Callable[[Mapping[str, Tensor]], Converted]", getattr(import_module(module), function))


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path}: a folder, not a checkpoint; name the file in it")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not start:
        raise InputError(f"{path}: empty; fetch it again")
    return start


def _is_safetensors(path: Path) -> bool:
    """Whether the header is one, by content: a name says nothing."""
    try:
        read_header(path)
    except ValueError:
        return False
    return True


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: a damaged safetensors file ({error}); fetch it again") from error


def _unpickle(path: Path) -> Any:
    import torch

    class StandIn:
        """Empty; in the place of every class of `INERT`."""

    mapped = zipfile.is_zipfile(path)  # files of torch before 1.6 are no zip archives, and cannot be mapped
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([(StandIn, name) for name in INERT]):
            warnings.simplefilter("ignore")  # about the pickle protocol: what it cannot read, it refuses
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError as error:
        raise InputError(f"{path}: not enough memory to read it") from error
    except Exception as error:  # a damaged file makes torch.load raise almost anything
        raise InputError(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    foreign = (
        re.search(r"(?:GLOBAL|[Cc]lass) ([\w.]+\.\w+)", str(error))
        if isinstance(error, pickle.UnpicklingError)
        else None
    )
    if foreign:
        return (
            f"refused: to read it, code from outside would have to run ({foreign[1]}); if you trust whoever made it, "
            "save its tensors alone where that project is installed, with "
            "torch.save(torch.load(FILE, weights_only=False)['state_dict'], 'tensors.pt'), and convert tensors.pt"
        )
    return "not a torch checkpoint, or a damaged one; fetch it again"


def _tensors_of(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors by name, and the names of everything else."""
    import torch

    ignored: list[str] = []
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        ignored += [str(key) for key in content if key != "state_dict"]
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}, not tensors by name; it is no checkpoint")
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    ignored += [str(key) for key in content if key not in tensors]
    if not tensors:
        found = f"only {', '.join(ignored[:5])}" if ignored else "nothing"
        raise InputError(f"{path}: holds no tensors by name ({found}); it is no checkpoint of a network")
    return tensors, tuple(ignored)
