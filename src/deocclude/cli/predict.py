"""`deocclude predict`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deocclude.cli.numbers import positive
from deocclude.cli.run import add_method_arguments, load_deoccluder

if TYPE_CHECKING:
    from deocclude.evaluation.predict import Outcome

HELP = "Run a method over an occlusion set; a run that was stopped goes on where it was."
EXAMPLE = """
deocclude predict --data bench/ --output predictions/feedforward/
deocclude predict --data bench/ --output predictions/hull/ --mask-stage convex-hull --rgb-stage mean-colour
deocclude predict --data bench-wild/ --output predictions/box/ --modal box
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="SET", help="the occlusion set")
    parser.add_argument("--output", type=Path, required=True, metavar="PRED", help="folder of predictions")
    told = parser.add_argument_group("what the method is told")
    told.add_argument(
        "--modal",
        choices=("given", "grown", "box", "predicted"),
        default="given",
        help="given: the set's true modal mask; grown: the same 5 to 30 %% larger; box: the manifest's columns "
        "x0, y0, x1, y1, as in run --box; predicted: the image alone",
    )
    told.add_argument(
        "--amodal",
        choices=("predicted", "true"),
        default="predicted",
        help="true: the RGB stage gets the set's true amodal mask and is judged alone",
    )
    told.add_argument(
        "--true-joints", action="store_true", help="the labels' joints, from the set's joints.json: no method has them"
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="keep the stages' own mask (with slivers) and picture (visible pixels included), as paper A does",
    )
    add_method_arguments(parser)
    parser.add_argument(
        "--candidates",
        type=positive,
        default=1,
        metavar="N",
        help="pictures of each person, of a stage that draws at random: 'score' tells the first from the best",
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="only the set's first N people")
    parser.add_argument("--overwrite", action="store_true", help="do again what the folder has")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from deocclude.data.occlusion_set import OcclusionSet
    from deocclude.evaluation.predict import Protocol, predict
    from deocclude.evaluation.predictions import PredictionFolder

    joints: Literal["found", "true"] = "true" if args.true_joints else "found"
    protocol = Protocol(modal=args.modal, amodal=args.amodal, joints=joints, raw=args.raw)
    people = OcclusionSet(args.data)
    outcome = predict(
        load_deoccluder(args),
        people,
        PredictionFolder(args.output),
        protocol,
        limit=args.limit,
        overwrite=args.overwrite,
        progress=partial(tqdm, desc="predict", unit=" people", disable=None),
    )
    return _report(outcome, args.output)


def _report(outcome: Outcome, output: Path) -> int:
    print(f"{len(outcome.done)} people done, {len(outcome.skipped)} were there; predictions in {output}")
    for person_id, sentence in outcome.failed.items():
        print(f"no answer for {person_id}: {sentence}")
    for sentence in outcome.unreadable.values():
        print(f"deocclude: error: {sentence}", file=sys.stderr)
    return 2 if outcome.unreadable else 0
