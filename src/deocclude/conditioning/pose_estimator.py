"""Joints from elsewhere than the embedded segmenter: ViTPose, a file; and a detector for the person's box."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from deocclude.conditioning.pretrained import load_pretrained
from deocclude.crops import Box
from deocclude.data.coco import body_25_from_coco
from deocclude.errors import InputError
from deocclude.skeletons import BODY_25, COCO_17, NUM_JOINTS

MISSING_BELOW = 0.05
"""Joints of at most this confidence count as not found (method-diffusion.md, 6, row 6). Nothing drops them here."""
DETECTION_THRESHOLD = 0.5
BOX_PADDING = 1.25
"""What ViTPose looks at, over the box, as in its training."""


class PoseEstimator(Protocol):
    """Finds the joints of a person whose place is known."""

    name: str

    def locate_joints(
        self, image: np.ndarray, box_xyxy: Box, modal_mask: np.ndarray | None = None
    ) -> np.ndarray | None:
        """uint8 (H, W, 3) and a box to BODY_25 joints: float32 (25, 3) of x, y, confidence in the image's pixels.

        modal_mask: the visible part, bool (H, W), for estimators that need it to know which of several people in the
        box is meant. None where the estimator sees no such person.
        """
        ...


class VitPoseEstimator:
    """`PoseEstimator` round transformers' VitPoseForPoseEstimation. Its pixels are COCO's, as `data.coco` reads them.

    model: one that finds the 17 joints of COCO, plain or with a mixture of experts (ViTPose+, whose first is COCO's).
    processor: its VitPoseImageProcessor.
    batch_size: people at once.
    """

    name = "vitpose"

    def __init__(self, model: Any, processor: Any, *, batch_size: int = 32) -> None:
        if model.config.num_labels != len(COCO_17):
            raise ValueError(f"model must find COCO's {len(COCO_17)} joints, got one for {model.config.num_labels}")
        self.model = model.eval()
        self.processor = processor
        self.batch_size = batch_size

    def locate_joints(self, image: np.ndarray, box_xyxy: Box, modal_mask: np.ndarray | None = None) -> np.ndarray:
        """The joints of the person in a box of uint8 (H, W, 3): float32 (25, 3) of x, y, confidence in [0, 1].

        It looks at the box alone: the mask is not read.
        """
        return self.locate_people(image, [box_xyxy])[0]

    def locate_people(self, image: np.ndarray, boxes_xyxy: Sequence[Box]) -> np.ndarray:
        """The same for P people of one photograph: float32 (P, 25, 3)."""
        people = [
            joints
            for start in range(0, len(boxes_xyxy), self.batch_size)
            for joints in self._locate(image, boxes_xyxy[start : start + self.batch_size])
        ]
        return np.stack(people) if people else np.zeros((0, NUM_JOINTS, 3), np.float32)

    @torch.inference_mode()
    def _locate(self, image: np.ndarray, boxes_xyxy: Sequence[Box]) -> list[np.ndarray]:
        if len(image) < 4:  # so few rows the processor takes for channels; beyond the picture it sees black anyway
            image = np.pad(image, ((0, 4 - len(image)), (0, 0), (0, 0)))
        boxes_xywh = [[[float(x0), float(y0), float(x1 - x0), float(y1 - y0)] for x0, y0, x1, y1 in boxes_xyxy]]
        inputs = self.processor(image, boxes=boxes_xywh, input_data_format="channels_last", return_tensors="pt")
        pixels = inputs.pixel_values.to(self.model.device, self.model.dtype)
        experts = {}
        if self.model.config.backbone_config.num_experts > 1:
            experts["dataset_index"] = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)
        outputs = self.model(pixel_values=pixels, **experts)
        outputs.heatmaps = outputs.heatmaps.float()  # NumPy, in which the peaks are found, knows no bfloat16
        found = self.processor.post_process_pose_estimation(outputs, boxes=boxes_xywh)[0]
        aspect = self.processor.size["width"] / self.processor.size["height"]
        return [
            body_25_from_confident_coco(_within(person, box, aspect))
            for person, box in zip(found, boxes_xyxy, strict=True)
        ]


def body_25_from_confident_coco(keypoints: np.ndarray) -> np.ndarray:
    """COCO-17 keypoints, (17, 3) of x, y, confidence, to BODY_25, float32 (25, 3), no confidence dropped or rounded.

    Neck and mid-hip lie between shoulders and hips. Their confidence is the product of the two, as DPMesh, whose
    weights see them, computes its pelvis; the feet have none.
    """
    found = dict(zip(COCO_17, keypoints[:, 2], strict=True))
    found["neck"] = found["left-shoulder"] * found["right-shoulder"]
    found["mid-hip"] = found["left-hip"] * found["right-hip"]
    places = np.column_stack([keypoints[:, :2], np.ones(len(COCO_17))])  # places even where the confidence is 0
    joints = body_25_from_coco(places)
    joints[:, 2] = [found.get(name, 0) for name in BODY_25]
    return joints


def _within(person: dict[str, Any], box_xyxy: Box, aspect: float) -> np.ndarray:
    """ViTPose's keypoints, (17, 3), inside what it looked at, with confidences in [0, 1].

    The heatmap's peak is refined by a Newton step, which runs away where the peak is flat.
    """
    x0, y0, x1, y1 = box_xyxy
    width = BOX_PADDING * max(x1 - x0, aspect * (y1 - y0))
    half = np.array([width, width / aspect]) / 2
    centre = np.array([x0 + x1, y0 + y1]) / 2
    xy = np.clip(person["keypoints"].numpy(), centre - half, centre + half)
    return np.column_stack([xy, np.clip(person["scores"].numpy(), 0, 1)])


class DetectedPerson(NamedTuple):
    """A box inside the photograph, x1 and y1 exclusive, and how sure the detector is, in [0, 1].

    joints: BODY_25, float32 (25, 3) of x, y, confidence, of a detector that sees them; else None. joints_from: the
        name of who found them.
    """

    box_xyxy: Box
    confidence: float
    joints: np.ndarray | None = None
    joints_from: str | None = None


class Detector(Protocol):
    """Finds people's boxes in photographs."""

    name: str

    def __call__(self, image: np.ndarray) -> Sequence[DetectedPerson]:
        """The people of uint8 (H, W, 3), in no particular order; empty if there are none."""
        ...


class PersonDetector:
    """Finds people with one of transformers' object detectors.

    model: an AutoModelForObjectDetection whose labels name "person"; RT-DETR is the one meant (Apache-2.0).
    processor: its image processor.
    """

    name = "detector"

    def __init__(self, model: Any, processor: Any, *, threshold: float = DETECTION_THRESHOLD) -> None:
        self.person_labels = [label for label, name in model.config.id2label.items() if name.lower() == "person"]
        if not self.person_labels:
            raise ValueError("model must know the label 'person'")
        self.model = model.eval()
        self.processor = processor
        self.threshold = threshold

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> list[DetectedPerson]:
        """The people of a photograph, uint8 (H, W, 3), the largest first: empty if there are none."""
        height, width = image.shape[:2]
        inputs = self.processor(images=image, input_data_format="channels_last", return_tensors="pt")
        outputs = self.model(pixel_values=inputs.pixel_values.to(self.model.device, self.model.dtype))
        outputs.pred_boxes = outputs.pred_boxes.float()  # times the size, which half precision would round
        found = self.processor.post_process_object_detection(
            outputs, threshold=self.threshold, target_sizes=[(height, width)]
        )[0]
        people = [
            DetectedPerson(whole_pixels(box, width, height), float(score))
            for score, label, box in zip(found["scores"], found["labels"], found["boxes"].tolist(), strict=True)
            if int(label) in self.person_labels
        ]
        return sorted(people, key=lambda person: (_area(person.box_xyxy), person.confidence), reverse=True)


def load_pose_estimator(
    folder_or_repo: str | Path = "usyd-community/vitpose-base-simple",
    *,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    local_files_only: bool = True,
    revision: str | None = None,
) -> VitPoseEstimator:
    """ViTPose (Apache-2.0) from a folder or the hub. local_files_only: download nothing.

    Raises InputError where the weights are not there whole, or find other joints than COCO's.
    """
    model, processor = load_pretrained(
        "VitPoseForPoseEstimation",
        "AutoImageProcessor",
        folder_or_repo,
        dtype=dtype,
        local_files_only=local_files_only,
        revision=revision,
    )
    try:
        return VitPoseEstimator(model.to(device), processor)
    except ValueError as error:
        raise InputError(f"{folder_or_repo}: {error}") from error


def load_person_detector(
    folder_or_repo: str | Path = "PekingU/rtdetr_r50vd_coco_o365",
    *,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    local_files_only: bool = True,
    revision: str | None = None,
) -> PersonDetector:
    """RT-DETR (Apache-2.0) from a folder or the hub. local_files_only: download nothing.

    Raises InputError where the weights are not there whole, or know no people.
    """
    model, processor = load_pretrained(
        "AutoModelForObjectDetection",
        "AutoImageProcessor",
        folder_or_repo,
        dtype=dtype,
        local_files_only=local_files_only,
        revision=revision,
    )
    try:
        return PersonDetector(model.to(device), processor)
    except ValueError as error:
        raise InputError(f"{folder_or_repo}: {error}") from error


def whole_pixels(box: Sequence[float], width: int, height: int) -> Box:
    """A box rounded to whole pixels inside the picture, one at least."""
    x0, y0 = (min(max(round(low), 0), length - 1) for low, length in zip(box[:2], (width, height), strict=True))
    return x0, y0, max(min(round(box[2]), width), x0 + 1), max(min(round(box[3]), height), y0 + 1)


def _area(box_xyxy: Box) -> int:
    x0, y0, x1, y1 = box_xyxy
    return (x1 - x0) * (y1 - y0)


def joints_from_file(path: Path, *, box_xyxy: Box | None = None, modal_mask: np.ndarray | None = None) -> np.ndarray:
    """One person's joints from JSON: BODY_25, float32 (25, 3) of x, y (the upright photograph's pixels), confidence.

    The file holds one of: OpenPose's own output, {"people": [{"pose_keypoints_2d": [75 numbers]}, …]}; a list of 25
    [x, y, confidence]; or an object, such as our results, whose "joints" are such a list or {"nose": [x, y,
    confidence], …}, where joints that are not named are missing.

    box_xyxy, modal_mask (bool, (H, W)): which of several people is meant: the one with most joints on the mask, or,
        without a mask, the one whose joints fill the box best.
    Raises InputError, naming the file, for anything else.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error})") from error
    try:
        return _chosen(_people(content), box_xyxy, modal_mask)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _people(content: Any) -> list[np.ndarray]:
    """Everybody's joints. Raises ValueError with a sentence for what is in no known form."""
    if isinstance(content, dict) and "people" in content:
        if not isinstance(content["people"], list):
            raise ValueError('"people" is not a list')
        return [_openpose_person(person) for person in content["people"]]
    joints = content.get("joints") if isinstance(content, dict) else content
    if isinstance(joints, dict):
        return [_named_joints(joints)]
    if isinstance(joints, list) and len(joints) == NUM_JOINTS:
        return [_checked(joints)]
    raise ValueError(
        f'holds no joints; give OpenPose\'s JSON, a list of {NUM_JOINTS} [x, y, confidence], or "joints" with either'
    )


def _openpose_person(person: Any) -> np.ndarray:
    numbers = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
    if not isinstance(numbers, list) or len(numbers) != 3 * NUM_JOINTS:
        raise ValueError(f'a person\'s "pose_keypoints_2d" are not {3 * NUM_JOINTS} numbers, as BODY_25 has')
    return _checked([numbers[start : start + 3] for start in range(0, len(numbers), 3)])


def _named_joints(named: dict[str, Any]) -> np.ndarray:
    if unknown := sorted(set(named) - set(BODY_25)):
        raise ValueError(f"there is no joint '{unknown[0]}'; choose from {', '.join(BODY_25)}")
    if not named:
        raise ValueError("names no joint")
    return _checked([named.get(name, [0, 0, 0]) for name in BODY_25])


def _checked(rows: list[Any]) -> np.ndarray:
    """25 rows to float32 (25, 3). OpenPose's confidences may exceed 1 a little, COCO's visibility is up to 2."""
    for name, row in zip(BODY_25, rows, strict=True):
        if not isinstance(row, list) or len(row) != 3 or not all(map(_is_number, row)):
            raise ValueError(f"the {name} is not [x, y, confidence] in finite numbers")
    joints = np.array(rows, np.float32)
    joints[:, 2] = joints[:, 2].clip(0, 1)
    return joints


def _is_number(value: Any) -> bool:
    # Not True, which is an int to Python; and nothing that would be infinite as float32.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _chosen(people: list[np.ndarray], box_xyxy: Box | None, modal_mask: np.ndarray | None) -> np.ndarray:
    if not people:
        raise ValueError("holds no person")
    if len(people) == 1:
        return people[0]
    if modal_mask is not None:
        fits = [_joints_on(joints, modal_mask) for joints in people]
    elif box_xyxy is not None:
        fits = [_fill(joints, box_xyxy) for joints in people]
    else:
        raise ValueError(f"holds {len(people)} people; say with a box or a mask which one is meant")
    if max(fits) == 0:
        raise ValueError(f"holds {len(people)} people, none of them where the box or the mask is")
    return people[int(np.argmax(fits))]


def _found(joints: np.ndarray) -> np.ndarray:
    """x and y of the joints that were found, (n, 2)."""
    return joints[joints[:, 2] > MISSING_BELOW, :2]


def _joints_on(joints: np.ndarray, mask: np.ndarray) -> float:
    """How many joints lie on a mask."""
    x, y = np.floor(_found(joints)).astype(int).T
    height, width = mask.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return float(mask[y[inside], x[inside]].sum())


def _fill(joints: np.ndarray, box_xyxy: Box) -> float:
    """Intersection over union of a box with that round the joints."""
    xy = _found(joints)
    if not len(xy):
        return 0.0
    (left, top), (right, bottom) = xy.min(axis=0), xy.max(axis=0)
    x0, y0, x1, y1 = box_xyxy
    shared = max(min(x1, right) - max(x0, left), 0) * max(min(y1, bottom) - max(y0, top), 0)
    return float(shared / max(_area(box_xyxy) + (right - left) * (bottom - top) - shared, 1e-9))
