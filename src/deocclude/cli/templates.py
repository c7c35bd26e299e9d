"""`deocclude templates`: cluster the pose templates of stage 1."""

from __future__ import annotations

import argparse
from pathlib import Path

from deocclude.cli.numbers import natural, positive
from deocclude.cli.train import add_data_arguments, training_images
from deocclude.errors import InputError

HELP = "Cluster body silhouettes into the pose templates of stage 1."
EXAMPLE = """
deocclude templates --people ccp/ --occluders coco/instances_train.json \\
    --occluder-images coco/images/ --output runs/templates.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="safetensors file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    parser.add_argument("--count", type=positive, default=64, metavar="N", help="number of templates")
    parser.add_argument("--size", type=positive, default=64, metavar="N", help="side of a template, pixels")
    parser.add_argument("--masks", type=positive, default=4096, metavar="N", help="silhouettes to cluster")
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help="of the pictures and the clustering")


def run(args: argparse.Namespace) -> int:
    from deocclude.training.config import TrainingConfig
    from deocclude.training.setup import build_synthesis, training_device
    from deocclude.training.templates import cluster_templates, save_templates

    if args.output.exists() and not args.overwrite:
        raise InputError(f"{args.output} exists already; choose another --output or give --overwrite")
    config = TrainingConfig(seed=args.seed)
    synthesis = build_synthesis(training_images(args), config, device=training_device("cpu"))
    templates = cluster_templates(synthesis, config, num_templates=args.count, size=args.size, num_masks=args.masks)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_templates(args.output, templates)
    print(f"{args.count} templates: {args.output}")
    return 0
