"""The embedded segmenter: from a photograph, and a box if there is one, to the modal mask and the joints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from deocclude.crops import Box, SquareCrop, crop_around, extract, restore
from deocclude.errors import InputError
from deocclude.images import image_to_tensor
from deocclude.masks import mask_box
from deocclude.skeletons import FLIPPED_JOINTS
from deocclude.types import Person
from deocclude.weights import asset_path, load_network

if TYPE_CHECKING:
    from deocclude.models.segmenter import SegmenterNetwork

CROP_SIZE = 256
"""The side the network is trained at, pixels."""
LARGER_SIZE = 320
"""The side it looks at besides: mistakes at two scales differ, so their mean makes fewer."""
BOX_MARGIN = 1.5
"""Side of the crop over the longer side of the box, as in training."""
ZOOM_BELOW = 0.5
"""A person whose box is shorter than this share of the crop is looked at again, closer."""
MIN_PART = 0.05
"""An occluder may split a person: pieces of at least this share of the largest one's area belong to it."""
MIN_AREA = 0.0005
"""Share of the crop below which what was found is noise, not a person (33 pixels of 256 x 256)."""


@dataclass(frozen=True)
class Look:
    """What one pass saw: its square, the probability of a visible person (S, S), joint maps (25, h, w)."""

    crop: SquareCrop
    probability: np.ndarray
    joint_heatmap_logits: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        return self.probability >= 0.5

    @property
    def is_empty(self) -> bool:
        return bool(self.mask.mean() < MIN_AREA)


