from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_amodal import BEHIND, MAN, SIZE_HW, cocoa_regions, polygon, rectangle, write_picture

from deocclude.data.cocoa import anything, names_in, read_amodal_json
from deocclude.data.occlusion_records import drawn
from deocclude.data.person_names import is_person_name
from deocclude.errors import InputError


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def one_picture(folder: Path) -> Path:
    write_picture(folder / "7.png")
    return write_json(folder / "7.json", {"url": "somewhere/COCO_val2014_7.jpg", "regions": cocoa_regions()})


def all_in_one(folder: Path, **of_the_image: object) -> Path:
    write_picture(folder / "val2014" / "a.png")
    image = {"id": 70, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1], **of_the_image}
    annotation = {"id": 1, "image_id": 70, "url": "somewhere/b.png", "size": 5, "regions": cocoa_regions()}
    return write_json(folder / "val.json", {"images": [image], "annotations": [annotation]})


@pytest.mark.parametrize("is_one_file", [False, True])
def test_the_people_of_cocoa(tmp_path: Path, is_one_file: bool) -> None:
    if is_one_file:
        man, woman = read_amodal_json(all_in_one(tmp_path), tmp_path / "val2014")
    else:
        man, woman = read_amodal_json(one_picture(tmp_path))
    assert [man.id, woman.id] == (["a_1", "a_2"] if is_one_file else ["7_1", "7_2"])
    assert not man.is_occluded and woman.is_occluded
    whole, hidden = man.load(), woman.load()
    assert np.array_equal(whole.amodal, rectangle(SIZE_HW, MAN)) and np.array_equal(whole.modal, whole.amodal)
    assert np.array_equal(hidden.amodal, rectangle(SIZE_HW, BEHIND))
    assert np.array_equal(hidden.modal, rectangle(SIZE_HW, BEHIND) & ~rectangle(SIZE_HW, MAN))
    assert hidden.whole is None and hidden.is_amodal_known and not hidden.not_scored.any()
    assert hidden.row == {
        "picture": "a.png" if is_one_file else "7.png",
        "name": "Woman in red",
        "order": "2",
        "occluder": "man",
    }


def test_the_picture_is_found_by_the_url_too(tmp_path: Path) -> None:
    path = one_picture(tmp_path / "json")
    picture = write_picture(tmp_path / "val2014" / "COCO_val2014_7.jpg")
    person = read_amodal_json(path, tmp_path / "val2014")[0].load()
    assert person.occluded.shape == picture.shape and person.row["picture"] == "COCO_val2014_7.jpg"


def test_coco_style(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    man = {"id": 5, "image_id": 1, "category_id": 1, "segmentation": [polygon(MAN)]}
    hidden = {"size": list(SIZE_HW), "counts": [0, SIZE_HW[0] * SIZE_HW[1]]}
    partly = {**man, "id": 6, "invisible_mask": hidden}
    others = [{**man, "id": 7, "category_id": 2}, {**man, "id": 8, "iscrowd": 1}]
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
    images = [{"id": 1, "file_name": "a.png"}]
    path = write_json(
        tmp_path / "x.json",
        {"images": images, "annotations": [man, partly, *others], "categories": categories},
    )
    people = read_amodal_json(path)
    assert [person.id for person in people] == ["a_5", "a_6"]
    assert np.array_equal(people[0].load().modal, rectangle(SIZE_HW, MAN))
    assert not people[1].load().modal.any(), "what is not invisible is visible"
    assert names_in(path) == ["person", "dog"]
    assert len(read_amodal_json(path, is_wanted=anything)) == 3


def test_one_bad_region_spoils_no_other(tmp_path: Path) -> None:
    path = one_picture(tmp_path)
    content = json.loads(path.read_text())
    content["regions"][0]["segmentation"] = {"size": [3, 3], "counts": [9]}
    del content["regions"][1]["segmentation"]
    content["regions"].append({"name": "boy", "segmentation": []})
    content["regions"].append({"name": "girl", "segmentation": polygon(MAN)})
    write_json(path, content)
    man, woman, boy, girl = read_amodal_json(path)
    for person in (man, woman, boy):
        with pytest.raises(InputError, match=rf"7\.json.*{person.id}"):
            person.load()
    assert girl.load().amodal.any()


def test_the_picture_must_be_there_and_have_the_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no picture called a\.png or b\.png"):
        read_amodal_json(all_in_one(tmp_path), tmp_path)[0].load()
    with pytest.raises(InputError, match=r"a\.png: its size"):
        read_amodal_json(all_in_one(tmp_path, height=99), tmp_path / "val2014")[0].load()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "5", '{"images": []}', '{"regions": [7]}', '{"images": [], "annotations": [{"image_id": 1, "id": 1}]}'],
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"other\.json"):
        read_amodal_json(path)
    with pytest.raises(InputError, match=r"nowhere\.json"):
        read_amodal_json(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    "name", ["person", "Man ", "woman in red", "baseball player", "skier 2", "boy with umbrella", "old lady sitting"]
)
def test_names_of_one_person(name: str) -> None:
    assert is_person_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "people", "crowd", "man's hat", "statue of man", "snowman", "CD player", "MP3 player", "baby bottle", "in"],
)
def test_names_of_something_else(name: str) -> None:
    assert not is_person_name(name)


def test_a_draw_keeps_the_order_and_follows_the_seed() -> None:
    everybody = [str(number) for number in range(50)]
    few = drawn(everybody, 12, seed=0)
    assert few == sorted(few, key=int) and len(set(few)) == 12
    assert few == drawn(everybody, 12, seed=0) != drawn(everybody, 12, seed=1)
    assert drawn(everybody, 99, seed=0) == everybody


def test_shared_cocoa(shared_data: Path) -> None:
    """The real files show nobody; what they show is read as their annotators meant it."""
    count = 0
    for path in sorted((shared_data / "cocoa").glob("*.json")):
        assert read_amodal_json(path) == []
        regions = json.loads(path.read_text())["regions"]
        for record in read_amodal_json(path, is_wanted=anything):
            region, sample = regions[int(record.id.rpartition("_")[2]) - 1], record.load()
            assert sample.amodal.sum() == region["area"]
            hidden = 1 - sample.modal.sum() / sample.amodal.sum()
            assert hidden == pytest.approx(region["occlude_rate"], abs=1e-3)
            assert bool(sample.row["occluder"]) == (region["occlude_rate"] > 0) == record.is_occluded
            count += 1
    assert count == 31
