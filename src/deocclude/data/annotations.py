"""Writers of amodal annotations: COCO JSON and COCOA JSON. What `data/cocoa.py` reads of them is what was written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deocclude.data.segmentations import encode_run_lengths, encode_segmentation
from deocclude.masks import invisible_mask, mask_box, occlusion_ratio

Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class PersonMasks:
    """One person of a picture, as the writers take it.

    id: kept as `set_id`, so that reading the file gives the same id.
    picture: the picture's file name, as readers will look for it; people of one picture share it.
    modal, amodal: bool (H, W), modal inside amodal, amodal not empty.
    not_scored: neither person nor background, bool (H, W); None where there is no such place.
    name: COCOA's name of the region. order: COCOA's depth order in the picture, 1 in front; None where it is unknown.
    """

    id: str
    picture: str
    modal: np.ndarray
    amodal: np.ndarray
    not_scored: np.ndarray | None = None
    name: str = "person"
    order: int | None = None

    def __post_init__(self) -> None:
        if not self.amodal.any():
            raise ValueError(f"{self.id}: the amodal mask is empty")
        if (self.modal & ~self.amodal).any():
            raise ValueError(f"{self.id}: the modal mask must lie inside the amodal one")


def coco_json(people: Iterable[PersonMasks]) -> Json:
    """COCO JSON, one annotation a person; its masks are read back exactly.

    `segmentation` is the amodal mask: polygons, or run lengths where it has a hole. `visible_mask`, `invisible_mask`
    and `not_scored` are run lengths, `occlude_rate` is the occlusion ratio. `iscrowd` is 0 throughout.
    """
    images: dict[str, Json] = {}
    annotations: list[Json] = []
    for person in people:
        image = _image(images, person)
        x0, y0, x1, y1 = mask_box(person.amodal) or (0, 0, 0, 0)
        ids = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": 1, "iscrowd": 0}
        annotations.append({**ids, "bbox": [x0, y0, x1 - x0, y1 - y0], **_masks(person)})
    return {
        "info": {"description": "segmentation is the amodal mask, visible_mask the visible part of it"},
        "images": list(images.values()),
        "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
        "annotations": annotations,
    }


def cocoa_json(people: Iterable[PersonMasks]) -> Json:
    """COCOA JSON: one entry of `annotations` a picture, one region a person; its masks are read back exactly.

    As in COCOA, a person of whom nothing is hidden has neither `visible_mask` nor `invisible_mask`, and `segmentation`
    is one polygon; where one polygon cannot say it, run lengths. `order` is the person's own where everybody in the
    picture has one of their own; else whoever is hidden less counts as in front.
    """
    images: dict[str, Json] = {}
    regions: dict[str, list[_Region]] = {}
    for person in people:
        _image(images, person)
        regions.setdefault(person.picture, []).append(_Region(person))
    return {
        "images": list(images.values()),
        "annotations": [_annotation(images[name], regions[name]) for name in images],
    }


def cocoa_files(content: Json) -> dict[str, Json]:
    """COCOA JSON as one object a picture, by the stem of the picture's file."""
    images = {image["id"]: image for image in content["images"]}
    entries = [{**annotation, **images[annotation["image_id"]]} for annotation in content["annotations"]]
    return {Path(entry["file_name"]).stem: entry for entry in entries}


def _image(images: dict[str, Json], person: PersonMasks) -> Json:
    """The picture's entry, made for the first person in it. ValueError where people disagree about its size."""
    height, width = person.amodal.shape
    made = {"id": len(images) + 1, "file_name": person.picture, "width": width, "height": height}
    image = images.setdefault(person.picture, made)
    if (image["height"], image["width"]) != (height, width):
        raise ValueError(f"{person.id}: its masks are {width}x{height}, another person's in {person.picture} are not")
    return image


def _masks(person: PersonMasks) -> Json:
    """What both formats say of a person."""
    masks = {
        "set_id": person.id,
        "area": int(person.amodal.sum()),
        "occlude_rate": occlusion_ratio(person.modal, person.amodal),
        "segmentation": encode_segmentation(person.amodal),
        "visible_mask": encode_run_lengths(person.modal),
        "invisible_mask": encode_run_lengths(invisible_mask(person.modal, person.amodal)),
    }
    if person.not_scored is not None and person.not_scored.any():
        masks["not_scored"] = encode_run_lengths(person.not_scored)
    return masks


class _Region:
    """A person encoded for COCOA, with what is asked when the picture's other people are known too."""

    def __init__(self, person: PersonMasks) -> None:
        self.masks = _masks(person)
        self.name = person.name
        self.order = person.order
        self.amodal = encode_run_lengths(person.amodal)
        self.invisible = self.masks["invisible_mask"]
        polygons = self.masks["segmentation"]
        if isinstance(polygons, list):
            self.masks["segmentation"] = polygons[0] if len(polygons) == 1 else self.amodal
        if self.masks["occlude_rate"] == 0:
            del self.masks["visible_mask"], self.masks["invisible_mask"]

    def hides(self, other: _Region) -> bool:
        """Whether the other's hidden part goes on behind this person."""
        from pycocotools import mask as run_lengths

        return bool(run_lengths.area(run_lengths.merge([self.amodal, other.invisible], intersect=True)))


def _annotation(image: Json, regions: list[_Region]) -> Json:
    orders = [region.order for region in regions]
    if None in orders or len(set(orders)) < len(orders):
        regions = sorted(regions, key=lambda region: region.masks["occlude_rate"])
        orders = list(range(1, len(regions) + 1))
    placed = sorted(zip(orders, regions, strict=True), key=lambda pair: pair[0] or 0)
    behind = [(a, b) for a, front in placed for b, back in placed if (a or 0) < (b or 0) and front.hides(back)]
    return {
        "id": image["id"],
        "image_id": image["id"],
        "author": "deocclude",
        "url": image["file_name"],
        "size": len(regions),
        "depth_constraint": ",".join(f"{front}-{back}" for front, back in behind),
        "regions": [{"name": region.name, "isStuff": 0, "order": order, **region.masks} for order, region in placed],
    }
