"""`deocclude import`: somebody's data set as an occlusion set.

The name is a keyword of Python's: like every verb's, this module is loaded by its name as text.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.cli.numbers import natural, positive
from deocclude.errors import InputError

if TYPE_CHECKING:
    from deocclude.data.occlusion_records import OcclusionRecord
    from deocclude.data.occlusion_set import OcclusionSetWriter

HELP = "Turn a data set (AHP, COCOA, COCO, CCP, a folder of yours) into an occlusion set, the folder every verb reads."
EXAMPLE = """
deocclude import cocoa COCO_amodal_val2014.json --images val2014/ --output cocoa/
deocclude import folder photos/ --modal masks/ --amodal whole_masks/ --output mine/
What cannot be used is named at the end and left out; 'deocclude import FORMAT --help' says more.
"""


_FORMAT_EXAMPLES = {
    "ahp": "deocclude import ahp ahp-test/ --output ahp/",
    "cocoa": "deocclude import cocoa COCO_amodal_val2014.json --images val2014/ --output cocoa/",
    "coco": "deocclude import coco instances_val2017.json --images val2017/ --output coco/",
    "ccp": "deocclude import ccp ccp/ --split val --output ccp-val/",
    "folder": "deocclude import folder photos/ --modal masks/ --amodal whole_masks/ --output mine/",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)

    ahp = _add_format(formats, "ahp", "folders arranged as docs/data.md says, or COCO-style JSON")
    ahp.add_argument(
        "source",
        nargs="+",
        type=Path,
        metavar="DIR|JSON",
        help="a folder with images/ and masks/ (whole people), or with occluded/, modal/ and amodal/ (test pictures); "
        "or amodal annotations",
    )
    _add_images(ahp)

    cocoa = _add_format(formats, "cocoa", "amodal JSON: COCOA's in one file or one a picture, or COCO-style")
    cocoa.add_argument("source", nargs="+", type=Path, metavar="JSON|DIR", help="files, or folders of them")
    _add_images(cocoa)
    cocoa.add_argument("--occluded", action="store_true", help="only people of whom something is hidden")
    cocoa.add_argument(
        "--name", action="append", metavar="TEXT", help="take the regions of this name instead of persons; repeatable"
    )

    coco = _add_format(formats, "coco", "COCO instances: the visible part of each person is all that is known")
    coco.add_argument("source", nargs="+", type=Path, metavar="JSON", help="instances files")
    coco.add_argument("--images", type=Path, required=True, metavar="DIR", help="the pictures")
    coco.add_argument("--min-area", type=natural, default=1024, metavar="N", help="leave out people of fewer pixels")

    ccp = _add_format(formats, "ccp", "whole people of the CCP folder: nothing is hidden")
    ccp.add_argument("source", nargs="+", type=Path, metavar="DIR", help="with index.csv, images/ and masks/")
    ccp.add_argument("--split", choices=("train", "val"), default="val", help="as index.csv gives it")

    folder = _add_format(formats, "folder", "your pictures and masks; a mask has its picture's stem, or STEM_NUMBER")
    folder.add_argument("source", nargs="+", type=Path, metavar="PICTURES", help="files or folders")
    folder.add_argument("--modal", type=Path, metavar="DIR", help="masks of what is visible (default: all is visible)")
    folder.add_argument(
        "--amodal", type=Path, metavar="DIR", help="masks of the whole person (default: nobody knows them)"
    )
    folder.add_argument("--whole", type=Path, metavar="DIR", help="pictures without the occluder, named as the masks")


def _add_format(formats: Any, name: str, help: str) -> argparse.ArgumentParser:
    """A format with its example and the options that all have."""
    parser: argparse.ArgumentParser = formats.add_parser(
        name, help=help, description=help, epilog=f"example:\n  {_FORMAT_EXAMPLES[name]}"
    )
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="SET", help="folder of the occlusion set")
    parser.add_argument("--count", type=positive, metavar="N", help="only so many people, drawn by the seed")
    parser.add_argument("--seed", type=natural, default=0, help="of the draw")
    parser.add_argument("--image-format", choices=("png", "webp"), default="png", help="of the pictures, lossless")
    parser.add_argument("--overwrite", action="store_true", help="replace a set that exists")
    return parser


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, metavar="DIR", help="the pictures of a JSON (default: beside it)")


def run(args: argparse.Namespace) -> int:
    from deocclude.data.occlusion_records import drawn
    from deocclude.data.occlusion_set import OcclusionSetWriter

    _check_apart(args)
    with OcclusionSetWriter(args.output, overwrite=args.overwrite, image_format=args.image_format) as writer:
        records, failures = _read(args)
        if args.count is not None:
            records = drawn(records, args.count, seed=args.seed)
        failures += _write(records, writer)
        if not writer.rows:
            raise InputError(f"nobody was imported; {failures[0] if failures else _whom_else(args)}")
    for sentence in failures:
        print(f"deocclude: error: {sentence}", file=sys.stderr)
    print(f"{len(writer.rows)} people in {args.output}" + (f"; {len(failures)} left out" if failures else ""))
    return 2 if failures else 0


def _check_apart(args: argparse.Namespace) -> None:
    """Raise InputError where the set would take the place of what it is made from."""
    output = args.output.resolve()
    for path in (*args.source, *(getattr(args, name, None) for name in ("images", "modal", "amodal", "whole"))):
        if path is not None and (path.resolve() == output or output in path.resolve().parents):
            raise InputError(f"{args.output}: holds {path}, which is to be imported; choose another folder")


def _read(args: argparse.Namespace) -> tuple[list[OcclusionRecord], list[str]]:
    """Everybody there is, and a sentence for each source that cannot be used."""
    from deocclude.data.mask_folders import read_mask_folders

    if args.format == "folder":  # its masks may belong to the pictures of any source
        folders = {"modal_dir": args.modal, "amodal_dir": args.amodal, "whole_dir": args.whole}
        return list(read_mask_folders(args.source, **folders)), []
    records: list[OcclusionRecord] = []
    failures = []
    for source in _sources(args):
        try:
            records += _read_source(source, args)
        except InputError as error:
            failures.append(str(error))
    return records, failures


def _sources(args: argparse.Namespace) -> list[Path]:
    """The sources; in place of a folder of COCOA's files, the files."""
    if args.format != "cocoa":
        return list(args.source)
    return [file for path in args.source for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]


