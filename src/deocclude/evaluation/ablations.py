"""The papers' ablations at a scale that two cores can train: one network a row and seed, by our own commands.

A `Trial` is a trained network and how it is tested; rows of several tables may be the same trial. Every step is a
command that can be typed, and one whose result is there is not done again. What is kept lies in `results/ablations`:
these networks are rows of the papers' tables in what they are told, and not in size.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from deocclude.errors import InputError
from deocclude.evaluation.papers import TABLES as PAPERS
from deocclude.evaluation.papers.tables import Table
from deocclude.evaluation.predictions import write_json
from deocclude.evaluation.results import TRAINING_JSON, Runs, keep_scores, read_runs, row_folder
from deocclude.training.finished import is_finished

FOLDER = "ablations"
"""Of what is kept, in `results/`."""
_TRIAL_JSON = "trial.json"
"""In a training's folder: the options it was made with."""


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
_SMALL_B = ("--batch-size", "8", *_SIZES)
# At 2e-3 two of the eight mask networks of seed 0 fell apart after 150 steps.
_SLOWER_ADAMW = ("--optimizer", "adamw", "--learning-rate", "1e-3", "--ema-decay", "0.98")


def _a(*options: str, recipe: tuple[str, ...] = _ADAMW, test: tuple[str, ...] = ()) -> Trial:
    """A mask network of paper A, a quarter as wide, without F and T, whose weights nobody has here."""
    return Trial(network="mask-completion", options=(*_SMALL_A, *recipe, *options), test=test)


def _b_mask(config: str, losses: str = "paper", templates: bool = True) -> Trial:
    """A mask network of paper B, tested as in the paper: on the picture alone, refining the modal mask itself."""
    given = ("--templates", "{templates}" if templates else "none")
    options = ("--config", config, "--losses", losses, *given, "--steps", "300", *_SMALL_B, *_SLOWER_ADAMW)
    test = ("--modal", "predicted", "--refine-modal")
    return Trial(network="mask-completion", options=options, test=test)


def _b_content(config: str) -> Trial:
    """A picture network of paper B, tested with the true masks; stage 1's parsing is the shipped network's."""
    options = ("--config", config, "--losses", "no-adversary", "--steps", "240", *_SMALL_B, *_ADAMW)
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
    "b-templates": _b_mask("compact-templates-inverse-l2"),
    "b-all": _b_mask("compact-inverse-l2"),
    "b-softmax-l2": _b_mask("compact"),
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
        **{f"all-{name}": f"b-{name}" for name in ("softmax-l2", "inner-softmax")},
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


_A_NETWORK = "U_mask a quarter as wide, without F and T, 9 joints between each pair, BCE"
_ELSE = "where the row says nothing else; tested with the true modal mask"
_A_JOINTS = "and the shipped segmenter's joints"
_A_SCALE = f"{_A_NETWORK} and AdamW {_ELSE} {_A_JOINTS}"
_B_MASK_SCALE = """the compact network (32 channels at stride 4) with AdamW, half of the initial masks exact, a
perceptual loss by EfficientNet-Lite0 in place of VGG; templates weighed by the paper's 1/D but in the rows
all-softmax-l2 (ours) and all-inner-softmax (as the authors' code does); tested on the picture alone. Their
rate is half that of the other tables, at which two of eight networks fell apart; some do so still (docs/training.md)"""
_B_CONTENT_SCALE = """the compact network (w is 1 in the rows of single streams) with AdamW, without the adversary, a
perceptual loss by EfficientNet-Lite0 in place of VGG, and the labels' parsing, withheld from 15 % of the people; tested
with both true masks and stage 1's parsing"""
SCALES = {
    **dict.fromkeys(("a-table-C", "a-table-E", "a-table-F"), _A_SCALE),
    "a-table-3": f"{_A_SCALE}, but the labels' joints in the row of oracle joints, which no method has",
    "a-table-G": f"{_A_NETWORK} {_ELSE} {_A_JOINTS}",
    "a-table-L": f"{_A_NETWORK} and AdamW {_ELSE} grown by 5 to 30 % {_A_JOINTS}",
    "b-table-4": _B_MASK_SCALE,
    "b-table-5": _B_CONTENT_SCALE,
    "b-table-6": _B_CONTENT_SCALE,
}
"""What is smaller or otherwise than in the papers."""

_MASKS_GIVEN = ("given-copy-input", "given-convex-hull", "given-feedforward")
_BOTH_GIVEN = ("true-mean-colour", "true-telea", "true-feedforward")
_FLOORS = {
    **dict.fromkeys(("a-table-3", "a-table-C", "a-table-E", "a-table-F", "a-table-G"), _MASKS_GIVEN),
    "b-table-4": ("picture-copy-input", "picture-convex-hull", "picture-feedforward-refined"),
    "b-table-5": _BOTH_GIVEN,
    "b-table-6": _BOTH_GIVEN,
}
"""The bench's rows that were told what a table's are: stages that learned nothing, and the shipped networks."""


def read_ablations(results: Path, table: Table) -> list[Runs]:
    """The small networks' runs of a table; empty where none are kept."""
    return read_runs(results / FOLDER, table)


def read_floor(results: Path, table: Table, small: Sequence[Runs]) -> list[Runs]:
    """What stands beside a table's small networks, from the bench; nothing beside those tested on other sets."""
    sets, rows = {one.set_name for one in small}, _FLOORS.get(table.name, ())
    return [one for one in read_runs(results, PAPERS["bench"]) if one.row in rows and one.set_name in sets]


