"""`deocclude batch`: complete everybody in many photographs, in a run that survives bad files and being killed."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.cli.numbers import positive, share
from deocclude.cli.run import add_method_arguments
from deocclude.cli.scene_args import add_people_arguments, load_scenes
from deocclude.errors import InputError

if TYPE_CHECKING:
    from deocclude.batch.inputs import Item
    from deocclude.batch.shards import Shard
    from deocclude.batch.worker import BatchWorker
    from deocclude.pipelines.scene import SceneDeoccluder
    from deocclude.pipelines.scene_people import SceneRequest

HELP = "Complete everybody in many photographs. A run that was stopped goes on where it was when it is started again."
EXAMPLE = """
deocclude batch photos/ --recursive --output out/
deocclude batch instances.json --images photos/ --masks coco --output out/
deocclude batch 'shards/*.tar' --shard 0/4 --output out/
accelerate launch --num_processes 2 -m deocclude.cli.main batch photos/ --device cuda --output out/
deocclude batch --summary --output out/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", nargs="*", metavar="INPUT", help="photographs, folders, globs, COCO instances (.json), shards (.tar)"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="DIR", help="where results go")
    parser.add_argument("--recursive", action="store_true", help="search the subfolders of folders too")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the pictures that a COCO file names")
    parser.add_argument(
        "--masks",
        choices=("coco",),
        help="take people and their modal masks from the COCO file instead of finding them",
    )
    add_people_arguments(parser.add_argument_group("who is meant"), default="all")
    course = parser.add_argument_group("course of the run")
    course.add_argument("--retry-failed", action="store_true", help="try again what has failed before")
    course.add_argument(
        "--max-failure-rate", type=share, metavar="X", help="stop when more than this share of the pictures has failed"
    )
    course.add_argument("--overwrite", action="store_true", help="replace results that were made with other settings")
    course.add_argument("--summary", action="store_true", help="only say what the runs so far have done")
    course.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="people, of one or more pictures, at once (default: 1 on a CPU, 8 elsewhere)",
    )
    course.add_argument("--shard", default="0/1", metavar="i/N", help="do the i-th of N equal parts, i from 0")
    course.add_argument(
        "--ray", type=positive, metavar="N", help="on N actors of a Ray cluster, or of this machine if there is none"
    )
    add_method_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.summary:
        return _print_summary(args.output)
    from deocclude.batch.manifest import Manifest, recorded, write_failures
    from deocclude.batch.shards import parse_shard, this_process

    process = this_process()
    shard = parse_shard(args.shard).part(process.rank, process.world_size)
    args.device = process.device(args.device)
    items = [item for item in _items(args) if shard.has(item.id)]
    _request(args)  # what cannot be asked for is refused before anything is loaded
    do = _here(args, shard) if args.ray is None else _on_ray(args)
    failures = args.output / ("failures.csv" if shard.count == 1 else f"failures-{shard.tag}.csv")
    with Manifest(args.output, do.configuration, shard=shard, overwrite=args.overwrite) as manifest:
        try:
            counts = do.batch(
                items, manifest=manifest, retry_failed=args.retry_failed, max_failure_rate=args.max_failure_rate
            )
        except KeyboardInterrupt:
            print("\nWhat is done is kept; the same command goes on from there.", file=sys.stderr)
            raise
        finally:
            outcomes = [one for one in recorded(args.output) if shard.has(one.id)]
            write_failures(failures, outcomes)
    _print_counts(counts, args.output, failures)
    asked = {item.id for item in items}
    before = sum(one.status == "failed" and one.id in asked for one in outcomes) - counts["failed"]
    if before:
        print(f"{before} failed in an earlier run and were not tried again; --retry-failed does, {failures} says why")
    return 0


@dataclass(frozen=True)
class _Course:
    """How a batch is done: what decides its results, and who does it."""

    configuration: dict[str, Any]
    batch: Callable[..., Counter[str]]


def _here(args: argparse.Namespace, shard: Shard) -> _Course:
    from deocclude.batch.runner import run_batch

    scenes = _scenes(args)
    worker = _worker(args, args.output / f".staging-{shard.tag}", scenes)
    return _Course(_configuration(args, scenes), partial(run_batch, worker=worker))


def _on_ray(args: argparse.Namespace) -> _Course:
    """Whatever has the networks in it happens on the cluster, where the devices are."""
    from deocclude.batch.ray_data import call_on_ray, run_on_ray

    args.output = args.output.resolve()
    gpus = 0 if args.device == "cpu" else 1
    batch = partial(run_on_ray, make_worker=partial(_worker, args), actors=args.ray, gpus_per_actor=gpus)
    return _Course(call_on_ray(partial(_configuration, args), gpus=gpus), batch)


def _items(args: argparse.Namespace) -> list[Item]:
    from deocclude.batch.inputs import find_items

    if not args.input:
        raise InputError("say which photographs: files, folders, globs, a COCO file or shards")
    if args.masks and not any(given.lower().endswith(".json") for given in args.input):
        raise InputError("--masks coco goes with a COCO file; give its .json as an input")
    return find_items(
        args.input,
        output=args.output,
        recursive=args.recursive,
        images_dir=args.images,
        coco_masks=args.masks == "coco",
    )


def _request(args: argparse.Namespace) -> SceneRequest:
    from deocclude.pipelines.scene_people import SceneRequest

    return SceneRequest(people=args.people, extend=args.extend)


def _scenes(args: argparse.Namespace) -> SceneDeoccluder:
    scenes = load_scenes(args)
    scenes.deoccluder.batch_size = args.batch_size or scenes.deoccluder.batch_size
    return scenes


def _worker(args: argparse.Namespace, staging: Path, scenes: SceneDeoccluder | None = None) -> BatchWorker:
    from deocclude.batch.worker import BatchWorker, MethodInBatches
    from deocclude.pipelines.scene_outputs import write_scene

    method = MethodInBatches(scenes or _scenes(args))
    write = partial(write_scene, timings=False)
    return BatchWorker(method, write, args.output, staging, request=_request(args))


def _configuration(args: argparse.Namespace, scenes: SceneDeoccluder | None = None) -> dict[str, Any]:
    """All that decides what a picture becomes."""
    scenes = scenes or _scenes(args)
    return {
        **scenes.deoccluder.facts,
        "device": scenes.deoccluder.device.type,  # whichever of several GPUs
        "finder": "masks given" if args.masks else scenes.finder.name,
        "people": args.people,
        "extend": args.extend,
        "refine_modal": args.refine_modal,
    }


def _print_summary(output: Path) -> int:
    from deocclude.batch.manifest import recorded, write_failures

    outcomes = recorded(output)
    failures = output / "failures.csv"
    write_failures(failures, outcomes)
    _print_counts(Counter(one.status for one in outcomes), output, failures)
    print(f"{sum(one.people for one in outcomes)} people, {sum(one.seconds for one in outcomes):.0f} s of work")
    return 0


def _print_counts(counts: Counter[str], output: Path, failures: Path) -> None:
    parts = [f"{counts['done']} pictures done", f"{counts['no-person']} without people", f"{counts['failed']} failed"]
    if counts["kept"]:
        parts.append(f"{counts['kept']} kept from before")
    print(f"{', '.join(parts)}; results in {output}" + (f", reasons in {failures}" if counts["failed"] else ""))
