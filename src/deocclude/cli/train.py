"""`deocclude train`: train one of the feed-forward system's networks, or what paper A trains (`--family diffusion`)."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from deocclude.cli.numbers import positive, share
from deocclude.errors import InputError

if TYPE_CHECKING:
    from deocclude.training.config import TrainingConfig
    from deocclude.training.setup import TrainingImages

HELP = "Train mask-completion, rgb-completion or segmenter; a run that was stopped goes on where it was."
EXAMPLE = """
deocclude train mask-completion --people ccp/ --occluders coco/instances_train.json \\
    --occluder-images coco/images/ --templates runs/templates.safetensors \\
    --output runs/mask/ --steps 20000
"""

NO_TEMPLATES = Path("none")

_COMPLETION = ("mask-completion", "rgb-completion")
_NETWORKS_OF = {
    "config": _COMPLETION,
    "losses": _COMPLETION,
    "templates": ("mask-completion",),
    "mask-network": ("rgb-completion",),
    "vgg16": _COMPLETION,
    "exact-masks": ("mask-completion",),
    "parsing-dropout": ("rgb-completion",),
}
"""Options that not every network has, and the networks that have them. Their default is None: not given."""
_FEEDFORWARD_OPTIONS = (
    *("config", "losses", "templates", "mask-network", "hand-drawn"),
    *("exact-masks", "parsing-dropout"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from deocclude.cli.config_args import add_config_arguments
    from deocclude.training.config import DiffusionChoice, TrainingConfig

    parser.add_argument(
        "network", choices=["mask-completion", "rgb-completion", "segmenter", "occlusion"], help="what to train"
    )
    parser.add_argument(
        "--family",
        choices=["feedforward", "diffusion"],
        default="feedforward",
        help="paper B's networks, or paper A's U-Net on a frozen prior",
    )
    add_data_arguments(parser)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="of the run; an unfinished one goes on"
    )
    parser.add_argument(
        "--config",
        metavar="NAME",
        help="of a new completion network: compact (the default), paper, or an ablation such as compact-baseline",
    )
    parser.add_argument(
        "--losses",
        choices=["compact", "paper", "no-adversary"],
        help="weights of a completion network's loss terms; no-adversary: the paper's without it (default: compact)",
    )
    parser.add_argument("--from", dest="start", type=Path, metavar="FILE", help="weights to start from (safetensors)")
    parser.add_argument(
        "--templates",
        type=Path,
        metavar="FILE|none",
        help="pose templates of a new mask-completion network (see deocclude templates), or the word none",
    )
    parser.add_argument(
        "--mask-network", type=Path, metavar="FILE", help="trained stage 1 that gives the parsing (rgb-completion)"
    )
    parser.add_argument(
        "--vgg16", type=Path, metavar="FILE", help="VGG16 for --losses paper (default: EfficientNet-Lite0)"
    )
    parser.add_argument(
        "--exact-masks",
        type=share,
        metavar="SHARE",
        help="of the initial masks; the others are as a detector's (mask-completion, default: 0.5, the paper's: 0)",
    )
    parser.add_argument(
        "--parsing-dropout",
        type=share,
        metavar="SHARE",
        help="of the people, who come without parsing (rgb-completion, default: 0.15, the paper's: 0)",
    )
    parser.add_argument(
        "--hand-drawn",
        action="store_true",
        default=None,
        help="only photographs whose masks people drew, not a segmenter",
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, … (default: the best there is)")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 arithmetic, for a GPU or a CPU that has it")
    add_config_arguments(parser, TrainingConfig())
    add_config_arguments(parser, DiffusionChoice())


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures that training starts from: the same for `train` and `templates`."""
    data = parser.add_argument_group("pictures")
    data.add_argument(
        "--people", type=Path, required=True, metavar="DIR", help="a CCP folder, of which `train` is read"
    )
    data.add_argument("--occluders", type=Path, required=True, metavar="COCO.json", help="COCO instances file")
    data.add_argument("--occluder-images", type=Path, required=True, metavar="DIR", help="its pictures")
    data.add_argument(
        "--more-occluders",
        type=Path,
        action="append",
        default=[],
        metavar="COCO.json",
        help="another one, its pictures in images/ beside it (repeatable)",
    )
    data.add_argument(
        "--coco-people",
        type=Path,
        action="append",
        default=[],
        metavar="COCO.json",
        help="train on the people of this file too, its pictures in images/ beside it (repeatable)",
    )
    data.add_argument("--limit", type=positive, metavar="N", help="only the first N photographs")


