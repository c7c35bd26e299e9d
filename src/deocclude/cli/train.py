"""`deocclude train`: train one of the three networks of the feed-forward system."""

from __future__ import annotations

import argparse
from pathlib import Path

from deocclude.cli.numbers import positive

HELP = "Train mask-completion, rgb-completion or segmenter; a run that was stopped goes on where it was."
EXAMPLE = """
deocclude train mask-completion --people ccp/ --occluders coco/instances_train.json \\
    --occluder-images coco/images/ --output runs/mask/ --steps 20000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from deocclude.cli.config_args import add_config_arguments
    from deocclude.training.config import TrainingConfig

    parser.add_argument("network", choices=["mask-completion", "rgb-completion", "segmenter"], help="what to train")
    add_data_arguments(parser)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="of the run; an unfinished one goes on"
    )
    parser.add_argument("--config", default="compact", choices=["compact", "paper"], help="size of the network")
    parser.add_argument("--losses", default="compact", choices=["compact", "paper"], help="weights of the loss terms")
    parser.add_argument("--from", dest="start", type=Path, metavar="FILE", help="weights to start from (safetensors)")
    parser.add_argument(
        "--templates", type=Path, metavar="FILE", help="pose templates (mask-completion; see deocclude templates)"
    )
    parser.add_argument(
        "--mask-network", type=Path, metavar="FILE", help="trained stage 1 that gives the parsing (rgb-completion)"
    )
    parser.add_argument(
        "--vgg16", type=Path, metavar="FILE", help="VGG16 for the perceptual loss (default: EfficientNet-Lite0)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, … (default: the best there is)")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 arithmetic, for a GPU or a CPU that has it")
    add_config_arguments(parser, TrainingConfig())


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures that training starts from: the same for `train` and `templates`."""
    data = parser.add_argument_group("pictures")
    data.add_argument(
        "--people", type=Path, required=True, metavar="DIR", help="a CCP folder, of which `train` is read"
    )
    data.add_argument("--occluders", type=Path, required=True, metavar="COCO.json", help="COCO instances file")
    data.add_argument("--occluder-images", type=Path, required=True, metavar="DIR", help="its pictures")
    data.add_argument("--limit", type=positive, metavar="N", help="only the first N photographs")


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
