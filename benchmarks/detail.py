"""Enlarging the invented part of a large photograph: `plain` against `texture`, on people whose hidden part is known.

    python benchmarks/detail.py [PHOTOGRAPH …] [--repeats 5] [--crops FOLDER] [--output table.md]

An oval of another picture is pasted in front of the most prominent person of each photograph; stage 2 is told the true
masks, and paints once for both. Without photographs it is the astronaut of scikit-image, at 512 pixels. --crops keeps
plain, texture and truth side by side at 100 %, to be looked at: no figure here says what looks better.

detail: median |band| over the hidden part, of the truth's. The band is the picture minus its Gaussian blur of one crop
pixel; the median leaves edges out, which nobody asks a texture to bring. 1 is as detailed as the truth.
L1: mean |invented - true| in the hidden part, of 1. A texture in another place than the true one can only raise it.
seam: `metrics.seam.seam_score`; the truth's is the whole photograph's under the same masks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from skimage import data

from deocclude import Deoccluder
from deocclude.crops import SquareCrop
from deocclude.images import open_image, save_image
from deocclude.masks import invisible_mask, mask_box
from deocclude.metrics.pictures import content_l1
from deocclude.metrics.seam import seam_score
from deocclude.pipelines.compositing import composite

WAYS = ("plain", "texture")
SHOWN = 384
"""Side of what --crops keeps, pixels of the photograph."""


@dataclass(frozen=True)
class Hidden:
    """A person with something in front: both pictures, the true masks, and stage 2's picture of the crop."""

    name: str
    whole: np.ndarray
    occluded: np.ndarray
    modal_mask: np.ndarray
    amodal_mask: np.ndarray
    crop: SquareCrop
    generated: np.ndarray

    def composite(self, way: str) -> np.ndarray:
        return composite(self.occluded, self.generated, self.crop, self.modal_mask, self.amodal_mask, detail=way)


class KeepsPicture:
    """Stage 2, and what it painted last."""

    def __init__(self, stage) -> None:
        self.stage, self.name, self.size = stage, stage.name, stage.size

    def __call__(self, image, completion, **given):
        self.painted = self.stage(image, completion, **given)
        return self.painted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--crops", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pictures = {path.stem: open_image(path) for path in args.photographs} or {"astronaut": data.astronaut()}
    deoccluder = Deoccluder.from_preset("feedforward")
    deoccluder.rgb_completer = KeepsPicture(deoccluder.rgb_completer)

    rows = []
    for name, whole in pictures.items():
        person = hide(deoccluder, name, whole)
        rows.append(measure(person, args.repeats))
        if args.crops:
            args.crops.mkdir(parents=True, exist_ok=True)
            save_image(args.crops / f"{name}.png", side_by_side(person), overwrite=True)
        print(".", end="", flush=True)
    text = "\n" + table(rows)
    print(text)
    if args.output:
        args.output.write_text(text + "\n")


def hide(deoccluder: Deoccluder, name: str, whole: np.ndarray) -> Hidden:
    """A third of the person's height is hidden round their middle, at a slant."""
    amodal = deoccluder.segmenter(whole).modal_mask
    x0, y0, x1, y1 = mask_box(amodal)
    y, x = np.mgrid[: whole.shape[0], : whole.shape[1]]
    along, aside = (x + y - (x0 + x1 + y0 + y1) / 2) / 2**0.5, (x - y - (x0 + x1 - y0 - y1) / 2) / 2**0.5
    reach = np.sqrt(amodal.sum()) / 3
    oval = (along / reach) ** 2 + (aside / (0.6 * reach)) ** 2 < 1
    other = np.asarray(Image.fromarray(data.coffee()).resize((whole.shape[1], whole.shape[0])))
    occluded = np.where(oval[..., None], other, whole)
    result = deoccluder(occluded, modal_mask=amodal & ~oval, amodal_mask=amodal)
    left, top, right, _ = result.facts["crop_xyxy"]
    generated = deoccluder.rgb_completer.painted[0].permute(1, 2, 0).numpy()
    crop = SquareCrop(left, top, right - left)
    return Hidden(name, whole, occluded, result.modal_mask, result.amodal_mask, crop, generated)


def measure(person: Hidden, repeats: int) -> dict[str, float | str]:
    scale = person.crop.side / len(person.generated)
    hidden = invisible_mask(person.modal_mask, person.amodal_mask)
    row: dict[str, float | str] = {"name": person.name, "crop": person.crop.side}
    for way in WAYS:
        picture = person.composite(way)
        assert np.array_equal(picture[~hidden], person.occluded[~hidden])
        row[f"detail_{way}"] = typical_detail(picture, hidden, scale) / typical_detail(person.whole, hidden, scale)
        row[f"l1_{way}"] = content_l1(picture / 255, person.whole / 255, person.modal_mask, person.amodal_mask)
        row[f"seam_{way}"] = seam_score(picture, person.modal_mask, person.amodal_mask) or float("nan")
    row["seam_truth"] = seam_score(person.whole, person.modal_mask, person.amodal_mask) or float("nan")
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats):  # in turn, so that a busy machine slows both
        for way in WAYS:
            times[way].append(timed(lambda way=way: person.composite(way)))
    return row | {f"seconds_{way}": min(values) for way, values in times.items()}


def typical_detail(picture: np.ndarray, mask: np.ndarray, scale: float) -> float:
    """Median |grey minus its blur| well inside the mask, levels."""
    grey = picture.mean(axis=2, dtype=np.float32)
    inside = ndimage.binary_erosion(mask, iterations=round(2 * scale))
    band = np.abs(grey - ndimage.gaussian_filter(grey, scale))
    return float(np.median(band[inside if inside.any() else mask]))


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def side_by_side(person: Hidden) -> np.ndarray:
    """The middle of the hidden part: plain, texture, truth."""
    rows, columns = np.nonzero(invisible_mask(person.modal_mask, person.amodal_mask))
    top = max(0, min(int(np.median(rows)) - SHOWN // 2, person.whole.shape[0] - SHOWN))
    left = max(0, min(int(np.median(columns)) - SHOWN // 2, person.whole.shape[1] - SHOWN))
    pictures = (*(person.composite(way) for way in WAYS), person.whole)
    return np.concatenate([picture[top : top + SHOWN, left : left + SHOWN] for picture in pictures], axis=1)


def table(rows: list[dict[str, float | str]]) -> str:
    lines = [
        "| photograph | crop, px | detail, plain | texture | L1, plain | texture | seam, plain | texture | truth "
        "| seconds, plain | texture |",
        "| --- |" + " --- |" * 10,
    ]
    columns = ("detail_{}", "l1_{}", "seam_{}")
    names = [column.format(way) for column in columns for way in WAYS] + [
        "seam_truth",
        "seconds_plain",
        "seconds_texture",
    ]
    digits = {name: 4 if name.startswith("l1") else 2 for name in names}
    median = {name: float(np.nanmedian([row[name] for row in rows])) for name in ("crop", *names)}
    for row in (*rows, {"name": "median", **median}):
        values = " | ".join(f"{row[name]:.{digits[name]}f}" for name in names)
        lines.append(f"| {row['name']} | {row['crop']:.0f} | {values} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
