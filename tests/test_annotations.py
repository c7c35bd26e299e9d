"""What is written as COCO or COCOA JSON and read again is what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_amodal import BEHIND, MAN, SIZE_HW, random_person, rectangle, write_picture

from deocclude.data.annotations import PersonMasks, coco_json, cocoa_files, cocoa_json
from deocclude.data.cocoa import read_amodal_json


def random_people(seed: int) -> list[PersonMasks]:
    rng = np.random.default_rng(seed)
    people = []
    for number in range(5):
        modal, amodal, not_scored = random_person(rng, SIZE_HW)
        picture = f"{number % 2}.png"
        people.append(PersonMasks(f"person {number}", picture, modal, amodal, not_scored))
    return people


def assert_read_again(content: Any, people: list[PersonMasks], folder: Path) -> None:
    for number in range(2):
        write_picture(folder / f"{number}.png")
    path = folder / "people.json"
    path.write_text(json.dumps(content))
    read = {record.id: record.load() for record in read_amodal_json(path)}
    assert read.keys() == {person.id for person in people}
    for person in people:
        sample = read[person.id]
        assert np.array_equal(sample.modal, person.modal)
        assert np.array_equal(sample.amodal, person.amodal)
        assert np.array_equal(sample.not_scored, person.not_scored)
        assert sample.row["picture"] == person.picture


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_round_trips(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    people = random_people(seed)
    folder = tmp_path_factory.mktemp("round")
    assert_read_again(coco_json(people), people, folder)
    assert_read_again(cocoa_json(people), people, folder)


def test_files_of_one_picture(tmp_path: Path) -> None:
    people = random_people(3)
    files = cocoa_files(cocoa_json(people))
    assert files.keys() == {"0", "1"}
    for stem, content in files.items():
        assert_read_again(content, [person for person in people if person.picture == f"{stem}.png"], tmp_path)


def test_coco_is_what_pycocotools_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pycocotools.coco import COCO

    people = random_people(1)
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(coco_json(people)))
    coco = COCO(path)
    assert coco.loadCats(coco.getCatIds())[0]["name"] == "person"
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["0.png", "1.png"]
    annotations = coco.loadAnns(coco.getAnnIds())
    assert {annotation["iscrowd"] for annotation in annotations} == {0}
    for person, annotation in zip(people, annotations, strict=True):
        x, y, width, height = annotation["bbox"]
        assert np.array_equal(coco.annToMask(annotation).astype(bool), person.amodal)
        assert person.amodal[y : y + height, x : x + width].sum() == annotation["area"] == person.amodal.sum()
        hidden = (person.amodal & ~person.modal).sum() / person.amodal.sum()
        assert annotation["occlude_rate"] == pytest.approx(hidden)


def in_one_picture(*orders: int | None) -> list[PersonMasks]:
    """A man in front of a woman; she comes first."""
    man, woman = (rectangle(SIZE_HW, box) for box in (MAN, BEHIND))
    return [
        PersonMasks("woman", "a.png", woman & ~man, woman, name="woman", order=orders[0]),
        PersonMasks("man", "a.png", man, man, name="man", order=orders[1]),
    ]


def test_cocoa_conventions() -> None:
    (annotation,) = cocoa_json(in_one_picture(None, None))["annotations"]
    man, woman = annotation["regions"]
    assert (man["name"], man["order"], woman["name"], woman["order"]) == ("man", 1, "woman", 2)
    assert "visible_mask" not in man and "invisible_mask" not in man and man["occlude_rate"] == 0
    assert woman["visible_mask"].keys() == woman["invisible_mask"].keys() == {"size", "counts"}
    assert woman["segmentation"] == [25, 10, 50, 10, 50, 35, 25, 35], "one flat polygon"
    assert annotation["size"] == 2 and annotation["depth_constraint"] == "1-2"


def test_known_orders_are_kept() -> None:
    (annotation,) = cocoa_json(in_one_picture(9, 4))["annotations"]
    assert [(region["name"], region["order"]) for region in annotation["regions"]] == [("man", 4), ("woman", 9)]
    assert annotation["depth_constraint"] == "4-9"
    (annotation,) = cocoa_json(in_one_picture(4, 4))["annotations"]
    assert [region["order"] for region in annotation["regions"]] == [1, 2], "two of one order: unknown"


def test_masks_that_are_no_person_are_refused() -> None:
    mask = rectangle((5, 5), (1, 1, 3, 3))
    with pytest.raises(ValueError, match="empty"):
        PersonMasks("a", "a.png", mask & False, mask & False)
    with pytest.raises(ValueError, match="inside"):
        PersonMasks("a", "a.png", ~mask, mask)
    small, large = PersonMasks("a", "a.png", mask, mask), PersonMasks("b", "a.png", mask[:4], mask[:4])
    for write in (coco_json, cocoa_json):
        with pytest.raises(ValueError, match="5x4"):
            write([small, large])
