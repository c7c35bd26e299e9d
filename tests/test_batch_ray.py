"""The Ray Data adapter on a local Ray of two actors. Needs the extra `deocclude[ray]`."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from miniature_batch import CONFIGURATION, WRITE, Groups, results, rows, run, times_recorded, write_pictures

from deocclude.batch.inputs import find_items
from deocclude.batch.manifest import Manifest, recorded
from deocclude.batch.ray_data import call_on_ray, run_on_ray
from deocclude.batch.worker import BatchWorker
from deocclude.errors import InputError
from deocclude.pipelines.scene import Scene

ray = pytest.importorskip("ray", reason="needs the extra: pip install 'deocclude[ray]'")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    ray.init(
        num_cpus=3,
        num_gpus=2,  # only counted: it makes Ray open pictures in tasks of their own, as with real ones
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        logging_level="warning",
        runtime_env={"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()


def on_ray(photos: Path, output: Path, make_worker: Any = None, **options: Any) -> Counter[str]:
    make_worker = make_worker or partial(worker, output)
    with Manifest(output, CONFIGURATION) as manifest:
        return run_on_ray(find_items([photos], output=output), make_worker, manifest, actors=2, **options)


def worker(output: Path, staging: Path) -> BatchWorker:
    return BatchWorker(Groups(batch_size=1), WRITE, output, staging)


class DiesOnce:
    """A writer that kills its actor in the middle of the first scene of some picture, once of all actors' lives."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __call__(self, folder: Path, name: str, scene: Scene, source: Any) -> Path:
        with (self.log / "written").open("a") as log:
            log.write(f"{os.getpid()} {name}\n")
        time.sleep(0.1)
        if len((self.log / "written").read_text().splitlines()) > 6:
            try:
                (self.log / "killed").touch(exist_ok=False)
            except FileExistsError:
                return WRITE(folder, name, scene, source)
            (folder / name).mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
        return WRITE(folder, name, scene, source)


def mortal_worker(output: Path, log: Path, staging: Path) -> BatchWorker:
    return BatchWorker(Groups(batch_size=1), DiesOnce(log), output, staging)


def test_a_killed_actor_costs_nothing(tmp_path: Path) -> None:
    photos, output = tmp_path / "photos", tmp_path / "out"
    write_pictures(photos, (1, 2, 0, 1) * 8)
    (photos / "bad.jpg").write_text("no picture")
    counts = on_ray(photos, output, partial(mortal_worker, output, tmp_path), gpus_per_actor=1)
    assert (tmp_path / "killed").exists()
    assert len({line.split()[0] for line in (tmp_path / "written").read_text().splitlines()}) >= 2  # actors
    assert counts == {"done": 24, "no-person": 8, "failed": 1}
    assert len(times_recorded(output)) == 33 and set(times_recorded(output).values()) == {1}

    run(photos, tmp_path / "local", Groups(batch_size=1))
    assert results(output) == results(tmp_path / "local")
    assert rows(output) == rows(tmp_path / "local")


def test_what_the_manifest_has_is_not_done_again(tmp_path: Path) -> None:
    photos, output = tmp_path / "photos", tmp_path / "out"
    first = write_pictures(photos, (1, 1, 1))
    assert on_ray(photos, output) == {"done": 3}
    before = {one.id: one.recorded_at for one in recorded(output)}
    write_pictures(photos, (1, 1, 1, 2))
    first[1].write_text("broken now")
    assert on_ray(photos, output) == {"kept": 2, "done": 1, "failed": 1}
    after = {one.id: one.recorded_at for one in recorded(output)}
    assert sum(after[name] == at for name, at in before.items()) == 2
    assert on_ray(photos, output) == {"kept": 4}


def test_too_many_failures_stop_it(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(4):
        (tmp_path / "photos" / f"{number}.jpg").touch()
    with pytest.raises(InputError, match="4 of 4 pictures failed"):
        on_ray(tmp_path / "photos", tmp_path / "out", max_failure_rate=0.5)


def test_a_call_is_made_in_another_process() -> None:
    assert call_on_ray(os.getpid) != os.getpid()
