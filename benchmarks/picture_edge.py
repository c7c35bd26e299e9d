"""What fills the canvas beyond the picture's edge decides whether stage 1 goes on there: fillings side by side.

People of a CCP folder whose photograph is cut off between 45 and 80 % of their height are completed on a canvas of the
photograph's old size, the true modal mask given, with each filling; the IoU of what lies beyond the edge is printed.

    python benchmarks/picture_edge.py CCP --people 40
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from deocclude.data.ccp import read_ccp
from deocclude.masks import mask_box
from deocclude.pipelines.deoccluder import Deoccluder


def fillings(photograph: np.ndarray, rows: int) -> dict[str, np.ndarray]:
    """The photograph uint8 (h, W, 3) with `rows` more at the bottom, by what they show."""
    below = ((0, rows), (0, 0), (0, 0))
    rng = np.random.default_rng(0)
    size = (photograph.shape[0] + rows, photograph.shape[1], 3)
    clouds = ndimage.gaussian_filter(rng.normal(size=size), (25, 25, 0))
    filled = {
        "black": np.pad(photograph, below),
        "white": np.pad(photograph, below, constant_values=255),
        "grey": np.pad(photograph, below, constant_values=127),
        "noise": rng.integers(0, 256, size, np.uint8),
        "clouds": (127 + 60 * clouds / clouds.std()).clip(0, 255).astype(np.uint8),
        "mirrored": np.pad(photograph, below, mode="symmetric"),
        "the edge's pixels": np.pad(photograph, below, mode="edge"),
    }
    for picture in filled.values():
        picture[: photograph.shape[0]] = photograph
    return filled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ccp", type=Path)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--split", choices=("train", "val"), default="train")
    args = parser.parse_args()
    deoccluder, records = Deoccluder.from_preset("feedforward"), read_ccp(args.ccp, args.split)
    rng = np.random.default_rng(0)
    scores: dict[str, list[float]] = {}
    for index in tqdm(rng.choice(len(records), args.people, replace=False)):
        person = records[index].load()
        box = mask_box(person.person)
        assert box is not None
        cut = int(box[1] + rng.uniform(0.45, 0.8) * (box[3] - box[1]))
        modal = person.person.copy()
        modal[cut:] = False
        if not modal.any():
            continue
        hidden = person.person & ~modal
        for name, picture in fillings(person.image[:cut], len(modal) - cut).items():
            invented = deoccluder(picture, modal_mask=modal).amodal_mask & ~modal
            scores.setdefault(name, []).append(float((invented & hidden).sum() / (invented | hidden).sum()))
    print(f"IoU beyond the edge, {len(scores['black'])} people, CCP {args.split}")
    for name, values in sorted(scores.items(), key=lambda item: np.mean(item[1])):
        print(f"{name:<20}{np.mean(values):.3f}   {np.mean(values) / np.mean(scores['black']):.1f} x black")


if __name__ == "__main__":
    main()
