"""A training counts once it is over."""

from __future__ import annotations

import json
from pathlib import Path

from deocclude.training.finished import is_finished


def run_with(folder: Path, *, steps: int, validated: list[int], weights: bool = True) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"training": {"steps": steps}}))
    (folder / "validation.csv").write_text("step,iou\n" + "".join(f"{step},0.5\n" for step in validated))
    if weights:
        (folder / "network.safetensors").touch()
    return folder


def test_a_run_is_finished_once_its_last_step_was_validated(tmp_path: Path) -> None:
    assert is_finished(run_with(tmp_path / "done", steps=40, validated=[20, 40]))
    assert not is_finished(run_with(tmp_path / "half", steps=40, validated=[20]))
    assert not is_finished(run_with(tmp_path / "begun", steps=40, validated=[]))
    assert not is_finished(run_with(tmp_path / "lost", steps=40, validated=[40], weights=False))
    assert not is_finished(tmp_path / "nowhere")
