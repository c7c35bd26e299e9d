"""`deocclude run` with paper A's stages in miniature: candidates, the raw picture, joints from a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniatures import standing_joints
from PIL import Image
from test_cli_run import here, miniature_weights, refused

from deocclude import Deoccluder
from deocclude.cli import run
from deocclude.cli.main import main
from deocclude.conditioning.describer import GENERIC_DESCRIPTION
from deocclude.errors import InputError
from deocclude.pipelines import outputs
from deocclude.skeletons import BODY_25
from deocclude.stages.completers.diffusion_tiny import NOTE

__all__ = ["here", "miniature_weights"]  # fixtures of theirs

ONE = ["photos/one.png", "--mask", "masks/one.png"]
KINDS = (
    *("modal", "amodal", "invisible", "probability", "completed", "cutout", "overview"),
    *("raw", "candidate_1", "candidate_2", "spread"),
)


def written(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir()) if Path(folder).exists() else []


def pixels(kind: str) -> np.ndarray:
    return np.array(Image.open(f"out/one_{kind}.png"))


def joints_file(joints: Any = None) -> str:
    """A person who stands, or whatever is given."""
    content = {"joints": standing_joints(60).tolist()} if joints is None else joints
    Path("joints.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return "joints.json"


def test_candidates_raw_picture_and_joints(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--preset", "diffusion-tiny", "--candidates", "2", "--raw", "--joints", joints_file()]
    assert main(["run", *ONE, *options, "--output", "out"]) == 0

    assert written() == sorted([*(f"one_{kind}.png" for kind in KINDS), "one.json"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("out/one_overview.png: ") and printed[1] == f"note: {NOTE}"
    said = json.loads(Path("out/one.json").read_text())
    assert said["files"] == {kind: f"one_{kind}.png" for kind in KINDS}
    assert said["notes"] == [NOTE] and said["words"] == GENERIC_DESCRIPTION
    assert said["method"]["rgb_completion"] == "diffusion-tiny"
    assert [said["joints"][name] for name in BODY_25] == pytest.approx(standing_joints(60), abs=1e-3)

    photo, invented = np.array(Image.open("photos/one.png")), pixels("invisible") > 0
    assert invented.any() and said["invented_pixels"]["count"] == invented.sum()
    first, second, raw = (pixels(kind) for kind in ("candidate_1", "candidate_2", "raw"))
    assert np.array_equal(first, pixels("completed")) and not np.array_equal(first, second)
    for candidate in (first, second):
        assert np.array_equal(candidate[~invented], photo[~invented])
    person = pixels("amodal") > 0
    assert raw.shape == photo.shape and (raw[~person] == 255).all()
    visible = person & ~invented
    assert not np.array_equal(raw[visible], photo[visible])  # the network's own, not the photograph's


def test_options_of_the_stage_are_in_the_json(here: Path) -> None:
    """And those that were not given are the stage's own. Nothing is hidden here, so that nothing is painted."""
    options = ["--preset", "diffusion-tiny", "--mask-stage", "copy-input", "--steps", "3", "--context", "image+text"]
    assert main(["run", *ONE, *options, "--candidates", "2", "--raw", "--output", "out"]) == 0
    settings = json.loads(Path("out/one.json").read_text())["rgb_settings"]
    assert settings["sampling"] == {"solver": "unipc", "steps": 3, "guidance": 2.0}
    assert settings["context"] == "image+text" and settings["tuning"]["steps"] == 0

    photo, mask = np.array(Image.open("photos/one.png")), np.array(Image.open("masks/one.png")) > 0
    for kind in ("completed", "candidate_1", "candidate_2"):
        assert np.array_equal(pixels(kind), photo)
    assert np.array_equal(pixels("raw"), np.where(mask[..., None], photo, 255))


def test_a_stage_with_one_answer_has_no_candidates(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, *ONE, "--candidates", "2", "--output", "out")
    assert "the RGB stage 'feedforward' has one answer; leave the candidates out" in said
    assert not written()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "joints.json: is not JSON"),
        ("[1, 2]", "joints.json: holds no joints"),
        ({"joints": {"left-horn": [1, 2, 1]}}, "there is no joint 'left-horn'"),
        ({"people": []}, "joints.json: holds no person"),
        ({"people": [{"pose_keypoints_2d": [0] * 54}]}, "are not 75 numbers"),
        ([[1, 2]] * 25, "the nose is not [x, y, confidence]"),
    ],
    ids=["no JSON", "no joints", "unknown joint", "nobody", "COCO's 18", "no confidence"],
)
def test_a_bad_joints_file_is_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], content: Any, sentence: str
) -> None:
    said = refused(capsys, *ONE, "--preset", "mask-1-tiny", "--joints", joints_file(content), "--output", "out")
    assert sentence in said and not written()


def test_a_joints_file_belongs_to_one_photograph(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "photos", "--joints", joints_file(), "--output", "out")
    assert "--joints joints.json belongs to one photograph, and the input is 2" in said
    absent = refused(capsys, *ONE, "--joints", "absent.json", "--output", "out")
    assert "--joints absent.json: no such file; or choose from movenet, embedded, vitpose" in absent
    assert not written()


def test_joints_from_a_file_need_no_pose_estimator(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--preset diffusion` alone would load ViTPose."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(Deoccluder, "from_preset", lambda name, **options: asked.append(options))
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    for joints in ([], ["--joints", "vitpose"], ["--joints", "embedded"], ["--joints", joints_file()]):
        run.load_deoccluder(parser.parse_args(["photos/one.png", "--preset", "diffusion", *joints]))
    assert [options["joints"] for options in asked] == [None, "vitpose", "embedded", "embedded"]


def test_results_in_the_way_are_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files of these options are looked for before anything is computed."""
    Path("out").mkdir()
    for kind, options in (("candidate_2", ["--candidates", "2"]), ("raw", ["--raw"])):
        Path(f"out/one_{kind}.png").write_text("mine")
        assert f"one_{kind}.png exists already" in refused(
            capsys, *ONE, "--preset", "diffusion-tiny", *options, "--output", "out"
        )
        Path(f"out/one_{kind}.png").unlink()
    assert not written()


def test_all_files_of_a_person_or_none(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up at the last candidate."""
    encode = outputs.encode_image

    def fails_late(path: Path, *arguments: Any, **options: Any) -> None:
        if path.name == "one_candidate_2.png":
            raise OSError(28, "No space left on device")
        encode(path, *arguments, **options)

    monkeypatch.setattr(outputs, "encode_image", fails_late)
    options = ["--preset", "diffusion-tiny", "--mask-stage", "copy-input", "--candidates", "2"]
    assert "No space left on device" in refused(capsys, *ONE, *options, "--output", "out")
    assert not written()


def test_a_stage_that_fails_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from deocclude.stages.completers.diffusion import DiffusionRgbCompleter

    def overflows(self: DiffusionRgbCompleter, *arguments: Any, **options: Any) -> None:
        raise InputError("the RGB stage failed: the latent is not finite")

    monkeypatch.setattr(DiffusionRgbCompleter, "candidates", overflows)
    said = refused(capsys, *ONE, "--preset", "diffusion-tiny", "--candidates", "2", "--output", "out")
    assert "the latent is not finite" in said and not written()
