"""`deocclude batch` on the command line, with miniature stages."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from miniature_batch import results, scene_deoccluder, write_pictures

from deocclude.cli import batch
from deocclude.cli import main as command_line
from deocclude.cli.main import main


@pytest.fixture(autouse=True)
def miniature(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(command_line.VERBS, "batch", "complete everybody in many photographs")
    monkeypatch.setattr(batch, "_scenes", lambda args: scene_deoccluder(args.batch_size or 1))
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["batch", *arguments]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("deocclude: error: ")]
    assert len(errors) == 1
    return errors[0]


def test_a_run_a_second_one_and_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(Path("photos"), (1, 2, 0))
    Path("photos/bad.jpg").touch()
    words = ["batch", "photos", "--output", "out"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.out.strip() == (
        "2 pictures done, 1 without people, 1 failed; results in out, reasons in out/failures.csv"
    )
    assert "4/4" in told.err and "picture/s" in told.err
    assert list(csv.reader(Path("out/failures.csv").read_text().splitlines()))[1][0] == "photos/bad.jpg"
    first = results(Path("out"))

    assert main(words) == 0
    assert "0 failed, 4 kept from before" in capsys.readouterr().out
    assert main(["batch", "--summary", "--output", "out"]) == 0
    assert "2 pictures done, 1 without people, 1 failed" in capsys.readouterr().out
    assert main(["batch", "photos", "--output", "again", "--batch-size", "1"]) == 0
    assert results(Path("again")) == first == results(Path("out"))


def test_other_settings_go_elsewhere_or_over(capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(Path("photos"), (2,))
    assert main(["batch", "photos", "--output", "out"]) == 0
    sentence = refused(capsys, "photos", "--output", "out", "--people", "1")
    assert "(people)" in sentence and "--overwrite" in sentence
    assert main(["batch", "photos", "--output", "out", "--people", "1", "--overwrite"]) == 0
    assert len(list(Path("out").glob("*/person_*_modal.png"))) == 1


def test_shards_of_the_command_line_and_of_the_launcher_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(Path("photos"), (1,) * 9)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        for shard in ("0/2", "1/2"):
            assert main(["batch", "photos", "--output", "out", "--shard", shard]) == 0
    assert len(list(Path("out").glob("photo_*"))) == 9
    assert {path.name for path in Path("out").glob("manifest-*")} == {f"manifest-{n}-of-4.sqlite" for n in range(4)}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "say which photographs"),
        (["nowhere"], "no such file"),
        (["photos", "--masks", "coco"], "COCO file"),
        (["photos", "--people", "none"], "people are"),
        (["photos", "--extend", "-3"], "whole number"),
        (["photos", "--shard", "2/2"], "i/N"),
        (["photos", "--max-failure-rate", "2"], "share"),
        (["--summary"], "no batch"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    write_pictures(Path("photos"), (1,))
    assert reason in refused(capsys, *words, "--output", "out")
    assert not list(Path().glob("out/*"))


def test_earlier_failures_are_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    (good,) = write_pictures(Path("photos"), (1,))
    given = ["batch", str(good), "missing.jpg", "--output", "out"]
    assert main(given) == 0
    assert "earlier run" not in capsys.readouterr().out
    assert main(given) == 0
    said = capsys.readouterr().out
    assert "0 failed, 2 kept from before" in said and "1 failed in an earlier run" in said
    assert Path("out/failures.csv").read_text().splitlines()[1:] == ["missing.jpg,no such file"]


def test_too_many_failures_end_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(Path("photos"), (1,))
    Path("photos/bad.jpg").touch()
    assert "1 of 2" in refused(capsys, "photos", "--output", "out", "--max-failure-rate", "0.1")
    assert "bad.jpg" in Path("out/failures.csv").read_text()
