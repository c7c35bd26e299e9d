"""Options about the people of a photograph: who is meant, how far they may reach, and what is wished of one of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from deocclude.pipelines.control import Control
    from deocclude.pipelines.scene import SceneDeoccluder


class OnlyOnce(argparse.Action):
    """An option that is refused where it is given twice, instead of forgetting the first."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option_string} is given twice and names one person; in Python SceneRequest takes several")
        setattr(namespace, self.dest, values)


def add_people_arguments(group: Any, *, default: str | None) -> None:
    """`--people`, `--extend` and `--finder`, of a parser or a group of one."""
    group.add_argument(
        "--people", default=default, metavar="all|N|largest", help="how many of those found, the largest first"
    )
    group.add_argument(
        "--extend",
        type=parse_extension,
        default=0,
        metavar="auto|PIXELS",
        help="room for people beyond the picture's edges: so many pixels, or auto: where an edge cuts somebody off",
    )
    group.add_argument(
        "--finder", default="embedded", metavar="NAME", help="who finds the people: embedded, rt-detr or eomt"
    )


def add_control_arguments(parser: argparse.ArgumentParser) -> None:
    """Constraints on the one person meant."""
    group = parser.add_argument_group("constraints on the person meant (docs/scenes.md says which stage reads which)")
    group.add_argument(
        "--joint",
        type=parse_joint,
        action="append",
        default=[],
        metavar="NAME=X,Y",
        help="where a joint is, such as left-knee=412,890, in pixels (again for another)",
    )
    group.add_argument("--amodal-box", type=parse_box, metavar="X0,Y0,X1,Y1", help="what the whole person must fill")
    group.add_argument("--protect", type=Path, metavar="MASK", help="where nothing may be invented, white on black")
    group.add_argument("--prompt", metavar="TEXT", help="a sentence about the person, in place of the describer's")
    group.add_argument("--prompt-suffix", metavar="TEXT", help="what is added to it")
    group.add_argument("--reference", type=Path, metavar="FILE", help="another photograph of the person")


def parse_box(text: str) -> tuple[float, float, float, float]:
    """'X0,Y0,X1,Y1' to four numbers."""
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a box is X0,Y0,X1,Y1 in pixels; got '{text}'") from None
    return x0, y0, x1, y1


def parse_point(text: str) -> tuple[float, float]:
    """'X,Y' to two numbers."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a point is X,Y in pixels; got '{text}'") from None
    return x, y


def parse_joint(text: str) -> tuple[str, tuple[float, float]]:
    """'NAME=X,Y' to a name and two numbers."""
    name, equals, point = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"a joint is NAME=X,Y in pixels; got '{text}'")
    return name, parse_point(point)


def parse_extension(text: str) -> int | str:
    """'auto' or a number of pixels."""
    if text == "auto":
        return text
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"needs 'auto' or a whole number of pixels; got '{text}'")
    return int(text)


def has_control(args: argparse.Namespace) -> bool:
    """Whether there is a constraint on a person."""
    return any((args.joint, args.amodal_box, args.protect, args.prompt, args.prompt_suffix, args.reference))


def control_from_arguments(args: argparse.Namespace, image: np.ndarray) -> Control:
    """The constraints on a person of this photograph, uint8 (H, W, 3). Raises InputError for what cannot be read."""
    from deocclude.images import open_image, open_region
    from deocclude.pipelines.control import Control

    size_hw = (image.shape[0], image.shape[1])
    return Control(
        joints=dict(args.joint),
        box_xyxy=args.amodal_box,
        leave_alone=None if args.protect is None else open_region(args.protect, size_hw),
        words=args.prompt,
        more_words=args.prompt_suffix,
        reference=None if args.reference is None else open_image(args.reference),
    )


def load_scenes(args: argparse.Namespace) -> SceneDeoccluder:
    """The method of `cli.run.load_deoccluder` with the finder of `--finder`."""
    from deocclude.cli.run import load_deoccluder
    from deocclude.conditioning.sources import check_finder_name
    from deocclude.pipelines.scene import SceneDeoccluder

    check_finder_name(args.finder)  # before anything is loaded
    return SceneDeoccluder.with_finder(load_deoccluder(args), args.finder, dtype=args.dtype)
