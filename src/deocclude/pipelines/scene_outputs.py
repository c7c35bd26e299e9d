"""The folder that everybody in a photograph becomes: pictures, layers, what was done; all of it appears, or nothing.

NAME/
    overview.png    the photograph, who was found, who was completed, the completed picture
    completed.png   everybody completed, at the canvas's size; transparent beyond the photograph
    layers.ora      OpenRaster: background, people from back to front, what stands before them
    coco.json       COCO annotations, one a person, amodal and modal
    scene.json      the people, their order, how it was made
    person_1_modal.png, person_1_amodal.png, person_1_invisible.png, person_1_probability.png
                    the masks, white on black, and how sure stage 1 was of each pixel
    person_1_cutout.png, person_1_cropped.png
                    the whole person, RGBA, on the canvas and cut to its box
    person_1_candidates.png
                    every candidate and where they differ, of a stage that was asked for several
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deocclude.errors import InputError
from deocclude.files import staging_folder
from deocclude.images import colour_profile, encode_image
from deocclude.layers.openraster import write_openraster
from deocclude.layers.scene_json import scene_json, write_scene_json
from deocclude.layers.stacking import LayerStack, ScenePerson, stack_scene
from deocclude.pipelines.outputs import describe_person, invented_mark, png_info, probability_picture
from deocclude.pipelines.overview import scene_overview
from deocclude.pipelines.scene import Scene
from deocclude.pipelines.spread import spread_picture
from deocclude.types import Deocclusion

SCENE_JSON = "scene.json"
_KINDS = ("modal", "amodal", "invisible", "probability", "cutout", "cropped", "candidates")
_OURS = re.compile(rf"(overview|completed|person_\d+_({'|'.join(_KINDS)}))\.png|layers\.ora|(coco|scene)\.json")


@dataclass(frozen=True)
class Source:
    """The file that a photograph came from: its name, its sha256, and its colour profile if it has one."""

    name: str
    sha256: str
    icc_profile: bytes | None = None

    @classmethod
    def of_file(cls, path: Path) -> Source:
        """Of a file on the disk."""
        return cls.of_bytes(path.name, path.read_bytes())

    @classmethod
    def of_bytes(cls, name: str, content: bytes) -> Source:
        """Of a file's content."""
        return cls(name, hashlib.sha256(content).hexdigest(), colour_profile(io.BytesIO(content)))


