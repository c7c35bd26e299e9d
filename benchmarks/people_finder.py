"""How well the people of photographs are found: each finder that runs here, and another checkout's, side by side.

    python benchmarks/people_finder.py --annotations instances_val.json --images images/ [--before CHECKOUT]

A person counts if not a crowd and their box has 2 % of the picture. They are found if a modal mask (in the rows of
boxes alone: a box) reaches IoU 0.5 with theirs, one to one, the best pair first. Who is found beside them is false, but
for smaller people and crowds. Seconds are of one core, loading left out. --before: the root of a checkout, such as
`git worktree add ../before b1838ea` makes, whose embedded finder looks at each picture right after ours, so that both
are disturbed alike. The last part clicks the most interior pixel of each true mask.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from deocclude.conditioning.boxes import box_iou
from deocclude.conditioning.embedded_people import DetectedPeopleFinder, person_at
from deocclude.conditioning.pose_estimator import DetectedPerson
from deocclude.conditioning.segmenter import EmbeddedSegmenter, load_segmenter
from deocclude.conditioning.sources import DETECTORS, FINDERS, build_detector, build_finder
from deocclude.data.coco import CocoImage, CocoInstance, read_coco
from deocclude.errors import InputError
from deocclude.images import open_image
from deocclude.masks import mask_box
from deocclude.metrics.masks import overlap

MIN_BOX_SHARE = 0.02
FOUND_FROM = 0.5

MaskFinder = Callable[[Path, np.ndarray], tuple[list[np.ndarray], float]]
"""A photograph's file and pixels to its people's masks and the seconds of processor time that it took."""


@dataclass
class Score:
    """Of one finder over all pictures. ious: of the people who were found."""

    ious: list[float] = field(default_factory=list)
    people: int = 0
    false: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, iou: np.ndarray, is_other: np.ndarray) -> None:
        """One picture: IoU of each found with each true one, (F, T), and which of the found may be there, (F)."""
        self.people += iou.shape[1]
        unpaired = np.ones(len(iou), bool)
        while iou.size and iou.max() >= FOUND_FROM:
            found, target = np.unravel_index(iou.argmax(), iou.shape)
            self.ious.append(float(iou[found, target]))
            unpaired[found] = False
            iou[found, :] = iou[:, target] = 0
        self.false += int((unpaired & ~is_other).sum())

    def row(self, name: str) -> str:
        found = len(self.ious)
        precision = found / (found + self.false) if found + self.false else float("nan")
        return (
            f"| {name} | {found / self.people:.2f} | {precision:.2f} | {np.mean(self.ious):.2f} "
            f"| {self.false} | {np.mean(self.seconds):.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="another version of the project, to compare with"
    )
    parser.add_argument("--first", type=int, default=0, help="index of the first picture")
    parser.add_argument("--every", type=int, default=1, help="every k-th picture")
    args = parser.parse_args()
    torch.set_num_threads(1)

    segmenter = load_segmenter(device=torch.device("cpu"))
    finders, detectors, absent = those_here(segmenter)
    if args.before:
        finders[BEFORE] = OtherCheckout(args.before)
    scores = {name: Score() for name in [*finders, TRUE_BOXES, *map(boxes_alone, detectors)]}
    clicks: list[float] = []
    pictures = read_coco(args.annotations, args.images)[args.first :: args.every]
    for picture in tqdm(pictures, unit="photo"):
        image = open_image(picture.path)
        counted, others = people_in(picture)
        for name, find in (finders | {TRUE_BOXES: in_true_boxes(segmenter, counted)}).items():
            masks, seconds = find(picture.path, image)
            scores[name].seconds.append(seconds)
            scores[name].add(mask_iou(masks, counted), lies_on(masks, others))
        for name, detect in detectors.items():
            compare_boxes(scores[boxes_alone(name)], detect, image, counted, others)
        clicks += [clicked_iou(image, mask, segmenter, detectors.get("embedded")) for mask in counted]

    lines = [
        f"{len(pictures)} pictures, {len(clicks)} people",
        "",
        "| finder | recall | precision | IoU of the found | false people | seconds a picture |",
        "| --- | --- | --- | --- | --- | --- |",
        *(score.row(name) for name, score in scores.items()),
        "",
        *ratio_of_seconds(scores),
        f"A click inside a person gives them (IoU >= {FOUND_FROM}): {np.mean(np.array(clicks) >= FOUND_FROM):.2f}; "
        f"someone or something else: {np.mean([0 < iou < FOUND_FROM for iou in clicks]):.2f}; "
        f"an error: {np.mean([iou == 0 for iou in clicks]):.2f}",
        *absent,
    ]
    print("\n".join(lines))


BEFORE = "`embedded` of the other checkout"
TRUE_BOXES = "`embedded` segmenter in the true boxes (what a perfect detector would give)"


def boxes_alone(name: str) -> str:
    return f"boxes of `{name}` alone"


def ratio_of_seconds(scores: dict[str, Score]) -> list[str]:
    if BEFORE not in scores:
        return []
    ratio = np.sum(scores["`embedded`"].seconds) / np.sum(scores[BEFORE].seconds)
    return [f"Time of `embedded` over that of the other checkout: {ratio:.2f}"]


def those_here(
    segmenter: EmbeddedSegmenter,
) -> tuple[dict[str, MaskFinder], dict[str, Callable[[np.ndarray], Sequence[DetectedPerson]]], list[str]]:
    """Finders and detectors whose weights are on this machine; a sentence about each of the others."""
    finders: dict[str, MaskFinder] = {}
    detectors: dict[str, Callable[[np.ndarray], Sequence[DetectedPerson]]] = {}
    absent = []
    for name in FINDERS:
        try:
            finder = build_finder(name, segmenter)
        except InputError:
            absent.append(f"Not run, its weights are not on this machine: `{name}`.")
            continue
        finders[f"`{name}`"] = timed(lambda image, finder=finder: [one.modal_mask for one in finder(image)])
        if name in DETECTORS:
            detectors[name] = build_detector(name)
    return finders, detectors, absent


def timed(find: Callable[[np.ndarray], list[np.ndarray]]) -> MaskFinder:
    def found(path: Path, image: np.ndarray) -> tuple[list[np.ndarray], float]:
        start = time.process_time()
        masks = find(image)
        return masks, time.process_time() - start

    return found


class OtherCheckout:
    """The embedded finder of another checkout, in an interpreter of its own that waits for photographs."""

    PROGRAM = """
