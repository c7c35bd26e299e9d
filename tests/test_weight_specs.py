"""What presets need, and what of it is on this machine."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from deocclude.errors import InputError
from deocclude.files import home
from deocclude.hub import Hub
from deocclude.stages.catalogue import weight_spec, weight_specs
from deocclude.stages.presets import presets, weights_of
from deocclude.weight_specs import (
    Converted,
    Shipped,
    Trained,
    WeightSpec,
    missing_sentence,
    require,
    weights_path,
)

WEIGHTS = weight_specs()


@pytest.fixture(autouse=True)
def empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No converted weights, and nothing in the hub's cache; whoever asks the hub itself fails."""
    monkeypatch.setenv("DEOCCLUDE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("deocclude.hub.HUB", SimpleNamespace(cached=lambda *arguments: None))


def test_every_preset_has_its_weights_and_every_name_exists() -> None:
    for one in presets().values():
        assert set(one.weights) <= set(WEIGHTS.values())
    assert {name for entry in WEIGHTS.values() for name in entry.instead} <= set(WEIGHTS)
    assert [entry.name for entry in WEIGHTS.values()] == list(WEIGHTS)


@pytest.mark.parametrize("entry", WEIGHTS.values(), ids=WEIGHTS)
def test_entries_are_whole(entry: WeightSpec) -> None:
    """Weights are safetensors at a full commit, hashes are hashes, and every licence is said."""
    assert entry.licence and entry.what and entry.size > 0 and entry.parameters > 0
    if isinstance(entry.source, Hub):
        assert entry.source.revision is None or re.fullmatch("[0-9a-f]{40}", entry.source.revision)
        assert any(file.path.endswith(".safetensors") for file in entry.source.files)
        assert not any(Path(file.path).suffix in {".bin", ".pth", ".ckpt", ".py"} for file in entry.source.files)
        hashes = [file.sha256 for file in entry.source.files if file.sha256]
        assert all(re.fullmatch("[0-9a-f]{64}", digits) for digits in hashes)
    if isinstance(entry.source, Shipped) and entry.source.original:
        assert re.fullmatch("[0-9a-f]{64}", entry.source.original.sha256 or "")
    if isinstance(entry.source, Converted):
        assert entry.source.address.startswith("https://")
        assert entry.source.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.source.sha256)


def test_what_nobody_but_us_serves_is_said_in_one_sentence() -> None:
    for name, command in (
        ("dpmesh", "deocclude weights convert dpmesh 3dpw-oc_best_ckpt.pth.tar"),
        ("clip-text", "deocclude weights download clip-text"),
        ("u-mask", "deocclude train mask-completion --family diffusion"),
    ):
        sentence = missing_sentence(WEIGHTS[name])
        assert name in sentence and command in sentence and WEIGHTS[name].licence in sentence
        assert "\n" not in sentence
        with pytest.raises(InputError) as caught:
            require(WEIGHTS[name])
        assert str(caught.value) == sentence


def test_the_table_of_licences_is_that_of_the_entries() -> None:
    table = (Path(__file__).parents[1] / "WEIGHTS.md").read_text("utf-8").partition("## Weights of others")[2]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    told = {name.strip("`"): licence for name, _, licence in rows}
    assert told == {
        spec.name: spec.licence for spec in WEIGHTS.values() if not isinstance(spec.source, (Shipped, Trained))
    }


def test_non_commercial_weights_are_marked() -> None:
    assert "non-commercial" in missing_sentence(WEIGHTS["pix2gestalt"])


def test_what_is_here_is_found() -> None:
    assert require(WEIGHTS["segmenter"]).is_file()
    weights_path("dpmesh").parent.mkdir(parents=True)
    weights_path("dpmesh").write_bytes(b"")
    assert require(WEIGHTS["dpmesh"]) == home() / "weights" / "dpmesh.safetensors"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'diffusion'"):
        weights_of("difusion")
    with pytest.raises(InputError, match="no weights 'xyzzy'; choose from segmenter"):
        weight_spec("xyzzy")
    shipped = ["nanodet", "movenet", "mask-completion", "rgb-completion", "segmenter", "occlusion"]
    assert [entry.name for entry in weights_of("feedforward")] == shipped
    assert all(isinstance(entry.source, Shipped) for entry in weights_of("feedforward"))
    assert [entry.name for entry in weights_of("diffusion-tiny")] == ["nanodet", "movenet", "segmenter", "occlusion"]
    assert weights_of("clip-text") == [WEIGHTS["clip-text"]]


def test_the_generated_tables_are_current() -> None:
    """`python docs/generate.py` writes them."""
    place = importlib.util.spec_from_file_location("generate", Path(__file__).parents[1] / "docs" / "generate.py")
    assert place is not None and place.loader is not None
    generate = importlib.util.module_from_spec(place)
    place.loader.exec_module(generate)
    for path, table in generate.tables().items():
        document = path.read_text("utf-8")
        assert generate.written(document, table) == document, f"run python docs/generate.py ({path.name})"
