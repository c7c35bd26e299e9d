"""`deocclude run`: complete the people in photographs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.cli.numbers import natural, positive
from deocclude.cli.scene_args import (
    OnlyOnce,
    add_control_arguments,
    add_people_arguments,
    control_from_arguments,
    has_control,
    parse_box,
    parse_point,
)
from deocclude.errors import InputError, printable

if TYPE_CHECKING:
    from deocclude.pipelines.deoccluder import Deoccluder
    from deocclude.types import Deocclusion

HELP = "Complete the people in photographs: masks, the completed picture, a cut-out and a JSON for each person."
EXAMPLE = """
deocclude run photo.jpg --output out/
deocclude run photo.jpg --people all --extend auto --output out/
deocclude run photo.jpg --point 412,300 --layers --output out/
deocclude run photo.jpg --box 120,40,380,600 --box 400,60,610,590 --output out/
deocclude run photos/ 'more/**/*.png' --mask masks/ --output out/
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """One photograph: the names of its people, where they and their joints are (None: find out), what is written."""

    path: Path
    names: list[str]
    boxes: list[tuple[float, float, float, float] | None]
    mask_path: Path | None
    joints_path: Path | None
    kinds: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="+", metavar="INPUT", help="photographs, folders of them, or globs")
    parser.add_argument("--output", "-o", type=Path, default=Path("deoccluded"), metavar="DIR", help="where results go")
    where = parser.add_argument_group("who is meant (else the most prominent person, and with --layers everybody)")
    where.add_argument(
        "--mask",
        type=Path,
        action=OnlyOnce,
        metavar="FILE|DIR",
        help="the visible part, white on black; or a folder of such, by stem",
    )
    where.add_argument(
        "--box",
        type=parse_box,
        action="append",
        metavar="X0,Y0,X1,Y1",
        help="where to look, in pixels of the upright picture; once for each person",
    )
    where.add_argument(
        "--point",
        type=parse_point,
        action="append",
        default=[],
        metavar="X,Y",
        help="a pixel of the person, as if clicked; once for each person",
    )
    add_people_arguments(where, default=None)
    parser.add_argument(
        "--layers",
        action="store_true",
        help="a folder for each photograph, with layers (.ora); --people, --point and --extend make one too",
    )
    add_control_arguments(parser)
    add_method_arguments(parser)
    parser.add_argument(
        "--joints",
        metavar="movenet|embedded|vitpose|FILE",
        help="who finds the joints, or a JSON file of the person's (OpenPose's too)",
    )
    parser.add_argument(
        "--candidates", type=positive, default=1, metavar="N", help="pictures of each person, all kept, the best first"
    )
    parser.add_argument("--raw", action="store_true", help="also write the RGB stage's own picture, on white")
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")


def add_method_arguments(parser: argparse.ArgumentParser) -> None:
    """Which method and how it runs: the same for every verb that runs one."""
    from deocclude.cli.stage_args import add_choice, add_stage_options

    method = parser.add_argument_group("method (docs/baselines.md has all stages)")
    own = "; or weights that 'train' wrote"
    add_choice(method, "--preset", "preset", "mask stage and RGB stage together")
    add_choice(method, "--mask-stage", "mask", "another mask stage", own)
    add_choice(method, "--rgb-stage", "RGB", "another RGB stage", own)
    method.add_argument(
        "--refine-modal", action="store_true", help="take stage 1's modal mask instead of the segmenter's, as the paper"
    )
    add_stage_options(parser)
    method.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, …")
    method.add_argument(
        "--dtype",
        default="auto",
        help="float32, bfloat16, float16; auto is float32, for a large stage bfloat16 if the device computes in it",
    )
    method.add_argument("--seed", type=natural, default=0, help="the same seed gives the same bytes on a CPU")