import sys, time
import numpy as np
import torch
from deocclude.conditioning.segmenter import load_segmenter
from deocclude.images import open_image
from deocclude.registry import build_finder
torch.set_num_threads(1)
finder = build_finder("embedded", load_segmenter(device=torch.device("cpu")))
finder(np.zeros((64, 64, 3), np.uint8))
for line in sys.stdin:
    path, output = line.rstrip("\\n").split("\\t")
    image = open_image(path)
    start = time.process_time()
    people = finder(image)
    seconds = time.process_time() - start
    np.savez(output, *[one.modal_mask for one in people])
    print(seconds, flush=True)
"""

    def __init__(self, root: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root.resolve() / "src")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._folder = tempfile.TemporaryDirectory()

    def __call__(self, path: Path, image: np.ndarray) -> tuple[list[np.ndarray], float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        output = Path(self._folder.name) / "people.npz"
        self._process.stdin.write(f"{path.resolve()}\t{output}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the other checkout's interpreter ended at {path} (exit code {self._process.wait()})")
        seconds = float(answer)
        with np.load(output) as masks:
            return [masks[name] for name in masks.files], seconds


def in_true_boxes(segmenter: EmbeddedSegmenter, masks: list[np.ndarray]) -> MaskFinder:
    finder = DetectedPeopleFinder(TrueBoxes(masks), segmenter)
    return timed(lambda image: [one.modal_mask for one in finder(image)])


class TrueBoxes:
    """A detector that knows."""

    name = "true boxes"

    def __init__(self, masks: list[np.ndarray]) -> None:
        self.people = [DetectedPerson(box, 1.0) for mask in masks if (box := mask_box(mask)) is not None]

    def __call__(self, image: np.ndarray) -> list[DetectedPerson]:
        return self.people


def people_in(picture: CocoImage) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Masks of the people who count, and of the people and crowds who do not."""
    people = [instance for instance in picture.instances if instance.category == "person"]
    crowds = [crowd for crowd in picture.crowds if crowd.category == "person"]
    counts = [box_area(person) >= MIN_BOX_SHARE * picture.width * picture.height for person in people]
    counted = [person.mask() for person, is_counted in zip(people, counts, strict=True) if is_counted]
    small = [person for person, is_counted in zip(people, counts, strict=True) if not is_counted]
    return counted, [other.mask() for other in (*small, *crowds)]


def box_area(instance: CocoInstance) -> float:
    x0, y0, x1, y1 = instance.box_xyxy
    return (x1 - x0) * (y1 - y0)


def mask_iou(found: list[np.ndarray], counted: list[np.ndarray]) -> np.ndarray:
    """(F, T)."""
    ious = [[overlap(mask, target).iou for target in counted] for mask in found]
    return np.array(ious).reshape(len(found), len(counted))


def lies_on(found: list[np.ndarray], others: list[np.ndarray]) -> np.ndarray:
    """Which of the found masks lie half or more on one of the others, bool (F)."""
    return np.array([any((mask & other).sum() >= mask.sum() / 2 for other in others) for mask in found], bool)


def compare_boxes(
    score: Score,
    detect: Callable[[np.ndarray], Sequence[DetectedPerson]],
    image: np.ndarray,
    counted: list[np.ndarray],
    others: list[np.ndarray],
) -> None:
    """The same with boxes in place of masks."""
    # Another picture between, so that what MoveNet saw of this one for the finder is not had for nothing.
    detect(image[::-1].copy())
    start = time.process_time()
    found = boxes_of([one.box_xyxy for one in detect(image)])
    score.seconds.append(time.process_time() - start)
    targets, rest = (boxes_of([mask_box(mask) for mask in masks]) for masks in (counted, others))
    low, high = np.maximum(found[:, None, :2], rest[None, :, :2]), np.minimum(found[:, None, 2:], rest[None, :, 2:])
    common, area = (high - low).clip(0).prod(axis=2), (found[:, 2:] - found[:, :2]).prod(axis=1)
    score.add(box_iou(found, targets), (common >= area[:, None] / 2).any(axis=1))


def boxes_of(boxes: Sequence[tuple[int, int, int, int] | None]) -> np.ndarray:
    return np.array([box for box in boxes if box is not None], float).reshape(-1, 4)


def clicked_iou(
    image: np.ndarray,
    mask: np.ndarray,
    segmenter: EmbeddedSegmenter,
    detector: Callable[[np.ndarray], Sequence[DetectedPerson]] | None,
) -> float:
    """IoU of the person under the most interior pixel of a true mask; 0 where no one is found."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    try:
        return overlap(person_at(image, (int(x), int(y)), segmenter, detector).modal_mask, mask).iou
    except InputError:
        return 0.0


if __name__ == "__main__":
    main()
