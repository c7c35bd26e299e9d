from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniatures import photograph, with_red_person, write_png
from PIL import Image

from deocclude.errors import InputError
from deocclude.files import staging_folder
from deocclude.pipelines import outputs
from deocclude.pipelines.outputs import check_folder, file_names, person_names, write_person
from deocclude.pipelines.overview import MAX_HEIGHT, MAX_WIDTH, OUTLINE, outline, overview
from deocclude.skeletons import BODY_25
from deocclude.types import Deocclusion


def completed(height: int = 64, width: int = 96) -> tuple[np.ndarray, Deocclusion]:
    image, modal = with_red_person(photograph(height, width), (10, 10, 30, 30))
    amodal = modal.copy()
    amodal[30:50, 10:30] = True
    rgb = image.copy()
    rgb[amodal & ~modal] = (0, 255, 0)
    joints = np.arange(75, dtype=np.float32).reshape(25, 3)
    return image, Deocclusion(rgb, modal, amodal, amodal.astype(np.float32), joints, {"seed": 3})


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_a_person_is_eight_files_that_agree(tmp_path: Path) -> None:
    image, result = completed()
    source = write_png(tmp_path / "in" / "photo.png", image)
    out = tmp_path / "out"
    out.mkdir()
    written = write_person(out, "photo", image, result, source=source, extra={"asked_box_xyxy": None})
    assert sorted(out.iterdir()) == sorted(written) and len(written) == 8
    assert np.array_equal(read(out / "photo_completed.png"), result.rgb)
    for kind, mask in (
        ("modal", result.modal_mask),
        ("amodal", result.amodal_mask),
        ("invisible", result.invisible_mask),
    ):
        assert np.array_equal(read(out / f"photo_{kind}.png"), mask * np.uint8(255))
    assert np.array_equal(read(out / "photo_cutout.png"), result.cutout)
    said = json.loads((out / "photo.json").read_text())
    assert said["box_xyxy"] == [10, 10, 30, 50] and said["occlusion_ratio"] == 0.5 and said["seed"] == 3
    assert said["invented_pixels"] == {"count": 400, "mask": "photo_invisible.png"}
    assert list(said["joints"]) == list(BODY_25) and said["joints"]["neck"] == [3, 4, 5]
    assert said["input"]["file"] == "photo.png"
    assert said["input"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (said["input"]["width"], said["input"]["height"]) == (96, 64)
    assert all((out / file).is_file() for file in said["files"].values())


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, result = completed()
    source = write_png(tmp_path / "photo.png", image)
    out = tmp_path / "out"
    out.mkdir()
    write = outputs.encode_image

    def disk_full(path: Path, array: np.ndarray, **settings: object) -> None:
        if path.name == "photo_cutout.png":
            raise OSError(28, "No space left on device")
        write(path, array)

    monkeypatch.setattr(outputs, "encode_image", disk_full)
    with pytest.raises(InputError, match="No space left"):
        write_person(out, "photo", image, result, source=source)
    assert not list(out.iterdir())


def test_a_json_never_stands_beside_files_of_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, result = completed()
    source = write_png(tmp_path / "photo.png", image)
    out = tmp_path / "out"
    out.mkdir()
    write_person(out, "photo", image, result, source=source)
    replace = os.replace

    def killed(old: Path, new: Path) -> None:
        if new.name == "photo_cutout.png":
            raise KeyboardInterrupt
        replace(old, new)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_person(out, "photo", image, result, source=source)
    assert not (out / "photo.json").exists() and (out / "photo_modal.png").exists()


def test_names_meet_nowhere() -> None:
    def names(*paths: str, people: int = 1) -> list[list[str]]:
        return person_names([Path(path) for path in paths], people)

    assert names("a.jpg", "b.jpg") == [["a"], ["b"]]
    assert names("a.jpg", "a.png", "b.png") == [["a_jpg"], ["a_png"], ["b"]]
    assert names("x/a.jpg", "y/a.jpg") == [["x_a_jpg"], ["y_a_jpg"]]
    assert names("A.jpg", "a.png") == [["A_jpg"], ["a_png"]]
    assert names("a.jpg", people=3) == [["a", "a_2", "a_3"]]
    assert names("a.jpg", "a_2.jpg", people=2) == [["a_jpg", "a_jpg_2"], ["a_2_jpg", "a_2_jpg_2"]]
    (same,), (other,) = names("p/x/a.jpg", "q/x/a.jpg")
    assert same != other and same.startswith("a_jpg_")
    assert names("p/x/a.jpg", "q/x/a.jpg") == [[same], [other]]


@given(
    st.lists(
        st.builds(
            lambda folder, stem, suffix: Path(folder) / f"{stem}.{suffix}",
            st.sampled_from(["", "x", "y", "x/y", "z/y"]),
            st.sampled_from(["a", "A", "a_2", "a_jpg", "a_jpg_2", "y_a_jpg", "a_modal"]),
            st.sampled_from(["jpg", "png", "JPG"]),
        ),
        unique=True,
        max_size=12,
    ),
    st.integers(1, 3),
)
def test_no_two_results_share_a_file(paths: list[Path], people: int) -> None:
    files = [file.casefold() for group in person_names(paths, people) for name in group for file in file_names(name)]
    assert len(files) == len(set(files)) == 8 * people * len(paths)


def test_output_is_checked_before_computing(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "deep", ["a"])
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.json").touch()
    (tmp_path / "a_modal.png").touch()
    with pytest.raises(InputError, match=r"a_modal\.png \(and 1 more\) exists already; give --overwrite"):
        check_folder(tmp_path, ["b", "a"])
    check_folder(tmp_path, ["b", "a"], overwrite=True)
    with pytest.raises(InputError, match="is an input"):
        check_folder(tmp_path, ["a"], inputs=[tmp_path / "a_modal.png"], overwrite=True)
    for unwritable in (tmp_path / "a.json", tmp_path / "a.json" / "inside"):
        with pytest.raises(InputError, match=r"a\.json is a file; choose another"):
            check_folder(unwritable, ["a"])


def test_what_a_killed_run_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f".a.{os.getpid()}.partial").mkdir()
    (tmp_path / f".a.{os.getpid()}.partial" / "half.png").touch()
    with staging_folder(tmp_path, "a") as staging:
        assert not list(staging.iterdir())
    assert not list(tmp_path.iterdir())


