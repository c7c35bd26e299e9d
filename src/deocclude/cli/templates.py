"""`deocclude templates`: cluster the pose templates of stage 1."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "cluster body silhouettes into the pose templates of stage 1"
EXAMPLE = """\
deocclude templates --people ccp --occluders coco/instances_train.json \\
    --occluder-images coco/images --output runs/templates.safetensors"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--people", type=Path, required=True, help="the CCP folder")
    parser.add_argument("--occluders", type=Path, required=True, help="COCO instances JSON")
    parser.add_argument("--occluder-images", type=Path, required=True, help="folder of its pictures")
    parser.add_argument("--output", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--count", type=int, default=64, help="number of templates")
    parser.add_argument("--size", type=int, default=64, help="side of a template, pixels")
    parser.add_argument("--masks", type=int, default=4096, help="silhouettes to cluster")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="use only the first photographs")


def run(args: argparse.Namespace) -> int:
    from safetensors.torch import save_file

    from deocclude.training.config import TrainingConfig
    from deocclude.training.setup import build_synthesis
    from deocclude.training.templates import cluster_templates

    synthesis = build_synthesis(
        args.people, args.occluders, args.occluder_images, limit=args.limit, seed=args.seed, device="cpu"
    )
    config = TrainingConfig(seed=args.seed)
    templates = cluster_templates(synthesis, config, num_templates=args.count, size=args.size, num_masks=args.masks)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_file({"templates": templates}, args.output)
    print(f"{args.count} templates: {args.output}")
    return 0
