from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_data import box_annotation, coco_file, write_coco

from deocclude.data.coco import body_25_from_coco, read_coco
from deocclude.errors import InputError
from deocclude.skeletons import BODY_25, COCO_17


def test_polygons_become_masks(tmp_path: Path) -> None:
    first, second = read_coco(*write_coco(tmp_path))
    (chair,) = first.instances
    expected = np.zeros((120, 160), bool)
    expected[20:100, 30:80] = True
    assert chair.category == "chair" and chair.box_xyxy == (30, 20, 80, 100)
    assert np.array_equal(chair.mask(), expected)
    assert [instance.category for instance in second.instances] == ["cup", "chair"]


def test_a_crowd_is_no_instance(tmp_path: Path) -> None:
    first, _ = read_coco(*write_coco(tmp_path))
    (crowd,) = first.crowds
    expected = np.zeros((120, 160), bool)
    expected[:, 5:25] = True  # run lengths go down the columns: 5 columns off, 20 on
    assert np.array_equal(crowd.mask(), expected)
    assert not any(instance.iscrowd for instance in first.instances)


def test_several_polygons_and_compressed_run_lengths(tmp_path: Path) -> None:
    from pycocotools import mask as run_lengths

    two_parts = box_annotation(1, 1, (0, 0, 60, 10))
    two_parts["segmentation"] = [[0, 0, 20, 0, 20, 10, 0, 10], [40, 0, 60, 0, 60, 10, 40, 10], [1, 1, 2, 2]]
    expected = np.zeros((120, 160), bool)
    expected[:10, :20] = expected[:10, 40:60] = True
    encoded = run_lengths.encode(np.asfortranarray(expected, np.uint8))
    compressed = box_annotation(2, 1, (0, 0, 60, 10))
    compressed["segmentation"] = {"size": [120, 160], "counts": encoded["counts"].decode()}
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(coco_file([two_parts, compressed])))

    (image,) = read_coco(path, tmp_path)

    assert [np.array_equal(instance.mask(), expected) for instance in image.instances] == [True, True]


def test_keypoints_nobody_labelled_are_none(tmp_path: Path) -> None:
    people = [box_annotation(number, 1, (0, 0, 60, 50), category_id=1) for number in (1, 2)]
    people[0]["keypoints"] = [0] * 51
    people[1]["keypoints"] = [*[0] * 48, 5, 6, 1]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(coco_file(people)))
    unlabelled, labelled = read_coco(path, tmp_path)[0].instances
    assert unlabelled.keypoints is None
    assert labelled.keypoints is not None and labelled.keypoints[-1].tolist() == [5, 6, 1]


def test_joints_go_to_body_25_by_name() -> None:
    keypoints = np.array([[index, 10 * index, 2] for index in range(17)], np.float32)
    joints = dict(zip(BODY_25, body_25_from_coco(keypoints), strict=True))

    for index, name in enumerate(COCO_17):
        assert joints[name].tolist() == [index, 10 * index, 1]
    left, right = COCO_17.index("left-shoulder"), COCO_17.index("right-shoulder")
    assert joints["neck"].tolist() == [(left + right) / 2, 5 * (left + right), 1]
    left, right = COCO_17.index("left-hip"), COCO_17.index("right-hip")
    assert joints["mid-hip"].tolist() == [(left + right) / 2, 5 * (left + right), 1]
    assert not any(joints[name].any() for name in BODY_25 if "toe" in name or "heel" in name)


def test_absent_joints_have_no_confidence() -> None:
    keypoints = np.array([[index + 1, 1, 2] for index in range(17)], np.float32)
    keypoints[COCO_17.index("left-shoulder")] = (30, 30, 0)
    keypoints[COCO_17.index("left-hip"), 2] = 1  # labelled where it is hidden: known
    joints = dict(zip(BODY_25, body_25_from_coco(keypoints), strict=True))
    assert not joints["left-shoulder"].any() and not joints["neck"].any()
    assert joints["left-hip"][2] == joints["mid-hip"][2] == 1


@pytest.mark.parametrize(
    "content", ["", "[]", '{"images": []}', '{"images": [{}], "annotations": [], "categories": []}']
)
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"other\.json"):
        read_coco(path, tmp_path)


def test_shared_coco(shared_data: Path) -> None:
    images = read_coco(shared_data / "coco" / "instances_val.json", shared_data / "coco" / "images")
    assert len(images) == 84
    instances = [instance for image in images for instance in image.instances]
    assert len(instances) == 739 and sum(len(image.crowds) for image in images) == 6
    for instance in instances[::40]:
        assert abs(instance.mask().sum() - instance.area) <= 0.1 * instance.area + 60