def training_images(args: argparse.Namespace) -> TrainingImages:
    """What the options of `add_data_arguments` name."""
    from deocclude.training.setup import TrainingImages

    return TrainingImages(
        people=args.people,
        occluders=((args.occluders, args.occluder_images), *(_with_images(path) for path in args.more_occluders)),
        coco_people=tuple(_with_images(path) for path in args.coco_people),
        limit=args.limit,
    )


def _with_images(coco_json: Path) -> tuple[Path, Path]:
    return coco_json, coco_json.parent / "images"


def run(args: argparse.Namespace) -> int:
    _refuse_unused_options(args)
    import torch

    from deocclude.cli.config_args import config_from_arguments
    from deocclude.training.config import DIFFUSION_TRAINING, TrainingConfig
    from deocclude.training.loop import train
    from deocclude.training.setup import build_synthesis, build_task, training_device

    if args.family == "diffusion":
        return _run_diffusion(args, config_from_arguments(args, DIFFUSION_TRAINING))
    config = config_from_arguments(args, TrainingConfig())
    device = training_device(args.device)
    torch.manual_seed(config.seed)  # of the new network's weights
    task = build_task(
        args.network,
        config=args.config or "compact",
        losses=args.losses or "compact",
        start=args.start,
        templates=None if args.templates == NO_TEMPLATES else args.templates,
        mask_network=args.mask_network,
        vgg16=args.vgg16,
        exact_masks=args.exact_masks,
        parsing_dropout=args.parsing_dropout,
        device=device,
    )
    synthesis = build_synthesis(training_images(args), config, device=device, hand_drawn=bool(args.hand_drawn))
    weights = train(task, synthesis, config, args.output, bf16=args.bf16)
    print(f"weights: {weights}")
    return 0


def _run_diffusion(args: argparse.Namespace, config: TrainingConfig) -> int:
    import torch

    from deocclude.cli.config_args import config_from_arguments
    from deocclude.training.config import DiffusionChoice
    from deocclude.training.diffusion_setup import build_diffusion_training
    from deocclude.training.loop import train
    from deocclude.training.setup import training_device

    device = training_device(args.device)
    torch.manual_seed(config.seed)  # of the new network's weights
    task, samples = build_diffusion_training(
        args.network,
        config_from_arguments(args, DiffusionChoice()),
        training_images(args),
        config,
        start=args.start,
        vgg16=args.vgg16,
        device=device,
    )
    print(f"weights: {train(task, samples, config, args.output, bf16=args.bf16)}")
    return 0


def _refuse_unused_options(args: argparse.Namespace) -> None:
    """Raises InputError for an option that would change nothing, and for templates left out unasked."""
    from deocclude.training.config import DiffusionChoice

    diffusion = [field.name.replace("_", "-") for field in dataclasses.fields(DiffusionChoice)]
    others = _FEEDFORWARD_OPTIONS if args.family == "diffusion" else diffusion
    for option in others:
        if getattr(args, option.replace("-", "_"), None) is not None:
            raise InputError(f"--{option} is not for --family {args.family}; leave it out")
    if args.family == "diffusion":
        if args.network not in _COMPLETION:
            raise InputError(f"--family diffusion has {' and '.join(_COMPLETION)}; leave it out for {args.network}")
        if hasattr(args, "samples") and not hasattr(args, "cache"):
            raise InputError("--samples counts what --cache keeps; give --cache DIR")
        return
    given = [option for option in _NETWORKS_OF if getattr(args, option.replace("-", "_")) is not None]
    for option in given:
        if args.network not in _NETWORKS_OF[option]:
            raise InputError(f"--{option} is for {' and '.join(_NETWORKS_OF[option])}; {args.network} has none")
        if args.start is not None and option in ("config", "templates"):
            raise InputError(f"the weights of --from bring their own {option}; leave --{option} out")
    if args.vgg16 is not None and args.losses not in ("paper", "no-adversary"):
        raise InputError("--vgg16 is for --losses paper and no-adversary; the compact losses compare no features")
    if args.network == "mask-completion" and args.start is None and args.templates is None:
        raise InputError(
            "a new mask-completion network needs --templates FILE (see 'deocclude templates') or the word none"
        )
