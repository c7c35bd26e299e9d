"""`deocclude run` with a folder for each photograph, with miniature weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from miniatures import photograph, write_assets, write_png

from deocclude import weights
from deocclude.cli.main import main
from deocclude.images import open_image
from deocclude.layers.openraster import read_openraster
from deocclude.layers.stacking import flatten


@pytest.fixture(autouse=True)
def miniature_weights(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmenter that takes every pixel it looks at for a person, and believes in people however unsure it is."""
    folder = tmp_path_factory.getbasetemp() / "assets"
    if not folder.exists():
        write_assets(folder)
    monkeypatch.setattr(weights, "ASSETS", folder)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("one", "two"):
        image = photograph(seed=len(name))
        mask = np.zeros(image.shape[:2], bool)
        mask[10:40, 30:60] = True
        write_png(tmp_path / "photos" / f"{name}.png", image)
        write_png(tmp_path / "masks" / f"{name}.png", mask)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["run", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("deocclude: error: ")
    return lines[0]


def test_a_folder_for_each_photograph_with_layers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "photos", "--mask", "masks", "--layers", "--output", "out"]) == 0
    assert "2 of 2 photographs done" in capsys.readouterr().out
    for name in ("one", "two"):
        image, place = open_image(f"photos/{name}.png"), Path("out") / name
        assert np.array_equal(flatten(read_openraster(place / "layers.ora"))[..., :3], image)
        told = json.loads((place / "scene.json").read_text())
        assert told["people"][0]["modal_mask_from"] == "given" and "seconds" in told["people"][0]
        known = open_image(place / "person_1_invisible.png")[..., 0] == 0
        assert np.array_equal(open_image(place / "completed.png")[known], image[known])


@pytest.mark.parametrize(
    "options", [["--people", "all"], ["--people", "1"], ["--point", "40,20"], ["--box", "9,9,50,50"]]
)
def test_people_are_found_or_named(here: Path, options: list[str]) -> None:
    assert main(["run", "photos/one.png", "--layers", *options, "--output", "out"]) == 0
    told = json.loads(Path("out/one/scene.json").read_text())
    assert told["people"] and told["order"]["back_to_front"]


def test_the_canvas_grows_by_as_much_as_asked(here: Path) -> None:
    assert main(["run", "photos/one.png", "--mask", "masks/one.png", "--extend", "6", "--output", "out"]) == 0
    told = json.loads(Path("out/one/scene.json").read_text())
    assert told["canvas"] == {"width": 108, "height": 76, "photograph_box_xyxy": [6, 6, 102, 70]}


@pytest.mark.parametrize("folder", [[], ["--layers"]])
def test_a_region_is_left_alone(here: Path, folder: list[str]) -> None:
    write_png(here / "region.png", np.indices((64, 96))[1] < 45)
    options = ["--mask", "masks/one.png", "--protect", "region.png", *folder, "--output", "out"]
    assert main(["run", "photos/one.png", *options]) == 0
    invisible = open_image(next(Path("out").rglob("*_invisible.png")))[..., 0]
    assert not invisible[:, :45].any()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["photos/one.png", "--people", "none"], "'all', 'largest' or a number from 1"),
        (["photos/one.png", "--people", "0"], "number from 1"),
        (["photos/one.png", "--people", "all", "--box", "1,1,9,9"], "leave it out"),
        (["photos/one.png", "--point", "500,3"], "outside the picture"),
        (["photos/one.png", "--point", "5,3", "--box", "1,1,9,9"], "not by several"),
        (["photos", "--point", "5,3"], "belongs to one photograph"),
        (["photos/one.png", "--layers", "--raw"], "--raw does not go"),
        (["photos/one.png", "--joint", "left-knee=3,4"], "'feedforward' reads no keypoints"),
        (["photos/one.png", "--joint", "tail=3,4"], "no joint 'tail'"),
        (["photos/one.png", "--prompt", "a man"], "reads no prompt"),
        (["photos/one.png", "--reference", "photos/two.png"], "reads no reference photograph"),
        (["photos", "--prompt", "a man"], "about one person of one photograph"),
        (["photos/one.png", "--finder", "rt-detr"], "--finder finds people for --people"),
        (["photos/one.png", "--box", "1,1,9,9", "--finder", "rt-detr"], "--finder finds people for --people"),
        (["photos/one.png", "--people", "all", "--finder", "nobody"], "no finder 'nobody'"),
        (["photos/one.png", "--people", "all", "--finder", "rt-detr"], "detector"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str], sentence: str
) -> None:
    monkeypatch.setenv("DEOCCLUDE_HOME", str(here / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(here / "hub"))
    assert sentence in refused(capsys, *options, "--output", "out")
    assert not list(Path("out").glob("*")) if Path("out").exists() else True


def test_a_second_mask_is_not_forgotten_silently(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "photos/one.png", "--mask", "masks/one.png", "--mask", "masks/two.png", "--output", "out")
    assert "--mask is given twice" in said


def test_an_input_is_never_replaced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = write_png(here / "out" / "overview" / "overview.png", photograph())
    before = image.read_bytes()
    said = refused(capsys, str(image), "--layers", "--output", "out", "--overwrite")
    assert "is an input" in said and image.read_bytes() == before


def test_a_folder_that_holds_other_things_is_never_replaced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["photos/one.png", "--mask", "masks/one.png", "--layers", "--output", "out"]
    assert main(["run", *options]) == 0
    capsys.readouterr()
    assert "--overwrite" in refused(capsys, *options)
    assert main(["run", *options, "--overwrite"]) == 0
    capsys.readouterr()
    Path("out/one/notes.txt").write_text("mine")
    assert "notes.txt is no result" in refused(capsys, *options, "--overwrite")
    assert Path("out/one/notes.txt").read_text() == "mine" and Path("out/one/scene.json").exists()
