"""Network weights: safetensors with the configuration inside, so that a file says how to build what it fills.

The metadata key `network` holds the class name and `config` the configuration as JSON. No pickle is ever read.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import types
import typing
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError
from deocclude.files import written_whole

if TYPE_CHECKING:
    from torch import Tensor, nn

NETWORKS = {
    "MaskCompletionNetwork": ("deocclude.models.feedforward.mask_completion", "MaskCompletionConfig"),
    "RgbCompletionNetwork": ("deocclude.models.feedforward.rgb_completion", "RgbCompletionConfig"),
    "SegmenterNetwork": ("deocclude.models.segmenter", "SegmenterConfig"),
}
"""Class name → its module and configuration class: the networks whose weights are shipped in the package."""

USER_NETWORKS = {
    "BodyPrior": ("deocclude.models.diffusion.body_prior", "BodyPriorConfig"),
    "PriorUNet": ("deocclude.models.diffusion.mask_completion", "PriorUNetConfig"),
    "RgbDenoiser": ("deocclude.models.diffusion.rgb_completion", "RgbDenoiserConfig"),
    "SdamodalNetwork": ("deocclude.models.sdamodal", "SdamodalConfig"),
    "SssdMaskNetwork": ("deocclude.models.sssd", "SssdMaskConfig"),
    "SssdContentNetwork": ("deocclude.models.sssd", "SssdContentConfig"),
}
"""The same for networks whose weights a user converts or trains. A weights file names one of either table."""

ASSETS = Path(__file__).parent / "assets"


def asset_path(name: str) -> Path:
    """The weights of network `name` that are shipped inside the package."""
    return ASSETS / f"{name}.safetensors"


def save_network(path: str | Path, network: nn.Module, config: Any, *, half: bool = True) -> None:
    """Write a network's weights and its configuration, whole or not at all.

    config: the dataclass the network was built from. half: store floating-point weights as float16, which
        halves the file; raises ValueError if a value does not fit.
    """
    import torch

    path = Path(path)
    tensors = {}
    for key, value in network.state_dict().items():
        stored = value.half() if half and value.is_floating_point() else value
        if "running_" in key and not torch.isfinite(stored).all():
            stored = value  # statistics of a batch normalisation, few and sometimes large
        if value.is_floating_point() and not torch.isfinite(stored).all():
            raise ValueError(f"{key} holds values that are not finite, or too large for float16")
        tensors[key] = stored.detach().cpu().clone().contiguous()
    metadata = {
        "network": type(network).__name__,
        "config": json.dumps(dataclasses.asdict(config), sort_keys=True),
    }
    with written_whole(path) as unfinished:
        _write(unfinished, tensors, metadata)


def load_network(path: str | Path, *, expected: str | None = None) -> tuple[Any, str]:
    """The network a file describes, float32 and in eval mode, and the file's sha256 in hex.

    expected: the class name it must have. Raises InputError for a missing file and for one that `save_network` did
        not write, or wrote for another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise InputError(
            f"{path}: no weights there ({error.strerror}); train them or install the package anew"
        ) from error
    try:
        metadata = _metadata(path)
        if metadata["network"] in USER_NETWORKS:
            # A thousand million weights: the random ones, which are thrown away, would take longer than the loading.
            with _without_weights():
                network = _build(metadata, expected)
            tensors = {key: _as_float32(value) for key, value in load_file(path).items()}
            network.load_state_dict(tensors, strict=True, assign=True)
        else:
            network = _build(metadata, expected)
            network.load_state_dict(load_file(path), strict=True)  # mapped, and copied into the network as float32
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: not weights that this version of deocclude can use ({reason})") from error
    return network.eval(), sha256


def _without_weights() -> Any:
    """A context in which networks are built whose weights take no memory and no time."""
    from accelerate import init_empty_weights

    return init_empty_weights(include_buffers=False)


def _as_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def file_sha256(path: Path) -> str:
    """The sha256 of a file in hex, read in pieces. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: 8 bytes of length, JSON, then the numbers.

    Raises ValueError where it is something else, and OSError.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= path.stat().st_size - 8:
            raise ValueError("not a safetensors file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file")
    return header


def _write(path: Path, tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    """A safetensors file with its metadata sorted: the library writes them in random order."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()  # raises the OSError that says why, where the library's error would not
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error
    header = read_header(path)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        assert len(text) <= length, "the library writes compact JSON padded with spaces"
        file.write(text.ljust(length))


def _metadata(path: Path) -> dict[str, str]:
    metadata = read_header(path).get("__metadata__") or {}
    if not {"network", "config"} <= set(metadata):
        raise ValueError("its header names no network and configuration")
    return metadata


def _build(metadata: dict[str, str], expected: str | None) -> nn.Module:
    name = metadata["network"]
    networks = NETWORKS | USER_NETWORKS
    if name not in networks:
        raise ValueError(f"no network '{name}'; choose from {sorted(networks)}")
    if expected is not None and name != expected:
        raise ValueError(f"it holds a {name}, and a {expected} is needed")
    module_name, config_name = networks[name]
    module = import_module(module_name)
    return getattr(module, name)(_config(getattr(module, config_name), json.loads(metadata["config"])))


def _config(kind: type, values: dict[str, Any]) -> Any:
    """The configuration `kind` with what its JSON says. Raises TypeError for a field it does not have."""
    hints = typing.get_type_hints(kind)
    return kind(**{name: _field(hints.get(name), value) for name, value in dict(values).items()})


def _field(hint: Any, value: Any) -> Any:
    """JSON has lists where our frozen configurations have tuples, and dicts where they have configurations."""
    choices = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if isinstance(value, list):
        items = next((typing.get_args(choice) for choice in choices if typing.get_origin(choice) is tuple), ())
        hints = items if Ellipsis not in items and len(items) == len(value) else (*items, None)[:1] * len(value)
        return tuple(map(_field, hints, value))
    if isinstance(value, dict):
        kinds = [choice for choice in choices if isinstance(choice, type) and dataclasses.is_dataclass(choice)]
        return _config(kinds[0], value) if kinds else {key: _field(None, item) for key, item in value.items()}
    return value
