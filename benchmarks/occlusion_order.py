"""How often the occlusion order is right: two people of a CCP folder, one pasted in front of the other.

The person in front is put where it hides 10 to 60 % of the other, at 0.8 to 1.25 times the other's height; the true
modal masks are given. Beside it two rules that look at the masks alone: the lower one, or the larger one, is in front.

    python benchmarks/occlusion_order.py CCP --pairs 100
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from deocclude.data.ccp import read_ccp
from deocclude.data.people import PersonSample
from deocclude.masks import mask_box
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.pipelines.occlusion_order import occlusion_order
from deocclude.types import Person


def pasted(
    back: PersonSample, front: PersonSample, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The picture and the modal masks of who is behind and who is in front; None where no place was found."""
    (x0, y0, x1, y1), (left, top, right, bottom) = mask_box(back.person), mask_box(front.person)  # type: ignore[misc]
    scale = rng.uniform(0.8, 1.25) * (y1 - y0) / (bottom - top)
    size_wh = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    cut = np.array(Image.fromarray(front.image[top:bottom, left:right]).resize(size_wh))
    shape = np.array(Image.fromarray(front.person[top:bottom, left:right]).resize(size_wh))
    height, width = back.person.shape
    for _ in range(50):
        x = int(rng.integers(x0 - size_wh[0], x1))
        y = y0 + int(rng.uniform(-0.2, 0.2) * (y1 - y0))
        window = np.s_[max(y, 0) : min(y + size_wh[1], height), max(x, 0) : min(x + size_wh[0], width)]
        inside = np.s_[window[0].start - y : window[0].stop - y, window[1].start - x : window[1].stop - x]
        covering = np.zeros((height, width), bool)
        if window[0].start >= window[0].stop or window[1].start >= window[1].stop:
            continue
        covering[window] = shape[inside]
        hidden = (covering & back.person).sum() / back.person.sum()
        if 0.1 <= hidden <= 0.6:
            picture = back.image.copy()
            picture[window][shape[inside]] = cut[inside][shape[inside]]
            return picture, back.person & ~covering, covering
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ccp", type=Path)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--split", choices=("train", "val"), default="val")
    args = parser.parse_args()
    deoccluder, records = Deoccluder.from_preset("feedforward"), read_ccp(args.ccp, args.split)
    rng = np.random.default_rng(0)
    right = {"mutual evidence": 0, "the lower one is in front": 0, "the larger one is in front": 0}
    undecided = pairs = 0
    bar = tqdm(total=args.pairs)
    while pairs < args.pairs:
        back, front = (records[index].load() for index in rng.choice(len(records), 2, replace=False))
        made = pasted(back, front, rng)
        if made is None:
            continue
        picture, *modal_masks = made
        people = [Person(mask_box(mask), mask) for mask in modal_masks]  # type: ignore[arg-type]
        completed = deoccluder.complete_masks(
            [deoccluder.subject(picture, person, modal_mask_is_exact=True) for person in people]
        )
        order = occlusion_order(modal_masks, [one.amodal_mask for one in completed])
        undecided += not (order.is_behind(0, 1) or order.is_behind(1, 0))
        right["mutual evidence"] += order.is_behind(0, 1)
        right["the lower one is in front"] += people[1].box_xyxy[3] > people[0].box_xyxy[3]
        right["the larger one is in front"] += int(modal_masks[1].sum() > modal_masks[0].sum())
        pairs += 1
        bar.update()
    bar.close()
    print(f"right of {pairs} pairs, CCP {args.split}")
    for rule, count in right.items():
        print(f"{rule:<30}{count / pairs:.2f}" + (f"   undecided {undecided / pairs:.2f}" if rule[0] == "m" else ""))


if __name__ == "__main__":
    main()