def _read_source(source: Path, args: argparse.Namespace) -> Sequence[OcclusionRecord]:
    from deocclude.data.ccp import read_ccp
    from deocclude.data.coco_people import read_coco_people
    from deocclude.data.cocoa import anything, read_amodal_json
    from deocclude.data.mask_folders import read_ahp_folder
    from deocclude.data.occlusion_records import WholePerson

    match args.format:
        case "ahp" if source.suffix == ".json":  # people are all it annotates, by whatever name
            return read_amodal_json(source, args.images, is_wanted=anything)
        case "ahp":
            return read_ahp_folder(source)
        case "cocoa":
            people = read_amodal_json(source, args.images, is_wanted=_is_wanted(args))
            return [person for person in people if person.is_occluded or not args.occluded]
        case "coco":
            return read_coco_people(source, args.images, min_area=args.min_area)
        case _:
            return [WholePerson(record) for record in read_ccp(source, args.split)]


def _is_wanted(args: argparse.Namespace) -> Callable[[str], bool]:
    from deocclude.data.person_names import is_person_name, plain_name

    if args.name is None:
        return is_person_name
    wanted = {plain_name(name) for name in args.name}
    return lambda name: plain_name(name) in wanted


def _write(records: Iterable[OcclusionRecord], writer: OcclusionSetWriter) -> list[str]:
    """Write everybody who can be; a sentence for each of the others."""
    from tqdm import tqdm

    failures = []
    for record in tqdm(records, desc="import", unit=" people", disable=None):
        try:
            sample = record.load()
            if not sample.modal.any():
                raise InputError(f"{record.id}: nothing of the person is visible")
            writer.write(sample)
        except InputError as error:
            failures.append(str(error))
    return failures


def _whom_else(args: argparse.Namespace) -> str:
    """What to try where the sources hold nobody."""
    from deocclude.data.cocoa import names_in

    if args.format == "cocoa" and not args.occluded:
        names = list(dict.fromkeys(name for source in _sources(args) for name in names_in(source)))
        wanted = "a person" if args.name is None else "called that"
        if names:
            return f"no region is {wanted}; choose with --name from {', '.join(names[:12])}{', …' * (len(names) > 12)}"
    return "the sources hold nobody"
