"""`deocclude weights`: the table, downloads from a hub that stands in, conversions of small checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from test_hub import COMMIT, FILES, FakeHub, source
from test_tfjs import write
from torch import Tensor, nn

from deocclude import weight_specs, weights
from deocclude.cli import main as cli
from deocclude.cli.weights import grouped
from deocclude.models.foreign import Converted, needs, without_prefix
from deocclude.stages import presets as presets_module
from deocclude.stages.catalogue import weight_spec
from deocclude.stages.catalogue import weight_specs as all_weights
from deocclude.weight_specs import require, weights_path
from deocclude.weights import file_sha256, load_network

FIXTURES = Path(__file__).resolve().parents[2] / "shared" / "fixtures"


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHub:
    """A hub with one repository, which the preset `some-preset` and the weights `some` need."""
    monkeypatch.setenv("DEOCCLUDE_HOME", str(tmp_path / "home"))
    fake = FakeHub(tmp_path / "cache")
    monkeypatch.setattr("deocclude.hub.HUB", fake)
    some = weight_specs.WeightSpec(
        name="some", what="some network", source=source(), size=7, parameters=7, licence="MIT"
    )
    monkeypatch.setitem(all_weights(), "some", some)

    class SomePreset:
        weights = (some, weight_spec("dpmesh"), weight_spec("u-mask"))
        listed = True

    monkeypatch.setitem(presets_module.presets(), "some-preset", SomePreset())
    return fake


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["weights", *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert cli.main(["weights", *map(str, words)]) == cli.EXIT_INPUT_ERROR
    error = capsys.readouterr().err
    assert error.startswith("deocclude: error: ") and error.count("\n") == 1
    return error


def test_the_list_names_every_preset_every_licence_and_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "list")
    lines = text.splitlines()
    for preset in ("feedforward", "diffusion", "diffusion-paper", "mask-1", "rgb-8", "one-stage", "sssd"):
        assert any(line.startswith(f"{preset} ") for line in lines)
    assert next(line for line in lines if line.startswith("feedforward ")).endswith("all here")
    assert next(line for line in lines if line.startswith("…-tiny ")).endswith(
        "nothing: its networks are made from a seed"
    )
    for entry in all_weights().values():
        row = next(line for line in lines if line.startswith(f"{entry.name} ") and entry.what in line)
        assert entry.licence in row and ("missing" in row or "here" in row)
    assert "deocclude weights convert pix2gestalt epoch=000005.ckpt" in text
    assert "deocclude train mask-completion --family diffusion" in text
    assert max(map(len, lines[: lines.index("to get what is missing:")])) <= 140


def test_the_list_of_one_preset_and_what_is_here(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    assert "missing" not in shown(capsys, "list", "diffusion-tiny")
    assert shown(capsys, "list", "telea").startswith("telea needs nothing but the package")
    assert "sdamodal" not in shown(capsys, "list", "some-preset")
    hub.fetch("someone/some-model", COMMIT, list(FILES))
    assert "here, not verified" in shown(capsys, "list", "some-preset")
    shown(capsys, "download", "some")
    assert "here\n" in shown(capsys, "list", "some")


def test_a_preset_is_downloaded_as_far_as_the_hub_serves_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "download", "some-preset")
    assert "some: someone/some-model at aaaaaaaaaaaa, 1 MB to fetch; licence: MIT" in text
    assert "verified: " in text
    assert "dpmesh: fetch 3dpw-oc_best_ckpt.pth.tar" in text and "u-mask: not published" in text
    assert require(weight_spec("some")).is_dir()
    assert "here already" in shown(capsys, "download", "some-preset")


def test_downloads_that_cannot_be_are_one_line(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    assert "nothing to download" in shown(capsys, "download", "feedforward")
    assert "did you mean 'diffusion'" in refused(capsys, "download", "diffusoin")
    assert "dpmesh is not a download: fetch" in refused(capsys, "download", "dpmesh")
    hub.is_offline = True
    assert "HF_HUB_OFFLINE" in refused(capsys, "download", "some-preset")
    assert "arguments are required: ACTION" in refused(capsys)


def test_nothing_is_fetched_where_the_disk_is_full(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deocclude.hub.check_space", lambda plans: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["weights", "download", "some"])
    assert not hub.folder.exists()


@dataclass(frozen=True)
class LayerConfig:
    width: int = 3


class Layer(nn.Module):
    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, 2)


def layer_from(state_dict: dict[str, Tensor]) -> Converted:
    needs(state_dict, ["net.weight"], "a layer")
    config = LayerConfig(state_dict["net.weight"].shape[1])
    network = Layer(config)
    network.linear.load_state_dict(without_prefix(state_dict, "net."))
    return Converted(network, config, tuple(key for key in state_dict if not key.startswith("net.")))


CHECKPOINT = {
    "step": 7,
    "state_dict": {
        "net.weight": torch.full((2, 5), 1.5),
        "net.bias": torch.zeros(2),
        "copy.of.net.weight": torch.zeros(2, 5),
        "copy.of.net.bias": torch.zeros(2),
        "betas": torch.zeros(4),
    },
}


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file for the converter of kind `dpmesh`, which a small one replaces."""
    module = ModuleType("small_converter")
    for member in (Layer, LayerConfig, layer_from):
        setattr(module, member.__name__, member)
    monkeypatch.setitem(__import__("sys").modules, "small_converter", module)
    source = weight_specs.Converted(
        file="3dpw-oc_best_ckpt.pth.tar", address="https://x", converter=("small_converter", "layer_from")
    )
    monkeypatch.setitem(all_weights(), "dpmesh", replace(weight_spec("dpmesh"), source=source))
    monkeypatch.setitem(weights.USER_NETWORKS, "Layer", ("small_converter", "LayerConfig"))
    torch.save(CHECKPOINT, tmp_path / "theirs.pth.tar")
    return tmp_path / "theirs.pth.tar"


