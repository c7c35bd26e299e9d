from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from miniatures import TINY_MASK, TINY_RGB, mask_network, rgb_network
from safetensors.torch import load_file, save_file

from deocclude import weights as weights_module
from deocclude.errors import InputError
from deocclude.weights import (
    ASSETS,
    NETWORKS,
    asset_path,
    file_sha256,
    known_sha256,
    load_network,
    save_network,
    saved_config,
)

WEIGHTS_MD = Path(__file__).resolve().parents[1] / "WEIGHTS.md"


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    for name, network in (("mask", mask_network()), ("rgb", rgb_network())):
        path = tmp_path / f"{name}.safetensors"
        save_network(path, network, network.config, half=False)
        loaded, sha256 = load_network(path)
        assert type(loaded) is type(network) and loaded.config == network.config and not loaded.training
        for key, value in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value), key
        assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_half_precision_is_half_the_size_and_read_as_float32(tmp_path: Path) -> None:
    network = rgb_network()
    for half in (True, False):
        save_network(tmp_path / f"{half}.safetensors", network, TINY_RGB, half=half)
    sizes = {half: (tmp_path / f"{half}.safetensors").stat().st_size for half in (True, False)}
    assert sizes[True] < 0.65 * sizes[False]
    loaded, _ = load_network(tmp_path / "True.safetensors")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for ours, theirs in zip(network.parameters(), loaded.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_are_cast_as_they_are_read_and_to_the_same_numbers(
    tmp_path: Path, dtype: torch.dtype, half: bool
) -> None:
    save_network(tmp_path / "w", mask_network(), TINY_MASK, half=half)
    loaded, _ = load_network(tmp_path / "w", dtype=dtype)
    first = load_network(tmp_path / "w")[0].to(dtype).state_dict()
    assert {value.dtype for value in loaded.state_dict().values()} <= {dtype, torch.int64}
    assert all(torch.equal(value, first[key]) for key, value in loaded.state_dict().items())
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("half", [True, False])
def test_weights_do_not_change_with_their_file(tmp_path: Path, half: bool) -> None:
    save_network(tmp_path / "w", mask_network(), TINY_MASK, half=half)
    loaded, _ = load_network(tmp_path / "w")
    before = {key: value.clone() for key, value in loaded.state_dict().items()}
    with (tmp_path / "w").open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(bytes(1000))
    assert all(torch.equal(value, before[key]) for key, value in loaded.state_dict().items())


def test_the_shipped_weights_are_read_exactly() -> None:
    for name in ("mask_completion", "rgb_completion", "segmenter"):
        loaded = load_network(asset_path(name))[0].state_dict()
        stored = load_file(asset_path(name))
        assert loaded.keys() == stored.keys()
        for key, value in stored.items():
            assert torch.equal(loaded[key], value.float() if value.is_floating_point() else value), key


def test_the_configuration_is_read_without_the_weights(tmp_path: Path) -> None:
    save_network(tmp_path / "w", mask_network(), TINY_MASK)
    assert saved_config(tmp_path / "w", expected="MaskCompletionNetwork") == TINY_MASK
    with pytest.raises(InputError, match="RgbCompletionNetwork is needed"):
        saved_config(tmp_path / "w", expected="RgbCompletionNetwork")
    with pytest.raises(InputError, match="no weights there"):
        saved_config(tmp_path / "nowhere", expected="MaskCompletionNetwork")


def test_a_file_that_memory_cannot_hold_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_network(tmp_path / "w", mask_network(), TINY_MASK)

    def fail(*arguments: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 2512 bytes")

    monkeypatch.setattr(weights_module, "_copied", fail)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load_network(tmp_path / "w")


@pytest.fixture
def read_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read to hash them; no file is too small to be remembered."""
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_sha256(path)

    monkeypatch.setenv("DEOCCLUDE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(weights_module, "file_sha256", counted)
    monkeypatch.setattr(weights_module, "HASHED_AT_ONCE", 0)
    return read


def test_a_large_file_is_hashed_once(tmp_path: Path, read_files: list[Path]) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    for _ in range(3):
        assert known_sha256(tmp_path / "a") == hashlib.sha256(b"a").hexdigest()
        assert known_sha256(tmp_path / "b") == hashlib.sha256(b"b").hexdigest()
    assert read_files == [tmp_path / "a", tmp_path / "b"]
    save_network(tmp_path / "w", mask_network(), TINY_MASK)
    assert load_network(tmp_path / "w")[1] == load_network(tmp_path / "w")[1] == file_sha256(tmp_path / "w")
    assert len(read_files) == 3


def test_a_changed_file_is_hashed_anew(tmp_path: Path, read_files: list[Path]) -> None:
    """Of the same size, too, and with its old time of modification put back."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    known_sha256(path)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(b"new")
    os.utime(path, ns=times)
    assert known_sha256(path) == hashlib.sha256(b"new").hexdigest()
    path.write_bytes(b"longer")
    assert known_sha256(path) == hashlib.sha256(b"longer").hexdigest()


@pytest.mark.parametrize("content", ["{", "[]", '{"PATH": 3}', '{"PATH": {"size_and_times": [3, 0, 0]}}'])
def test_a_damaged_list_of_hashes_is_replaced(tmp_path: Path, read_files: list[Path], content: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "sha256.json").write_text(content.replace("PATH", str(path)))
    for _ in range(2):
        assert known_sha256(path) == hashlib.sha256(b"old").hexdigest()
    assert read_files == [path]


def test_without_a_place_for_hashes_files_are_read_each_time(tmp_path: Path, read_files: list[Path]) -> None:
    (tmp_path / "home").write_text("no folder")
    (tmp_path / "a").write_bytes(b"old")
    for _ in range(2):
        assert known_sha256(tmp_path / "a") == hashlib.sha256(b"old").hexdigest()
    assert len(read_files) == 2


def test_a_small_file_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEOCCLUDE_HOME", str(tmp_path / "home"))
    known_sha256(asset_path("segmenter"))
    assert not (tmp_path / "home").exists()


def test_same_weights_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_network(tmp_path / name, mask_network(), TINY_MASK)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_what_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    network = mask_network()
    with torch.no_grad():
        next(network.parameters()).fill_(1e6)
    with pytest.raises(ValueError, match="float16"):
        save_network(tmp_path / "w", network, TINY_MASK)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "mask.safetensors"
    save_network(path, mask_network(), TINY_MASK)
    return path


def rewrite(path: Path, *, drop: str = "", **metadata: str) -> None:
    tensors = {key: value for key, value in load_file(path).items() if not drop or not key.startswith(drop)}
    save_file(tensors, path, metadata)


def test_foreign_files_are_refused(weights: Path) -> None:
    good = weights.read_bytes()
    config = json.dumps({"base_channels": 4, "stride": 4, "num_templates": 2, "template_size": 8})
    wider = json.dumps({"base_channels": 8, "stride": 4, "num_templates": 2, "template_size": 8})
    name = "MaskCompletionNetwork"
    for damage, sentence in (
        (lambda: weights.unlink(), "no weights there"),
        (lambda: weights.write_bytes(b""), "not a safetensors file"),
        (lambda: weights.write_bytes(b"PK\x03\x04 a pickle in a zip"), "not a safetensors file"),
        (lambda: weights.write_bytes(good[:-100]), "not weights"),
        (lambda: weights.write_bytes(good[:40]), "not a safetensors file"),
        (lambda: rewrite(weights), "names no network"),
        (lambda: rewrite(weights, network="os.system", config=config), "no network 'os.system'"),
        (lambda: rewrite(weights, network=name, config='{"depth": 3}'), "depth"),
        (lambda: rewrite(weights, network=name, config="{"), "not weights"),
        (lambda: rewrite(weights, network=name, config=config, drop="amodal_head"), "Error"),
        (lambda: rewrite(weights, network=name, config=wider), "Error"),
    ):
        weights.write_bytes(good)
        damage()
        with pytest.raises(InputError, match=sentence) as caught:
            load_network(weights)
        assert str(weights) in str(caught.value) and "\n" not in str(caught.value)


def test_another_network_is_refused(weights: Path) -> None:
    with pytest.raises(InputError, match="RgbCompletionNetwork is needed"):
        load_network(weights, expected="RgbCompletionNetwork")


def test_configuration_travels_with_the_weights(tmp_path: Path) -> None:
    config = replace(TINY_RGB, attention=("enc2", "dec2"), combine="cascaded")
    save_network(tmp_path / "w", rgb_network(config), config)
    assert load_network(tmp_path / "w")[0].config == config


def test_the_shipped_weights_are_those_of_the_table() -> None:
    """Each file is loaded strictly, has the hash that WEIGHTS.md gives it, and all are small enough to ship."""
    rows = re.findall(
        r"^\| `(\w+)`.*`(\w+\.safetensors)`.*`([0-9a-f]{12})…`", WEIGHTS_MD.read_text("utf-8"), re.MULTILINE
    )
    shipped = {path.name: path for path in ASSETS.iterdir()}

    assert {network for network, _, _ in rows} == set(NETWORKS)
    assert {file for _, file, _ in rows} == set(shipped)
    assert sum(path.stat().st_size for path in shipped.values()) <= 60_000_000  # the wheel is to stay below 64 MB
    for network, file, digits in rows:
        _, sha256 = load_network(shipped[file], expected=network)
        assert sha256.startswith(digits), file
