"""TensorFlow.js graph models: the tensors of the JSON and of the binary files beside it. No graph is executed.

The JSON's `weightsManifest` lists, for each group of tensors, the files that hold them end to end and, in order, name,
shape and data type of each. Tensors stored as float16 for float32 are what we read besides plain ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deocclude.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

MAX_JSON_BYTES = 50_000_000
"""A graph of thousands of nodes has a quarter of a megabyte."""
MAX_BINARY_BYTES = 2_000_000_000
DTYPES = {"float32": np.dtype("<f4"), "int32": np.dtype("<i4"), "bool": np.dtype("?")}


def read_tfjs(path: Path) -> tuple[dict[str, Tensor], tuple[Path, ...]]:
    """The weights of a graph model by name, float32 on the CPU, and the files that hold them.

    Whole numbers and scalars are left out: they are the graph's own shapes, axes and factors.

    Raises InputError, naming the file, for one that is no graph model, or whose binary files are missing, larger than
    `MAX_BINARY_BYTES` together, or of another length than the JSON says.
    """
    import torch

    groups = _manifest(path)
    left = MAX_BINARY_BYTES
    tensors: dict[str, Tensor] = {}
    files: list[Path] = []
    for group in groups:
        beside = [_beside(path, name) for name in group["paths"]]
        content = _bytes(path, beside, left)
        left -= len(content)
        files += beside
        arrays = _tensors(path, group["weights"], content)
        tensors |= {name: torch.from_numpy(array) for name, array in arrays if array.dtype.kind == "f" and array.ndim}
    return tensors, tuple(files)


def _manifest(path: Path) -> list[dict[str, Any]]:
    """The groups of tensors, each with its file names and entries checked for their types."""
    try:
        size = path.stat().st_size
        content = json.loads(path.read_bytes()) if size <= MAX_JSON_BYTES else None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON; give the .json file of a TF.js graph model") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if size > MAX_JSON_BYTES:
        raise InputError(f"{path}: larger than {MAX_JSON_BYTES:,} bytes; it is no TF.js graph model")
    groups = content.get("weightsManifest") if isinstance(content, dict) else None
    if not (isinstance(groups, list) and groups and all(map(_is_group, groups))):
        raise InputError(f"{path}: has no 'weightsManifest'; give the .json file of a TF.js graph model")
    return groups


def _is_group(group: Any) -> bool:
    if not isinstance(group, dict) or not isinstance(group.get("paths"), list):
        return False
    weights = group.get("weights")
    return all(isinstance(name, str) for name in group["paths"]) and (
        isinstance(weights, list) and all(map(_is_entry, weights))
    )


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or entry.get("dtype") not in DTYPES:
        return False
    shape, quantization = entry.get("shape"), entry.get("quantization")
    is_shape = isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape)
    return is_shape and (quantization is None or isinstance(quantization, dict))


def _beside(path: Path, name: str) -> Path:
    if Path(name).name != name or name in ("", ".", ".."):
        raise InputError(f"{path}: names the file '{name}', which does not lie beside it; nothing was read")
    return path.parent / name


def _bytes(path: Path, files: list[Path], limit: int) -> bytes:
    """The content of a group's files end to end. Raises InputError where it is more than `limit` bytes."""
    parts = []
    for file in files:
        try:
            limit -= file.stat().st_size
            if limit < 0:
                raise InputError(f"{file}: with the others, larger than {MAX_BINARY_BYTES:,} bytes; nothing was read")
            parts.append(file.read_bytes())
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}); it holds {path.name}'s tensors") from error
    return b"".join(parts)


def _tensors(path: Path, entries: list[dict[str, Any]], content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Name and array of each tensor of a group. Raises InputError where the lengths disagree."""
    stored = [(entry, _stored_dtype(path, entry)) for entry in entries]
    expected = sum(math.prod(entry["shape"]) * dtype.itemsize for entry, dtype in stored)
    if expected != len(content):
        raise InputError(f"{path}: its binary files have {len(content):,} bytes, not {expected:,}; fetch them again")
    start = 0
    for entry, dtype in stored:
        count = math.prod(entry["shape"])
        array = np.frombuffer(content, dtype, count, start).reshape(entry["shape"])
        start += count * dtype.itemsize
        yield entry["name"], array.astype(DTYPES[entry["dtype"]])


def _stored_dtype(path: Path, entry: dict[str, Any]) -> np.dtype[Any]:
    """How a tensor lies in the file. Raises InputError for a quantization other than to float16."""
    quantization = entry.get("quantization")
    if quantization is None:
        return DTYPES[entry["dtype"]]
    if quantization.get("dtype") != "float16":
        raise InputError(f"{path}: '{entry['name']}' is quantized to {quantization.get('dtype')}; float16 can be read")
    return np.dtype("<f2")