class EmbeddedSegmenter:
    """Finds the most prominent person, or the one in a box. It looks twice where the person is small.

    mirror: ask the network about the mirrored picture too and average.
    larger_size: ask it about the visible part in a larger picture too and average; None does not.
    """

    name = "embedded"

    def __init__(
        self,
        network: SegmenterNetwork,
        *,
        size: int = CROP_SIZE,
        mirror: bool = True,
        larger_size: int | None = LARGER_SIZE,
        weights_sha256: str | None = None,
    ) -> None:
        self.network = network.eval()
        self.size = size
        self.mirror, self.larger_size = mirror, larger_size
        self.weights_sha256 = weights_sha256

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's arithmetic."""
        return next(self.network.parameters()).dtype

    def __call__(self, image: np.ndarray, box_xyxy: Box | None = None) -> Person:
        """uint8 (H, W, 3) (and a box inside it) to the person, at the photograph's size.

        Raises InputError if nobody is found.
        """
        look = self._zoom(image, self.look(image, box_xyxy))
        mask = restore(look.probability, look.crop, image.shape[:2]) >= 0.5
        box = mask_box(mask)
        if look.is_empty or box is None:
            place = f"in the box {','.join(map(str, box_xyxy))}" if box_xyxy else "in the picture"
            raise InputError(f"no person found {place}; say where with a box, or give the mask of the visible part")
        return Person(box, mask, joints_of(look.joint_heatmap_logits, look.crop), self.name)

    def locate_joints(self, image: np.ndarray, box_xyxy: Box) -> np.ndarray:
        """The joints of the person in a box, for a known mask: float32 (25, 3) of x, y, confidence."""
        crop = _square(image, box_xyxy)
        _, joints = self._infer(image, crop, box_xyxy, self.size)
        return joints_of(joints[0].cpu().numpy(), crop)

    def _zoom(self, image: np.ndarray, look: Look) -> Look:
        box = mask_box(look.mask)
        if look.is_empty or box is None or max(box[2] - box[0], box[3] - box[1]) >= ZOOM_BELOW * self.size:
            return look
        closer = self.look(image, box_in_picture(box, look.crop, self.size, image.shape[:2]))
        return look if closer.is_empty else closer

    def look(self, image: np.ndarray, box_xyxy: Box | None) -> Look:
        """One pass: over the whole picture with the box channel full, or round a box with it drawn in."""
        crop = _square(image, box_xyxy)
        modal, joints = self._infer(image, crop, box_xyxy, self.size)
        if self.larger_size is not None:
            larger, _ = self._infer(image, crop, box_xyxy, self.larger_size)
            modal = (modal + F.interpolate(larger, modal.shape[-2:], mode="bilinear", antialias=True)) / 2
        probability = modal.sigmoid()[0, 0].cpu().numpy()
        parts = main_parts(probability >= 0.5, _draw_box(box_xyxy, crop, self.size))
        return Look(crop, probability * parts, joints[0].cpu().numpy())

    @torch.inference_mode()
    def _infer(
        self, image: np.ndarray, crop: SquareCrop, box_xyxy: Box | None, size: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 logits of the crop at one size: mask (1, 1, size, size), joints (1, 25, size / 4, size / 4)."""
        like = next(self.network.parameters())
        picture = image_to_tensor(extract(image, crop, size, nearest=False))
        box = torch.from_numpy(_draw_box(box_xyxy, crop, size))[None, None]
        inputs = picture.to(like), box.to(like)
        output = self.network(*inputs)
        modal, joints = output.modal_logits, output.joint_heatmap_logits
        if self.mirror:
            output = self.network(*(value.flip(-1) for value in inputs))
            modal = (modal + output.modal_logits.flip(-1)) / 2
            joints = (joints + output.joint_heatmap_logits.flip(-1)[:, FLIPPED_JOINTS]) / 2
        return modal.float(), joints.float()


def _square(image: np.ndarray, box_xyxy: Box | None) -> SquareCrop:
    """What is looked at: the square round a box, or the whole picture."""
    height, width = image.shape[:2]
    if box_xyxy is None:
        return crop_around((0, 0, width, height), (height, width), margin=1.0)
    return crop_around(box_xyxy, (height, width), margin=BOX_MARGIN)


def load_segmenter(
    path: Path | None = None, *, device: torch.device, dtype: torch.dtype = torch.float32
) -> EmbeddedSegmenter:
    """The segmenter, with the package's weights unless `path` names others. Raises InputError without any."""
    network, sha256 = load_network(path or asset_path("segmenter"), expected="SegmenterNetwork")
    return EmbeddedSegmenter(network.to(device, dtype, memory_format=torch.channels_last), weights_sha256=sha256)


def main_parts(mask: np.ndarray, box_mask: np.ndarray) -> np.ndarray:
    """The connected pieces, bool (H, W), that touch the box and are not small beside the largest of them."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    touching = np.unique(labels[mask & box_mask])
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    if not len(touching):
        return np.zeros_like(mask)
    kept = touching[areas[touching] >= MIN_PART * areas[touching].max()]
    return np.isin(labels, kept)


def joints_of(heatmap_logits: np.ndarray, crop: SquareCrop) -> np.ndarray:
    """Peaks of (J, h, w) heatmap logits, in the photograph: float32 (J, 3) of x, y, confidence in [0, 1].

    x and y count from the upper left corner of the picture, as in training; the peak is refined by a parabola
    through its neighbours.
    """
    num_joints, height, width = heatmap_logits.shape
    peaks = heatmap_logits.reshape(num_joints, -1).argmax(axis=1)
    joints = np.empty((num_joints, 3), np.float32)
    for joint, (y, x) in enumerate(zip(*np.unravel_index(peaks, (height, width)), strict=True)):
        plane = heatmap_logits[joint]
        column, row = x + _parabola_offset(plane[y], x), y + _parabola_offset(plane[:, x], y)
        joints[joint] = (
            crop.left + (column + 0.5) * crop.side / width,
            crop.top + (row + 0.5) * crop.side / height,
            1 / (1 + np.exp(-np.float64(plane[y, x]))),
        )
    return joints


def _parabola_offset(line: np.ndarray, peak: int) -> float:
    """How far from the largest value of a line the parabola through it and its neighbours peaks."""
    if not 0 < peak < len(line) - 1:
        return 0.0
    before, at, after = (float(value) for value in line[peak - 1 : peak + 2])
    curvature = before - 2 * at + after
    return float(np.clip((before - after) / (2 * curvature), -0.5, 0.5)) if curvature < 0 else 0.0


def box_in_picture(box_xyxy: Box, crop: SquareCrop, size: int, image_hw: tuple[int, int]) -> Box:
    """A box on the resized crop as one in the picture, a pixel and 5 % wider: in training boxes are loose too."""
    x0, y0, x1, y1 = box_xyxy
    x, y = 1 + (x1 - x0) / 20, 1 + (y1 - y0) / 20
    scale = crop.side / size
    return (
        max(int(crop.left + (x0 - x) * scale), 0),
        max(int(crop.top + (y0 - y) * scale), 0),
        min(int(crop.left + (x1 + x) * scale) + 1, image_hw[1]),
        min(int(crop.top + (y1 + y) * scale) + 1, image_hw[0]),
    )


def _draw_box(box_xyxy: Box | None, crop: SquareCrop, size: int) -> np.ndarray:
    """The box inside the crop, bool (size, size), at least one pixel of it; all of the crop without a box."""
    if box_xyxy is None:
        return np.ones((size, size), bool)
    scale = size / crop.side
    x0, y0 = (math.floor((low - start) * scale) for low, start in zip(box_xyxy[:2], (crop.left, crop.top), strict=True))
    x1, y1 = (
        math.ceil((high - start) * scale) for high, start in zip(box_xyxy[2:], (crop.left, crop.top), strict=True)
    )
    drawn = np.zeros((size, size), bool)
    drawn[max(y0, 0) : max(y1, y0 + 1), max(x0, 0) : max(x1, x0 + 1)] = True
    return drawn
