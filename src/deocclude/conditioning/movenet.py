"""MoveNet MultiPose on photographs: people with boxes and keypoints, hidden ones included."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deocclude.conditioning.boxes import box_iou
from deocclude.conditioning.pose_estimator import body_25_from_confident_coco
from deocclude.crops import Box, SquareCrop, crop_around, extract
from deocclude.models.perception.movenet import SIDE_MULTIPLE, MoveNet, decode_people
from deocclude.weights import asset_path, load_network

LONG_SIDE = 256
"""Pixels of the photograph's longer side as the network sees it. At 384 it finds as many people and their keypoints as
well, invents more and takes twice as long."""
CROP_SIZE = 256
"""The same of a square round one person."""
CROP_MARGIN = 1.5
"""Side of that square over the longer side of the person's box."""
MIN_FIT = 1.0
"""A person of the network is the one asked for from this `fit` on: on training photographs, worse ones were nearly
always others."""
MIN_SCORE = 0.01
"""Below it the network sees no person."""


@dataclass(frozen=True, eq=False)
class PosedPeople:
    """The people of one photograph, in its pixels, P of them.

    boxes: float (P, 4) of x0, y0, x1, y1. scores: float (P) in [0, 1].
    keypoints: COCO-17, float (P, 17, 3) of x, y, score in [0, 1].
    """

    boxes: np.ndarray
    scores: np.ndarray
    keypoints: np.ndarray


class MoveNetEstimator:
    """`PoseEstimator` round MoveNet MultiPose.

    A photograph is looked at once, however many of its people are asked for one after the other.
    """

    name = "movenet"

    def __init__(self, network: MoveNet, *, long_side: int = LONG_SIDE, weights_sha256: str | None = None) -> None:
        self.network = network.eval()
        self.long_side = long_side
        self.weights_sha256 = weights_sha256
        # One attribute, so that a thread never sees the photograph of one and the people of another.
        self._last: tuple[np.ndarray, tuple[int, int], PosedPeople] | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's arithmetic."""
        return next(self.network.parameters()).dtype

    def people(self, image: np.ndarray) -> PosedPeople:
        """Everybody it sees in uint8 (H, W, 3), the surest center first, unsure ones included."""
        height, width = image.shape[:2]
        scale = self.long_side / max(height, width)
        seen_hw = max(round(height * scale), 1), max(round(width * scale), 1)
        seen = _resized(image, seen_hw)
        if (last := self._last) is not None and last[1] == (height, width) and np.array_equal(last[0], seen):
            return last[2]
        people = self._infer(seen, (width / seen_hw[1], height / seen_hw[0]))
        self._last = seen, (height, width), people
        return people

    def locate_joints(
        self, image: np.ndarray, box_xyxy: Box, modal_mask: np.ndarray | None = None
    ) -> np.ndarray | None:
        """BODY_25, float32 (25, 3), of the person of uint8 (H, W, 3) whose box and mask, bool (H, W), these are.

        It is looked for in the whole photograph, then in a crop round the box. None if nobody there fits.
        """
        found = _fitting(self.people(image), box_xyxy, modal_mask)
        if found is None:
            crop = crop_around(box_xyxy, (image.shape[0], image.shape[1]), margin=CROP_MARGIN)
            found = _fitting(self._people_in(image, crop), box_xyxy, modal_mask)
        return None if found is None else body_25_from_confident_coco(found)

    def _people_in(self, image: np.ndarray, crop: SquareCrop) -> PosedPeople:
        scale = crop.side / CROP_SIZE
        people = self._infer(extract(image, crop, CROP_SIZE, nearest=False), (scale, scale))
        corner = np.array([crop.left, crop.top])
        keypoints = people.keypoints.copy()
        keypoints[..., :2] += corner
        return PosedPeople(people.boxes + np.tile(corner, 2), people.scores, keypoints)

    @torch.inference_mode()
    def _infer(self, seen: np.ndarray, scale_xy: tuple[float, float]) -> PosedPeople:
        """The people in uint8 (h, w, 3), which is the photograph divided by a scale, in the photograph's pixels."""
        like = next(self.network.parameters())
        padded = [(0, -length % SIDE_MULTIPLE) for length in seen.shape[:2]]
        pixels = torch.from_numpy(np.pad(seen, (*padded, (0, 0)))).permute(2, 0, 1)[None]
        people = decode_people(self.network(pixels.to(like) / 255))
        boxes, scores, keypoints = (
            value.float().cpu().numpy() for value in (people.boxes, people.scores, people.keypoints)
        )
        keypoints[..., :2] *= scale_xy
        boxes = boxes.clip(max=[seen.shape[1], seen.shape[0]] * 2)  # they may reach into the padding
        return PosedPeople(boxes * np.tile(scale_xy, 2), scores, keypoints)


def _resized(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) at another size. Large photographs are averaged first: it costs less and looks the same."""
    resized = Image.fromarray(image).resize(size_hw[::-1], Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.array(resized)


def _fitting(people: PosedPeople, box_xyxy: Box, modal_mask: np.ndarray | None) -> np.ndarray | None:
    """Keypoints (17, 3) of the person who fits best, if any does."""
    fits = fit(people, box_xyxy, modal_mask) * (people.scores >= MIN_SCORE)
    best = int(fits.argmax())
    return people.keypoints[best] if fits[best] >= MIN_FIT else None


def fit(people: PosedPeople, box_xyxy: Box, modal_mask: np.ndarray | None) -> np.ndarray:
    """How well each of P people is the one of a box and, if known, a visible part: float (P) in [0, 2].

    The IoU of the boxes, plus the part of the keypoints' scores that lies inside: on the mask, without one in the box.
    """
    iou = box_iou(people.boxes, np.array([box_xyxy], float))[:, 0]
    scores = people.keypoints[..., 2]
    inside = _inside(people.keypoints[..., :2], box_xyxy, modal_mask)
    share: np.ndarray = (scores * inside).sum(axis=1) / np.maximum(scores.sum(axis=1), 1e-6)
    return iou + share


def _inside(points: np.ndarray, box_xyxy: Box, modal_mask: np.ndarray | None) -> np.ndarray:
    """Which points, (P, K, 2) of x, y, lie on the mask or, without one, in the box; bool (P, K)."""
    x0, y0, x1, y1 = box_xyxy
    x, y = np.floor(points[..., 0]).astype(int), np.floor(points[..., 1]).astype(int)
    inside: np.ndarray = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    if modal_mask is not None:
        inside[inside] = modal_mask[y[inside], x[inside]]
    return inside


def load_movenet(*, device: torch.device, dtype: torch.dtype = torch.float32) -> MoveNetEstimator:
    """MoveNet with the package's weights, loaded once for a device. Raises InputError where they are missing."""
    return _loaded(asset_path("movenet"), device, dtype)


@cache
def _loaded(path: Path, device: torch.device, dtype: torch.dtype) -> MoveNetEstimator:
    network, sha256 = load_network(path, expected="MoveNet")
    network = network.to(device, dtype, memory_format=torch.channels_last)
    return MoveNetEstimator(network, weights_sha256=sha256)
