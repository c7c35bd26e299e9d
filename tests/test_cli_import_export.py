"""`deocclude import` and `export`: every format in, every format out, bad files named and counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_amodal import BEHIND, MAN, SIZE_HW, cocoa_regions, rectangle, write_picture
from tiny_data import write_coco, write_people

from deocclude.cli.main import main
from deocclude.data.ccp import read_ccp
from deocclude.data.cocoa import read_amodal_json
from deocclude.data.occlusion_set import OcclusionSet
from deocclude.data.people import read_people


@pytest.fixture
def cocoa(tmp_path: Path) -> Path:
    """A folder of two pictures of COCOA's kind, each with a man and a woman behind him."""
    folder = tmp_path / "cocoa"
    for number in range(2):
        write_picture(folder / f"{number}.png", seed=number)
        (folder / f"{number}.json").write_text(json.dumps({"url": f"x/{number}.jpg", "regions": cocoa_regions()}))
    return folder


def run(*words: str | Path) -> int:
    return main([str(word) for word in words])


def same_people(one: OcclusionSet, other: OcclusionSet) -> None:
    assert one.ids == other.ids
    for a, b in zip(one, other, strict=True):
        for name in ("occluded", "modal", "amodal", "not_scored"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), f"{name} of {a.id}"


# --- import -------------------------------------------------------------------------------------------------


