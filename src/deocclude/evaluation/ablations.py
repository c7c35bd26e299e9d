"""The papers' ablations at a scale that two cores can train: one network a row and seed, by our own commands.

A `Trial` is a trained network and how it is tested; rows of several tables may be the same trial. Every step is a
command that can be typed, and one whose result is there is not done again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deocclude.errors import InputError
from deocclude.evaluation.papers import TABLES as PAPERS
from deocclude.evaluation.results import keep_scores, row_folder


@dataclass(frozen=True, kw_only=True)
class Trial:
    """options: of `deocclude train`, {templates} being the file of pose templates. test: of `deocclude predict`.

    trained_as: another trial whose network this one tests otherwise.
    """

    network: str
    options: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    trained_as: str = ""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are.

    pictures: `--people`, `--occluders` and `--occluder-images`. people: the occlusion set. runs: trainings and
    predictions. results: the score files that are kept (`evaluation.results`).
    """

    pictures: tuple[Path, Path, Path]
    people: Path
    runs: Path
    results: Path


_SIZES = ("--sizes", "128", "256", "--size-shares", "0.6", "0.4")
_ADAMW = ("--optimizer", "adamw", "--learning-rate", "2e-3", "--ema-decay", "0.98")
_SMALL_A = ("--family", "diffusion", "--prior", "none", "--width", "0.25", "--batch-size", "8", "--steps", "240")
_SMALL_B = ("--batch-size", "8", *_SIZES, *_ADAMW)


def _a(*options: str, recipe: tuple[str, ...] = _ADAMW, test: tuple[str, ...] = ()) -> Trial:
    """A mask network of paper A, a quarter as wide, without F and T, whose weights nobody has here."""
    return Trial(network="mask-completion", options=(*_SMALL_A, *recipe, *options), test=test)


def _b_mask(config: str, losses: str = "paper", templates: bool = True) -> Trial:
    """A mask network of paper B, tested as the paper does: on the picture alone, refining the modal mask itself."""
    given = ("--templates", "{templates}" if templates else "none")
    options = ("--config", config, "--losses", losses, *given, "--steps", "300", *_SMALL_B)
    test = ("--modal", "predicted", "--refine-modal")
    return Trial(network="mask-completion", options=options, test=test)


def _b_content(config: str) -> Trial:
    """A picture network of paper B, tested with the true masks; stage 1's parsing is the shipped network's."""
    options = ("--config", config, "--losses", "no-adversary", "--steps", "240", *_SMALL_B)
    return Trial(network="rgb-completion", options=options, test=("--amodal", "true"))


_WEIGHTS = ("0", "0.1", "0.3", "0.5", "0.7", "0.9", "1")
_G_SGD = ("--optimizer", "sgd", "--learning-rate", "0.05", "--milestones", "138", "204")
_G_ADAM = ("--optimizer", "adam", "--learning-rate", "1e-3", "--milestones", "138", "204")

TRIALS: dict[str, Trial] = {
    "a-modal-mask": _a("--design", "mask-1"),
    "a-joints": _a("--design", "mask-3"),
    "a-sub-joints": _a(),
    "a-oracle-joints": _a("--joints", "labels", test=("--true-joints",)),
    "a-occluded-mask": _a("--joint-input", "occluded-mask"),
    "a-whole-heatmap": _a("--joint-input", "whole-heatmap"),
    **{f"a-sigma-{sigma}": _a("--joint-sigma", sigma) for sigma in ("4", "16", "32")},
    **{f"a-sub-joints-{count}": _a("--sub-joints", count) for count in ("1", "3", "5", "7", "11", "13")},
    "a-accurate": _a("--inaccurate-masks", "0", test=("--modal", "grown")),
    "a-accurate-inaccurate": Trial(network="mask-completion", test=("--modal", "grown"), trained_as="a-sub-joints"),
    "a-bce-sgd": _a(recipe=_G_SGD),
    "a-ce-sgd": _a("--mask-loss", "ce", recipe=_G_SGD),
    "a-bce-adam": _a(recipe=_G_ADAM),
    "a-ce-adam": _a("--mask-loss", "ce", recipe=_G_ADAM),
    "b-baseline": _b_mask("compact-baseline", "no-adversary", templates=False),
    "b-discriminator": _b_mask("compact-baseline", templates=False),
    "b-modal": _b_mask("compact-modal", templates=False),
    "b-parsing": _b_mask("compact-parsing", templates=False),
    "b-templates": _b_mask("compact-templates"),
    "b-all": _b_mask("compact"),
    "b-inverse-l2": _b_mask("compact-inverse-l2"),
    "b-inner-softmax": _b_mask("compact-inner-softmax"),
    **{f"b-w-{w}": _b_content(f"compact-w-{w}") for w in _WEIGHTS},
    **{f"b-{name}": _b_content(f"compact-{name}") for name in ("body", "spatial", "cascaded", "fused")},
}

