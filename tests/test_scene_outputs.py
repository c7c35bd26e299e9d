"""The folder of a photograph: what is in it agrees with the scene and with itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniatures import GrowDown, Noise, Paint, RedSegmenter, photograph, write_png
from PIL import Image
from test_scene import BACK, FRONT, TwoPeople, person_at

from deocclude.errors import InputError
from deocclude.images import open_image
from deocclude.layers.marking import read_mark
from deocclude.layers.openraster import read_openraster
from deocclude.layers.stacking import flatten
from deocclude.pipelines import scene_outputs
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.pipelines.scene import Scene, SceneDeoccluder
from deocclude.pipelines.scene_outputs import Source, write_scene
from deocclude.pipelines.scene_people import SceneRequest

IMAGE = photograph()


def completed(extend: int = 0, **changes: Any) -> Scene:
    parts: dict[str, Any] = {"segmenter": RedSegmenter(), "mask_completer": GrowDown(), "rgb_completer": Paint()}
    scenes = SceneDeoccluder(Deoccluder(**parts | changes), TwoPeople())
    masks = [person_at(box, IMAGE.shape[:2]).modal_mask for box in (FRONT, BACK)]
    return scenes(IMAGE, SceneRequest(modal_masks=masks, extend=extend))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source.of_file(write_png(tmp_path / "photo.png", IMAGE))


@pytest.mark.parametrize("extend", [0, 9])
def test_pictures_layers_and_json_agree(tmp_path: Path, source: Source, extend: int) -> None:
    scene = completed(extend)
    place = write_scene(tmp_path / "out", "photo", scene, source)
    told = json.loads((place / "scene.json").read_text())
    assert told["input"] == {"file": "photo.png", "sha256": source.sha256}
    assert told["order"]["back_to_front"] == [2, 1]
    assert told["order"]["in_front"] == [{"front": 1, "behind": 2, "score": 1.0}]
    x0, y0, x1, y1 = told["canvas"]["photograph_box_xyxy"]
    assert np.array_equal(scene.image[y0:y1, x0:x1], IMAGE)

    flat = flatten(read_openraster(place / "layers.ora"))
    assert np.array_equal(flat[y0:y1, x0:x1, :3], IMAGE) and (flat[y0:y1, x0:x1, 3] == 255).all()
    whole = np.array(Image.open(place / "completed.png").convert("RGBA"))
    assert np.array_equal(whole[..., :3][whole[..., 3] == 255], scene.rgb[whole[..., 3] == 255])
    for person, said in zip(scene.people, told["people"], strict=True):
        name = f"person_{said['number']}"
        for kind in ("modal", "amodal", "invisible"):
            mask = open_image(place / f"{name}_{kind}.png")[..., 0] > 0
            assert np.array_equal(mask, getattr(person, f"{kind}_mask"))
        assert said["invented_pixels"]["count"] == person.invisible_mask.sum()
        cutout = np.array(Image.open(place / f"{name}_cutout.png"))
        assert np.array_equal(cutout, person.cutout)
        left, top, right, bottom = said["box_xyxy"]
        assert np.array_equal(np.array(Image.open(place / f"{name}_cropped.png")), cutout[top:bottom, left:right])
    assert len(json.loads((place / "coco.json").read_text())["annotations"]) == 2


def test_invented_pixels_are_marked_in_the_files(tmp_path: Path, source: Source) -> None:
    scene = completed()
    place = write_scene(tmp_path, "photo", scene, source)
    marks = {path.name: read_mark(path) for path in place.glob("*.png")}
    whole, cutout = marks["completed.png"], marks["person_2_cutout.png"]
    assert whole is not None and whole.num_invented == (scene.rgb != IMAGE).any(axis=2).sum() > 0
    assert cutout is not None and cutout.num_invented == scene.people[1].invisible_mask.sum()
    assert cutout.mask == "person_2_invisible.png" and marks["person_2_modal.png"] is None


def test_several_candidates_come_with_their_spread(tmp_path: Path, source: Source) -> None:
    class Draws(Noise):
        draws_candidates = True

        def candidates(self, image: Any, completion: Any, count: int, **given: Any) -> Any:
            import torch

            return torch.stack([self(image, completion, **given) for _ in range(count)], dim=1)

    place = write_scene(tmp_path, "photo", completed(rgb_completer=Draws(), num_candidates=2), source)
    assert (place / "person_1_candidates.png").exists()


def test_without_timings_the_same_scene_is_the_same_bytes(tmp_path: Path, source: Source) -> None:
    first, second = (write_scene(tmp_path / name, "photo", completed(), source, timings=False) for name in ("a", "b"))
    files = sorted(path.name for path in first.iterdir())
    assert files == sorted(path.name for path in second.iterdir())
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_a_folder_is_replaced_whole_or_stays(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_scene(tmp_path, "photo", completed(), source)
    with pytest.raises(InputError, match="--overwrite"):
        write_scene(tmp_path, "photo", completed(), source)
    before = {path.name: path.read_bytes() for path in place.iterdir()}

    def disk_full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scene_outputs, "write_openraster", disk_full)
    with pytest.raises(InputError, match="No space left"):
        write_scene(tmp_path, "photo", completed(), source, overwrite=True)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["photo", "photo.png"]
    monkeypatch.undo()
    replace = os.replace

    def fails(old: Path, new: Path) -> None:
        if Path(old).name.endswith(".partial") and Path(new).name == "photo":
            raise OSError(5, "Input/output error")
        replace(old, new)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(InputError, match="Input/output error"):
        write_scene(tmp_path, "photo", completed(), source, overwrite=True)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    monkeypatch.undo()
    (place / "person_1_edited.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"person_1_edited.png is no result"):
        write_scene(tmp_path, "photo", completed(), source, overwrite=True)
    (place / "person_1_edited.png").unlink()
    assert write_scene(tmp_path, "photo", completed(), source, overwrite=True) == place


def test_a_scene_of_nobody(tmp_path: Path, source: Source) -> None:
    scenes = SceneDeoccluder(Deoccluder(RedSegmenter(), GrowDown(), Paint()), TwoPeople())
    black = np.zeros((20, 30, 3), np.uint8)
    place = write_scene(tmp_path, "photo", scenes(black), source)
    told = json.loads((place / "scene.json").read_text())
    assert told["people"] == [] and np.array_equal(open_image(place / "completed.png"), black)
