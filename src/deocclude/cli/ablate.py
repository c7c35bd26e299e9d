"""`deocclude ablate`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from deocclude.cli.numbers import natural
from deocclude.errors import InputError

HELP = "Train and test the papers' ablations small, row by row; what is done is not done again."
EXAMPLE = """
deocclude ablate --list
deocclude ablate a-sub-joints b-all --people ccp/ --occluders coco/instances_train.json \\
    --occluder-images coco/images/ --data bench/ --runs runs/ablations/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help="names as --list has them (default: all)")
    parser.add_argument("--list", action="store_true", help="the trials, and the rows of tables they are")
    parser.add_argument("--people", type=Path, metavar="DIR", help="a CCP folder, of which `train` is trained on")
    parser.add_argument("--occluders", type=Path, metavar="COCO.json", help="COCO instances file to train with")
    parser.add_argument("--occluder-images", type=Path, metavar="DIR", help="its pictures")
    parser.add_argument("--data", type=Path, metavar="SET", help="the occlusion set to test on")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"), metavar="DIR", help="trainings")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="score files to keep")
    parser.add_argument("--seeds", type=natural, nargs="+", default=[0, 1, 2], metavar="N", help="of the trainings")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from deocclude.evaluation.ablations import TRIALS, Places, run_trial

    if args.list:
        _list()
        return 0
    for name in args.trials:
        if name not in TRIALS:
            raise InputError(f"no trial '{name}'; 'deocclude ablate --list' has them")
    pictures = (args.people, args.occluders, args.occluder_images)
    if None in (*pictures, args.data):
        raise InputError("training and testing need --people, --occluders, --occluder-images and --data")
    places = Places(pictures=pictures, people=args.data, runs=args.runs, results=args.results)
    jobs = [(name, seed) for seed in args.seeds for name in args.trials or TRIALS]
    for name, seed in tqdm(jobs, desc="ablations", unit=" trials", disable=None):
        run_trial(name, seed, places, on_command=lambda command: print(f"deocclude {shlex.join(command)}", flush=True))
    return 0


def _list() -> None:
    from deocclude.evaluation.ablations import TABLES, TRIALS

    width = max(map(len, TRIALS))
    for name in TRIALS:
        rows = [f"{table} {row}" for table, rows in TABLES.items() for row, trial in rows.items() if trial == name]
        print(f"{name:<{width}}  {', '.join(rows)}")