_S = {count: f"a-sub-joints-{count}" for count in ("1", "3", "5", "7", "11", "13")}
TABLES: dict[str, dict[str, str]] = {
    "a-table-3": {
        "mask-1": "a-modal-mask",
        "mask-3": "a-joints",
        "mask-4": "a-sub-joints",
        "mask-4-oracle-joints": "a-oracle-joints",
    },
    "a-table-C": {
        "0": "a-modal-mask",
        "4": "a-sigma-4",
        "8": "a-sub-joints",
        "16": "a-sigma-16",
        "32": "a-sigma-32",
    },
    "a-table-E": {"0": "a-joints", **_S, "9": "a-sub-joints"},
    "a-table-F": {
        "occluded-mask": "a-occluded-mask",
        "whole-heatmap": "a-whole-heatmap",
        "occluded-heatmap": "a-sub-joints",
    },
    "a-table-G": {name: f"a-{name}" for name in ("bce-sgd", "ce-sgd", "bce-adam", "ce-adam")},
    "a-table-L": {name: f"a-{name}" for name in ("accurate", "accurate-inaccurate")},
    "b-table-4": {
        **{name: f"b-{name}" for name in ("baseline", "discriminator", "modal", "parsing", "templates", "all")},
        **{f"all-{name}": f"b-{name}" for name in ("inverse-l2", "inner-softmax")},
    },
    "b-table-5": {w: f"b-w-{w}" for w in _WEIGHTS},
    "b-table-6": {
        "none": "b-w-1",
        "background": "b-w-0.3",
        **{name: f"b-{name}" for name in ("body", "spatial", "cascaded", "fused")},
    },
}
"""Each table's rows by the names of their folders in `results/`, and the trials they are. Rows that the paper does not
have: joints read off the labels, and the other weightings of the templates."""


def commands(name: str, seed: int, places: Places) -> Iterator[tuple[Path | None, list[str]]]:
    """The commands of a trial in their order, each with the file that tells that it is done.

    None: `predict` knows itself what it has done, and refuses what was done otherwise; scoring takes a moment.
    """
    trial, run = TRIALS[name], places.runs / name / f"seed{seed}"
    options, training = trial.options, run
    if trial.trained_as:
        options, training = TRIALS[trial.trained_as].options, places.runs / trial.trained_as / f"seed{seed}"
    people, occluders, images = map(str, places.pictures)
    pictures = ["--people", people, "--occluders", occluders, "--occluder-images", images]
    templates = places.runs / "templates.safetensors"
    if "{templates}" in options:
        yield templates, ["templates", *pictures, "--output", str(templates)]
    options = tuple(str(templates) if option == "{templates}" else option for option in options)
    weights = training / "network.safetensors"
    common = ["--seed", str(seed), "--device", "cpu", "--bf16", "--validate-every", "10000"]
    yield weights, ["train", trial.network, *pictures, *options, *common, "--output", str(training)]
    stages = ["--mask-stage", "feedforward", "--rgb-stage", str(weights)]
    if trial.network == "mask-completion":
        stages = ["--mask-stage", str(weights), "--rgb-stage", "copy-input"]
    predictions = run / "predictions"
    told = ["--data", str(places.people), "--output", str(predictions)]
    yield None, ["predict", *told, *stages, *trial.test]
    yield None, ["score", "--data", str(places.people), "--predictions", str(predictions)]


def run_command(command: list[str]) -> int:
    """A command of deocclude in a process of its own, so that its memory is free afterwards; the exit code."""
    return subprocess.run([sys.executable, "-m", "deocclude.cli.main", *command], check=False).returncode


def run_trial(name: str, seed: int, places: Places, *, on_command: Callable[[list[str]], None]) -> None:
    """Train and test one network, but for what is done, and keep its scores wherever a table has it as a row.

    on_command: called with each command before it runs. Raises InputError where one fails; what it said is on the
    console.
    """
    for done, command in commands(name, seed, places):
        if done is None or not done.exists():
            on_command(command)
            if run_command(command):
                raise InputError(f"{name}, seed {seed}: 'deocclude {command[0]}' failed, see above")
    predictions = places.runs / name / f"seed{seed}" / "predictions"
    set_name = places.people.resolve().name
    for table, rows in TABLES.items():
        for row in (row for row, trial in rows.items() if trial == name):
            folder = row_folder(places.results, PAPERS[table], row, set_name)
            keep_scores(predictions, folder / f"seed{seed}")
