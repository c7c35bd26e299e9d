"""Small folders of whole people and of COCO objects, drawn on the spot."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from deocclude.parsing import LIP_LABELS

LABEL = {name: index for index, name in enumerate(LIP_LABELS)}


def silhouette(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """A standing person, bool (H, W): head, trunk, two arms, two legs, in proportions drawn from the seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    v, u = y / height, (x - width / 2) / height
    lean, build, spread = rng.uniform(-0.05, 0.05), rng.uniform(0.8, 1.3), rng.uniform(0.02, 0.09)
    u = u - lean * (v - 0.5)
    head = (u / 0.05) ** 2 + ((v - 0.13) / 0.07) ** 2 < 1
    trunk = (np.abs(u) < 0.085 * build) & (v > 0.2) & (v < 0.52)
    legs = (np.abs(np.abs(u) - spread * (v - 0.3)) < 0.04 * build) & (v >= 0.5) & (v < 0.94)
    arms = (np.abs(np.abs(u) - 0.09 * build - 0.15 * (v - 0.2)) < 0.022) & (v > 0.21) & (v < 0.55)
    return head | trunk | legs | arms


def parsing_of(person: np.ndarray) -> np.ndarray:
    """Labels of a silhouette: clothes above the middle; below, the right leg on the left of the picture."""
    height, width = person.shape
    y, x = np.mgrid[0:height, 0:width]
    legs = np.where(x < width / 2, LABEL["right-leg"], LABEL["left-leg"])
    return np.where(person, np.where(y < height / 2, LABEL["upper-clothes"], legs), 0).astype(np.uint8)


def write_people(root: Path, count: int, *, size_hw: tuple[int, int] = (96, 72), bag: bool = True) -> None:
    """count whole people under images/, masks/ (with a bag) and parsing/, and the index of a CCP folder."""
    for folder in ("images", "masks", "parsing"):
        (root / folder).mkdir(parents=True)
    rows, joints = [], {}
    for number in range(count):
        id = f"{number:03d}"
        person = silhouette(*size_hw, seed=number)
        labels = person * np.uint8(255)
        if bag:
            labels[size_hw[0] // 3 : size_hw[0] // 2, size_hw[1] // 8 : size_hw[1] * 3 // 8] = 128
        picture = np.random.default_rng(number).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
        Image.fromarray(picture).save(root / "images" / f"{id}.webp", lossless=True)
        Image.fromarray(labels).save(root / "masks" / f"{id}.png")
        Image.fromarray(parsing_of(labels == 255)).save(root / "parsing" / f"{id}.png")
        split, source = ("train", "annotated") if number % 2 == 0 else ("val", "pseudo")
        rows.append([id, split, source, size_hw[1], size_hw[0]])
        joints[id] = [[float(joint), 2.0 * joint, 0.5] for joint in range(25)]
    with (root / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "split", "mask_source", "width", "height"], *rows])
    (root / "joints.json").write_text(json.dumps(joints))


def coco_file(annotations: list[dict], *, count: int = 1, size_hw: tuple[int, int] = (120, 160)) -> dict:
    """The content of a COCO instances file with pictures 1…count named like 1.png."""
    pictures = [
        {"id": number, "file_name": f"{number}.png", "height": size_hw[0], "width": size_hw[1]}
        for number in range(1, count + 1)
    ]
    names = {1: "person", 62: "chair", 47: "cup"}
    categories = [{"id": id, "name": name} for id, name in names.items()]
    return {"images": pictures, "annotations": annotations, "categories": categories}


def box_annotation(id: int, image_id: int, box_xyxy: tuple[int, int, int, int], *, category_id: int = 62) -> dict:
    """A rectangle as a polygon."""
    x0, y0, x1, y1 = box_xyxy
    return {
        "id": id,
        "image_id": image_id,
        "category_id": category_id,
        "iscrowd": 0,
        "area": (x1 - x0) * (y1 - y0),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
    }


def write_coco(root: Path, *, person: bool = False) -> tuple[Path, Path]:
    """A COCO file and its folder: two pictures, each one colour, with a chair, a cup, a crumb and a crowd.

    person: someone of 90 pixels on the second picture too.
    """
    images = root / "coco_images"
    images.mkdir(parents=True)
    crowd = {**box_annotation(9, 1, (5, 5, 100, 100), category_id=1), "iscrowd": 1}
    crowd["segmentation"] = {"size": [120, 160], "counts": [600, 2400, 16200]}
    annotations = [
        box_annotation(1, 1, (30, 20, 80, 100)),
        box_annotation(2, 2, (40, 40, 120, 80), category_id=47),
        box_annotation(3, 2, (5, 5, 15, 15)),
        crowd,
    ]
    if person:
        annotations.append(box_annotation(4, 2, (100, 20, 130, 110), category_id=1))
    for number, colour in ((1, (200, 30, 30)), (2, (30, 30, 200))):
        Image.new("RGB", (160, 120), colour).save(images / f"{number}.png")
    path = root / "instances.json"
    path.write_text(json.dumps(coco_file(annotations, count=2)))
    return path, images
