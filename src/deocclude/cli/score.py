"""`deocclude score`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

HELP = "Compare predictions with the truth: a CSV with a row a person, and averages by occlusion ratio."
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
    from deocclude.evaluation.predictions import PredictionFolder
    from deocclude.evaluation.score import SCORES_CSV, SCORES_JSON, score_set, write_scores

    folder = PredictionFolder(args.predictions)
    scores = score_set(
        OcclusionSet(args.data), folder, progress=partial(tqdm, desc="score", unit=" people", disable=None)
    )
    summary = write_scores(scores, folder, set_name=args.data.resolve().name)
    print(_summary_lines(summary))
    print(f"written: {args.predictions / SCORES_CSV}, {args.predictions / SCORES_JSON}")
    for sentence in scores.unreadable.values():
        print(f"deocclude: error: {sentence}", file=sys.stderr)
    return 2 if scores.unreadable else 0


def _summary_lines(summary: dict[str, Any]) -> str:
    overall, lines = summary["overall"], []
    for title, column in (
        ("modal IoU", "modal_iou"),
        ("mIoU", "iou"),
        ("mIoU-inv", "invisible_iou"),
        ("mask L1", "mask_l1"),
        ("content L1", "content_l1"),
        ("RGB L1", "rgb_l1"),
        ("PSNR", "psnr"),
    ):
        mean, interval = overall[f"{column}_mean"], overall[f"{column}_interval"]
        if mean is not None:
            pooled = f"   pooled {overall[f'{column}_pooled']:.4f}" if f"{column}_pooled" in overall else ""
            undefined = overall["undefined"][column]
            left_out = f"   undefined for {undefined}" if undefined else ""
            lines.append(f"{title:<11}{mean:8.4f}   95 % {interval[0]:.4f} to {interval[1]:.4f}{pooled}{left_out}")
    lines.append(f"{'people':<11}{overall['n']:8d}")
    for name, sentence in (
        ("failed", "scored as an empty answer"),
        ("missing", "without a prediction, not scored"),
    ):
        if summary[name]:
            shown = ", ".join(summary[name][:5]) + (", …" if len(summary[name]) > 5 else "")
            lines.append(f"{name:<11}{len(summary[name]):8d}   {sentence}: {shown}")
    return "\n".join(lines)
