"""`deocclude score`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from deocclude.evaluation.columns import INVENTION_COLUMNS

HELP = "Compare predictions with the truth: a CSV with a row a person, and averages, by occlusion ratio and group too."
EXAMPLE = "deocclude score --data bench/ --predictions predictions/feedforward/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="SET", help="the occlusion set, with its truth")
    parser.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="PRED",
        help="folder of 'deocclude predict', or laid out like it",
    )


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from deocclude.data.occlusion_set import OcclusionSet
    from deocclude.evaluation.picture_networks import open_comparisons
    from deocclude.evaluation.predictions import PredictionFolder
    from deocclude.evaluation.score import score_set
    from deocclude.evaluation.score_files import SCORES_CSV, SCORES_JSON, write_scores

    folder = PredictionFolder(args.predictions)
    scores = score_set(
        OcclusionSet(args.data),
        folder,
        comparisons=open_comparisons(),
        progress=partial(tqdm, desc="score", unit=" people", disable=None),
    )
    summary = write_scores(scores, folder, set_name=args.data.resolve().name)
    print(_summary_lines(summary))
    print(f"written: {args.predictions / SCORES_CSV}, {args.predictions / SCORES_JSON}")
    for sentence in scores.unreadable.values():
        print(f"deocclude: error: {sentence}", file=sys.stderr)
    return 2 if scores.unreadable else 0


PRINTED = ("modal_iou", "iou", "invisible_iou", "mask_l1", *INVENTION_COLUMNS, "content_l1", "rgb_l1", "psnr",
           "content_l1_best_of_n", "rgb_l1_best_of_n", "psnr_best_of_n",
           "lpips_alexnet", "feature_distance_efficientnet_lite0")  # fmt: skip

_WIDTH = 40


def _summary_lines(summary: dict[str, Any]) -> str:
    return "\n".join([*_mean_lines(summary["overall"]), *_picture_lines(summary), *_people_lines(summary)])


def _mean_lines(overall: dict[str, Any]) -> list[str]:
    from deocclude.evaluation.columns import COLUMNS

    lines = []
    for column in (COLUMNS[key] for key in PRINTED):
        mean, interval = overall[f"{column.key}_mean"], overall[f"{column.key}_interval"]
        if mean is not None:
            pooled = f"   pooled {overall[f'{column.key}_pooled']:.4f}" if f"{column.key}_pooled" in overall else ""
            undefined = overall["undefined"][column.key]
            left_out = f"   undefined for {undefined}" if undefined else ""
            title = column.name + (f" ({column.network})" if column.network else "")
            lines.append(_line(title, mean) + f"   95 % {interval[0]:.4f} to {interval[1]:.4f}{pooled}{left_out}")
    return lines


def _picture_lines(summary: dict[str, Any]) -> list[str]:
    """Figures of all pictures together, and why one is missing."""
    from deocclude.evaluation.columns import COLUMNS

    lines = []
    for key, figure in summary["set_figures"].items():
        column = COLUMNS[key]
        deviation = f" ± {figure['std']:.4f} over subsets of {figure['subset_size']}" if "std" in figure else ""
        lines.append(_line(f"{column.name} ({column.network})", figure["mean"]) + deviation)
    return [*lines, *(f"not here: {sentence}" for sentence in dict.fromkeys(summary["unavailable"].values()))]


def _people_lines(summary: dict[str, Any]) -> list[str]:
    lines = [f"{'people':<{_WIDTH}}{summary['overall']['n']:8d}"]
    for name, sentence in (
        ("failed", "scored as an empty answer"),
        ("missing", "without a prediction, not scored"),
    ):
        if summary[name]:
            shown = ", ".join(summary[name][:5]) + (", …" if len(summary[name]) > 5 else "")
            lines.append(f"{name:<{_WIDTH}}{len(summary[name]):8d}   {sentence}: {shown}")
    return lines


def _line(title: str, value: float | None) -> str:
    return f"{title:<{_WIDTH}}" + ("       –" if value is None else f"{value:8.4f}")
