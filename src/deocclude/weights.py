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
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError
from deocclude.files import home, written_whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

NETWORKS = {
    "MaskCompletionNetwork": ("deocclude.models.feedforward.mask_completion", "MaskCompletionConfig"),
    "RgbCompletionNetwork": ("deocclude.models.feedforward.rgb_completion", "RgbCompletionConfig"),
    "SegmenterNetwork": ("deocclude.models.segmenter", "SegmenterConfig"),
    "OcclusionNetwork": ("deocclude.models.occlusion", "OcclusionConfig"),
    "NanoDet": ("deocclude.models.perception.nanodet", "NanoDetConfig"),
    "MoveNet": ("deocclude.models.perception.movenet", "MoveNetConfig"),
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

BUILT_EMPTY = ("NanoDet", "MoveNet")
"""Shipped networks whose random start would take longer than their weights do. Not those with a normal start: there
torch's meta device imports for a second what it needs to draw nothing."""

ASSETS = Path(__file__).parent / "assets"

HASHED_AT_ONCE = 100_000_000
"""Files up to this size, bytes, are hashed whenever somebody asks: it takes a tenth of a second or two."""


def asset_path(name: str) -> Path:
    """The weights of network `name` that are shipped inside the package."""
    return ASSETS / f"{name}.safetensors"


def save_network(path: str | Path, network: nn.Module, config: Any, *, half: bool = True, notice: str = "") -> None:
    """Write a network's weights and its configuration, whole or not at all.

    config: the dataclass the network was built from. half: store floating-point weights as float16, which
        halves the file; raises ValueError if a value does not fit. notice: whose weights they are, and their licence.
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
        **({"notice": notice} if notice else {}),
    }
    with written_whole(path) as unfinished:
        _write(unfinished, tensors, metadata)


def load_network(path: str | Path, *, expected: str | None = None, dtype: torch.dtype | None = None) -> tuple[Any, str]:
    """The network a file describes, on the CPU and in eval mode, and the file's sha256 in hex (`known_sha256`).

    expected: the class name it must have. dtype: of its weights, float32 without one. They are read and cast one by
    one, so that a network never takes more memory than it has in the end. They are copies: no weights of a running
    program change with a file. Raises InputError for a missing file and for one that `save_network` did not write, or
    wrote for another network.
    """
    import torch
    from safetensors import safe_open

    path, dtype = Path(path), dtype or torch.float32
    with _explained(path):
        sha256 = known_sha256(path)
        metadata = _metadata(path)
        with _without_weights(metadata["network"]):
            network = _build(metadata, expected)
        with safe_open(path, framework="pt") as file:
            tensors = {key: _copied(file.get_tensor(key), dtype) for key in file.keys()}  # noqa: SIM118
        network.load_state_dict(tensors, strict=True, assign=True)
    return network.to(dtype).eval(), sha256


def saved_config(path: Path, *, expected: str) -> Any:
    """The configuration of the network that a file describes, without its weights. Raises InputError as loading it."""
    with _explained(path):
        return _configuration(_metadata(path), expected)[1]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever a missing, damaged or foreign weights file raises, as an InputError."""
    from safetensors import SafetensorError

    from deocclude.devices import is_out_of_memory

    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: no weights there ({error.strerror}); train them or install the package anew"
        ) from error
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise  # the file is a good one (`devices.enough_memory` has the words for it)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: not weights that this version of deocclude can use ({reason})") from error


def _without_weights(name: str) -> AbstractContextManager[Any]:
    """A context in which a network is built with weights that take no memory and no time.

    The large ones' buffers are made, for some are not in the file. The small ones do without `accelerate`.
    """
    import torch

    if name in BUILT_EMPTY:
        return torch.device("meta")
    if name not in USER_NETWORKS:
        return nullcontext()
    from accelerate import init_empty_weights

    context: AbstractContextManager[Any] = init_empty_weights(include_buffers=False)
    return context


def _copied(value: Tensor, dtype: torch.dtype) -> Tensor:
    """A mapped tensor's own copy; whole numbers stay what they are."""
    return value.to(dtype if value.is_floating_point() else value.dtype, copy=True)


def known_sha256(path: Path) -> str:
    """The sha256 by which a result names the weights it was made with: that of a large file is read once.

    It is kept in `sha256.json` (in `files.home()`, if that can be written) with the file's size and the times at which
    its content and its entry in the file system changed last; any of them being another, the file is read again. A file
    of which bytes change and none of these (a failing disk, or somebody who sets the clock) goes by its old hash: it is
    good for a record, and no protection. What is to be verified goes through `file_sha256`. Raises OSError.
    """
    path = path.resolve()
    facts = path.stat()
    if facts.st_size <= HASHED_AT_ONCE:
        return file_sha256(path)
    state = [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
    known = _known_hashes()
    entry = known.get(str(path))
    if isinstance(entry, dict) and entry.get("size_and_times") == state and "sha256" in entry:
        return str(entry["sha256"])
    sha256 = file_sha256(path)
    known[str(path)] = {"size_and_times": state, "sha256": sha256}
    with suppress(OSError):  # then it is read again the next time
        _hashes_path().parent.mkdir(parents=True, exist_ok=True)
        with written_whole(_hashes_path()) as unfinished:
            unfinished.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", "utf-8")
    return sha256


def _hashes_path() -> Path:
    return home() / "sha256.json"


def _known_hashes() -> dict[str, Any]:
    """What is kept; nothing where that is no list of hashes."""
    try:
        known = json.loads(_hashes_path().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


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
    kind, config = _configuration(metadata, expected)
    network: nn.Module = kind(config)
    return network


def _configuration(metadata: dict[str, str], expected: str | None) -> tuple[Any, Any]:
    """The network's class and its configuration. Raises ValueError for another network than `expected`."""
    name = metadata["network"]
    networks = NETWORKS | USER_NETWORKS
    if name not in networks:
        raise ValueError(f"no network '{name}'; choose from {sorted(networks)}")
    if expected is not None and name != expected:
        raise ValueError(f"it holds a {name}, and a {expected} is needed")
    module_name, config_name = networks[name]
    module = import_module(module_name)
    return getattr(module, name), _config(getattr(module, config_name), json.loads(metadata["config"]))


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
