"""`deocclude run` and `deocclude demo` from end to end, with miniature weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from miniatures import photograph, with_red_person, write_assets, write_png
from PIL import Image

from deocclude import weights
from deocclude.cli.main import main

BOX = (40, 10, 60, 40)


@pytest.fixture(autouse=True)
def miniature_weights(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "assets"
    if not folder.exists():
        write_assets(folder)
    monkeypatch.setattr(weights, "ASSETS", folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photographs and their masks."""
    for name in ("one", "two"):
        image, mask = with_red_person(photograph(seed=len(name)), BOX)
        write_png(tmp_path / "photos" / f"{name}.png", image)
        write_png(tmp_path / "masks" / f"{name}.png", mask)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run, expect exit code 2 and one clear line on stderr; return it."""
    capsys.readouterr()
    assert main(["run", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("deocclude: error: ")]
    assert len(errors) == 1 and "Traceback" not in "\n".join(lines)
    return errors[0]


def results(folder: Path) -> list[str]:
    """The people in a result folder; whatever is there must be complete."""
    names = sorted(path.stem for path in folder.glob("*.json"))
    assert len(list(folder.iterdir())) == 8 * len(names)
    return names


def test_one_photograph(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "photos/one.png", "--mask", "masks/one.png", "--output", "out"]) == 0
    assert "out/one_overview.png" in capsys.readouterr().out
    assert results(here / "out") == ["one"]
    photo, done = (np.array(Image.open(p)) for p in ("photos/one.png", "out/one_completed.png"))
    invented = np.array(Image.open("out/one_invisible.png")) > 0
    assert done.shape == photo.shape and np.array_equal(done[~invented], photo[~invented])
    said = json.loads(Path("out/one.json").read_text())
    assert said["method"]["mask_completion"] == "feedforward" and len(said["joints"]) == 25
    assert said["invented_pixels"]["count"] == invented.sum()


def test_the_same_seed_writes_the_same_pictures(here: Path) -> None:
    for out in ("a", "b"):
        assert main(["run", "photos/one.png", "--mask", "masks/one.png", "-o", out, "--seed", "4"]) == 0
    for path in Path("a").glob("*.png"):
        assert path.read_bytes() == (Path("b") / path.name).read_bytes()


def test_folder_with_masks_by_stem(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "photos", "--mask", "masks", "--output", "out"]) == 0
    assert results(here / "out") == ["one", "two"]
    assert "2 of 2 photographs done" in capsys.readouterr().out


def test_segmenter_and_boxes(here: Path) -> None:
    assert main(["run", "photos/one.png", "--output", "all"]) == 0
    assert results(here / "all") == ["one"]
    boxes = ["--box", "0,0,40,60", "--box", "50.5,0,90,64"]
    assert main(["run", "photos/one.png", *boxes, "--output", "two"]) == 0
    assert results(here / "two") == ["one", "one_2"]
    asked = [json.loads((here / "two" / f"{name}.json").read_text())["asked_box_xyxy"] for name in ("one", "one_2")]
    assert asked == [[0, 0, 40, 60], [50.5, 0, 90, 64]]


def test_two_boxes_on_one_person_are_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = ["--box", "0,0,40,60", "--box", "0,0,40,60"]
    assert main(["run", "photos/one.png", *boxes, "--output", "out"]) == 0
    assert "boxes 1 and 2 found the same person" in capsys.readouterr().out


def test_a_missing_photograph_does_not_stop_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["photos/one.png", "missing.png", "photos/two.png"]
    assert main(["run", *given, "--mask", "masks", "--output", "out"]) == 2
    said = capsys.readouterr()
    assert "missing.png" in said.err and "2 of 3 photographs done" in said.out
    assert results(here / "out") == ["one", "two"]


@pytest.mark.parametrize("box", [["--box", "-0.6,0,96,64"], ["--box=-0.6,0,96,64"], ["--box", "-.5,-1,96,64"]])
def test_a_box_may_begin_below_zero(here: Path, box: list[str]) -> None:
    assert main(["run", "photos/one.png", *box, "--output", "out"]) == 0
    assert json.loads((here / "out" / "one.json").read_text())["asked_box_xyxy"][0] < 0


def test_other_stages(here: Path) -> None:
    stages = ["--mask-stage", "convex-hull", "--rgb-stage", "mean-colour"]
    assert main(["run", "photos/one.png", "--mask", "masks/one.png", *stages, "--output", "out"]) == 0
    method = json.loads(Path("out/one.json").read_text())["method"]
    assert method == {
        "detector": "embedded",
        "conditioning": "embedded",
        "joints": "movenet",
        "mask_completion": "convex-hull",
        "occlusion": "embedded",
        "rgb_completion": "mean-colour",
    }


def test_two_inputs_with_the_same_stem(here: Path) -> None:
    Image.open("photos/one.png").convert("RGB").save("photos/one.jpg")
    assert main(["run", "photos/one.*", "--mask", "masks", "--output", "out"]) == 0
    assert results(here / "out") == ["one_jpg", "one_png"]


def test_bad_files_of_a_folder_are_reported_and_the_others_done(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/broken.jpg").write_bytes(b"nonsense")
    Path("photos/empty.png").touch()
    write_png(here / "photos" / "maskless.png", photograph())
    write_png(here / "photos" / "unlucky.png", photograph())
    write_png(here / "masks" / "unlucky.png", np.zeros((64, 96), bool))
    assert main(["run", "photos", "--mask", "masks", "--output", "out"]) == 2
    captured = capsys.readouterr()
    assert "2 of 6 photographs done" in captured.out
    errors = [line for line in captured.err.splitlines() if line.startswith("deocclude: error: ")]
    assert len(errors) == 4
    for name, error in zip(("broken.jpg", "empty.png", "maskless.png", "unlucky.png"), errors, strict=True):
        assert name in error
    assert results(here / "out") == ["one", "two"]


def test_a_surprise_in_a_folder_costs_one_photograph(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from deocclude.pipelines.deoccluder import Deoccluder

    call = Deoccluder.__call__

    def fails_once(self: Deoccluder, image: np.ndarray, **options: object) -> object:
        monkeypatch.setattr(Deoccluder, "__call__", call)
        raise RuntimeError("out of memory, say")

    monkeypatch.setattr(Deoccluder, "__call__", fails_once)
    assert main(["run", "photos", "--mask", "masks", "--output", "out"]) == 2
    assert "one.png: RuntimeError: out of memory, say" in capsys.readouterr().err
    assert results(here / "out") == ["two"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.jpg"], "missing.jpg: no such file"),
        (["photos/*.gif"], "no pictures there"),
        (["masks/one.png", "--mask", "photos/one.png"], "coloured"),
        (["photos/one.png", "--mask", "absent.png"], "absent.png: no such file"),
        (["photos", "--mask", "masks/one.png"], "give a folder of masks"),
        (["photos/one.png", "--mask", "masks/one.png", "--box", "0,0,9,9"], "not both"),
        (["photos", "--box", "0,0,9,9"], "one photograph"),
        (["photos/one.png", "--box", "-2,0,0,50"], "one.png: the box -2,0,0,50 is empty"),
        (["photos/one.png", "--box", "-9,0,20,50"], "one.png: the box -9,0,20,50 lies outside"),
        (["photos/one.png", "--box", "0,0,9"], "X0,Y0,X1,Y1"),
        (["photos/one.png", "--box", "100,0,200,50"], "one.png: the box 100,0,200,50 lies outside"),
        (["photos/one.png", "--preset", "best"], "choose from feedforward"),
        (["photos/one.png", "--mask-stage", "best"], "choose from feedforward"),
        (["photos/one.png", "--rgb-stage", "best"], "choose from feedforward"),
        (["photos/one.png", "--device", "tpu"], "device 'tpu'"),
        (["photos/one.png", "--dtype", "int4"], "dtype 'int4'"),
        (["photos/one.png", "--seed", "x"], "--seed"),
        (["photos/one.png", "--output", "photos/one.png"], "one.png is a file; choose another"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_commands(here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    output = [] if "--output" in arguments else ["--output", "out"]
    assert sentence in refused(capsys, *arguments, *output)
    assert not (here / "out").exists()


def test_nobody_in_the_picture(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_assets(here / "blind", finds=False)
    monkeypatch.setattr(weights, "ASSETS", here / "blind")
    assert "photos/one.png: no person found" in refused(capsys, "photos/one.png", "--output", "out")
    assert not (here / "out").exists()


def test_one_bad_box_of_two_writes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "photos/one.png", "--box", "0,0,40,60", "--box", "0,0,400,60", "--output", "out")
    assert not (here / "out").exists()


@pytest.mark.parametrize("option", ["--protect", "--reference"])
def test_no_input_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    (here / "out").mkdir()
    region = here / "out" / "one_invisible.png"
    region.write_bytes((here / "masks" / "one.png").read_bytes())
    before = region.read_bytes()
    said = refused(capsys, "photos/one.png", option, "out/one_invisible.png", "--output", "out", "--overwrite")
    assert "is an input" in said and region.read_bytes() == before


def test_missing_weights(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "ASSETS", here)
    assert "segmenter.safetensors: no weights there" in refused(capsys, "photos/one.png", "--output", "out")


def test_existing_results_are_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["photos/one.png", "--mask", "masks/one.png", "--output", "out"]
    assert main(["run", *command]) == 0
    before = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    assert "give --overwrite" in refused(capsys, *command)
    assert {path: path.stat().st_mtime_ns for path in Path("out").iterdir()} == before
    assert main(["run", *command, "--overwrite", "--rgb-stage", "mean-colour"]) == 0
    assert results(here / "out") == ["one"]
    assert json.loads(Path("out/one.json").read_text())["method"]["rgb_completion"] == "mean-colour"


def test_a_mask_in_the_output_folder_is_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The photograph one_modal has its mask where the photograph one would have its result."""
    (here / "photos" / "two.png").rename(here / "photos" / "one_modal.png")
    (here / "masks" / "two.png").rename(here / "masks" / "one_modal.png")
    before = Path("masks/one_modal.png").read_bytes()
    assert "is an input" in refused(capsys, "photos", "--mask", "masks", "--output", "masks", "--overwrite")
    assert Path("masks/one_modal.png").read_bytes() == before


def test_demo(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--output", "demo"]) == 0
    said = capsys.readouterr().out
    assert "demo/astronaut_overview.png" in said and "demo/astronaut.png" in said
    assert len(list(Path("demo").iterdir())) == 9
    assert Image.open("demo/astronaut.png").size == Image.open("demo/astronaut_completed.png").size == (512, 512)
    assert main(["demo", "--output", "demo"]) == 2
    assert main(["demo", "--output", "demo", "--overwrite"]) == 0


def test_the_sample_picture_hides_a_part_of_the_astronaut() -> None:
    from skimage import data

    from deocclude.cli.demo import sample_picture

    changed = (sample_picture() != data.astronaut()).any(axis=2)
    assert 0.05 < changed.mean() < 0.2
    assert np.array_equal(sample_picture(), sample_picture())
