from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_data import write_people

from deocclude.data.ccp import read_ccp
from deocclude.data.people import read_people
from deocclude.errors import InputError


def test_each_record_is_in_the_split_the_index_says(tmp_path: Path) -> None:
    write_people(tmp_path, 5)

    train, val = read_ccp(tmp_path, "train"), read_ccp(tmp_path, "val")

    assert [record.id for record in train] == ["000", "002", "004"]
    assert [record.id for record in val] == ["001", "003"]
    assert all(record.parsing_path for record in train) and not any(record.parsing_path for record in val)


def test_person_and_bag_are_read_apart(tmp_path: Path) -> None:
    write_people(tmp_path, 2)
    labels = np.asarray(Image.open(tmp_path / "masks" / "000.png"))

    sample = read_ccp(tmp_path, "train")[0].load()

    assert sample.image.shape == (96, 72, 3) and sample.image.dtype == np.uint8
    assert np.array_equal(sample.person, labels == 255)
    assert np.array_equal(sample.not_scored, labels == 128) and sample.not_scored.any()
    assert sample.parsing is not None and not sample.parsing[~sample.person].any()
    assert read_ccp(tmp_path, "val")[0].load().parsing is None, "a mask nobody drew has no parsing"


def test_joints_keep_their_order_and_confidence(tmp_path: Path) -> None:
    write_people(tmp_path, 1)
    joints = read_ccp(tmp_path, "train")[0].joints
    assert joints.shape == (25, 3) and joints.dtype == np.float32
    assert joints[7].tolist() == [7, 14, 0.5]


@pytest.mark.parametrize("missing", ["index.csv", "joints.json"])
def test_a_folder_that_is_not_ccp_is_named(tmp_path: Path, missing: str) -> None:
    write_people(tmp_path, 1)
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=missing):
        read_ccp(tmp_path, "train")


def test_bad_masks_are_named(tmp_path: Path) -> None:
    write_people(tmp_path, 1)
    (record,) = read_ccp(tmp_path, "train")
    for picture, complaint in (
        (Image.new("L", (72, 96), 77), "found 77"),
        (Image.new("L", (72, 96), 128), "holds no person"),
        (Image.new("L", (10, 10), 255), "is 10x10 pixels, its picture 72x96"),
        (Image.new("RGB", (72, 96), "white"), "mode is RGB"),
    ):
        picture.save(record.mask_path)
        with pytest.raises(InputError, match=f"000.png.*{complaint}"):
            record.load()
    record.mask_path.write_bytes(b"")
    with pytest.raises(InputError, match=r"000\.png"):
        record.load()


def test_any_folder_of_pictures_and_masks_will_do(tmp_path: Path) -> None:
    write_people(tmp_path, 4)
    (tmp_path / "joints.json").unlink()
    assert [person.id for person in read_people(tmp_path, "val")] == ["001", "003"]
    (tmp_path / "index.csv").unlink()
    people = read_people(tmp_path)
    assert [person.id for person in people] == ["000", "001", "002", "003"]
    assert people[0].load().person.any()
    with pytest.raises(InputError, match=r"index\.csv"):
        read_people(tmp_path, "val")


def test_shared_ccp(shared_data: Path) -> None:
    train, val = read_ccp(shared_data / "ccp", "train"), read_ccp(shared_data / "ccp", "val")
    assert (len(train), len(val)) == (1896, 100)
    assert not {record.id for record in train} & {record.id for record in val}
    for record in (*train[:3], *val[:3]):
        sample = record.load()
        height, width = sample.person.shape
        assert not (sample.person & sample.not_scored).any()
        assert (sample.parsing is not None) == (record.parsing_path is not None)
        known = record.joints[record.joints[:, 2] > 0.9, :2].astype(int).clip(0, (width - 1, height - 1))
        assert sample.person[known[:, 1], known[:, 0]].mean() > 0.7, "joints lie on the body"
