"""Network weights: safetensors with the configuration inside, so that a file says how to build what it fills.

The metadata key `network` holds the class name and `config` the configuration as JSON. No pickle is ever read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError
from deocclude.files import written_whole

if TYPE_CHECKING:
    import torch
    from torch import nn

NETWORKS = {
    "MaskCompletionNetwork": ("deocclude.models.feedforward.mask_completion", "MaskCompletionConfig"),
    "RgbCompletionNetwork": ("deocclude.models.feedforward.rgb_completion", "RgbCompletionConfig"),
    "SegmenterNetwork": ("deocclude.models.segmenter", "SegmenterConfig"),
}
"""Class name → its module and configuration class: the networks a weights file may name."""

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
    from safetensors.torch import save

    path = Path(path)
    tensors = {}
    for key, value in network.state_dict().items():
        stored = value.half() if half and value.is_floating_point() else value
        if value.is_floating_point() and not torch.isfinite(stored).all():
            raise ValueError(f"{key} holds values that are not finite, or too large for float16")
        tensors[key] = stored.detach().cpu().clone().contiguous()
    metadata = {
        "network": type(network).__name__,
        "config": json.dumps(dataclasses.asdict(config), sort_keys=True),
    }
    with written_whole(path) as unfinished:
        unfinished.write_bytes(_in_fixed_order(save(tensors, metadata)))


def load_network(path: str | Path, *, expected: str | None = None) -> tuple[Any, str]:
    """The network a file describes, float32 and in eval mode, and the file's sha256 in hex.

    expected: the class name it must have. Raises InputError for a missing file and for one that `save_network` did
        not write, or wrote for another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: no weights there ({error.strerror}); train them or install the package anew"
        ) from error
    try:
        network = _build(_metadata(content), expected)
        network.load_state_dict(_as_float32(load(content)), strict=True)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: not weights that this version of deocclude can use ({reason})") from error
    return network.eval(), hashlib.sha256(content).hexdigest()


def _in_fixed_order(content: bytes) -> bytes:
    """The same safetensors file with its metadata sorted: the library writes them in random order."""
    header, data = _split(content)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the data of a safetensors file: 8 bytes of length, JSON, numbers."""
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= len(content) - 8:
        raise ValueError("not a safetensors file")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _metadata(content: bytes) -> dict[str, str]:
    header, _ = _split(content)
    metadata = header.get("__metadata__") or {}
    if not {"network", "config"} <= set(metadata):
        raise ValueError("its header names no network and configuration")
    return metadata


def _build(metadata: dict[str, str], expected: str | None) -> nn.Module:
    name = metadata["network"]
    if name not in NETWORKS:
        raise ValueError(f"no network '{name}'; choose from {sorted(NETWORKS)}")
    if expected is not None and name != expected:
        raise ValueError(f"it holds a {name}, and a {expected} is needed")
    module_name, config_name = NETWORKS[name]
    module = import_module(module_name)
    config = getattr(module, config_name)(**_with_tuples(json.loads(metadata["config"])))
    return getattr(module, name)(config)


def _with_tuples(value: Any) -> Any:
    """JSON has lists where our frozen configurations have tuples."""
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _as_float32(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