def run(args: argparse.Namespace) -> int:
    from deocclude.conditioning.sources import check_finder_name
    from deocclude.images import find_images
    from deocclude.pipelines.outputs import check_folder, person_names, picture_kinds

    paths = find_images(args.input)
    _check_choice(args, paths)
    check_finder_name(args.finder)
    is_named = bool(args.mask or args.box or args.point)
    if args.finder != "embedded" and (is_named or not (args.people or args.layers or args.extend)):
        raise InputError("--finder finds people for --people; say --people all, or leave it out")
    if args.layers or args.people or args.point or args.extend:
        from deocclude.cli.run_scenes import run_scenes

        return run_scenes(args, paths)
    kinds = picture_kinds(raw=args.raw, num_candidates=args.candidates)
    boxes = args.box or [None]
    names = person_names(paths, len(boxes))
    joints = joints_file(args.joints)
    inputs = [*paths, *filter(None, (args.protect, args.reference, joints))]
    if args.mask:
        inputs += [mask for path in paths for mask in _masks_of(path, args.mask)]
    all_names = [name for group in names for name in group]
    check_folder(args.output, all_names, kinds=kinds, inputs=inputs, overwrite=args.overwrite)
    jobs = [_Job(path, group, boxes, args.mask, joints, kinds) for path, group in zip(paths, names, strict=True)]
    if len(jobs) == 1:  # nothing to compute if the one picture cannot be used; an error here ends the command
        _open_job(jobs[0])
    deoccluder = load_deoccluder(args)
    return run_each(paths, lambda place: _run_job(jobs[place], deoccluder, args), args.output)


def load_deoccluder(args: argparse.Namespace) -> Deoccluder:
    """The method that the options of `add_method_arguments` describe."""
    from deocclude.cli.stage_args import given_options
    from deocclude.conditioning.sources import JOINT_SOURCES
    from deocclude.pipelines.deoccluder import Deoccluder

    joints = getattr(args, "joints", None)
    if joints is not None and joints not in JOINT_SOURCES:
        joints = "embedded"  # a file has them: no pose estimator is to be loaded
    return Deoccluder.from_preset(
        args.preset,
        mask_stage=args.mask_stage,
        rgb_stage=args.rgb_stage,
        rgb_options=given_options(args),
        joints=joints,
        refine_modal=args.refine_modal,
        num_candidates=getattr(args, "candidates", 1),
        device=args.device,
        dtype=args.dtype,
        seed=args.seed,
    )


def _check_choice(args: argparse.Namespace, paths: Sequence[Path]) -> None:
    if args.mask and args.box:
        raise InputError("give --mask or --box, not both: the mask says where the person is")
    if args.box and len(paths) > 1:
        raise InputError(f"--box belongs to one photograph, and the input is {len(paths)}; run them one by one")
    if args.joints and len(paths) > 1 and joints_file(args.joints):
        raise InputError(f"--joints {args.joints} belongs to one photograph, and the input is {len(paths)}")
    if args.point and (args.mask or args.box):
        raise InputError("say where people are by --mask, --box or --point, not by several of these")
    if args.point and len(paths) > 1:
        raise InputError(f"--point belongs to one photograph, and the input is {len(paths)}; run them one by one")
    if has_control(args) and (len(paths) > 1 or len(args.box or []) + len(args.point) > 1):
        raise InputError("constraints (--joint, --prompt, --protect, …) are about one person of one photograph")
    if args.mask and not args.mask.exists():
        raise InputError(f"{args.mask}: no such file or folder")
    if args.mask and args.mask.is_file() and len(paths) > 1:
        raise InputError(f"--mask {args.mask} is one file for {len(paths)} photographs; give a folder of masks")


def run_each(paths: Sequence[Path], do: Callable[[int], Sequence[str]], output: Path) -> int:
    """Do every photograph by its place and print its lines; one that cannot be done does not stop the others.

    Returns the exit code, having told which failed and why.
    """
    from tqdm import tqdm

    failures: list[tuple[Path, str]] = []
    for place, path in enumerate(tqdm(paths, unit="photo", disable=len(paths) == 1, file=sys.stderr)):
        try:
            for line in do(place):
                tqdm.write(line)
        except InputError as error:
            failures.append((path, str(error)))
        except Exception as error:
            if len(paths) == 1:
                raise
            logger.exception("%s failed", path)
            failures.append((path, f"{type(error).__name__}: {error}"))
    return _report(failures, len(paths), output)


