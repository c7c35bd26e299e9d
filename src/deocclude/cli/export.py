"""`deocclude export`: an occlusion set, or predictions over it, in the formats other programs read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError

if TYPE_CHECKING:
    from deocclude.data.annotations import PersonMasks
    from deocclude.data.occlusion_set import OcclusionSample, OcclusionSet

HELP = "Write an occlusion set, or a method's predictions over it, as COCO or COCOA JSON or as a folder of people."
EXAMPLE = """
deocclude export coco bench/ --predictions predictions/feedforward/ --output feedforward.json
deocclude export cocoa cocoa/ --output cocoa.json
deocclude export people ahp/ --output ahp-people/
The pictures stay in the set: file names in a JSON start there. What cannot be used is named at the end and left out.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)
    coco = formats.add_parser("coco", help="COCO JSON: segmentation is the amodal mask, visible_mask the modal one")
    cocoa = formats.add_parser("cocoa", help="COCOA JSON: regions with order and occlude_rate")
    people = formats.add_parser("people", help="whole people as 'synthesize --people' and 'train --people' read them")
    for each in (coco, cocoa, people):
        each.add_argument("set", type=Path, metavar="SET", help="the occlusion set")
    for each in (coco, cocoa):
        each.add_argument("--predictions", type=Path, metavar="PRED", help="write these masks instead of the set's own")
    coco.add_argument("--output", "-o", type=Path, required=True, metavar="JSON", help="the file to write")
    cocoa.add_argument(
        "--output", "-o", type=Path, required=True, metavar="JSON|DIR", help="one file, or a folder of one a picture"
    )
    people.add_argument("--output", "-o", type=Path, required=True, metavar="DIR", help="the folder to write")
    for each in (coco, cocoa, people):
        each.add_argument("--overwrite", action="store_true", help="replace what exists")


def run(args: argparse.Namespace) -> int:
    from deocclude.data.occlusion_set import OcclusionSet

    people = OcclusionSet(args.set)
    failures: list[str] = []
    count = _write_people(people, args, failures) if args.format == "people" else _write_json(people, args, failures)
    for sentence in failures:
        print(f"deocclude: error: {sentence}", file=sys.stderr)
    print(f"{count} people in {args.output}" + (f"; {len(failures)} left out" if failures else ""))
    return 2 if failures else 0


def _write_people(people: OcclusionSet, args: argparse.Namespace, failures: list[str]) -> int:
    from deocclude.data.people_folder import PeopleFolderWriter

    with PeopleFolderWriter(args.output, overwrite=args.overwrite) as writer:
        for sample in _samples(people, failures):
            try:
                writer.write(sample)
            except InputError as error:
                failures.append(str(error))
        _check_somebody(len(writer.rows), failures)
    return len(writer.rows)


def _write_json(people: OcclusionSet, args: argparse.Namespace, failures: list[str]) -> int:
    from deocclude.data.annotations import coco_json, cocoa_files, cocoa_json

    is_folder = args.format == "cocoa" and args.output.suffix != ".json"
    _check_output(args.output, is_folder=is_folder, overwrite=args.overwrite)
    masks = _masks(people, args.predictions, failures)
    if args.format == "coco":
        content = coco_json(masks)
        count = len(content["annotations"])
    else:
        content = cocoa_json(masks)
        count = sum(picture["size"] for picture in content["annotations"])
    _check_somebody(count, failures)
    if is_folder:
        args.output.mkdir(parents=True, exist_ok=True)
        for stem, picture in cocoa_files(content).items():
            _save_json(args.output / f"{stem}.json", picture)
    else:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        _save_json(args.output, content)
    return count


def _samples(people: OcclusionSet, failures: list[str]) -> Iterator[OcclusionSample]:
    """Everybody who can be read; a sentence in `failures` for each of the others."""
    from tqdm import tqdm

    for index in tqdm(range(len(people)), desc="export", unit=" people", disable=None):
        try:
            sample = people[index]
        except InputError as error:
            failures.append(str(error))
        else:
            yield sample


def _masks(people: OcclusionSet, predictions: Path | None, failures: list[str]) -> Iterator[PersonMasks]:
    """Everybody's masks. People whose pictures are the same, pixel by pixel, share the picture of the first."""
    pictures: dict[bytes, str] = {}
    for sample in _samples(people, failures):
        path = people.occluded_path(sample.id).relative_to(people.root).as_posix()
        path = pictures.setdefault(_fingerprint(sample), path)
        try:
            yield _person_masks(sample if predictions is None else _predicted(sample, predictions), path)
        except InputError as error:
            failures.append(str(error))


def _fingerprint(sample: OcclusionSample) -> bytes:
    import hashlib

    return hashlib.sha256(repr(sample.occluded.shape).encode() + sample.occluded.tobytes()).digest()


def _predicted(sample: OcclusionSample, predictions: Path) -> OcclusionSample:
    """The person as the method sees them. What it took to be visible belongs to its whole person."""
    import numpy as np

    from deocclude.evaluation.predictions import PredictionFolder

    size_hw = sample.amodal.shape[0], sample.amodal.shape[1]
    prediction = PredictionFolder(predictions).read(sample.id, size_hw)
    if prediction is None:
        raise InputError(f"{predictions}: has no prediction for '{sample.id}'")
    modal = sample.modal if prediction.modal_mask is None else prediction.modal_mask
    amodal = prediction.amodal_mask | modal
    return replace(sample, modal=modal, amodal=amodal, not_scored=np.zeros_like(amodal), is_amodal_known=True)


def _person_masks(sample: OcclusionSample, picture: str) -> PersonMasks:
    from deocclude.data.annotations import PersonMasks

    if not sample.is_amodal_known:
        raise InputError(f"{sample.id}: nobody knows the whole person; give --predictions")
    if not sample.amodal.any():
        raise InputError(f"{sample.id}: the amodal mask is empty")
    order = sample.row.get("order", "")
    return PersonMasks(
        id=sample.id,
        picture=picture,
        modal=sample.modal,
        amodal=sample.amodal,
        not_scored=sample.not_scored,
        name=sample.row.get("name") or "person",
        order=int(order) if order.isdecimal() else None,
    )


def _check_output(output: Path, *, is_folder: bool, overwrite: bool) -> None:
    if output.exists() and output.is_dir() != is_folder:
        raise InputError(f"{output}: exists already and is a {'file' if is_folder else 'folder'}")
    taken = any(output.iterdir()) if output.is_dir() else output.exists()
    if taken and not overwrite:
        raise InputError(f"{output}: exists already; choose another place or say --overwrite")


def _check_somebody(count: int, failures: list[str]) -> None:
    if not count:
        raise InputError(f"nobody was exported; {failures[0]}")


def _save_json(path: Path, content: dict[str, Any]) -> None:
    import json

    from deocclude.files import written_whole

    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
