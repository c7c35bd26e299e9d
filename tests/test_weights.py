from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from miniatures import TINY_MASK, TINY_RGB, mask_network, rgb_network
from safetensors.torch import load_file, save_file

from deocclude.errors import InputError
from deocclude.weights import ASSETS, NETWORKS, load_network, save_network

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
    assert sum(path.stat().st_size for path in shipped.values()) <= 40_000_000
    for network, file, digits in rows:
        _, sha256 = load_network(shipped[file], expected=network)
        assert sha256.startswith(digits), file