def test_cocoa(cocoa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", "cocoa", cocoa, "--output", tmp_path / "set") == 0
    assert "4 people" in capsys.readouterr().out
    people = OcclusionSet(tmp_path / "set")
    assert people.ids == ["0_1", "0_2", "1_1", "1_2"]
    assert [row["occlusion_ratio"] for row in people.rows] == ["0.0000", "0.2000"] * 2
    assert people.rows[1]["occluder"] == "man" and people[1].whole is None


def test_a_draw_of_the_occluded(cocoa: Path, tmp_path: Path) -> None:
    assert run("import", "cocoa", cocoa, "--occluded", "--output", tmp_path / "two") == 0
    assert OcclusionSet(tmp_path / "two").ids == ["0_2", "1_2"]
    assert run("import", "cocoa", cocoa, "--occluded", "--count", "1", "--seed", "3", "-o", tmp_path / "one") == 0
    assert len(OcclusionSet(tmp_path / "one")) == 1


def test_other_names(cocoa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", "cocoa", cocoa, "--name", "Cup", "--output", tmp_path / "cups") == 0
    assert {row["name"] for row in OcclusionSet(tmp_path / "cups").rows} == {"cup"}
    for path in cocoa.glob("*.json"):
        path.write_text(json.dumps({"url": "", "regions": cocoa_regions()[2:4]}))
    assert run("import", "cocoa", cocoa, "--output", tmp_path / "nobody") == 2
    assert "no region is a person; choose with --name from cup, people" in capsys.readouterr().err
    assert not (tmp_path / "nobody").exists()


def test_coco(tmp_path: Path) -> None:
    path, images = write_coco(tmp_path, person=True)
    assert run("import", "coco", path, "--images", images, "--output", tmp_path / "set") == 0
    (person,) = OcclusionSet(tmp_path / "set")
    assert person.id == "2_4" and not person.is_amodal_known
    assert person.row["occlusion_ratio"] == "" and person.row["truth"] == "modal"
    assert np.array_equal(person.modal, rectangle((120, 160), (100, 20, 130, 110)))
    others = rectangle((120, 160), (40, 40, 120, 80)) | rectangle((120, 160), (5, 5, 15, 15))
    assert np.array_equal(person.not_scored, others & ~person.modal), "the person may go on behind them"
    assert run("import", "coco", path, "--images", images, "--min-area", "9999", "-o", tmp_path / "large") == 2


def test_ccp(tmp_path: Path) -> None:
    write_people(tmp_path / "ccp", 4)
    assert run("import", "ccp", tmp_path / "ccp", "--split", "train", "--output", tmp_path / "set") == 0
    people = OcclusionSet(tmp_path / "set")
    assert people.ids == ["000", "002"]
    for person in people:
        assert np.array_equal(person.modal, person.amodal) and person.not_scored.any() and person.parsing is not None
        assert person.whole is not None and np.array_equal(person.whole, person.occluded)


def test_folder_and_ahp(tmp_path: Path) -> None:
    write_people(tmp_path / "people", 3)
    photos, masks = tmp_path / "people" / "images", tmp_path / "people" / "masks"
    assert run("import", "folder", photos, "--amodal", masks, "--output", tmp_path / "mine") == 0
    assert run("import", "ahp", tmp_path / "people", "--output", tmp_path / "ahp") == 0
    same_people(OcclusionSet(tmp_path / "mine"), OcclusionSet(tmp_path / "ahp"))
    one_by_one = [photos / f"00{number}.webp" for number in range(3)]
    assert run("import", "folder", *one_by_one, "--modal", masks, "--output", tmp_path / "modal") == 0
    assert not OcclusionSet(tmp_path / "modal")[0].is_amodal_known


def test_ahp_as_json(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    annotation = {"id": 3, "image_id": 1, "category_id": 1, "segmentation": [[5, 5, 30, 5, 30, 35]]}
    categories = [{"id": 1, "name": "integrated human"}]
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [annotation], "categories": categories}
    (tmp_path / "ahp.json").write_text(json.dumps(content))
    assert run("import", "ahp", tmp_path / "ahp.json", "--output", tmp_path / "set") == 0
    assert OcclusionSet(tmp_path / "set").ids == ["a_3"]


def test_bad_files_are_named_and_the_others_imported(
    cocoa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cocoa / "broken.json").write_text("{")
    (cocoa / "1.png").write_bytes(b"no picture")
    regions = cocoa_regions()[:2]
    regions[1]["visible_mask"] = {"size": list(SIZE_HW), "counts": [SIZE_HW[0] * SIZE_HW[1]]}
    regions[0]["segmentation"] = {"size": [1, 1], "counts": [1]}
    write_picture(cocoa / "2.png")
    (cocoa / "2.json").write_text(json.dumps({"regions": regions}))
    assert run("import", "cocoa", cocoa, "--output", tmp_path / "set") == 2
    shown = capsys.readouterr()
    assert OcclusionSet(tmp_path / "set").ids == ["0_1", "0_2"]
    assert "2 people" in shown.out and "5 left out" in shown.out
    for words in ("broken.json: is not JSON", "1.png: ", "annotation of 2_1", "2_2: nothing of the person is visible"):
        assert words in shown.err


def test_an_existing_set_is_kept_unless_asked(cocoa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", "cocoa", cocoa, "--output", tmp_path / "set") == 0
    assert run("import", "cocoa", cocoa, "--output", tmp_path / "set") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run("import", "cocoa", cocoa, "--count", "1", "--output", tmp_path / "set", "--overwrite") == 0
    assert len(OcclusionSet(tmp_path / "set")) == 1


def test_a_set_never_replaces_what_it_is_made_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_people(tmp_path / "people", 2)
    run("import", "ahp", tmp_path / "people", "--output", tmp_path / "set")
    again = ("--modal", tmp_path / "set" / "modal", "--overwrite", "--output", tmp_path / "set")
    assert run("import", "folder", tmp_path / "set" / "occluded", *again) == 2
    assert "is to be imported; choose another folder" in capsys.readouterr().err
    assert len(OcclusionSet(tmp_path / "set")) == 2


# --- export -------------------------------------------------------------------------------------------------


@pytest.fixture
def people(cocoa: Path, tmp_path: Path) -> OcclusionSet:
    run("import", "cocoa", cocoa, "--output", tmp_path / "set")
    return OcclusionSet(tmp_path / "set")


@pytest.mark.parametrize(("format", "name"), [("coco", "x.json"), ("cocoa", "x.json"), ("cocoa", "folder")])
def test_a_round_trip_through_files(people: OcclusionSet, tmp_path: Path, format: str, name: str) -> None:
    assert run("export", format, people.root, "--output", tmp_path / "out" / name) == 0
    back = tmp_path / "back"
    assert run("import", "cocoa", tmp_path / "out" / name, "--images", people.root, "--output", back) == 0
    same_people(people, OcclusionSet(back))


def test_people_of_one_picture_share_it(people: OcclusionSet, tmp_path: Path) -> None:
    run("export", "coco", people.root, "--output", tmp_path / "x.json")
    content = json.loads((tmp_path / "x.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["occluded/0_1.png", "occluded/1_1.png"]
    assert len(content["annotations"]) == 4 and {entry["iscrowd"] for entry in content["annotations"]} == {0}
    run("export", "cocoa", people.root, "--output", tmp_path / "y.json")
    first = json.loads((tmp_path / "y.json").read_text())["annotations"][0]
    assert [region["name"] for region in first["regions"]] == ["man", "Woman in red"]
    assert first["depth_constraint"] == "1-2"


def write_prediction(root: Path, name: str, kind: str, mask: np.ndarray) -> None:
    (root / kind).mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(root / kind / f"{name}.png")


def test_predictions(people: OcclusionSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predicted, seen = rectangle(SIZE_HW, (20, 10, 50, 35)), rectangle(SIZE_HW, (35, 8, 50, 35))
    write_prediction(tmp_path / "pred", "0_2", "amodal", predicted)
    write_prediction(tmp_path / "pred", "1_2", "amodal", predicted)
    write_prediction(tmp_path / "pred", "1_2", "modal", seen)
    output = tmp_path / "pred.json"
    assert run("export", "coco", people.root, "--predictions", tmp_path / "pred", "--output", output) == 2
    shown = capsys.readouterr()
    assert "2 people" in shown.out and "2 left out" in shown.out and "no prediction for '0_1'" in shown.err
    run("import", "cocoa", output, "--images", people.root, "--output", tmp_path / "back")
    given, found = OcclusionSet(tmp_path / "back")
    assert np.array_equal(given.amodal, predicted)
    assert np.array_equal(given.modal, rectangle(SIZE_HW, BEHIND) & ~rectangle(SIZE_HW, MAN))
    assert np.array_equal(found.modal, seen) and np.array_equal(found.amodal, predicted | seen)


def test_whole_people_become_a_folder_to_train_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_people(tmp_path / "people", 3)
    run("import", "ahp", tmp_path / "people", "--output", tmp_path / "set")
    assert run("export", "people", tmp_path / "set", "--output", tmp_path / "out") == 0
    assert [person.id for person in read_people(tmp_path / "out")] == ["000", "001", "002"]
    for record in read_ccp(tmp_path / "out", "train"):
        photograph, original = record.load(), read_people(tmp_path / "people")[int(record.id)].load()
        for name in ("image", "person", "not_scored"):
            assert np.array_equal(getattr(photograph, name), getattr(original, name))
        assert not record.joints.any()
    assert run("export", "people", tmp_path / "set", "--output", tmp_path / "out") == 2
    assert "--overwrite" in capsys.readouterr().err


def test_what_nobody_knows_is_not_exported(
    people: OcclusionSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "people", people.root, "--output", tmp_path / "out") == 2
    assert "nobody was exported; 0_1: nobody knows the picture without" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    path, images = write_coco(tmp_path, person=True)
    run("import", "coco", path, "--images", images, "--output", tmp_path / "modal")
    assert run("export", "coco", tmp_path / "modal", "--output", tmp_path / "x.json") == 2
    assert "nobody knows the whole person; give --predictions" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def test_an_existing_file_is_kept_unless_asked(
    people: OcclusionSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.json").write_text("mine")
    (tmp_path / "folder" / "mine").write_text("mine")
    for format, name in (("coco", "x.json"), ("cocoa", "x.json"), ("cocoa", "folder"), ("coco", "folder")):
        assert run("export", format, people.root, "--output", tmp_path / name) == 2
        assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "x.json").read_text() == "mine"
    assert run("export", "coco", people.root, "--output", tmp_path / "x.json", "--overwrite") == 0
    assert run("export", "cocoa", people.root, "--output", tmp_path / "folder", "--overwrite") == 0
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"mine", "0_1.json", "1_1.json"}


def test_shared_bench(shared_data: Path, tmp_path: Path) -> None:
    """The benchmark's own masks, holes and crumbs included, through both formats and back."""
    bench = OcclusionSet(shared_data / "bench")
    for format in ("coco", "cocoa"):
        output = tmp_path / f"{format}.json"
        assert run("export", format, bench.root, "--output", output) == 0
        read = {record.id: record for record in read_amodal_json(output, bench.root)}
        for index in range(0, len(bench), 20):
            sample = bench[index]
            back = read[sample.id].load()
            assert np.array_equal(back.amodal, sample.amodal) and np.array_equal(back.modal, sample.modal)
            assert np.array_equal(back.not_scored, sample.not_scored)
