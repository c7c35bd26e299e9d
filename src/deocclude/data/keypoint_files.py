"""joints.json: the labelled keypoints of each person of a set, in one of two orders.

BODY_25   25 rows of x, y, confidence, from a pose estimator (CCP, `bench`)
COCO-17   17 rows of x, y, v, drawn by hand (`bench-wild`, `wild`): v is 2 for a visible keypoint, 1 for a hidden one
          that the annotator marked, 0 (with x = y = 0) for one without a label

The number of rows distinguishes them. All people of a file have the same order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deocclude.data.coco import body_25_from_coco
from deocclude.errors import InputError
from deocclude.skeletons import COCO_17, NUM_JOINTS

KEYPOINTS_JSON = "joints.json"
KeypointOrder = Literal["BODY_25", "COCO-17"]
_ORDERS: dict[int, KeypointOrder] = {NUM_JOINTS: "BODY_25", len(COCO_17): "COCO-17"}


@dataclass(frozen=True, eq=False)
class KeypointFile:
    """A file in memory. people: by id, float32 (25, 3) or (17, 3) as `order` says, in pixels of the person's image."""

    order: KeypointOrder
    people: dict[str, np.ndarray]


def read_keypoints(path: Path) -> KeypointFile:
    """Read the file in its own order.

    Raises InputError, naming the file, if it is not an object from id to 25 or to 17 rows of three numbers.
    """
    content = _json_object(path)
    people = {id: _rows(values, f"{path}: the entry of {id}") for id, values in content.items()}
    orders = {_ORDERS[len(rows)] for rows in people.values()}
    if len(orders) > 1:
        raise InputError(f"{path}: mixes BODY_25 (25 rows) and COCO-17 (17 rows); all people must have the same order")
    return KeypointFile(orders.pop() if orders else "BODY_25", people)


def read_joints(path: Path) -> dict[str, np.ndarray]:
    """All people's joints by id, BODY_25: float32 (25, 3) of x, y in pixels and confidence in [0, 1].

    COCO-17 keypoints are converted: a labelled one, hidden or not, has confidence 1. Raises as `read_keypoints`.
    """
    file = read_keypoints(path)
    if file.order == "BODY_25":
        return file.people
    return {id: body_25_from_coco(keypoints) for id, keypoints in file.people.items()}


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); the labels' joints are in it") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be an object from id to joints")
    return content


def _rows(values: Any, what: str) -> np.ndarray:
    try:
        rows = np.asarray(values, np.float32).reshape(-1, 3)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} is malformed ({error})") from error
    if len(rows) not in _ORDERS:
        raise InputError(f"{what} is malformed: {len(rows)} rows; BODY_25 has 25, COCO-17 has 17")
    return rows
