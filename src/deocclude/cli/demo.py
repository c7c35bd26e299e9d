"""`deocclude demo`: complete a person in a picture made on the spot, with nothing to download."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deocclude.cli.run import add_method_arguments, load_deoccluder, summary

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

HELP = "Complete a person in a sample picture: an astronaut behind a cup of coffee, made on the spot."
EXAMPLE = """
deocclude demo --output demo/
"""

NAME = "astronaut"
CUP = (172, 21, 411, 204)
"""Box of the cup, seen from above, in `skimage.data.coffee()`: an ellipse turned clockwise by `CUP_TURN` degrees."""
CUP_TURN, CUP_HALF_AXES = 12, (118, 91)
CUP_WIDTH = 190
CUP_CENTRE = (78, 335)
"""Where the cup goes, x and y: over the upper arm, so that its outline has to be completed too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", "-o", type=Path, default=Path("demo"), metavar="DIR", help="where results go")
    add_method_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")


def run(args: argparse.Namespace) -> int:
    from deocclude.images import save_image
    from deocclude.pipelines.outputs import check_folder, write_person

    source = args.output / f"{NAME}.png"
    check_folder(args.output, [NAME], overwrite=args.overwrite)
    deoccluder = load_deoccluder(args)
    picture = sample_picture()
    result = deoccluder(picture)
    args.output.mkdir(parents=True, exist_ok=True)
    save_image(source, picture, overwrite=args.overwrite)
    write_person(args.output, NAME, picture, result, source=source)
    print(summary(result, args.output / f"{NAME}_overview.png"))
    print(f"The input is {source}; the overview shows it beside the result.")
    return 0


def sample_picture() -> np.ndarray:
    """The astronaut (NASA, public domain) with a cup of coffee pasted in front, uint8 (512, 512, 3)."""
    import numpy as np
    from PIL import Image
    from skimage import data

    picture = Image.fromarray(data.astronaut())
    cup = Image.fromarray(data.coffee()).crop(CUP)
    size = (CUP_WIDTH, round(CUP_WIDTH * cup.height / cup.width))
    corner = (CUP_CENTRE[0] - size[0] // 2, CUP_CENTRE[1] - size[1] // 2)
    picture.paste(cup.resize(size), corner, _cup_mask(cup.size).resize(size))
    return np.array(picture)


def _cup_mask(size: tuple[int, int]) -> Image:
    """A turned ellipse in the middle, white on black."""
    from PIL import Image, ImageDraw

    upright = Image.new("L", size, 0)
    (x, y), (half_width, half_height) = (size[0] / 2, size[1] / 2), CUP_HALF_AXES
    ImageDraw.Draw(upright).ellipse((x - half_width, y - half_height, x + half_width, y + half_height), fill=255)
    return upright.rotate(-CUP_TURN)
