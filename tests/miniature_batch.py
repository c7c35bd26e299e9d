"""A batch in miniature, for the tests and for the processes they start: people are red, the stages tiny."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from miniatures import RedSegmenter, mask_network, photograph, rgb_network, with_red_person, write_png
from scipy import ndimage

from deocclude import Deoccluder
from deocclude.batch.inputs import find_items
from deocclude.batch.manifest import Manifest, Outcome, recorded
from deocclude.batch.runner import run_batch
from deocclude.batch.shards import Shard, this_process
from deocclude.batch.worker import BatchWorker, MethodInBatches
from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.pipelines.scene import FoundPeople, Scene, SceneDeoccluder
from deocclude.pipelines.scene_outputs import write_scene
from deocclude.pipelines.scene_people import SceneRequest
from deocclude.stages.completers.feedforward import FeedforwardMaskCompleter, FeedforwardRgbCompleter
from deocclude.types import Person

BOXES = ((8, 10, 18, 30), (40, 12, 54, 40), (70, 20, 82, 44))
CONFIGURATION = {"method": "miniature", "seed": 0}
WRITE = partial(write_scene, timings=False)


class RedFinder:
    """Every red piece is a person, the largest first."""

    name = "red pieces"

    def __call__(self, image: np.ndarray) -> list[Person]:
        pieces, count = ndimage.label((image[..., 0] > 200) & (image[..., 1] < 50))
        masks = sorted((pieces == number + 1 for number in range(count)), key=lambda mask: -mask.sum())
        return [Person(mask_box(mask) or (0, 0, 0, 0), mask) for mask in masks]

    def person_at(self, image: np.ndarray, point_xy: tuple[float, float]) -> Person:
        raise InputError("nobody clicks here")


def scene_deoccluder(batch_size: int = 3) -> SceneDeoccluder:
    stages = FeedforwardMaskCompleter(mask_network(), size=64), FeedforwardRgbCompleter(rgb_network(), size=64)
    return SceneDeoccluder(Deoccluder(RedSegmenter(), *stages, batch_size=batch_size), RedFinder())


@dataclass
class Groups:
    """Records the sizes of the groups that are completed; `fails` may refuse one."""

    batch_size: int = 3
    seen: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._method = MethodInBatches(scene_deoccluder(self.batch_size))

    def find(self, image: np.ndarray, request: SceneRequest) -> FoundPeople:
        return self._method.find(image, request)

    def complete(self, found: Sequence[FoundPeople]) -> list[Scene]:
        self.refuse(found)
        self.seen.append([len(one.subjects) for one in found])
        return self._method.complete(found)

    def refuse(self, found: Sequence[FoundPeople]) -> None:
        pass


def write_pictures(folder: Path, people: Sequence[int] = (1, 2, 0, 3, 1, 1, 2, 1)) -> list[Path]:
    """A photograph for each number of people."""
    paths = []
    for place, count in enumerate(people):
        image = photograph(seed=place)
        for box in BOXES[:count]:
            image, _ = with_red_person(image, box)
        paths.append(write_png(folder / f"photo_{place}.png", image))
    return paths


def run(folder: Path | str, output: Path, scenes: Any = None, *, shard: Shard | None = None, **options: Any) -> Counter:
    """The batch over a folder, or over whatever `find_items` takes."""
    shard = shard or Shard()
    find = {name: options.pop(name) for name in ("images_dir", "coco_masks", "recursive") if name in options}
    items = [item for item in find_items([folder], output=output, **find) if shard.has(item.id)]
    write = options.pop("write", WRITE)
    with Manifest(output, options.pop("configuration", CONFIGURATION), shard=shard) as manifest:
        worker = BatchWorker(scenes or Groups(), write, output, output / f".staging-{shard.tag}")
        return run_batch(items, worker, manifest, **options)


def results(output: Path) -> dict[str, bytes]:
    """Every file of the results; what a batch keeps for itself is left out, and must be all that is hidden."""
    files = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert all(name.startswith(".manifest-") for name in files if name.startswith(".")), sorted(files)
    return {name: content for name, content in files.items() if not name.startswith((".manifest-", "manifest-"))}


def without_times(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [Outcome(**{**vars(one), "seconds": 0.0, "recorded_at": 0.0}) for one in outcomes]


def rows(output: Path) -> list[Outcome]:
    return without_times(recorded(output))


def times_recorded(output: Path) -> Counter[str]:
    """In how many manifests each picture is."""
    counts: Counter[str] = Counter()
    for path in output.glob("manifest-*.sqlite"):
        counts.update(row[0] for row in sqlite3.connect(path).execute("SELECT id FROM pictures"))
    return counts


# --- in processes of their own ---


class Killed:
    """A writer that is killed in the middle of its n-th scene."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, folder: Path, name: str, scene: Scene, source: Any) -> Path:
        self.left -= 1
        if self.left == 0:
            (folder / name).mkdir()
            (folder / name / "half.png").write_bytes(b"\x89PNG")
            os.kill(os.getpid(), signal.SIGKILL)
        return WRITE(folder, name, scene, source)


def killed_run(folder: str, output: str, at: str) -> None:
    run(Path(folder), Path(output), write=Killed(int(at)))


def process_run(folder: str, output: str) -> None:
    """As a process that `accelerate launch` has started."""
    process = this_process()
    run(Path(folder), Path(output), shard=Shard().part(process.rank, process.world_size))


def start(function: Any, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """A function of this file in a process of its own."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import torch; torch.set_num_threads(1)\n"
        f"from miniature_batch import {function.__name__} as call\n"
        "call(*sys.argv[1:])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
