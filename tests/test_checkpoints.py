"""Other projects' files: what is read, what is refused and in which words. And configurations within configurations."""

from __future__ import annotations

import json
import os
import pickle
import sys
import types
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deocclude import weights
from deocclude.checkpoints import INERT, convert, open_checkpoint, read_checkpoint
from deocclude.errors import InputError
from deocclude.stages.catalogue import weight_specs
from deocclude.weight_specs import Converted
from deocclude.weights import load_network, save_network

TENSORS = {"module.a.weight": torch.arange(6.0).view(2, 3), "module.step": torch.tensor(3)}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor] = TENSORS) -> None:
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert torch.equal(found[key], value) and found[key].dtype == value.dtype


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("name", ["a.ckpt", "a.pth", "a.pth.tar", "a.tar", "a.pt"])
def test_torch_pickles_are_read(tmp_path: Path, name: str, modern: bool, wrapped: bool) -> None:
    content = {"step": 7, "state_dict": TENSORS, "optimizer": {"state": {}}} if wrapped else TENSORS
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=modern)
    assert_same(read_checkpoint(tmp_path / name))
    checkpoint = open_checkpoint(tmp_path / name)
    assert checkpoint.ignored == (("step", "optimizer") if wrapped else ())
    assert "weights_only" in checkpoint.how


@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt"])
def test_safetensors_are_read_under_any_name(tmp_path: Path, name: str) -> None:
    save_file(TENSORS, tmp_path / name)
    assert_same(read_checkpoint(str(tmp_path / name)))


def test_what_is_no_tensor_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({**TENSORS, "epoch": 3, "names": ["a"], 5: torch.ones(1)}, tmp_path / "a.pth")
    with caplog.at_level("INFO"):
        assert_same(read_checkpoint(tmp_path / "a.pth"))
    assert "epoch, names, 5" in caplog.text


class ModelCheckpoint:
    """Lightning's callback, which old checkpoints have as a key."""


class Foreign:
    """Some class of another project."""


