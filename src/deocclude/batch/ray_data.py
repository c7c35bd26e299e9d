"""The same batch on a cluster, by Ray Data: tasks on CPUs open pictures, actors on GPUs complete them.

Without GPUs Ray lets each actor open its pictures itself, which spares sending them. The driver alone writes the
manifest; results are written by the actors, so `output` and the inputs must be at the same place on every machine. An
actor that dies is started again and does its pictures again, to the same bytes.
"""

from __future__ import annotations

import math
import pickle
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from deocclude.batch.inputs import Item
from deocclude.batch.manifest import Manifest, Outcome
from deocclude.batch.pictures import open_picture
from deocclude.batch.runner import Progress, record
from deocclude.batch.worker import BatchWorker

Made = TypeVar("Made")
PICTURES_PER_TASK = 8
"""That an actor takes at once, and does again if it dies."""


def run_on_ray(
    items: Sequence[Item],
    make_worker: Callable[[Path], BatchWorker],
    manifest: Manifest,
    *,
    actors: int,
    gpus_per_actor: float = 0,
    retry_failed: bool = False,
    max_failure_rate: float | None = None,
) -> Counter[str]:
    """As `runner.run_batch`, on the cluster that Ray is connected to, or on this machine.

    make_worker: called once in each actor with a staging folder of its own.
    """
    import ray

    progress = Progress(len(items), manifest.shard.tag)
    staging = f".ray-{manifest.shard.tag}-"
    rows = []
    for item in items:
        settled = manifest.settled(item.id, retry_failed=retry_failed)
        anywhere = replace(item, path=item.path.absolute())  # workers have folders of their own to start in
        rows.append({"item": pickle.dumps((anywhere, settled))})
    if not rows:
        return progress.counts
    blocks = min(len(rows), max(actors, math.ceil(len(rows) / PICTURES_PER_TASK)))
    outcomes = (
        ray.data.from_items(rows, override_num_blocks=blocks)
        .map(_open)
        .map_batches(
            _Actor,
            fn_constructor_args=(make_worker, manifest.folder / staging),
            batch_size=PICTURES_PER_TASK,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_gpus=gpus_per_actor,
        )
    )
    try:
        with progress:
            record(_groups(outcomes, progress), manifest, progress, max_failure_rate)
    finally:
        for left in manifest.folder.glob(f"{staging}*"):
            shutil.rmtree(left, ignore_errors=True)
    return progress.counts


def call_on_ray(call: Callable[[], Made], *, gpus: float = 0) -> Made:
    """What a function returns where the cluster's devices are."""
    import ray

    def there() -> Made:  # Ray takes functions, not whatever can be called
        return call()

    made: Made = ray.get(ray.remote(num_gpus=gpus)(there).remote())
    return made


def _open(row: dict[str, Any]) -> dict[str, Any]:
    item, settled = pickle.loads(row["item"])
    return {"picture": pickle.dumps(open_picture(item, settled))}


class _Actor:
    """Keeps a worker, and with it the method on its device."""

    def __init__(self, make_worker: Callable[[Path], BatchWorker], staging: Path) -> None:
        self._worker = make_worker(staging.with_name(f"{staging.name}{uuid.uuid4().hex}"))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        pictures = [pickle.loads(one) for one in batch["picture"]]
        kept = [None] * sum(one is None for one in pictures)
        outcomes = [one for group in self._worker(one for one in pictures if one is not None) for one in group]
        return {"outcome": [pickle.dumps(one) for one in [*outcomes, *kept]]}


def _groups(outcomes: Any, progress: Progress) -> Iterator[list[Outcome]]:
    for batch in outcomes.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
        found = [pickle.loads(one) for one in batch["outcome"]]
        progress.keep(sum(one is None for one in found))
        yield [one for one in found if one is not None]