def _run_job(job: _Job, deoccluder: Deoccluder, args: argparse.Namespace) -> list[str]:
    """All people of a photograph: first computed, then written, so that a failure leaves nothing of it."""
    from deocclude.conditioning.people_finder import is_same_person
    from deocclude.pipelines.outputs import write_person

    image, modal_mask = _open_job(job)
    control = control_from_arguments(args, image)
    results = [
        deoccluder(image, modal_mask=modal_mask, box=box, joints=_joints(job, modal_mask, box), control=control)
        for box in job.boxes
    ]
    lines = []
    for name, box, result in zip(job.names, job.boxes, results, strict=True):
        asked: dict[str, Any] = {"asked_box_xyxy": list(box) if box else None}
        write_person(args.output, name, image, result, source=job.path, kinds=job.kinds, extra=asked)
        lines.append(summary(result, args.output / f"{name}_overview.png"))
        if others := result.facts.get("other_people_found"):
            lines.append(f"note: {_others(others)}; --people all completes everyone, --box or --point another person")
    masks = [result.modal_mask for result in results]
    for first, second in combinations(range(len(masks)), 2):
        if is_same_person(masks[first], masks[second]):
            lines.append(f"note: boxes {first + 1} and {second + 1} found the same person, who is completed twice")
    return lines


def _others(count: int) -> str:
    return "1 other person was found" if count == 1 else f"{count} other people were found"


def summary(result: Deocclusion, overview_path: Path) -> str:
    """One line about a person, and one for each thing to be told of the result."""
    seconds = sum(result.facts["seconds"].values())
    line = f"{printable(str(overview_path))}: {result.occlusion_ratio:.0%} of the person was hidden ({seconds:.2f} s)"
    return "\n".join([line, *(f"note: {note}" for note in notes_of(result))])


def notes_of(result: Deocclusion) -> list[str]:
    """What a user should be told of a person, doubts included."""
    doubts = "; ".join(result.facts["doubts"])
    return [*result.facts["notes"], *([f"not plausible: {doubts}"] if doubts else [])]


def _open_job(job: _Job) -> tuple[Any, Any]:
    """The photograph, uint8 (H, W, 3), and its mask, bool (H, W), if there is one."""
    from deocclude.images import open_image, open_mask

    image = open_image(job.path)
    if job.mask_path is None:
        return image, None
    return image, open_mask(mask_of(job.path, job.mask_path), image.shape[:2])


def joints_file(joints: str | None) -> Path | None:
    """`--joints` where it names a file and no joint source. Raises InputError where it is neither."""
    from deocclude.conditioning.sources import JOINT_SOURCES

    if joints is None or joints in JOINT_SOURCES:
        return None
    if not Path(joints).is_file():
        raise InputError(f"--joints {joints}: no such file; or choose from {', '.join(JOINT_SOURCES)}")
    return Path(joints)


def _joints(job: _Job, modal_mask: Any, box: Any) -> Any:
    """The joints of the person meant from the file given, float32 (25, 3); None without a file."""
    from deocclude.conditioning.pose_estimator import joints_from_file

    if job.joints_path is None:
        return None
    box_xyxy = None if box is None else tuple(round(value) for value in box)
    return joints_from_file(job.joints_path, box_xyxy=box_xyxy, modal_mask=modal_mask)


def mask_of(path: Path, mask_path: Path) -> Path:
    """The photograph's mask. Raises InputError where a folder has none of its stem, or several."""
    found = _masks_of(path, mask_path)
    if len(found) == 1:
        return found[0]
    listed = f"several of that stem: {', '.join(p.name for p in found)}" if found else "none of that stem"
    raise InputError(f"{path}: needs one mask named {path.stem}.png in {mask_path}; there is {listed}")


def _masks_of(path: Path, mask_path: Path) -> list[Path]:
    """The mask itself, or those in a folder with the photograph's stem."""
    from deocclude.images import SUFFIXES

    if not mask_path.is_dir():
        return [mask_path]
    return sorted(p for p in mask_path.iterdir() if p.stem == path.stem and p.suffix.lower() in SUFFIXES)


def _report(failures: Sequence[tuple[Path, str]], total: int, output: Path) -> int:
    for path, reason in failures:
        name = printable(str(path))
        sentence = reason if name in reason else f"{name}: {printable(reason)}"
        print(f"deocclude: error: {sentence}", file=sys.stderr)
    if total > 1:
        print(f"{total - len(failures)} of {total} photographs done; results in {output}")
    return 2 if failures else 0
