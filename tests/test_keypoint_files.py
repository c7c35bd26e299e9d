"""joints.json in both orders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deocclude.data.keypoint_files import read_joints, read_keypoints
from deocclude.errors import InputError
from deocclude.skeletons import BODY_25, COCO_17

COCO = [[float(index), 10.0 + index, 2] for index in range(17)]
COCO[COCO_17.index("left-knee")] = [33.0, 44.0, 1]
COCO[COCO_17.index("right-ankle")] = [0.0, 0.0, 0]


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_the_number_of_rows_is_the_order(tmp_path: Path) -> None:
    estimated = [[1.0, 2.0, 0.5]] * 25
    body = read_keypoints(write(tmp_path / "body.json", {"a": estimated}))
    coco = read_keypoints(write(tmp_path / "coco.json", {"a": COCO}))

    assert body.order == "BODY_25" and np.array_equal(body.people["a"], np.float32(estimated))
    assert coco.order == "COCO-17" and np.array_equal(coco.people["a"], np.float32(COCO))


def test_joints_are_body_25_whatever_the_file_has(tmp_path: Path) -> None:
    """A hidden keypoint that was marked is a joint with confidence 1, one without a label is none."""
    joints = read_joints(write(tmp_path / "coco.json", {"a": COCO}))["a"]

    assert joints.shape == (25, 3) and joints.dtype == np.float32
    assert joints[BODY_25.index("left-knee")].tolist() == [33, 44, 1]
    assert joints[BODY_25.index("nose")].tolist() == [0, 10, 1]
    assert joints[BODY_25.index("right-ankle")].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "must be an object"),
        ({"a": [[1, 2, 3]] * 18}, "entry of a is malformed: 18 rows"),
        ({"a": [[1, 2]]}, "entry of a is malformed"),
        ({"a": "x"}, "entry of a is malformed"),
        ({"a": COCO, "b": [[1, 2, 0.5]] * 25}, "must have the same order"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: object, sentence: str) -> None:
    with pytest.raises(InputError, match=rf"joints.json.*{sentence}"):
        read_joints(write(tmp_path / "joints.json", content))


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "joints.json").write_text("{")
    with pytest.raises(InputError, match=r"joints.json: is not JSON"):
        read_keypoints(tmp_path / "joints.json")
    with pytest.raises(InputError, match=r"none.json: cannot be read"):
        read_keypoints(tmp_path / "none.json")
