"""`deocclude ablate`: the list of trials agrees with the tables, and one trial runs from training to kept scores."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
from test_evaluation import person
from tiny_data import write_coco, write_people

from deocclude.cli.main import main
from deocclude.cli.train import add_arguments
from deocclude.data.occlusion_set import OcclusionSetWriter
from deocclude.evaluation import ablations
from deocclude.evaluation.ablations import SCALES, TABLES, TRIALS, Places, Trial, commands, read_ablations
from deocclude.evaluation.papers import TABLES as PAPERS
from deocclude.evaluation.results import read_runs


def test_every_trial_is_a_row_and_every_row_a_trial() -> None:
    used = {trial for rows in TABLES.values() for trial in rows.values()}
    assert used == set(TRIALS) and set(SCALES) == set(TABLES)
    for table, rows in TABLES.items():
        assert {row for row in rows if PAPERS[table].row(row) is None} <= {
            "mask-4-oracle-joints",
            "all-softmax-l2",
            "all-inner-softmax",
        }


def test_every_trial_can_be_typed() -> None:
    """Each option is one of `deocclude train`, and a table's rows differ in nothing but what they are about."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    places = Places(pictures=(Path("p"), Path("o"), Path("i")), people=Path("s"), runs=Path("r"), results=Path("k"))
    for name in TRIALS:
        train = next(command for _, command in commands(name, 1, places) if command[0] == "train")
        args = parser.parse_args(train[1:])
        assert args.seed == 1 and args.steps in (240, 300) and args.batch_size == 8, name


def test_the_list_names_trials_and_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "--list"]) == 0
    text = capsys.readouterr().out
    assert re.search(
        r"^a-sub-joints +a-table-3 mask-4, a-table-C 8, a-table-E 9, a-table-F occluded-heatmap$", text, re.M
    )


def test_bad_words_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "best"]) == 2
    assert "no trial 'best'; 'deocclude ablate --list' has them" in capsys.readouterr().err
    assert main(["ablate", "a-joints"]) == 2
    assert "need --people, --occluders, --occluder-images and --data" in capsys.readouterr().err


def test_a_trial_from_training_to_kept_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice: what is done is not done again, and the scores are kept for each table that has the row."""
    small = ("--limit", "6", "--validation-people", "2", "--steps", "1", "--batch-size", "2")
    options = ("--family", "diffusion", "--prior", "none", "--width", "0.1", "--sizes", "64", "--size-shares", "1")
    monkeypatch.setitem(TRIALS, "a-sub-joints", Trial(network="mask-completion", options=(*options, *small)))
    write_people(tmp_path / "ccp", 12, size_hw=(64, 48))
    coco, images = write_coco(tmp_path, person=False)
    with OcclusionSetWriter(tmp_path / "bench") as writer:
        for index in range(2):
            writer.write(person(index))
    typed: list[str] = []

    def in_this_process(command: list[str]) -> int:
        typed.append(command[0])
        # accelerate keeps the arithmetic of a process's first training for all later ones.
        return main([word for word in command if word != "--bf16"])

    monkeypatch.setattr(ablations, "run_command", in_this_process)
    places = ("--people", str(tmp_path / "ccp"), "--occluders", str(coco), "--occluder-images", str(images))
    places += ("--data", str(tmp_path / "bench"), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "kept"))
    for _ in range(2):
        assert main(["ablate", "a-sub-joints", *places, "--seeds", "3"]) == 0
    assert typed == ["train", "predict", "score", "predict", "score"]
    for table in ("a-table-3", "a-table-C", "a-table-E", "a-table-F"):
        (run,) = read_ablations(tmp_path / "kept", PAPERS[table])
        assert run.num_people == 2 and run.trainings[0]["steps"] == 1
        assert read_runs(tmp_path / "kept", PAPERS[table]) == []
    monkeypatch.setitem(TRIALS, "a-sub-joints", Trial(network="mask-completion", options=options))
    assert main(["ablate", "a-sub-joints", *places, "--seeds", "3"]) == 2
    assert "was trained with other options" in capsys.readouterr().err
