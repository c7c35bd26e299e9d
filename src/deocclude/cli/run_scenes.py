"""`deocclude run` where it makes a folder for each photograph: everybody in it, their order, layers."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deocclude.cli.run import joints_file, mask_of, notes_of, run_each
from deocclude.cli.scene_args import control_from_arguments, has_control, load_scenes
from deocclude.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from deocclude.pipelines.scene import Scene, SceneDeoccluder
    from deocclude.pipelines.scene_people import SceneRequest

NOBODY = "no person found in the picture; say where with a box or a point, or give the mask of the visible part"


def run_scenes(args: argparse.Namespace, paths: Sequence[Path]) -> int:
    """Complete the people of each photograph and write its folder; the exit code."""
    from deocclude.pipelines.outputs import check_folder, person_names
    from deocclude.pipelines.scene_outputs import check_free

    _check(args)
    names = [name for (name,) in person_names(paths)]
    check_folder(args.output, [])
    inputs = [*paths, *filter(None, (args.mask, args.protect, args.reference))]
    for name in names:
        check_free(args.output / name, overwrite=args.overwrite, inputs=inputs)
    scenes = load_scenes(args)
    return run_each(paths, lambda place: _run_photograph(paths[place], names[place], scenes, args), args.output)


def _check(args: argparse.Namespace) -> None:
    from deocclude.conditioning.people_finder import how_many

    if args.people is not None:
        how_many(args.people)
    if args.people and (args.mask or args.box or args.point):
        raise InputError("--people chooses among those found; leave it out where --mask, --box or --point names people")
    if args.raw:
        raise InputError("--raw does not go with --layers, --people, --point and --extend")
    if joints_file(args.joints):
        raise InputError(
            "a file of joints does not go with --layers, --people, --point and --extend; give single ones by --joint"
        )


def _run_photograph(path: Path, name: str, scenes: SceneDeoccluder, args: argparse.Namespace) -> list[str]:
    from deocclude.images import open_image
    from deocclude.pipelines.scene_outputs import Source, write_scene

    image = open_image(path)
    start = time.perf_counter()
    scene = scenes(image, _request(path, image, args))
    seconds = time.perf_counter() - start
    if not scene.people:
        raise InputError(NOBODY)
    place = write_scene(args.output, name, scene, Source.of_file(path), overwrite=args.overwrite)
    return summary(scene, place, seconds)


def _request(path: Path, image: np.ndarray, args: argparse.Namespace) -> SceneRequest:
    from deocclude.images import open_mask
    from deocclude.pipelines.scene_people import SceneRequest

    is_wished = has_control(args)
    size_hw = (image.shape[0], image.shape[1])
    return SceneRequest(
        people=args.people or (1 if is_wished else "all"),
        modal_masks=[open_mask(mask_of(path, args.mask), size_hw)] if args.mask else [],
        boxes=args.box or [],
        points=args.point,
        extend=args.extend,
        controls=[control_from_arguments(args, image)] if is_wished else [],
    )


def summary(scene: Scene, place: Path, seconds: float) -> list[str]:
    """What to say about a photograph: how much of each person was hidden, who hides whom, and what to doubt."""
    hidden = ", ".join(f"{person.occlusion_ratio:.0%}" for person in scene.people)
    count = len(scene.people)
    who = "1 person" if count == 1 else f"{count} people"
    lines = [f"{place / 'overview.png'}: {who}, hidden: {hidden} ({seconds:.1f} s)"]
    for cycle in scene.order.cycles:
        people = ", ".join(str(one + 1) for one in cycle)
        lines.append(f"note: people {people} hide one another in turn; no order is true of them")
    for number, person in enumerate(scene.people, start=1):
        lines += [f"note: person {number}: {note}" for note in notes_of(person)]
    return lines
