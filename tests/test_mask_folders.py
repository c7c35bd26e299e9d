from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_amodal import BEHIND, MAN, SIZE_HW, rectangle, write_picture

from deocclude.data.mask_folders import read_ahp_folder, read_mask_folders
from deocclude.errors import InputError


def write_mask(path: Path, mask: np.ndarray, *, white: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * np.uint8(white)).save(path)


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """photos/street.png with two people, and photos/a_b.png with one whose stem holds an underscore."""
    for name in ("street", "a_b"):
        write_picture(tmp_path / "photos" / f"{name}.png")
        write_picture(tmp_path / "clean" / f"{name}_1.png", seed=1)
    write_picture(tmp_path / "clean" / "a_b.png", seed=1)
    write_picture(tmp_path / "clean" / "street_2.png", seed=1)
    man, woman = (rectangle(SIZE_HW, box) for box in (MAN, BEHIND))
    for stem, modal, amodal in (("street_1", man, man), ("street_2", woman & ~man, woman), ("a_b", man, man)):
        write_mask(tmp_path / "modal" / f"{stem}.png", modal, white=1)
        write_mask(tmp_path / "amodal" / f"{stem}.png", amodal)
    return tmp_path


def test_both_masks(street: Path) -> None:
    people = read_mask_folders([street / "photos"], modal_dir=street / "modal", amodal_dir=street / "amodal")
    assert [person.id for person in people] == ["a_b", "street_1", "street_2"]
    hidden = people[2].load()
    assert np.array_equal(hidden.amodal, rectangle(SIZE_HW, BEHIND))
    assert np.array_equal(hidden.modal, rectangle(SIZE_HW, BEHIND) & ~rectangle(SIZE_HW, MAN))
    assert hidden.row == {"picture": "street.png"} and hidden.whole is None and hidden.is_amodal_known


def test_the_modal_mask_alone(street: Path) -> None:
    hidden = read_mask_folders([street / "photos"], modal_dir=street / "modal")[2].load()
    assert not hidden.is_amodal_known
    assert np.array_equal(hidden.amodal, hidden.modal) and np.array_equal(hidden.not_scored, ~hidden.modal)


def test_the_amodal_mask_alone_is_a_whole_person(street: Path) -> None:
    whole = read_mask_folders([street / "photos"], amodal_dir=street / "amodal")[2].load()
    assert np.array_equal(whole.amodal, whole.modal) and whole.whole is not None
    assert np.array_equal(whole.whole, whole.occluded)


def test_the_whole_picture(street: Path) -> None:
    folders = {f"{name}_dir": street / name for name in ("modal", "amodal")}
    person = read_mask_folders([street / "photos"], whole_dir=street / "clean", **folders)[0].load()
    assert person.whole is not None and not np.array_equal(person.whole, person.occluded)
    write_picture(street / "clean" / "a_b.png", (8, 8))
    with pytest.raises(InputError, match=r"clean/a_b\.png: its size"):
        read_mask_folders([street / "photos"], whole_dir=street / "clean", **folders)[0].load()


def test_what_is_visible_belongs_to_the_person(street: Path) -> None:
    write_mask(street / "amodal" / "a_b.png", rectangle(SIZE_HW, (10, 5, 30, 30)))
    person = read_mask_folders([street / "photos"], modal_dir=street / "modal", amodal_dir=street / "amodal")[0].load()
    assert np.array_equal(person.amodal, rectangle(SIZE_HW, MAN))


def test_not_scored_is_read_where_a_label_map_has_it(street: Path) -> None:
    labels = rectangle(SIZE_HW, MAN) * np.uint8(255)
    labels[:, 40:50] = 128
    Image.fromarray(labels).save(street / "amodal" / "a_b.png")
    person = read_mask_folders([street / "photos"], amodal_dir=street / "amodal")[0].load()
    assert np.array_equal(person.not_scored, labels == 128) and np.array_equal(person.amodal, labels == 255)


def test_ahp(street: Path) -> None:
    for old, new in (("photos", "occluded"), ("clean", "whole")):
        (street / old).rename(street / new)
    test_pictures = read_ahp_folder(street)
    assert len(test_pictures) == 3 and test_pictures[0].load().whole is not None
    (street / "whole").rename(street / "elsewhere")
    assert read_ahp_folder(street)[0].load().whole is None
    for old, new in (("occluded", "images"), ("amodal", "masks")):
        (street / old).rename(street / new)
    whole_people = read_ahp_folder(street)
    assert len(whole_people) == 3 and whole_people[2].load().whole is not None
    with pytest.raises(InputError, match="needs the folders images and masks, or occluded"):
        read_ahp_folder(street / "modal")


def test_what_is_missing_is_named(street: Path) -> None:
    (street / "amodal" / "street_2.png").unlink()
    write_mask(street / "modal" / "alone_1.png", rectangle(SIZE_HW, MAN))
    people = read_mask_folders([street / "photos"], modal_dir=street / "modal", amodal_dir=street / "amodal")
    with pytest.raises(InputError, match=r"amodal: has no picture file called street_2"):
        people[3].load()
    with pytest.raises(InputError, match=r"modal/alone_1: no picture has this mask's stem"):
        people[1].load()
    with pytest.raises(InputError, match="masks are needed"):
        read_mask_folders([street / "photos"])
    with pytest.raises(InputError, match="go with both masks"):
        read_mask_folders([street / "photos"], modal_dir=street / "modal", whole_dir=street / "clean")
    write_picture(street / "photos" / "a_b.jpg")
    with pytest.raises(InputError, match="has the same stem"):
        read_mask_folders([street / "photos"], modal_dir=street / "modal")
