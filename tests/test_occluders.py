from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_data import box_annotation, coco_file, write_coco, write_people

from deocclude.data.coco import read_coco
from deocclude.data.occluders import OccluderBank, bleed, is_good_occluder, to_patch
from deocclude.data.people import read_people
from deocclude.errors import InputError


def test_objects_are_cut_to_their_box(tmp_path: Path) -> None:
    bank = OccluderBank.from_coco(*write_coco(tmp_path))
    assert [bank[index].name for index in range(len(bank))] == ["chair", "cup"], "not the crumb, not the crowd"
    chair = bank[0].rgba
    assert chair.shape == (80, 50, 4) and chair.dtype == np.uint8
    assert (chair == (200, 30, 30, 255)).all()
    assert len({bank[index].source_id for index in range(len(bank))}) == len(bank)


@pytest.mark.parametrize(
    ("box", "filled", "good"),
    [
        ((30, 30, 90, 90), 1.0, True),
        ((0, 30, 90, 90), 1.0, True),  # cut on one side
        ((0, 0, 160, 60), 1.0, False),  # on three sides
        ((30, 30, 50, 60), 1.0, False),  # small
        ((30, 30, 150, 40), 1.0, False),  # a strip
        ((30, 20, 130, 110), 0.12, False),  # crumbs
    ],
)
def test_what_makes_a_good_occluder(tmp_path: Path, box: tuple[int, int, int, int], filled: float, good: bool) -> None:
    annotation = box_annotation(1, 1, box)
    annotation["area"] *= filled
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(coco_file([annotation])))
    (instance,) = read_coco(path, tmp_path)[0].instances
    assert is_good_occluder(instance) == good


def test_a_file_without_occluders_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(coco_file([box_annotation(1, 1, (0, 0, 5, 5))])))
    with pytest.raises(InputError, match="no object"):
        OccluderBank.from_coco(path, tmp_path)


def test_people_occlude_with_their_bag(tmp_path: Path) -> None:
    write_people(tmp_path / "people", 2)
    people = read_people(tmp_path / "people")
    bank = OccluderBank.from_people(people)
    sample = people[1].load()
    assert (bank[1].name, bank[1].source_id) == ("person", "001")
    assert (bank[1].rgba[..., 3] > 0).sum() == (sample.person | sample.not_scored).sum()


def test_banks_add_up(tmp_path: Path) -> None:
    write_people(tmp_path / "people", 2)
    objects, people = (
        OccluderBank.from_coco(*write_coco(tmp_path)),
        OccluderBank.from_people(read_people(tmp_path / "people")),
    )
    both = objects + people
    assert [source.name for source in both.sources] == ["chair", "cup", "person", "person"]


def disc(diameter: int, colour: tuple[int, int, int]) -> np.ndarray:
    """A disc of one colour on black, which is what must not bleed into it."""
    y, x = np.mgrid[0:diameter, 0:diameter] + 0.5 - diameter / 2
    inside = y**2 + x**2 <= (diameter / 2) ** 2
    return np.dstack([inside[..., None] * np.array(colour), inside * 255]).astype(np.uint8)


@pytest.mark.parametrize(("diameter", "size"), [(100, 32), (20, 48), (32, 32)])
def test_patches_have_no_dark_fringe(diameter: int, size: int) -> None:
    patch = to_patch(disc(diameter, (250, 120, 10)), size)
    assert patch.shape == (size, size, 4)
    assert (patch[..., :3] == (250, 120, 10)).all(), "the colour goes on outside"
    assert patch[..., 3].mean() / 255 == pytest.approx(np.pi / 4, abs=0.02), "the alpha is averaged over the area"


def test_patches_keep_the_aspect_and_the_middle() -> None:
    wide = np.full((20, 80, 4), 255, np.uint8)
    alpha = to_patch(wide, 40)[..., 3]
    assert (alpha[15:25] == 255).all() and not alpha[:15].any() and not alpha[25:].any()


def test_bleeding_takes_the_nearest_colour() -> None:
    rgba = np.zeros((1, 6, 4), np.uint8)
    rgba[0, 1], rgba[0, 4] = (10, 20, 30, 255), (90, 80, 70, 255)
    assert bleed(rgba)[0, :, 0].tolist() == [10, 10, 10, 90, 90, 90]


def test_bank_to_patches(tmp_path: Path) -> None:
    bank = OccluderBank.from_coco(*write_coco(tmp_path))
    patches = bank.to_patches(16)
    assert patches.shape == (2, 16, 16, 4) and patches.dtype == np.uint8
    assert patches[1, 8, 8].tolist() == [30, 30, 200, 255]


def test_shared_occluders(shared_data: Path) -> None:
    bank = OccluderBank.from_coco(shared_data / "coco" / "instances_val.json", shared_data / "coco" / "images")
    assert len(bank) > 300
    for index in range(0, len(bank), 60):
        alpha = bank[index].rgba[..., 3]
        assert alpha.any(axis=0)[[0, -1]].all() and alpha.any(axis=1)[[0, -1]].all(), "tight"