def scale_and_cost(table: Table, runs: Sequence[Runs]) -> str:
    """One paragraph about small networks: what they are, how long they were trained, by which code, on what machine."""
    trainings = [training for one in runs for training in one.trainings if training]
    made = sorted(
        {
            f"{one['steps']} steps of {one['batch_size']} people at {' or '.join(map(str, one['sizes']))} pixels"
            for one in trainings
        }
    )
    minutes = [training["seconds"] / 60 for training in trainings]
    summaries = [summary for one in runs for summary in one.summaries]
    commits = sorted({(summary.get("commit") or "unknown")[:12] for summary in summaries})
    machines = sorted({(summary.get("machine") or {}).get("cpu", "unknown") for summary in summaries})
    cost = (
        f" {' or '.join(made)} each, {min(minutes):.0f} to {max(minutes):.0f} minutes (median {median(minutes):.0f}), "
        "one core a training"
        if trainings
        else ""
    )
    counts = sorted({one.num_seeds for one in runs})
    seeds = f"{' or '.join(map(str, counts))} seed{'' if counts == [1] else 's'} a row"
    alone = " With one seed the intervals do not know how much two trainings differ." if counts[0] == 1 else ""
    return (
        f"*Trained small* by `deocclude ablate` on CCP train under COCO train objects: "
        f"{' '.join(SCALES[table.folder].split())}.{cost}; {seeds}; "
        f"networks and predictions made at commit {', '.join(commits)} on {', '.join(machines)}. "
        "So little training says which row learns faster, which need not be which is best in the end; where rows are "
        f"no better than a mean colour, a convex hull or the input itself, their order says little.{alone}"
    )


def commands(name: str, seed: int, places: Places) -> Iterator[tuple[bool, list[str]]]:
    """The commands of a trial in their order, each with whether it is done when its turn comes.

    `predict` knows itself what it has done, and refuses what was done otherwise; scoring takes a moment.
    """
    run = places.runs / name / f"seed{seed}"
    trial, training = TRIALS[name], _training(name, seed, places)
    options = _trained(name).options
    people, occluders, images = map(str, places.pictures)
    pictures = ["--people", people, "--occluders", occluders, "--occluder-images", images]
    templates = places.runs / "templates.safetensors"
    if "{templates}" in options:
        yield templates.exists(), ["templates", *pictures, "--output", str(templates)]
    options = tuple(str(templates) if option == "{templates}" else option for option in options)
    weights = training / "network.safetensors"
    common = ["--seed", str(seed), "--device", "cpu", "--bf16", "--validate-every", "10000"]
    yield is_finished(training), ["train", trial.network, *pictures, *options, *common, "--output", str(training)]
    stages = ["--mask-stage", "feedforward", "--rgb-stage", str(weights)]
    if trial.network == "mask-completion":
        stages = ["--mask-stage", str(weights), "--rgb-stage", "copy-input"]
    predictions = run / "predictions"
    told = ["--data", str(places.people), "--output", str(predictions)]
    yield False, ["predict", *told, *stages, *trial.test]
    yield False, ["score", "--data", str(places.people), "--predictions", str(predictions)]


def _trained(name: str) -> Trial:
    """The trial whose network this one tests."""
    return TRIALS[TRIALS[name].trained_as or name]


def _training(name: str, seed: int, places: Places) -> Path:
    """The run of the network that a trial tests."""
    return places.runs / (TRIALS[name].trained_as or name) / f"seed{seed}"


def run_command(command: list[str]) -> int:
    """A command of deocclude in a process of its own, so that its memory is free afterwards; the exit code."""
    return subprocess.run([sys.executable, "-m", "deocclude.cli.main", *command], check=False).returncode


def run_trial(name: str, seed: int, places: Places, *, on_command: Callable[[list[str]], None]) -> None:
    """Train and test one network, but for what is done, and keep its scores wherever a table has it as a row.

    on_command: called with each command before it runs. Raises InputError where one fails (what it said is on the
    console), and where the network there was trained with other options.
    """
    _check_same_options(_training(name, seed, places), _trained(name).options)
    for is_done, command in commands(name, seed, places):
        if not is_done:
            on_command(command)
            if run_command(command):
                raise InputError(f"{name}, seed {seed}: 'deocclude {command[0]}' failed, see above")
    keep_trial(name, seed, places)


def keep_trial(name: str, seed: int, places: Places) -> None:
    """Keep a trial's scores, and what its training cost, wherever a table has it as a row."""
    predictions = places.runs / name / f"seed{seed}" / "predictions"
    set_name = places.people.resolve().name
    for table, rows in TABLES.items():
        for row in (row for row, trial in rows.items() if trial == name):
            folder = row_folder(places.results / FOLDER, PAPERS[table], row, set_name) / f"seed{seed}"
            keep_scores(predictions, folder, columns=PAPERS[table].columns)
            write_json(folder / TRAINING_JSON, _cost(name, seed, places))


def _cost(name: str, seed: int, places: Places) -> dict[str, object]:
    """How long the network was trained, and with what."""
    run = _training(name, seed, places)
    training = json.loads((run / "run.json").read_text("utf-8"))["training"]
    with (run / "losses.csv").open(newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)][-1]
    made_with = {key: training[key] for key in ("steps", "batch_size", "sizes")}
    return {"options": list(_trained(name).options), **made_with, "seconds": round(seconds)}


def _check_same_options(run: Path, options: Sequence[str]) -> None:
    """Raises InputError where the folder's training had others."""
    path = run / _TRIAL_JSON
    now = {"options": list(options)}
    if path.exists() and json.loads(path.read_text("utf-8")) != now:
        raise InputError(f"{run}: was trained with other options than this version's; choose another --runs")
    write_json(path, now)