def test_overview_shows_four_panels() -> None:
    image, result = completed()
    sheet = overview(image, result)
    assert sheet.shape[1] == 4 * 96 + 3 * 8 and sheet.shape[0] > 64
    panels = [sheet[-64:, start : start + 96] for start in range(0, sheet.shape[1], 104)]
    assert np.array_equal(panels[0], image)
    edge = outline(result.invisible_mask)
    assert (panels[3][edge] == OUTLINE).all()
    assert np.array_equal(panels[3][~edge], result.rgb[~edge])
    assert (panels[1] != image).any(axis=2)[result.modal_mask].all()
    assert np.array_equal(panels[1][~result.modal_mask], image[~result.modal_mask])


@pytest.mark.parametrize("size_hw", [(2000, 300), (300, 5000)])
def test_overview_is_bounded(size_hw: tuple[int, int]) -> None:
    sheet = overview(*completed(*size_hw))
    assert sheet.shape[0] <= MAX_HEIGHT + 40 and sheet.shape[1] <= 4 * MAX_WIDTH + 40


def test_outline_lies_outside_and_has_a_width() -> None:
    mask = np.zeros((20, 20), bool)
    mask[8:12, 8:12] = True
    assert outline(mask).sum() == 36 - 16 and outline(mask, 2).sum() == 64 - 16
    assert not (outline(mask, 3) & mask).any()
