"""`deocclude gallery`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deocclude.cli.numbers import positive
from deocclude.cli.run import add_method_arguments, load_deoccluder
from deocclude.errors import InputError

if TYPE_CHECKING:
    from deocclude.evaluation.gallery import Photo
    from deocclude.evaluation.sheets import Strip

HELP = "Contact sheets of people chosen by seed, none by hand: good and bad results alike."
EXAMPLE = """
deocclude gallery --data bench/ --output sheets/
deocclude gallery --data bench/ --predictions predictions/feedforward/ --output sheets/ --seed 1
deocclude gallery --photos instances_val.json --images images/ --output sheets/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="SET", help="an occlusion set: input, truth, ours, and scores")
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="PRED",
        help="show these predictions instead of running the method",
    )
    parser.add_argument(
        "--modal",
        choices=("given", "box", "predicted"),
        default="given",
        help="what the method is given when it is run on SET: the true modal mask, the manifest's box, or neither",
    )
    parser.add_argument(
        "--photos",
        type=Path,
        metavar="DIR|JSON",
        help="photographs without truth: a folder, or COCO instances: people beside other objects",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the pictures of the COCO file")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the sheets go")
    parser.add_argument("--count", type=positive, default=24, metavar="N", help="people")
    add_method_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace sheets that exist")


def run(args: argparse.Namespace) -> int:
    if not args.data and not args.photos:
        raise InputError("nothing to show; give --data SET, --photos DIR|JSON or both")
    from deocclude.evaluation.gallery import PHOTO_TITLES, SET_TITLES

    wanted: list[tuple[str, Callable[[argparse.Namespace], list[Strip]], Sequence[str]]] = []
    if args.data:
        wanted.append(("people", _set_strips, SET_TITLES))
    if args.photos:
        wanted.append(("photos", _photo_strips, PHOTO_TITLES))
    for name, _, _ in wanted:
        if _sheet_path(args, name, 0).exists() and not args.overwrite:
            raise InputError(f"{_sheet_path(args, name, 0)} exists already; choose another folder or say --overwrite")
    unreadable: list[str] = []
    for name, make_strips, titles in wanted:
        strips = make_strips(args)
        _write_sheets(strips, titles, name, args)
        unreadable += [strip.caption for strip in strips if strip.is_unreadable]
    for sentence in unreadable:
        print(f"deocclude: error: {sentence}", file=sys.stderr)
    return 2 if unreadable else 0


def _sheet_path(args: argparse.Namespace, name: str, number: int) -> Path:
    return Path(args.output / f"{name}_seed{args.seed}_{number}.png")


def _set_strips(args: argparse.Namespace) -> list[Strip]:
    import numpy as np
    from tqdm import tqdm

    from deocclude.data.occlusion_set import OcclusionSet
    from deocclude.evaluation.gallery import answers_of_folder, answers_of_method, chosen, set_strips
    from deocclude.evaluation.predict import Protocol
    from deocclude.evaluation.predictions import PredictionFolder

    people = OcclusionSet(args.data)
    indices = chosen(range(len(people)), args.count, rng=np.random.default_rng(args.seed))
    if args.predictions:
        answer = answers_of_folder(PredictionFolder(args.predictions))
    else:
        answer = answers_of_method(load_deoccluder(args), Protocol(modal=args.modal))
    return set_strips(people, tqdm(indices, desc="people", disable=None), answer)


def _photo_strips(args: argparse.Namespace) -> list[Strip]:
    import numpy as np
    from tqdm import tqdm

    from deocclude.evaluation.gallery import chosen, photo_strips

    photos = chosen(_photos(args), args.count, rng=np.random.default_rng(args.seed))
    return photo_strips(tqdm(photos, desc="photos", disable=None), load_deoccluder(args))


def _photos(args: argparse.Namespace) -> Sequence[Photo]:
    from deocclude.data.coco import read_coco
    from deocclude.evaluation.gallery import Photo, occluded_people
    from deocclude.images import find_images

    if args.photos.suffix != ".json":
        return [Photo(path) for path in find_images([args.photos])]
    if not args.images:
        raise InputError(f"{args.photos}: a COCO file needs its pictures; give --images DIR")
    photos = occluded_people(read_coco(args.photos, args.images))
    if not photos:
        raise InputError(f"{args.photos}: no person there shares a place with another object")
    return photos


def _write_sheets(strips: list[Strip], titles: Sequence[str], name: str, args: argparse.Namespace) -> None:
    from deocclude.evaluation.sheets import contact_sheets
    from deocclude.images import save_image

    args.output.mkdir(parents=True, exist_ok=True)
    for number, sheet in enumerate(contact_sheets(strips, titles)):
        path = _sheet_path(args, name, number)
        save_image(path, sheet, overwrite=args.overwrite)
        print(path)
