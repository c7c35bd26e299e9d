"""`deocclude train`: train one of the three networks of the feed-forward system."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train mask-completion, rgb-completion or segmenter"
EXAMPLE = """\
deocclude train mask-completion --people ccp --occluders coco/instances_train.json \\
    --occluder-images coco/images --output runs/mask --steps 20000"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from deocclude.cli.config_args import add_config_arguments
    from deocclude.training.config import TrainingConfig

    parser.add_argument("network", choices=["mask-completion", "rgb-completion", "segmenter"])
    parser.add_argument("--people", type=Path, required=True, help="the CCP folder")
    parser.add_argument("--occluders", type=Path, required=True, help="COCO instances JSON")
    parser.add_argument("--occluder-images", type=Path, required=True, help="folder of its pictures")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run; an unfinished run goes on")
    parser.add_argument("--config", default="compact", choices=["compact", "paper"], help="size of the network")
    parser.add_argument("--losses", default="compact", choices=["compact", "paper"], help="weights of the loss terms")
    parser.add_argument("--from", dest="start", type=Path, help="weights to start from (safetensors)")
    parser.add_argument("--templates", type=Path, help="pose templates (mask-completion; see deocclude templates)")
    parser.add_argument("--mask-network", type=Path, help="trained stage 1 that gives the parsing (rgb-completion)")
    parser.add_argument("--vgg16", type=Path, help="VGG16 for the perceptual loss (default: EfficientNet-Lite0)")
    parser.add_argument("--limit", type=int, help="use only the first photographs")
    parser.add_argument("--device", help="cpu, cuda, … (default: the best there is)")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 arithmetic, for a GPU")
    add_config_arguments(parser, TrainingConfig())


def run(args: argparse.Namespace) -> int:
    from deocclude.cli.config_args import config_from_arguments
    from deocclude.training.config import TrainingConfig
    from deocclude.training.loop import train
    from deocclude.training.setup import build_synthesis, build_task

    config = config_from_arguments(args, TrainingConfig())
    synthesis = build_synthesis(
        args.people,
        args.occluders,
        args.occluder_images,
        limit=args.limit,
        seed=config.seed,
        device=args.device,
        with_coco_people=args.network == "segmenter",
    )
    task = build_task(
        args.network,
        config=args.config,
        losses=args.losses,
        start=args.start,
        templates=args.templates,
        mask_network=args.mask_network,
        vgg16=args.vgg16,
        device=args.device,
    )
    weights = train(task, synthesis, config, args.output, bf16=args.bf16, device=args.device)
    print(f"weights: {weights}")
    return 0