class Attack:
    """What makes an unwary reader run a command."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.victim}",)


def under_the_name(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> None:
    """`kind` as if another package had defined it, for as long as something is pickled."""
    module, _, kind.__qualname__ = name.rpartition(".")
    kind.__module__ = module
    for depth in range(len(module.split("."))):
        part = ".".join(module.split(".")[: depth + 1])
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    setattr(sys.modules[module], kind.__qualname__, kind)


def test_lightnings_own_keys_need_no_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        under_the_name(patch, ModelCheckpoint, INERT[0])
        torch.save({"state_dict": TENSORS, "callbacks": {ModelCheckpoint: {"best": 0.5}}}, tmp_path / "a.ckpt")
    assert_same(read_checkpoint(tmp_path / "a.ckpt"))


@pytest.mark.parametrize("modern", [False, True])
def test_foreign_classes_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modern: bool
) -> None:
    with monkeypatch.context() as patch:
        under_the_name(patch, Foreign, "elsewhere.models.Foreign")
        content = {"state_dict": TENSORS, "extra": Foreign()}
        torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=modern)
    with pytest.raises(InputError, match=r"refused: .*elsewhere\.models\.Foreign.*torch\.save") as caught:
        read_checkpoint(tmp_path / "a.ckpt")
    assert str(tmp_path / "a.ckpt") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("modern", [False, True])
def test_nothing_in_a_file_is_ever_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modern: bool) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    content = {"state_dict": TENSORS, "extra": Attack(tmp_path / "victim")}
    for name in ("a.pth", "a.safetensors"):
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=modern)
        with pytest.raises(InputError):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "victim").exists()


def torch_bytes(tmp_path: Path, *, modern: bool) -> bytes:
    torch.save({"a": torch.ones(5000)}, tmp_path / "whole", _use_new_zipfile_serialization=modern)
    return (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.pth", b"", "empty"),
        ("a.safetensors", b"", "empty"),
        ("a.pth", b"an essay about people behind things\n" * 9, "not a torch checkpoint"),
        ("a.pth", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not a torch checkpoint"),
        ("a.pth", b"\n<!DOCTYPE html><title>Log in", "a web page"),
        ("a.ckpt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        ("a.safetensors", pickle.dumps({"a": 1}), "a torch pickle under the name of one"),
        ("a.safetensors", b"PK\x03\x04 and so on", "no safetensors file under the name of one"),
        ("a.safetensors", b"\x10\0\0\0\0\0\0\0" + b'{"a":3}'.ljust(16), "a damaged safetensors file"),
        ("a.pth", pickle.dumps([1, 2], protocol=2), "not a torch checkpoint"),
    ],
)
def test_files_of_every_wrong_kind_are_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01])
def test_a_truncated_pickle_is_one_sentence(tmp_path: Path, modern: bool, kept: float) -> None:
    content = torch_bytes(tmp_path, modern=modern)
    (tmp_path / "a.pth").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match="damaged one; fetch it again"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_truncated_safetensors_file_is_one_sentence(tmp_path: Path) -> None:
    save_file({"a": torch.ones(5000)}, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content[:-100])
    with pytest.raises(InputError, match="damaged safetensors file"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_a_pickle_in_a_zip_under_a_safetensors_name(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(torch_bytes(tmp_path, modern=True))
    with pytest.raises(InputError, match="a torch pickle under the name of one"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_an_ordinary_archive_is_no_checkpoint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as archive:
        archive.writestr("photo.txt", "hello")
    with pytest.raises(InputError, match="not a torch checkpoint"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_a_folder_and_a_missing_file_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder"):
        read_checkpoint(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("content", [[torch.ones(1)], {"epoch": 3}, {}, {"state_dict": {}}, torch.ones(2)])
def test_torch_files_without_tensors_by_name_are_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match="it is no checkpoint"):
        read_checkpoint(tmp_path / "a.pth")


CONVERTED = {name: spec.source for name, spec in weight_specs().items() if isinstance(spec.source, Converted)}


@pytest.mark.parametrize("kind", CONVERTED)
def test_every_converter_refuses_other_tensors(kind: str) -> None:
    with pytest.raises(ValueError, match="not a checkpoint of"):
        convert({kind: CONVERTED[kind]}, {"other": torch.ones(1)})


@pytest.mark.parametrize("name", weights.USER_NETWORKS)
def test_every_network_is_built_from_its_header(name: str) -> None:
    """With its default configuration, on tensors without memory."""
    module, config_class = weights.USER_NETWORKS[name]
    config = getattr(import_module(module), config_class)()
    with torch.device("meta"):
        network = weights._build({"network": name, "config": json.dumps(asdict(config))}, name)
    assert network.config == config


@dataclass(frozen=True, kw_only=True)
class LayerConfig:
    channels: tuple[int, ...] = (4,)
    name: str = "plain"


@dataclass(frozen=True, kw_only=True)
class NestConfig:
    first: LayerConfig = field(default_factory=LayerConfig)
    second: LayerConfig | None = None
    others: tuple[LayerConfig, ...] = ()
    pair: tuple[LayerConfig, int] = (LayerConfig(), 1)
    sizes: tuple[tuple[int, int], ...] | None = None


class Nest(nn.Module):
    def __init__(self, config: NestConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.first.channels[0], 2)


@pytest.fixture
def nest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.USER_NETWORKS, "Nest", (__name__, "NestConfig"))


@pytest.mark.usefixtures("nest")
@pytest.mark.parametrize(
    "config",
    [
        NestConfig(),
        NestConfig(
            first=LayerConfig(channels=(3, 5)),
            second=LayerConfig(name="wide"),
            others=(LayerConfig(), LayerConfig(channels=())),
            pair=(LayerConfig(name="left"), 7),
            sizes=((1, 2), (3, 4), (5, 6)),
        ),
    ],
)
def test_configurations_within_configurations_come_back(tmp_path: Path, config: NestConfig) -> None:
    network = Nest(config)
    save_network(tmp_path / "w.safetensors", network, config, half=False)
    loaded, _ = load_network(tmp_path / "w.safetensors", expected="Nest")
    assert loaded.config == config
    assert torch.equal(loaded.layer.weight, network.layer.weight)


@pytest.mark.usefixtures("nest")
@pytest.mark.parametrize(
    "config", ['{"first": {"width": 3}}', '{"first": 3}', "[1]", '"words"', "3", '{"sizes": {"a": 1}, "b": 2}']
)
def test_configurations_that_do_not_fit_are_refused(tmp_path: Path, config: str) -> None:
    metadata = {"network": "Nest", "config": config}
    save_file({"layer.weight": torch.ones(2, 4)}, tmp_path / "w.safetensors", metadata)
    with pytest.raises(InputError, match="not weights that this version of deocclude can use"):
        load_network(tmp_path / "w.safetensors")


def test_a_full_network_is_written_without_a_second_copy_of_the_file(tmp_path: Path) -> None:
    """What is written is what safetensors writes, with the header in a fixed order."""
    network = Nest(NestConfig())
    for name in "ab":
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(weights.USER_NETWORKS, "Nest", (__name__, "NestConfig"))
            save_network(tmp_path / name, network, network.config)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    header = weights.read_header(tmp_path / "a")
    assert list(header["__metadata__"]) == ["config", "network"]


def test_a_folder_that_is_not_there_is_the_systems_error(tmp_path: Path) -> None:
    network = Nest(NestConfig())
    with pytest.raises(FileNotFoundError):
        save_network(tmp_path / "nowhere" / "w.safetensors", network, network.config)
