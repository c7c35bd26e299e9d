"""Weights are data: no file of a user's is ever run, whatever its name says and whichever way it comes in."""

from __future__ import annotations

import ast
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from miniatures import photograph, with_red_person, write_assets, write_png

import deocclude
from deocclude import weights
from deocclude.checkpoints import open_checkpoint
from deocclude.cli.main import main
from deocclude.errors import InputError
from deocclude.stages.catalogue import weight_specs
from deocclude.weight_specs import Converted
from deocclude.weights import load_network, saved_config

PACKAGE = Path(deocclude.__file__).parent


class Attack:
    """Whoever unpickles it makes a folder."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.victim),)


def plain(attack: Attack, path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": attack}))


def oldest_protocol(attack: Attack, path: Path) -> None:
    path.write_bytes(pickle.dumps(attack, protocol=0))


def torch_archive(attack: Attack, path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "extra": attack}, path)


def old_torch(attack: Attack, path: Path) -> None:
    torch.save({"state_dict": attack}, path, _use_new_zipfile_serialization=False)


def numpy_array(attack: Attack, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([attack]), allow_pickle=True)


def behind_a_header(attack: Attack, path: Path) -> None:
    """Begins as safetensors, ends as the archive of a torch pickle: each of the two readers takes it for its own."""
    torch_archive(attack, path)
    header = json.dumps(
        {"a": {"dtype": "U8", "shape": [path.stat().st_size], "data_offsets": [0, path.stat().st_size]}}
    )
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + path.read_bytes())


PICKLES = (plain, oldest_protocol, torch_archive, old_torch, numpy_array, behind_a_header)
NAMES = ("a.safetensors", "a.ckpt", "a.pth", "a.bin", "a.npy", "a")


@pytest.fixture(autouse=True)
def miniature_weights(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.getbasetemp() / "assets"
    if not folder.exists():
        write_assets(folder)
    monkeypatch.setattr(weights, "ASSETS", folder)


@pytest.fixture
def victim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What would be there if anything had been unpickled. The environment asks torch to be careless."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setenv("DEOCCLUDE_HOME", str(tmp_path / "home"))
    return tmp_path / "victim"


def test_the_attack_would_be_seen(tmp_path: Path, victim: Path) -> None:
    plain(Attack(victim), tmp_path / "a.pth")
    pickle.loads((tmp_path / "a.pth").read_bytes())
    assert victim.is_dir()


@pytest.mark.parametrize("write", PICKLES)
@pytest.mark.parametrize("name", NAMES)
def test_no_reader_of_weights_unpickles(tmp_path: Path, victim: Path, name: str, write: Any) -> None:
    path = tmp_path / name
    write(Attack(victim), path)
    for read in (load_network, lambda file: saved_config(file, expected="MaskCompletionNetwork")):
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(path) in str(caught.value) and str(caught.value).isprintable()
    if write is not behind_a_header:  # which holds one tensor, and that alone is read
        with pytest.raises(InputError):
            open_checkpoint(path)
    else:
        assert list(open_checkpoint(path).tensors) == ["a"]
    assert not victim.exists()


@pytest.mark.parametrize("write", PICKLES)
@pytest.mark.parametrize("option", ["--mask-stage", "--rgb-stage"])
def test_no_stage_unpickles(
    tmp_path: Path, victim: Path, capsys: pytest.CaptureFixture[str], option: str, write: Any
) -> None:
    image, mask = with_red_person(photograph(), (40, 10, 60, 40))
    photo, mask_path = write_png(tmp_path / "photo.png", image), write_png(tmp_path / "mask.png", mask)
    path = tmp_path / "stage.safetensors"
    write(Attack(victim), path)
    arguments = [str(photo), "--mask", str(mask_path), option, str(path), "--output", str(tmp_path / "out")]
    assert main(["run", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("deocclude: error: ") and error.count("\n") == 1 and path.name in error
    assert not victim.exists()


@pytest.mark.parametrize("write", PICKLES)
@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt"])
def test_no_conversion_unpickles(
    tmp_path: Path, victim: Path, capsys: pytest.CaptureFixture[str], name: str, write: Any
) -> None:
    """The one command that reads torch pickles builds tensors alone."""
    path = tmp_path / name
    write(Attack(victim), path)
    for kind in (name for name, spec in weight_specs().items() if isinstance(spec.source, Converted)):
        assert main(["weights", "convert", kind, str(path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("deocclude: error: ") and error.count("\n") == 1
    assert not victim.exists()


def test_no_picture_and_no_mask_is_unpickled(tmp_path: Path, victim: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain(Attack(victim), tmp_path / "photo.png")
    assert main(["run", str(tmp_path / "photo.png"), "--output", str(tmp_path / "out")]) == 2
    assert "not a picture" in capsys.readouterr().err and not victim.exists()


# --- the source ---

NEVER = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "shutil.unpack_archive"),
    *("pickle.load", "pickle.loads", "dill.load", "cloudpickle.load", "joblib.load", "marshal.loads", "yaml.load"),
    *("torch.hub.load", "torch.jit.load"),
}
AMONG_OURSELVES = {"batch/ray_data.py": {"pickle.loads"}}
"""Rows that one worker of a run hands another through Ray, which pickles whatever it carries anyway."""


def calls(source: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(source.read_text("utf-8"))) if isinstance(node, ast.Call)]


def arguments_of(call: ast.Call) -> dict[str, str]:
    return {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg}


@pytest.mark.parametrize("source", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_source_runs_nothing_that_it_reads(source: Path) -> None:
    allowed = AMONG_OURSELVES.get(source.relative_to(PACKAGE).as_posix(), set())
    for call in calls(source):
        name, given = ast.unparse(call.func), arguments_of(call)
        assert name not in NEVER - allowed
        assert name != "torch.load" or given.get("weights_only") == "True"
        assert given.get("allow_pickle", "False") == given.get("shell", "False") == "False"
        assert given.get("trust_remote_code", "False") == "False"
        assert given.get("use_safetensors", "True") == "True"
        assert not name.endswith((".extractall", ".extract")) or given.get("filter") == "'data'"
