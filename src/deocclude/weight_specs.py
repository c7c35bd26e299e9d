"""Weights of stages: where they come from, their size and licence, and whether they are on this machine.

Four sources. Shipped: in the package. Hub: safetensors files of a model hub repository at one commit, kept in
`huggingface_hub`'s own cache. Converted: another project's checkpoint that the user fetches and `deocclude weights
convert` reads. Trained: by the user, with our own command. Converted and trained files lie in `home() / "weights"`.

The entries themselves stand beside the stage that loads them (`stages/`) or in `conditioning/sources.py`, and
`stages.catalogue` collects them. What was pinned without a network: commits and hashes are those that stored copies of
the hub's pages and other projects' pins agree on (the comments say which); no file was downloaded to check them. Where
none could be found, the entry is None and the first download is trusted, and demanded from then on.

What is downloaded, how it is verified and where it lies is `hub`'s; nothing here reaches the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deocclude import hub
from deocclude.errors import InputError
from deocclude.files import home, human_size
from deocclude.hub import Hub, HubFile
from deocclude.weights import asset_path

DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
FLOAT16_FILE = "diffusion_pytorch_model.fp16.safetensors"
CLIP_TOKENIZER = (
    "tokenizer/vocab.json tokenizer/merges.txt tokenizer/tokenizer_config.json tokenizer/special_tokens_map.json"
)


@dataclass(frozen=True, kw_only=True)
class Converted:
    """Another project's checkpoint, which `deocclude weights convert KIND` reads. KIND is the weights' name.

    converter: module and function that make a network of the checkpoint's tensors.
    """

    file: str
    address: str
    converter: tuple[str, str]
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Weights that are not published; `command` trains them."""

    command: str


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """Weights inside the package. original: what they were converted from, if they are not ours."""

    asset: str
    original: Converted | None = None


@dataclass(frozen=True, kw_only=True)
class WeightSpec:
    """One thing that a stage loads.

    what: what it is, in a few words. size: bytes on this machine, about. parameters: numbers it holds in memory.
    instead: names of weights that can take its place.
    """

    name: str
    what: str
    source: Hub | Converted | Trained | Shipped
    size: int
    parameters: int
    licence: str
    instead: tuple[str, ...] = ()


def shipped(name: str, what: str, *, size: int, parameters: int, original: Converted | None = None) -> WeightSpec:
    """Weights inside the package."""
    source = Shipped(asset=name.replace("-", "_"), original=original)
    return WeightSpec(name=name, what=what, source=source, size=size, parameters=parameters, licence="Apache-2.0")


def trained(name: str, what: str, command: str, *, size: int, parameters: int) -> WeightSpec:
    """Weights that `deocclude train COMMAND` makes."""
    source = Trained(command=f"deocclude train {command}")
    return WeightSpec(name=name, what=what, source=source, size=size, parameters=parameters, licence="yours")


def from_hub(
    name: str,
    what: str,
    repo_id: str,
    revision: str | None,
    *,
    text: str,
    weights: Mapping[str, str | None],
    size: int,
    parameters: int,
    licence: str,
) -> WeightSpec:
    """text: names of small files, separated by spaces. weights: the large files and their sha256."""
    files = (*map(HubFile, text.split()), *(HubFile(path, sha256) for path, sha256 in weights.items()))
    source = Hub(repo_id=repo_id, revision=revision, files=files)
    return WeightSpec(name=name, what=what, source=source, size=size, parameters=parameters, licence=licence)


def weights_path(name: str) -> Path:
    """Where the converted or trained weights `name` are looked for."""
    return home() / "weights" / f"{name}.safetensors"


def converted_path(spec: WeightSpec) -> Path:
    """Where `deocclude weights convert` puts these weights: where they are looked for."""
    return asset_path(spec.source.asset) if isinstance(spec.source, Shipped) else weights_path(spec.name)


def conversion(spec: WeightSpec) -> Converted | None:
    """The checkpoint these weights are converted from, if they are."""
    source = spec.source.original if isinstance(spec.source, Shipped) else spec.source
    return source if isinstance(source, Converted) else None


def local_path(spec: WeightSpec) -> Path | None:
    """The file (the folder, for hub files) if everything of it is here; asks no network."""
    if isinstance(spec.source, Hub):
        return hub.local_folder(spec.name, spec.source)
    path = converted_path(spec)
    return path if path.is_file() else None


def is_verified(spec: WeightSpec) -> bool:
    """Whether hub files that are here have been compared with their hashes by `download`."""
    return not isinstance(spec.source, Hub) or hub.is_verified(spec.name, spec.source)


def how_to_get(spec: WeightSpec) -> str:
    """The command, and for other people's checkpoints where to fetch them first."""
    source = spec.source
    if isinstance(source, Hub):
        return f"get it with 'deocclude weights download {spec.name}'"
    if isinstance(source, Converted):
        size = f" ({human_size(source.size)})" if source.size else ""
        file = source.file if " " not in source.file else "FILE"
        return f"fetch {source.file}{size} from {source.address} and run 'deocclude weights convert {spec.name} {file}'"
    if isinstance(source, Trained):
        return f"it is not published: train it with '{source.command} …' and put it at {weights_path(spec.name)}"
    return "install the package anew"


def missing_sentence(spec: WeightSpec) -> str:
    """What is missing, its licence and the command that gets it."""
    return (
        f"{spec.name} is not on this machine: {spec.what}, {human_size(spec.size)}, "
        f"licence: {spec.licence}; {how_to_get(spec)}"
    )


def require(spec: WeightSpec) -> Path:
    """Where the weights lie: a file, or the folder of hub files. Downloads nothing.

    Raises InputError, with what to do, where they are not here.
    """
    path = local_path(spec)
    if path is None:
        raise InputError(missing_sentence(spec))
    return path


def require_all(specs: Iterable[WeightSpec]) -> None:
    """Raises InputError, naming all of them, where weights are not on this machine."""
    missing = [spec for spec in dict.fromkeys(specs) if local_path(spec) is None]
    if missing:
        raise InputError("; ".join(map(missing_sentence, missing)))
