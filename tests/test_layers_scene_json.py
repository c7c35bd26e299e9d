"""A scene as COCO and COCOA JSON: what our own reader finds in it is what was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from miniatures import write_png
from test_layers_stacking import SIZE_HW, noise, person, rectangle

from deocclude.data.cocoa import read_amodal_json
from deocclude.errors import InputError
from deocclude.layers.scene_json import Format, scene_json, write_scene_json

PHOTOGRAPH = noise(*SIZE_HW, 3)
PEOPLE = [
    person("front", PHOTOGRAPH, rectangle(4, 0, 7, 6), rectangle(4, 0, 7, 6)),
    person("behind", PHOTOGRAPH, rectangle(0, 0, 4, 3), rectangle(0, 0, 6, 3)),
    person("last", PHOTOGRAPH, rectangle(8, 0, 9, 3), rectangle(8, 0, 9, 5)),
]
ORDER = [2, 1, 0]


@pytest.mark.parametrize("format", ["coco", "cocoa"])
def test_it_is_read_back_exactly(tmp_path: Path, format: Format) -> None:
    write_png(tmp_path / "photo.png", PHOTOGRAPH)
    write_scene_json(tmp_path / "photo.json", scene_json(PEOPLE, ORDER, "photo.png", format=format))
    read = {region.id: region.load() for region in read_amodal_json(tmp_path / "photo.json")}
    assert sorted(read) == ["photo_1", "photo_2", "photo_3"]
    for number, expected in enumerate(PEOPLE, 1):
        assert np.array_equal(read[f"photo_{number}"].modal, expected.modal_mask)
        assert np.array_equal(read[f"photo_{number}"].amodal, expected.amodal_mask)


def test_coco_says_whole_visible_invisible_and_how_much_is_hidden() -> None:
    annotations = scene_json(PEOPLE, ORDER, "photo.png")["annotations"]
    assert [annotation["occlude_rate"] for annotation in annotations] == [0, pytest.approx(1 / 3), pytest.approx(0.4)]
    assert all({"segmentation", "visible_mask", "invisible_mask"} <= set(annotation) for annotation in annotations)


def test_cocoa_says_the_depth_order_from_the_front() -> None:
    (picture,) = scene_json(PEOPLE, ORDER, "photo.png", format="cocoa")["annotations"]
    assert {region["set_id"]: region["order"] for region in picture["regions"]} == {
        "photo_1": 1,
        "photo_2": 2,
        "photo_3": 3,
    }
    assert picture["depth_constraint"] == "1-2"


def test_it_is_written_whole_and_not_over_another(tmp_path: Path) -> None:
    path = tmp_path / "photo.json"
    write_scene_json(path, {"a": 1})
    with pytest.raises(InputError, match="exists already"):
        write_scene_json(path, {"a": 2})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_scene_json(path, {"a": float("nan")}, overwrite=True)
    assert json.loads(path.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="each of 3 people once"):
        scene_json(PEOPLE, [0, 1], "photo.png")
