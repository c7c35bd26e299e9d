"""`deocclude table`."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Put the scores of several predictions into one Markdown table, or compare two person by person."
EXAMPLE = """
deocclude table predictions/copy-input/ predictions/feedforward/
deocclude table --by-ratio predictions/feedforward/
deocclude table --by kind predictions/feedforward/
deocclude table predictions/feedforward/ --against predictions/convex-hull/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "predictions",
        type=Path,
        nargs="+",
        metavar="PRED",
        help="folder that 'deocclude score' has scored: one row each",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--by-ratio",
        action="store_true",
        help="a row for each bin of the occlusion ratio instead of one a folder",
    )
    how.add_argument(
        "--by",
        metavar="COLUMN",
        help="a row for each value of a column of the manifest that groups people, such as the kind of occluder",
    )
    how.add_argument(
        "--against",
        type=Path,
        metavar="PRED",
        help="compare each folder with this one on the same people: mean difference, its interval, better and worse",
    )


def run(args: argparse.Namespace) -> int:
    from deocclude.evaluation.table import (
        group_table,
        invention_table,
        method_table,
        network_table,
        paired_table,
        ratio_table,
    )

    if args.by_ratio:
        tables = [ratio_table(args.predictions)]
    elif args.by:
        tables = [group_table(args.predictions, args.by)]
    elif args.against:
        tables = [paired_table(folder, args.against) for folder in args.predictions]
    else:
        tables = [method_table(args.predictions), invention_table(args.predictions), network_table(args.predictions)]
    print("\n\n".join(table for table in tables if table))
    return 0
