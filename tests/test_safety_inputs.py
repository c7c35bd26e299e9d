"""The table of bad inputs through the command and through Python: one sentence each, and nothing written.

Other doors (the page, the HTTP API) read `bad_inputs.py` in tests of their own, `test_web_*.py`.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_inputs import REFUSED, TAKEN, Case, content, good_mask, good_photo, person, picture
from miniatures import write_assets
from PIL import Image

from deocclude import Deoccluder, weights
from deocclude.cli.main import main
from deocclude.errors import InputError
from deocclude.images import open_image, open_mask
from deocclude.pipelines.outputs import PICTURES

NUM_FILES = len(PICTURES) + 1
"""Of one person in a result folder: the pictures and the JSON."""


@pytest.fixture(autouse=True)
def miniature_weights(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.getbasetemp() / "assets"
    if not folder.exists():
        write_assets(folder)
    monkeypatch.setattr(weights, "ASSETS", folder)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """An empty folder for photograph and mask; what else is in `tmp_path` later was written by us."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


Door = Callable[[Path, Path, pytest.CaptureFixture[str]], str]
"""Photograph and mask to the sentence with which they are refused; empty if they are taken."""


def by_command(photo: Path, mask: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    output = photo.parent.parent / "out"
    code = main(["run", f"--mask={mask}", f"--output={output}", "--", str(photo)])
    lines = capsys.readouterr().err.splitlines()
    errors = [line.removeprefix("deocclude: error: ") for line in lines if line.startswith("deocclude: error: ")]
    assert (code, len(errors)) in ((0, 0), (2, 1)) and "Traceback" not in "".join(lines)
    if errors:
        assert lines[-1].endswith(errors[0]), "the sentence runs on over a line break"
        assert not output.exists() or not list(output.iterdir())
    return "".join(errors)


def by_python(photo: Path, mask: Path, capsys: pytest.CaptureFixture[str]) -> str:
    try:
        image = open_image(photo)
        result = Deoccluder.from_preset("feedforward")(image, modal_mask=open_mask(mask, image.shape[:2]))
    except InputError as error:
        return str(error)
    assert np.array_equal(result.rgb[~result.invisible_mask], image[~result.invisible_mask])
    return ""


doors = pytest.mark.parametrize("door", [by_command, by_python])


def on_disk(folder: Path) -> dict[str, Any]:
    """Everything under a folder: the bytes of its files, what else is there by its kind."""
    return {
        os.fspath(path.relative_to(folder)): path.read_bytes() if path.is_file() else os.lstat(path).st_mode
        for path in sorted(folder.rglob("*"))
    }


@doors
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_is_refused(case: Case, door: Door, inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, mask = case.write(inputs)
    before = on_disk(inputs)
    sentence = door(photo, mask, capsys)
    assert case.sentence in sentence
    assert sentence.isprintable() and len(sentence) < 600
    assert on_disk(inputs) == before


@doors
@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.name)
def test_what_is_taken(case: Case, door: Door, inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, mask = case.write(inputs)
    before = on_disk(inputs)
    assert door(photo, mask, capsys) == ""
    assert on_disk(inputs) == before
    written = {path.relative_to(inputs.parent).parts[0] for path in inputs.parent.rglob("*")} - {"in"}
    if door is by_command:
        results = list((inputs.parent / "out").iterdir())
        assert written == {"out"} and len(results) == NUM_FILES and all(path.is_file() for path in results)
        completed, invented = (
            np.array(Image.open(path))
            for kind in ("completed", "invisible")
            for path in results
            if path.name.endswith(f"_{kind}.png")
        )
        assert np.array_equal(completed[invented == 0], open_image(photo)[invented == 0])
    else:
        assert not written


@doors
@pytest.mark.parametrize("locked", ["photo.png", "mask.png"])
def test_a_file_that_may_not_be_read(
    locked: str, door: Door, inputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's answer is given here, since nothing is unreadable for whoever runs the tests as root."""
    good_photo(inputs / "photo.png")
    good_mask(inputs / "mask.png")
    ordinary = builtins.open

    def refusing(file: Any, *arguments: Any, **options: Any) -> Any:
        if os.fspath(file).endswith(locked) if isinstance(file, str | Path) else False:
            raise PermissionError(13, "Permission denied", str(file))
        return ordinary(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", refusing)
    sentence = door(inputs / "photo.png", inputs / "mask.png", capsys)
    assert locked in sentence and "Permission denied" in sentence


@pytest.mark.parametrize("way", ["absolute", "..", "link to the folder", "from another folder"])
def test_every_way_to_a_file(
    way: str, inputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good_photo(inputs / "photo.png")
    good_mask(inputs / "mask.png")
    monkeypatch.chdir(inputs)
    (inputs / "link").symlink_to(inputs, target_is_directory=True)
    (inputs / "sub").mkdir()
    ways = {
        "absolute": inputs / "photo.png",
        "..": Path("sub/../photo.png"),
        "link to the folder": Path("link/link/photo.png"),
        "from another folder": Path("../in/photo.png"),
    }
    assert main(["run", str(ways[way]), "--mask", "mask.png", "--output", "../out"]) == 0
    assert sorted(path.name for path in (inputs.parent / "out").iterdir())[0] == "photo.json"
    assert {path.name for path in inputs.iterdir()} == {"photo.png", "mask.png", "link", "sub"}


def test_an_input_behind_a_link_is_not_overwritten(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mask's name is a result's, through a link to the folder."""
    good_photo(inputs / "photo.png")
    (inputs / "photo_modal.png").write_bytes(content(person()))
    (inputs / "link").symlink_to(inputs, target_is_directory=True)
    before = on_disk(inputs)
    arguments = [str(inputs / "photo.png"), "--mask", str(inputs / "photo_modal.png"), "--overwrite"]
    assert main(["run", *arguments, "--output", str(inputs / "link")]) == 2
    assert "is an input" in capsys.readouterr().err
    assert on_disk(inputs) == before


def test_a_result_that_is_a_link_is_replaced_not_followed(inputs: Path) -> None:
    """Somebody put a link where a result goes: what it points to stays as it is."""
    good_photo(inputs / "photo.png")
    good_mask(inputs / "mask.png")
    output = inputs.parent / "out"
    output.mkdir()
    precious = inputs / "precious.png"
    precious.write_bytes(content(picture()))
    (output / "photo_completed.png").symlink_to(precious)
    before = on_disk(inputs)
    arguments = [str(inputs / "photo.png"), "--mask", str(inputs / "mask.png"), "--output", str(output), "--overwrite"]
    assert main(["run", *arguments]) == 0
    assert on_disk(inputs) == before and not (output / "photo_completed.png").is_symlink()


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "a/" * 3000 + "b.png", "a\0b.png", ""])
def test_names_that_no_file_has(name: str, inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", name, "--output", str(inputs / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("deocclude: error: ")
    assert not list(inputs.iterdir())
