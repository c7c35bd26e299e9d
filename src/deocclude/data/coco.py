"""Reader of COCO instance annotations: segmentations and person keypoints."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deocclude.data.segmentations import decode_segmentation
from deocclude.errors import InputError
from deocclude.skeletons import BODY_25, COCO_17, NUM_JOINTS


@dataclass(frozen=True, eq=False)
class CocoInstance:
    """One annotated object.

    category: COCO's name, "person", "fire hydrant", …
    box_xyxy: float pixels.
    area: of the segmentation, pixels.
    keypoints: COCO-17, float32 (17, 3) of x, y, v (0 not labelled, 1 labelled but hidden, 2 visible); None
        where nobody labelled one.
    is_whole: a person marked as wholly visible (`"whole": 1`, our own field): its mask is the amodal mask as well.
    image_hw: size of the picture it is drawn on.
    """

    id: int
    category: str
    box_xyxy: tuple[float, float, float, float]
    area: float
    iscrowd: bool
    keypoints: np.ndarray | None
    segmentation: Any
    image_hw: tuple[int, int]
    is_whole: bool = False

    def mask(self) -> np.ndarray:
        """The visible part of the object, bool (H, W). Decoded anew on each call.

        Raises InputError for a segmentation that is none.
        """
        try:
            return decode_segmentation(self.segmentation, self.image_hw)
        except InputError as error:
            raise InputError(f"COCO annotation {self.id} {error}") from error


@dataclass(frozen=True, eq=False)
class CocoImage:
    """One picture with its objects. `crowds` are regions where many objects share a mask: nobody's own."""

    id: int
    path: Path
    width: int
    height: int
    instances: tuple[CocoInstance, ...]
    crowds: tuple[CocoInstance, ...]


def read_coco(json_path: Path, images_dir: Path) -> list[CocoImage]:
    """Every picture of a COCO file, in its order, with or without objects. Masks are decoded only when asked for.

    Raises InputError where the file is not COCO instance annotations.
    """
    json_path = Path(json_path)
    try:
        content = json.loads(json_path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{json_path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{json_path}: is not JSON ({error})") from error
    try:
        names = {category["id"]: category["name"] for category in content["categories"]}
        annotations = defaultdict(list)
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        return [_image(picture, annotations[picture["id"]], names, Path(images_dir)) for picture in content["images"]]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{json_path}: is not a COCO instances file ({type(error).__name__}: {error})") from error


def _image(picture: dict, annotations: list[dict], names: dict[int, str], images_dir: Path) -> CocoImage:
    size_hw = int(picture["height"]), int(picture["width"])
    instances = [
        _instance(annotation, names[annotation["category_id"]], size_hw)
        for annotation in annotations
        if annotation.get("segmentation")
    ]
    return CocoImage(
        id=picture["id"],
        path=images_dir / picture["file_name"],
        width=size_hw[1],
        height=size_hw[0],
        instances=tuple(instance for instance in instances if not instance.iscrowd),
        crowds=tuple(instance for instance in instances if instance.iscrowd),
    )


def _instance(annotation: dict, category: str, size_hw: tuple[int, int]) -> CocoInstance:
    x, y, width, height = annotation["bbox"]
    keypoints = np.asarray(annotation.get("keypoints", []), np.float32).reshape(-1, 3)
    return CocoInstance(
        id=annotation["id"],
        category=category,
        box_xyxy=(x, y, x + width, y + height),
        area=float(annotation["area"]),
        iscrowd=bool(annotation.get("iscrowd", 0)),
        keypoints=keypoints if len(keypoints) == len(COCO_17) and keypoints[:, 2].any() else None,
        segmentation=annotation["segmentation"],
        image_hw=size_hw,
        is_whole=bool(annotation.get("whole", 0)),
    )


def body_25_from_coco(keypoints: np.ndarray) -> np.ndarray:
    """COCO-17 keypoints (17, 3) of x, y, v to BODY_25 joints, float32 (25, 3) of x, y, confidence.

    Confidence is 1 where someone labelled the joint, hidden or not, and 0 where COCO has none (the feet, the
    joints not labelled). The neck is the middle of the shoulders, the mid-hip the middle of the hips, where
    both are known.
    """
    labelled = {name: keypoints[index, :2] for index, name in enumerate(COCO_17) if keypoints[index, 2] > 0}
    for middle, pair in (("neck", "shoulder"), ("mid-hip", "hip")):
        left, right = labelled.get(f"left-{pair}"), labelled.get(f"right-{pair}")
        if left is not None and right is not None:
            labelled[middle] = (left + right) / 2
    joints = np.zeros((NUM_JOINTS, 3), np.float32)
    for index, name in enumerate(BODY_25):
        if name in labelled:
            joints[index] = (*labelled[name], 1)
    return joints


def hidden_body_25(keypoints: np.ndarray) -> np.ndarray:
    """Which BODY_25 joints were labelled although they cannot be seen (v = 1 in COCO-17 keypoints (17, 3)), bool (25,).

    Neck and mid-hip, which COCO lacks, never are.
    """
    hidden = {name for index, name in enumerate(COCO_17) if keypoints[index, 2] == 1}
    return np.array([name in hidden for name in BODY_25])
