"""What a batch takes for its pictures, and that no name in an archive or an annotation file leads anywhere else."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniature_batch import BOXES, Groups, run, write_pictures
from miniatures import photograph, with_red_person, write_png
from PIL import Image

from deocclude.batch.inputs import Item, find_items, result_name
from deocclude.batch.manifest import Outcome, recorded
from deocclude.batch.pictures import Picture, open_picture
from deocclude.batch.shards import Shard, parse_shard, this_process
from deocclude.errors import InputError


def items_of(*inputs: object, **options: object) -> list[Item]:
    return find_items([str(one) for one in inputs], output=Path("out"), **options)  # type: ignore[arg-type]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(with_red_person(photograph(seed=seed), BOXES[0])[0]).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@given(st.text(min_size=1), st.text(min_size=1))
def test_result_names_are_file_names_and_never_meet(one: str, other: str) -> None:
    one, other = (text.encode("utf-8", "ignore").decode() for text in (one, other))
    name = result_name(one)
    assert len(name.encode()) <= 100 and Path(name).name == name and not name.startswith(".")
    assert not set(name) & set('/\\:*?"<>|\0 ')
    assert (name.casefold() == result_name(other).casefold()) == (one == other)


def test_folders_globs_and_files_name_each_picture_once(here: Path) -> None:
    write_pictures(here / "photos", (0, 0))
    write_pictures(here / "photos" / "more", (0,))
    (here / "photos" / ".hidden.png").touch()
    (here / "photos" / "notes.txt").touch()
    flat = ["photos/photo_0.png", "photos/photo_1.png"]
    assert [one.id for one in items_of("photos")] == flat
    assert [one.id for one in items_of("./photos/", "photos/photo_*.png", "photos/photo_0.png")] == flat
    assert [one.id for one in items_of("photos", recursive=True)] == [*flat, "photos/more/photo_0.png"]
    assert len(items_of("**/*.png")) == 3
    for nothing in ("photos/*.webp", "nowhere", "photos/none.png"):
        with pytest.raises(InputError, match="no "):
            items_of(nothing)


def test_results_are_never_inputs(here: Path) -> None:
    write_pictures(here / "photos", (1, 1))
    output = here / "photos" / "done"
    assert run("photos", output, recursive=True) == {"done": 2}
    assert run("photos", output, recursive=True) == {"kept": 2}
    with pytest.raises(InputError, match="is the output too"):
        find_items(["photos"], output=here / "photos")


def test_shards_are_read_where_they_lie(here: Path) -> None:
    write_tar(here / "set.tar", [("a.png", png(1)), ("a.json", b"{}"), ("b/a.jpg", png(2)), ("a.mask.png", png(3))])
    found = items_of("set.tar")
    assert [one.id for one in found] == ["set.tar::a.png", "set.tar::b/a.jpg"]
    for item, seed in zip(found, (1, 2), strict=True):
        with item.as_file() as path:
            assert path.read_bytes() == png(seed)
        assert not path.exists()
    run("set.tar", here / "out")
    described = {path.parent.name: json.loads(path.read_text())["input"] for path in here.glob("out/*/scene.json")}
    assert {one["file"] for one in described.values()} == {"a.png", "a.jpg"}
    assert {one["sha256"] for one in described.values()} == {hashlib.sha256(png(seed)).hexdigest() for seed in (1, 2)}
    assert sorted(path.name.rpartition("_")[0] for path in (here / "out").glob("*_*")) == ["a", "a"]


def test_no_name_in_a_shard_leads_out_of_the_results(here: Path) -> None:
    names = ["../../up.png", "/tmp/absolute.png", "..\\win.png", "same.png", "same.png", "", "dir/.hidden.png"]
    write_tar(here / "odd.tar", [(name, png(seed)) for seed, name in enumerate(names)])
    with tarfile.open(here / "odd.tar", "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo("link.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    before = set(here.rglob("*"))
    assert run("odd.tar", here / "out") == {"done": 4}
    new = set(here.rglob("*")) - before
    assert all(path.is_relative_to(here / "out") for path in new)
    ids = [one.id for one in recorded(here / "out")]
    assert len(ids) == len(set(ids)) == 4 and "odd.tar::same#2.png" in ids


def test_a_damaged_shard_gives_what_it_can(here: Path) -> None:
    whole = write_tar(here / "whole.tar", [(f"{n}.png", png(n)) for n in range(4)]).read_bytes()
    third = items_of("whole.tar")[2].span
    assert third is not None
    (here / "cut.tar").write_bytes(whole[: third[0] + 10])
    (here / "hole.tar").write_bytes(whole[: third[0] - 512] + b"?" * 512 + whole[third[0] :])
    (here / "text.tar").write_text("no archive")
    (here / "packed.tar").write_bytes(gzip.compress(whole))
    assert run("*.tar", here / "out") == {"done": 4 + 2 + 2, "failed": 5}
    errors = {one.id: one.error for one in recorded(here / "out") if one.status == "failed"}
    assert set(errors) == {"cut.tar", "cut.tar::2.png", "hole.tar", "text.tar", "packed.tar"}
    assert "ends in the middle" in (errors["cut.tar::2.png"] or "") and "damaged" in (errors["hole.tar"] or "")


def coco(pictures: list[str], people: dict[int, list[tuple[int, int, int, int]]]) -> dict:
    annotations = [
        {
            "id": place * 10 + number,
            "image_id": place,
            "category_id": 1,
            "iscrowd": 0,
            "area": (x1 - x0) * (y1 - y0),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
        }
        for place, boxes in people.items()
        for number, (x0, y0, x1, y1) in enumerate(boxes)
    ]
    return {
        "images": [{"id": n, "file_name": name, "width": 96, "height": 64} for n, name in enumerate(pictures)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": annotations,
    }


def test_coco_files_name_pictures_and_their_people(here: Path) -> None:
    write_pictures(here / "photos", (3, 3, 0))
    names = [f"photo_{n}.png" for n in range(3)]
    (here / "people.json").write_text(json.dumps(coco(names, {0: [BOXES[1]], 1: [BOXES[2], BOXES[0]]})))
    with pytest.raises(InputError, match="--images"):
        items_of("people.json")
    assert [one.id for one in items_of("people.json", images_dir=Path("photos"))] == [f"photos/{n}" for n in names]

    opened = [open_picture(one) for one in items_of("people.json", images_dir=Path("photos"), coco_masks=True)]
    assert all(isinstance(one, Picture) for one in opened)
    masks = [one.modal_masks for one in opened if isinstance(one, Picture)]
    assert [len(one or ()) for one in masks] == [1, 2, 0]
    assert masks[0] is not None and masks[0][0][20, 45] and masks[0][0].sum() == 14 * 28

    found = {"images_dir": Path("photos")}
    assert run("people.json", here / "found", **found) == {"done": 2, "no-person": 1}
    groups = Groups()
    assert run("people.json", here / "given", groups, **found, coco_masks=True) == {"done": 2, "no-person": 1}
    assert groups.seen == [[1, 2]]
    (here / "people.json").write_text(json.dumps(coco(names, {0: [BOXES[2]], 1: [BOXES[2], BOXES[0]]})))
    again = run("people.json", here / "given", **found, coco_masks=True)
    assert again == {"done": 1, "kept": 2}  # the picture is the same, its masks are not


def test_a_coco_file_cannot_name_pictures_elsewhere(here: Path) -> None:
    write_pictures(here / "photos", (1,))
    write_pictures(here / "secret", (1,))
    names = ["photo_0.png", "../secret/photo_0.png", str(here / "secret" / "photo_0.png"), "missing.png"]
    (here / "c.json").write_text(json.dumps(coco(names, {})))
    assert run("c.json", here / "out", images_dir=Path("photos")) == {"done": 1, "failed": 2}
    errors = [one.error for one in recorded(here / "out") if one.error]
    assert sum("outside" in error for error in errors) == 1 and sum("no such file" in error for error in errors) == 1


def test_masks_of_another_size_fail_with_the_picture(here: Path) -> None:
    write_png(here / "photos" / "photo_0.png", np.zeros((10, 10, 3), np.uint8))
    (here / "c.json").write_text(json.dumps(coco(["photo_0.png"], {0: [BOXES[0]]})))
    (item,) = items_of("c.json", images_dir=Path("photos"), coco_masks=True)
    opened = open_picture(item)
    assert isinstance(opened, Outcome) and "its size" in (opened.error or "")


@given(st.text(), st.integers(1, 50), st.integers(1, 8))
def test_every_picture_is_in_one_shard(name: str, count: int, processes: int) -> None:
    name = name.encode("utf-8", "ignore").decode()
    assert sum(Shard(index, count).has(name) for index in range(count)) == 1
    parts = [Shard(index, count).part(rank, processes) for index in range(count) for rank in range(processes)]
    assert sum(part.has(name) for part in parts) == 1
    assert len({part.tag for part in parts}) == len(parts)


def test_shards_and_processes_are_checked() -> None:
    assert parse_shard("2/4") == Shard(2, 4) and Shard(2, 4).tag == "2-of-4" and Shard().tag == "all"
    for wrong in ("4/4", "-1/4", "1", "1/0", "a/b", "1/", "٣/٤"):
        with pytest.raises(InputError, match="i/N"):
            parse_shard(wrong)
    alone = this_process({})
    assert (alone.rank, alone.world_size, alone.device("cuda")) == (0, 1, "cuda")
    second = this_process({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert (second.device("cuda"), second.device("cpu"), second.device("cuda:3")) == ("cuda:1", "cpu", "cuda:3")
    with pytest.raises(InputError, match="RANK"):
        this_process({"RANK": "first"})
    with pytest.raises(InputError, match="none of"):
        Shard().part(2, 2)
