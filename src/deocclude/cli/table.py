"""`deocclude table`."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Put the scores of several predictions into one Markdown table."
EXAMPLE = """
deocclude table predictions/copy-input/ predictions/feedforward/
deocclude table --by-ratio predictions/feedforward/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "predictions",
        type=Path,
        nargs="+",
        metavar="PRED",
        help="folder that 'deocclude score' has scored: one row each",
    )
    parser.add_argument(
        "--by-ratio",
        action="store_true",
        help="a row for each bin of the occlusion ratio instead of one a folder",
    )


def run(args: argparse.Namespace) -> int:
    from deocclude.evaluation.table import method_table, ratio_table

    print(ratio_table(args.predictions) if args.by_ratio else method_table(args.predictions))
    return 0
