"""One method on ordinary photographs beside the floors: the visible part given, and found in a box.

    python benchmarks/ordinary.py bench-wild/ wild/ --output runs/ordinary/ [--mask-stage NAME|FILE] [--masks-only]

A set is one of `deocclude predict`; its manifest gives the boxes. Each line of the table is printed for a set that has
what it needs: a known whole person, people marked as whole, keypoints drawn by hand. A run that was stopped resumes;
for another method choose another folder. The RGB stage runs only where the image without the occluder is known.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deocclude.cli.run import add_method_arguments, load_deoccluder
from deocclude.data.occlusion_set import OcclusionSet
from deocclude.evaluation.columns import COLUMNS, UNKNOWN
from deocclude.evaluation.formats import markdown
from deocclude.evaluation.predict import Protocol, predict
from deocclude.evaluation.predictions import PredictionFolder
from deocclude.evaluation.score import score_set
from deocclude.evaluation.score_files import write_scores
from deocclude.evaluation.table import figure
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.stages.completers.trivial import ConvexHullMask, CopyInputMask, CopyInputRgb, MeanColourRgb

Summary = Mapping[str, Any]

MASKS, CONTENT = ("iou", "invisible_iou"), ("content_l1",)
OVERALL = (
    ("mIoU; mIoU-inv", MASKS),
    ("mask L1", ("mask_l1",)),
    ("content L1", CONTENT),
    ("modal IoU; people of whom ≥ .8", ("modal_iou", "modal_iou_from_80")),
    ("own visible body called hidden; people of whom > 5 %", ("self_invention", "self_invention_above_5")),
    ("whole people: invented area; people of whom > 3 %", ("whole_invented", "whole_invented_above_3")),
    ("hidden keypoints outside the visible body reached", ("keypoints_reached",)),
    ("invented area of all people", ("invented",)),
    ("islands: fraction of what is invented; people with any", ("islands", "has_islands")),
)
"""The lines of a set: a title, and columns of `deocclude score`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", metavar="SET")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="predictions and scores")
    parser.add_argument("--masks-only", action="store_true", help="leave out the RGB stage and content L1")
    parser.add_argument("--by", default="kind", metavar="COLUMN", help="of the manifest: mIoU of each group too")
    parser.add_argument("--limit", type=int, metavar="N", help="only each set's first N people")
    add_method_arguments(parser)
    args = parser.parse_args()

    lines, names = [], ["copy the input", "convex hull", "visible mask given", "box given"]
    for root in args.data:
        people = OcclusionSet(root)
        summaries = [measured(name, people, args) for name in names]
        lines += set_lines(root.resolve().name, summaries, args)
    print(markdown(["set: figure", *names], lines))


def measured(name: str, people: OcclusionSet, args: argparse.Namespace) -> Summary:
    """Predict and score one column of the table; what is there already is kept."""
    folder = PredictionFolder(args.output / people.root.resolve().name / name.replace(" ", "-"))
    has_colours = (people.root / "whole").is_dir() and not args.masks_only
    progress = partial(tqdm, desc=f"{people.root.resolve().name}, {name}", unit=" people", disable=None)
    protocol = Protocol(modal="box" if name == "box given" else "given")
    predict(method(name, has_colours, args), people, folder, protocol, limit=args.limit, progress=progress)
    return write_scores(score_set(people, folder), folder, set_name=people.root.resolve().name)


def method(name: str, has_colours: bool, args: argparse.Namespace) -> Deoccluder:
    """The floors need no network: they get no segmenter."""
    if name == "copy the input":
        return Deoccluder(None, CopyInputMask(), CopyInputRgb())
    if name == "convex hull":
        return Deoccluder(None, ConvexHullMask(), MeanColourRgb())
    chosen = argparse.Namespace(**vars(args))
    if not has_colours:
        chosen.rgb_stage = CopyInputRgb.name
    return load_deoccluder(chosen)


def set_lines(set_name: str, summaries: list[Summary], args: argparse.Namespace) -> Iterable[list[str]]:
    """A set's lines of the table, without those that no column has a figure for."""
    lines = []
    for title, keys in OVERALL:
        if not (args.masks_only and keys == CONTENT):
            head = f"{set_name}: {title} (n {num_defined(summaries, keys[0])})"
            lines.append([head, *(cell(one["overall"], keys) for one in summaries)])
    groups = [one["by_group"].get(args.by, {}) for one in summaries]
    for value in dict.fromkeys(value for parts in groups for value in parts):
        head = f"{set_name}: mIoU; mIoU-inv, {args.by} {value}"
        lines.append([head, *(cell(parts.get(value, {}), MASKS) for parts in groups)])
    return [line for line in lines if any(set(text) - set(f"{UNKNOWN}; ") for text in line[1:])]


def cell(part: Summary, keys: tuple[str, ...]) -> str:
    """Figures of one column of the table: `0.818; 0.487`."""
    return "; ".join(COLUMNS[key].text(figure(part, key)) for key in keys)


def num_defined(summaries: list[Summary], key: str) -> int:
    """People in whom the figure is defined, in the column that has most of them."""
    return max(int(one["overall"]["n"]) - int(one["overall"]["undefined"][key]) for one in summaries)


if __name__ == "__main__":
    main()
