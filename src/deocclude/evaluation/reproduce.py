"""What is left to do for a table: which rows are scored, which can be run here, what the others lack."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from deocclude.errors import InputError
from deocclude.evaluation.papers.tables import MASK_NETWORK, SETS, TEMPLATES, TRAINED, Method, Row, Table
from deocclude.evaluation.predictions import PredictionFolder
from deocclude.evaluation.results import read_runs, row_folder
from deocclude.evaluation.score_files import SCORES_JSON, read_scores
from deocclude.stages.catalogue import stage_specs
from deocclude.stages.presets import preset, weights_of
from deocclude.training.finished import is_finished
from deocclude.weight_specs import WeightSpec, local_path, missing_sentence, weights_path

PICTURES = ("--people", "CCP", "--occluders", "COCO.json", "--occluder-images", "COCO-IMAGES")
"""What the user has to fill in: the pictures that training starts from (docs/training.md)."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """results: the committed score files. work: predictions and trainings. sets: the occlusion sets that are here."""

    results: Path
    work: Path
    sets: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One row on one set."""

    table: Table
    row: Row
    set_name: str
    places: Places

    @property
    def result(self) -> Path:
        """The folder in `results/` that the scores go to."""
        return row_folder(self.places.results, self.table, self.row.name, self.set_name)

    @property
    def predictions(self) -> Path:
        return self._work / self.set_name

    @property
    def training(self) -> Path:
        """The run of the row's own training."""
        return self._work / "training"

    @property
    def trained(self) -> Path:
        """The weights of the row's own training."""
        return self.training / "network.safetensors"

    @property
    def is_trained(self) -> bool:
        """Whether the row's own training has come to its end."""
        return is_finished(self.training)

    @property
    def is_scored(self) -> bool:
        """Whether there are scores of the predictions as they are."""
        if not (self.predictions / SCORES_JSON).exists():
            return False
        made = PredictionFolder(self.predictions).read_record().settings
        return bool(read_scores(self.predictions).get("settings") == made)

    @property
    def _work(self) -> Path:
        return self.places.work / self.table.folder / self.row.name

    def predict_arguments(self) -> list[str]:
        """Of `deocclude predict`."""
        assert self.row.method is not None, "a job without a method has an obstacle"
        return [*self._told, "--output", str(self.predictions), *self.row.method.arguments(self.trained)]

    def score_arguments(self) -> list[str]:
        """Of `deocclude score`."""
        return [*self._told, "--predictions", str(self.predictions)]

    @property
    def _told(self) -> list[str]:
        return ["--data", str(self.places.sets.get(self.set_name, self.set_name.upper()))]


def open_jobs(table: Table, places: Places, *, rows: Sequence[str] = (), overwrite: bool = False) -> list[Job]:
    """The jobs of a table that have no result yet, on the sets that are here, or on the paper's if none is.

    rows: patterns of names; all by default. overwrite: those that have a result too. Raises InputError for patterns
    that no row fits.
    """
    chosen = [row for row in table.rows if not rows or any(fnmatchcase(row.name, pattern) for pattern in rows)]
    if not chosen:
        raise InputError(
            f"{table.name} has no row {' '.join(rows)}; choose from {', '.join(r.name for r in table.rows)}"
        )
    done = {(one.row, one.set_name) for one in read_runs(places.results, table)}
    return [
        Job(table=table, row=row, set_name=set_name, places=places)
        for set_name in (places.sets or table.sets)
        for row in chosen
        if overwrite or (row.name, set_name) not in done
    ]


def obstacles(job: Job) -> list[str]:
    """What keeps a job from being run here, in sentences; empty if nothing does."""
    method, found = job.row.method, []
    if method is None:
        return ["nothing of ours runs this row"]
    if job.set_name not in job.places.sets:
        found.append(f"needs {SETS.get(job.set_name, f'the set {job.set_name}')}; say where: --data {job.set_name}=DIR")
    found += map(missing_sentence, missing_weights(method))
    if job.row.training and not job.is_trained:
        found.append("needs its own weights: train them first")
    return found + _unknown_stages(method)


def missing_weights(method: Method) -> list[WeightSpec]:
    """What a method loads and this machine lacks. The detector is not among it: whoever is scored has a mask."""
    specs = {spec.name: spec for name in method.weights for spec in weights_of(name)}
    return [spec for spec in specs.values() if spec.name != "detector" and local_path(spec) is None]


def _unknown_stages(method: Method) -> list[str]:
    chosen = preset(method.preset)
    asked = (
        (method.mask_stage or chosen.mask_stage, stage_specs("mask")),
        (method.rgb_stage or chosen.rgb_stage, stage_specs("RGB")),
    )
    return [f"this version has no stage '{name}'" for name, stages in asked if name not in (TRAINED, *stages)]


def commands(job: Job) -> Iterator[str]:
    """The lines a user types to get this job done elsewhere, its training included."""
    if job.row.method is None:
        return
    if job.row.training and not job.is_trained:
        templates = str(job.places.work / "templates.safetensors")
        files = {TEMPLATES: templates, MASK_NETWORK: str(weights_path("mask-completion-paper"))}
        options = [files.get(word, word) for word in job.row.training]
        if TEMPLATES in job.row.training:
            yield _line("templates", [*PICTURES, "--output", templates])
        yield _line("train", [*options, *PICTURES, "--output", str(job.training)])
    yield _line("predict", job.predict_arguments())
    yield _line("score", job.score_arguments())


def _line(verb: str, arguments: Sequence[str]) -> str:
    return f"deocclude {verb} {shlex.join(arguments)}"
