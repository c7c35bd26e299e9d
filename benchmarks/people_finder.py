"""How well the people of photographs are found: each finder that runs here against the most prominent person alone.

    python benchmarks/people_finder.py --annotations instances_val.json --images images/ [--first 0] [--every 1]

A person counts if not a crowd and their box has 2 % of the picture. They are found if a modal mask reaches IoU 0.5 with
theirs, one to one, the best pair first. Who is found beside them is false, but for smaller people and crowds. Seconds
are of one core, loading left out. The last part clicks the most interior pixel of each true mask.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from deocclude.conditioning.embedded_people import DetectedPeopleFinder, EmbeddedPeopleFinder, person_at
from deocclude.conditioning.instance_segmenter import load_instance_segmenter
from deocclude.conditioning.pose_estimator import DetectedPerson, load_person_detector
from deocclude.conditioning.segmenter import EmbeddedSegmenter, load_segmenter
from deocclude.data.coco import CocoImage, CocoInstance, read_coco
from deocclude.errors import InputError
from deocclude.images import open_image
from deocclude.masks import mask_box
from deocclude.metrics.masks import overlap
from deocclude.types import Person

MIN_BOX_SHARE = 0.02
FOUND_FROM = 0.5

Finder = Callable[[np.ndarray], list[Person]]


@dataclass
class Score:
    """Of one finder over all pictures. ious: of the people who were found."""

    ious: list[float] = field(default_factory=list)
    people: int = 0
    false: int = 0
    seconds: list[float] = field(default_factory=list)

    def row(self, name: str) -> str:
        found = len(self.ious)
        precision = found / (found + self.false) if found + self.false else float("nan")
        return (
            f"| {name} | {found / self.people:.2f} | {precision:.2f} | {np.mean(self.ious):.2f} "
            f"| {self.false} | {np.mean(self.seconds):.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0, help="index of the first picture")
    parser.add_argument("--every", type=int, default=1, help="every k-th picture")
    args = parser.parse_args()
    torch.set_num_threads(1)

    segmenter = load_segmenter(device=torch.device("cpu"))
    finders: dict[str, Finder] = {
        "the most prominent person alone": partial(most_prominent, segmenter),
        "`embedded`": EmbeddedPeopleFinder(segmenter),
    }
    absent = add_hub_finders(finders, segmenter)
    scores = {name: Score() for name in [*finders, TRUE_BOXES]}
    clicks: list[float] = []
    pictures = read_coco(args.annotations, args.images)[args.first :: args.every]
    for picture in tqdm(pictures, unit="photo"):
        image = open_image(picture.path)
        counted, others = people_in(picture)
        for name, finder in (finders | {TRUE_BOXES: in_true_boxes(segmenter, counted)}).items():
            start = time.process_time()
            people = finder(image)
            scores[name].seconds.append(time.process_time() - start)
            compare(scores[name], people, counted, others)
        clicks += [clicked_iou(image, mask, segmenter) for mask in counted]

    lines = [
        f"{len(pictures)} pictures, {len(clicks)} people",
        "",
        "| finder | recall | precision | IoU of the found | false people | seconds a picture |",
        "| --- | --- | --- | --- | --- | --- |",
        *(score.row(name) for name, score in scores.items()),
        "",
        f"A click inside a person gives them (IoU >= {FOUND_FROM}): {np.mean(np.array(clicks) >= FOUND_FROM):.2f}; "
        f"somebody or something else: {np.mean([0 < iou < FOUND_FROM for iou in clicks]):.2f}; "
        f"an error: {np.mean([iou == 0 for iou in clicks]):.2f}",
        *absent,
    ]
    print("\n".join(lines))


TRUE_BOXES = "`embedded` in the true boxes (what a perfect detector would give)"


def add_hub_finders(finders: dict[str, Finder], segmenter: EmbeddedSegmenter) -> list[str]:
    """Those whose weights are on this machine; a sentence about each of the others."""
    absent = []
    builders: dict[str, Callable[[], Finder]] = {
        "`rt-detr` boxes, `embedded` in them": lambda: DetectedPeopleFinder(
            load_person_detector(device="cpu"), segmenter
        ),
        "`eomt`": lambda: load_instance_segmenter(device="cpu"),
    }
    for name, build in builders.items():
        try:
            finders[name] = build()
        except InputError:
            absent.append(f"Not run, its weights are not on this machine: {name}.")
    return absent


def most_prominent(segmenter: EmbeddedSegmenter, image: np.ndarray) -> list[Person]:
    try:
        return [segmenter(image)]
    except InputError:
        return []


def in_true_boxes(segmenter: EmbeddedSegmenter, masks: list[np.ndarray]) -> Finder:
    boxes = [DetectedPerson(box, 1.0) for mask in masks if (box := mask_box(mask)) is not None]
    return DetectedPeopleFinder(lambda image: boxes, segmenter)


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


def compare(score: Score, people: list[Person], counted: list[np.ndarray], others: list[np.ndarray]) -> None:
    """Pair the people found with the true ones, the best pair first, and count."""
    found = [person.modal_mask for person in people]
    ious = np.array([[overlap(mask, target).iou for target in counted] for mask in found]).reshape(
        len(found), len(counted)
    )
    score.people += len(counted)
    paired = set()
    while ious.size and ious.max() >= FOUND_FROM:
        person, target = np.unravel_index(ious.argmax(), ious.shape)
        score.ious.append(float(ious[person, target]))
        paired.add(int(person))
        ious[person, :] = ious[:, target] = 0
    rest = [mask for index, mask in enumerate(found) if index not in paired]
    score.false += sum(not any((mask & other).sum() >= mask.sum() / 2 for other in others) for mask in rest)


def clicked_iou(image: np.ndarray, mask: np.ndarray, segmenter: EmbeddedSegmenter) -> float:
    """IoU of the person under the most interior pixel of a true mask; 0 where nobody is found."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    try:
        return overlap(person_at(image, (int(x), int(y)), segmenter).modal_mask, mask).iou
    except InputError:
        return 0.0


if __name__ == "__main__":
    main()