def write_scene(
    folder: Path,
    name: str,
    scene: Scene,
    source: Source,
    *,
    extra: dict[str, Any] | None = None,
    timings: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write everything about one photograph into a new folder NAME, and return it.

    extra: more for scene.json. timings: say in scene.json how many seconds each step took, which makes its bytes differ
    from run to run. Raises InputError where NAME exists without `overwrite`, and where nothing can be written.
    """
    place = folder / name
    check_free(place, overwrite=overwrite)
    try:
        with staging_folder(folder, name) as staging:
            _write_files(staging, scene, source, extra or {}, timings)
            _put_in_place(staging, place)
    except OSError as error:
        raise InputError(f"{place}: cannot write the results ({error.strerror or error})") from error
    return place


def check_free(place: Path, *, overwrite: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Raises InputError where a photograph's folder cannot be written: it exists without `overwrite`, is a file, or
    holds an input or anything else that no run wrote.
    """
    if place.exists() and not place.is_dir():
        raise InputError(f"{place} is a file, and the results want a folder of that name; choose another --output")
    if place.exists() and not overwrite:
        raise InputError(f"{place} exists already; give --overwrite, or another --output")
    if kept := [path for path in inputs if path.resolve().is_relative_to(place.resolve())]:
        raise InputError(f"{kept[0]} is an input and lies where results would go; choose another --output")
    foreign = [path for path in sorted(place.glob("*")) if not _OURS.fullmatch(path.name) or path.is_dir()]
    if foreign:
        raise InputError(f"{foreign[0]} is no result and would be lost with its folder; choose another --output")


def _put_in_place(staging: Path, place: Path) -> None:
    """The new folder in the old one's place; where that fails the old one stays."""
    if not place.exists():
        os.replace(staging, place)
        return
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    os.replace(place, old)
    try:
        os.replace(staging, place)
    except OSError:
        os.replace(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_files(folder: Path, scene: Scene, source: Source, extra: dict[str, Any], timings: bool) -> None:
    profile, stack = source.icc_profile, layers_of(scene)
    chunks = png_info(invented_mark(scene.invented_mask, "person_*_invisible.png"))
    encode_image(folder / "overview.png", scene_overview(scene), icc_profile=profile, pnginfo=chunks)
    encode_image(folder / "completed.png", _completed(scene), icc_profile=profile, pnginfo=chunks)
    write_openraster(folder / "layers.ora", stack, icc_profile=profile)
    for number, person in enumerate(scene.people, start=1):
        _write_person(folder, f"person_{number}", person, profile)
    annotations = scene_json(_scene_people(scene), scene.order.back_to_front, "completed.png")
    write_scene_json(folder / "coco.json", annotations)
    text = json.dumps(describe_scene(scene, source, timings=timings) | extra, indent=2, allow_nan=False) + "\n"
    (folder / SCENE_JSON).write_text(text, encoding="utf-8")


def _write_person(folder: Path, name: str, person: Deocclusion, profile: bytes | None) -> None:
    chunks = png_info(invented_mark(person.invisible_mask, f"{name}_invisible.png"))
    x0, y0, x1, y1 = person.box_xyxy
    encode_image(folder / f"{name}_modal.png", person.modal_mask)
    encode_image(folder / f"{name}_amodal.png", person.amodal_mask)
    encode_image(folder / f"{name}_invisible.png", person.invisible_mask)
    encode_image(folder / f"{name}_probability.png", probability_picture(person))
    encode_image(folder / f"{name}_cutout.png", person.cutout, icc_profile=profile, pnginfo=chunks)
    encode_image(folder / f"{name}_cropped.png", person.cutout[y0:y1, x0:x1], icc_profile=profile, pnginfo=chunks)
    if len(person.candidates) > 1:
        picture = spread_picture(person.candidates, person.modal_mask, person.amodal_mask)
        encode_image(folder / f"{name}_candidates.png", picture, icc_profile=profile, pnginfo=chunks)


def layers_of(scene: Scene) -> LayerStack:
    """The scene's layers; flattened, they are the photograph."""
    x0, y0, x1, y1 = scene.photograph_box
    photograph = scene.image[y0:y1, x0:x1]
    return stack_scene(photograph, _scene_people(scene), scene.order.back_to_front, offset_xy=(x0, y0))


def _scene_people(scene: Scene) -> list[ScenePerson]:
    return [
        ScenePerson(f"person {number}", person.rgb, person.modal_mask, person.amodal_mask)
        for number, person in enumerate(scene.people, start=1)
    ]


def _completed(scene: Scene) -> np.ndarray:
    """Everybody completed: uint8 (H, W, 3), or RGBA where there is canvas that shows nothing."""
    height, width = scene.image.shape[:2]
    if scene.photograph_box == (0, 0, width, height):
        return scene.rgb
    x0, y0, x1, y1 = scene.photograph_box
    shown = scene.invented_mask | scene.visible_mask
    shown[y0:y1, x0:x1] = True
    alpha = shown[..., None].astype(np.uint8)
    return np.concatenate([scene.rgb * alpha, alpha * 255], axis=-1)


def describe_scene(scene: Scene, source: Source, *, timings: bool = True) -> dict[str, Any]:
    """What scene.json says. Pixels are the canvas's; people are numbered from 1 as named, or else the largest first."""
    height, width = scene.image.shape[:2]
    said_once = [*scene.facts, *([] if timings else ["seconds"])]
    people = [_without(person, said_once) for person in scene.people]
    return {
        "input": {"file": source.name, "sha256": source.sha256},
        **scene.facts,
        "canvas": {"width": width, "height": height, "photograph_box_xyxy": list(scene.photograph_box)},
        "people": [
            {"number": number, **describe_person(person, f"person_{number}_invisible.png")}
            for number, person in enumerate(people, start=1)
        ],
        "order": {
            "back_to_front": [one + 1 for one in scene.order.back_to_front],
            "in_front": list(_in_front(scene)),
            "cycles": [[one + 1 for one in group] for group in scene.order.cycles],
        },
    }


def _in_front(scene: Scene) -> Iterator[dict[str, Any]]:
    """Each pair of whom one stands in front, with the score."""
    for front, back in np.argwhere(scene.order.scores > 0):
        if scene.order.is_behind(back, front):
            score = round(float(scene.order.scores[front, back]), 3)
            yield {"front": int(front) + 1, "behind": int(back) + 1, "score": score}


def _without(person: Deocclusion, keys: Sequence[str]) -> Deocclusion:
    return replace(person, facts={key: value for key, value in person.facts.items() if key not in keys})
