"""Boxes with scores: overlap, suppression, and how the answers of two detectors become one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# N, M boxes


@dataclass(frozen=True, eq=False)
class ScoredBoxes:
    """boxes: float (N, 4) of x0, y0, x1, y1. scores: float (N) in [0, 1]."""

    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: np.ndarray) -> ScoredBoxes:
        """Some of them; rows: int or bool, as NumPy takes them."""
        return ScoredBoxes(self.boxes[rows], self.scores[rows])


def box_iou(a_N4: np.ndarray, b_M4: np.ndarray) -> np.ndarray:
    """Intersection over union of each of N boxes with each of M, float (N, M); 0 for two without area."""
    common = _common(a_N4, b_M4)
    union = box_areas(a_N4)[:, None] + box_areas(b_M4)[None] - common
    return common / np.maximum(union, np.finfo(float).tiny)


def contained(a_N4: np.ndarray, b_M4: np.ndarray) -> np.ndarray:
    """Which part of each of N boxes lies in each of M, float (N, M) in [0, 1]; 0 for one without area."""
    return _common(a_N4, b_M4) / np.maximum(box_areas(a_N4)[:, None], np.finfo(float).tiny)


def _common(a_N4: np.ndarray, b_M4: np.ndarray) -> np.ndarray:
    """Area of each intersection, float (N, M)."""
    low = np.maximum(a_N4[:, None, :2], b_M4[None, :, :2])
    high = np.minimum(a_N4[:, None, 2:], b_M4[None, :, 2:])
    area: np.ndarray = (high - low).clip(min=0).prod(axis=2)
    return area


def box_areas(boxes_N4: np.ndarray) -> np.ndarray:
    """Float (N); 0 for a box that is empty."""
    areas: np.ndarray = (boxes_N4[:, 2:] - boxes_N4[:, :2]).clip(min=0).prod(axis=1)
    return areas


def kept_rows(found: ScoredBoxes, *, max_iou: float, max_part: float = 1.0) -> np.ndarray:
    """Non-maximum suppression: rows, int, of the boxes to keep, the highest score first.

    Left out is a box whose IoU with a kept one of a higher score exceeds `max_iou`, or of which a greater part than
    `max_part` lies in one.
    """
    repeats = (box_iou(found.boxes, found.boxes) > max_iou) | (contained(found.boxes, found.boxes) > max_part)
    kept: list[int] = []
    for row in np.argsort(-found.scores, kind="stable"):
        if not repeats[row, kept].any():
            kept.append(int(row))
    return np.array(kept, int)


def matched(a_N4: np.ndarray, b_M4: np.ndarray, min_iou: float) -> list[tuple[int, int]]:
    """Pairs of rows, one to one, the highest IoU first, none of `min_iou` or less."""
    iou = box_iou(a_N4, b_M4)
    pairs = []
    for _ in range(min(iou.shape)):
        row, column = (int(index) for index in np.unravel_index(iou.argmax(), iou.shape))
        if iou[row, column] <= min_iou:
            break
        pairs.append((row, column))
        iou[row], iou[:, column] = 0, 0
    return pairs