def test_a_conversion_says_what_it_does(capsys: pytest.CaptureFixture[str], checkpoint: Path) -> None:
    text = shown(capsys, "convert", "dpmesh", str(checkpoint))
    assert f"read: {checkpoint}" in text and "weights_only=True" in text and "nothing in it was run" in text
    assert file_sha256(checkpoint) in text
    assert "converted: Layer out of 2 tensors" in text and "left out, no tensors: step" in text
    assert "3 tensors are not needed" in text
    assert "2  copy.*" in text and "1  betas" in text
    network, sha256 = load_network(require(weight_spec("dpmesh")), expected="Layer")
    assert f"written: {weights_path('dpmesh')}" in text and sha256 in text and "float16" in text
    assert torch.equal(network.linear.weight, torch.full((2, 5), 1.5))


def test_weights_that_are_there_are_kept(capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "ours.safetensors"
    shown(capsys, "convert", "dpmesh", str(checkpoint), "--output", str(output), "--full")
    content = output.read_bytes()
    assert "there already" in refused(capsys, "convert", "dpmesh", checkpoint, "--output", output)
    assert output.read_bytes() == content
    shown(capsys, "convert", "dpmesh", str(checkpoint), "--output", str(output), "--overwrite")
    assert len(output.read_bytes()) < len(content)
    assert [path.name for path in output.parent.iterdir()] == ["ours.safetensors"]


def test_a_checkpoint_of_another_kind_is_one_line_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path
) -> None:
    save_file({"other": torch.ones(1)}, tmp_path / "other.safetensors")
    error = refused(capsys, "convert", "dpmesh", tmp_path / "other.safetensors")
    assert "other.safetensors: not a checkpoint of a layer: it has no 'net.weight'" in error
    torch.save({"net.weight": torch.full((2, 5), 1e6), "net.bias": torch.zeros(2)}, checkpoint)
    assert "too large for float16; try --full" in refused(capsys, "convert", "dpmesh", checkpoint)
    assert "no converter 'sam'; choose from nanodet, movenet, dpmesh, " in refused(capsys, "convert", "sam", checkpoint)
    assert "cannot be read" in refused(capsys, "convert", "dpmesh", tmp_path / "nowhere.ckpt")
    assert not list(tmp_path.glob("home/weights/*"))


def test_the_original_is_recognised(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for digits, words in (
        (file_sha256(checkpoint), "this is the theirs.tar"),
        ("0" * 64, "another file than the theirs"),
    ):
        source = weight_specs.Converted(
            file="theirs.tar", address="https://x", converter=("small_converter", "layer_from"), sha256=digits
        )
        entry = replace(weight_spec("dpmesh"), source=source)
        monkeypatch.setitem(all_weights(), "dpmesh", entry)
        assert words in shown(capsys, "convert", "dpmesh", str(checkpoint), "--overwrite")


def test_unused_keys_are_counted_where_nothing_below_is_used() -> None:
    keys = ["a.b.x", "a.b.y", "a.c.x", "a.c.y", "d", "e.f", "used.a", "a.b.used"]
    unused = [key for key in keys if "used" not in key]
    assert grouped(unused, keys) == [("a.b.x", 1), ("a.b.y", 1), ("a.c.*", 2), ("d", 1), ("e.*", 1)]
    assert grouped([], keys) == []


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        ("dpmesh", "dpmesh"),
        ("pix2gestalt", "pix2gestalt"),
        ("sdamodal", "sdamodal"),
        ("sssd-mask", "sssd_m"),
        ("sssd-content", "sssd_c"),
    ],
)
def test_the_original_formats_convert_and_load(capsys: pytest.CaptureFixture[str], kind: str, folder: str) -> None:
    path = FIXTURES / folder / "checkpoint.safetensors"
    if not path.exists() or find_spec("diffusers") is None:
        pytest.skip("needs ../shared/fixtures and diffusers")
    text = shown(capsys, "convert", kind, str(path))
    network, sha256 = load_network(require(weight_spec(kind)))
    assert sha256 in text and f"converted: {type(network).__name__} out of " in text
    assert "there already" in refused(capsys, "convert", kind, path)
    other = "sssd_c" if folder != "sssd_c" else "sssd_m"
    wrong = FIXTURES / other / "checkpoint.safetensors"
    assert "not a checkpoint of" in refused(capsys, "convert", kind, wrong, "--overwrite")


@pytest.mark.parametrize(("folder", "name"), [("sssd_m", "sssd-mask"), ("sssd_c", "sssd-content")])
def test_sssds_two_checkpoints_are_told_apart(capsys: pytest.CaptureFixture[str], folder: str, name: str) -> None:
    path = FIXTURES / folder / "checkpoint.safetensors"
    if not path.exists():
        pytest.skip("needs ../shared/fixtures")
    assert str(weights_path(name)) in shown(capsys, "convert", "sssd", str(path))
    load_network(require(weight_spec(name)))


def test_a_shipped_network_is_converted_to_where_it_is_shipped_and_nothing_is_replaced(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    write(folder)
    error = refused(capsys, "convert", "nanodet", folder / "model.json")
    assert str(weights.asset_path("nanodet")) in error and "--overwrite" in error
    error = refused(capsys, "convert", "nanodet", folder / "model.json", "--output", tmp_path / "new.safetensors")
    assert "not a checkpoint of NanoDet-g: it has no" in error
    assert not (tmp_path / "new.safetensors").exists()
