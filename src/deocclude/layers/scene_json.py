"""A scene as COCO or COCOA JSON, one annotation a person, by the writers of `deocclude export`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from deocclude.data.annotations import PersonMasks, coco_json, cocoa_json
from deocclude.errors import InputError
from deocclude.files import written_whole
from deocclude.layers.stacking import ScenePerson

Format = Literal["coco", "cocoa"]


def scene_json(
    people: Sequence[ScenePerson], back_to_front: Sequence[int], picture: str, *, format: Format = "coco"
) -> dict[str, Any]:
    """What the JSON file says: `segmentation` is the amodal mask, `visible_mask` the modal one, both exact.

    picture: the file name of the picture in whose pixels the masks are, so of the larger one on an extended canvas.
    format: "cocoa" has each person's depth `order` too, 1 in front, and who hides whom.

    People are called STEM_1, STEM_2, … in their own order. Raises ValueError where the order does not name each once.
    """
    if sorted(back_to_front) != list(range(len(people))):
        raise ValueError(f"back_to_front names each of {len(people)} people once; got {tuple(back_to_front)}")
    stem = Path(picture).stem
    masks = [
        PersonMasks(
            id=f"{stem}_{index + 1}",
            picture=picture,
            modal=person.modal_mask,
            amodal=person.amodal_mask,
            order=len(people) - list(back_to_front).index(index),
        )
        for index, person in enumerate(people)
    ]
    return coco_json(masks) if format == "coco" else cocoa_json(masks)


def write_scene_json(path: str | Path, content: dict[str, Any], *, overwrite: bool = False) -> None:
    """Write what `scene_json` made, whole or not at all.

    Raises InputError for an existing file without `overwrite` and a place that cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another place or allow overwriting")
    try:
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error})") from error
