"""Occluders: cut-outs of annotated objects and of whole people, ready to be pasted in front of someone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from deocclude.data.coco import CocoInstance, read_coco
from deocclude.data.people import PersonRecord
from deocclude.errors import InputError
from deocclude.images import open_image
from deocclude.masks import mask_box

MIN_AREA = 900
"""Pixels. A smaller object is a smear once it is scaled to a person."""
MIN_SIDE = 20
"""Pixels of the box's shorter side."""
MIN_FILL = 0.15
"""Area over box area. Below it the object is a sliver, or crumbs left by whatever stood in front of it."""
MAX_BORDER_SIDES = 2
"""Sides of the picture the box may touch. An object cut on three sides is a scrap without an outline."""


@dataclass(frozen=True, eq=False)
class Occluder:
    """One object, cut to its tight box.

    rgba: uint8 (H, W, 4); colours are straight (not premultiplied) and go on outside the alpha; alpha is 0 or 255.
    name: its category.
    source_id: where it comes from, unique in its bank.
    """

    rgba: np.ndarray
    name: str
    source_id: str


class OccluderSource(Protocol):
    """An object that can be cut out."""

    @property
    def name(self) -> str: ...
    @property
    def source_id(self) -> str: ...
    def cut(self) -> np.ndarray:
        """RGBA, uint8 (H, W, 4), its tight box. Raises InputError where its picture cannot be read."""
        ...


@lru_cache(maxsize=4)
def _picture(path: Path) -> np.ndarray:
    # The objects of one picture come one after another.
    return open_image(path)


@dataclass(frozen=True, eq=False)
class CocoCutout:
    """A COCO instance as occluder."""

    image_path: Path
    instance: CocoInstance

    @property
    def name(self) -> str:
        return self.instance.category

    @property
    def source_id(self) -> str:
        return f"{self.image_path.stem}:{self.instance.id}"

    def cut(self) -> np.ndarray:
        image = _picture(self.image_path)
        if image.shape[:2] != self.instance.image_hw:
            raise InputError(f"{self.image_path}: its size is not the one its annotation file gives")
        return cut_out(image, self.instance.mask())


@dataclass(frozen=True, eq=False)
class PersonCutout:
    """A whole person, with the bag they carry, as occluder of another."""

    record: PersonRecord

    @property
    def name(self) -> str:
        return "person"

    @property
    def source_id(self) -> str:
        return self.record.id

    def cut(self) -> np.ndarray:
        sample = self.record.load()
        return cut_out(sample.image, sample.person | sample.not_scored)


def cut_out(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The tight box of a bool (H, W) mask as RGBA, uint8; an empty mask gives (0, 0, 4)."""
    x0, y0, x1, y1 = mask_box(mask) or (0, 0, 0, 0)
    alpha = mask[y0:y1, x0:x1, None].astype(np.uint8) * 255
    return np.concatenate([image[y0:y1, x0:x1], alpha], axis=-1)


def is_good_occluder(instance: CocoInstance) -> bool:
    """Large enough, not a sliver, not cut off by the picture on more than `MAX_BORDER_SIDES` sides.

    Decided on the annotation alone, so that the 860,000 objects of COCO need not be decoded.
    """
    x0, y0, x1, y1 = instance.box_xyxy
    width, height = x1 - x0, y1 - y0
    if instance.area < MIN_AREA or min(width, height) < MIN_SIDE or instance.area < MIN_FILL * width * height:
        return False
    image_height, image_width = instance.image_hw
    touches = (x0 <= 2) + (y0 <= 2) + (x1 >= image_width - 2) + (y1 >= image_height - 2)
    return touches <= MAX_BORDER_SIDES


class OccluderBank:
    """A sequence of occluders that are cut out when asked for; `a + b` is a bank of both."""

    def __init__(self, sources: Sequence[OccluderSource]) -> None:
        self.sources = tuple(sources)

    @classmethod
    def from_coco(cls, json_path: Path, images_dir: Path) -> OccluderBank:
        """The good occluders of a COCO instances file. Raises InputError where there is none."""
        sources = [
            CocoCutout(image.path, instance)
            for image in read_coco(json_path, images_dir)
            for instance in image.instances
            if is_good_occluder(instance)
        ]
        if not sources:
            raise InputError(f"{json_path}: holds no object of at least {MIN_AREA} pixels to serve as occluder")
        return cls(sources)

    @classmethod
    def from_people(cls, records: Iterable[PersonRecord]) -> OccluderBank:
        """People in front of people."""
        return cls([PersonCutout(record) for record in records])

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Occluder:
        source = self.sources[index]
        return Occluder(source.cut(), source.name, source.source_id)

    def __add__(self, other: OccluderBank) -> OccluderBank:
        return OccluderBank(self.sources + other.sources)

    def to_patches(self, size: int) -> np.ndarray:
        """Every occluder as a square patch, uint8 (N, size, size, 4), for synthesis in whole batches."""
        patches = np.empty((len(self), size, size, 4), np.uint8)
        for index in range(len(self)):
            patches[index] = to_patch(self[index].rgba, size)
        return patches


def to_patch(rgba: np.ndarray, size: int) -> np.ndarray:
    """A cut-out centred in a square, aspect kept, area-averaged when it shrinks: uint8 (size, size, 4).

    Colours stay straight and are bled over the whole square, so that resampling the patch brings in no dark fringe.
    """
    height, width = rgba.shape[:2]
    scale = size / max(height, width)
    new_size = max(1, round(width * scale)), max(1, round(height * scale))
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    resized = [
        np.asarray(Image.fromarray(part).resize(new_size, method))
        for part in (bleed(rgba), np.ascontiguousarray(rgba[..., 3]))
    ]
    top, left = (size - new_size[1]) // 2, (size - new_size[0]) // 2
    rows, columns = (top, size - new_size[1] - top), (left, size - new_size[0] - left)
    return np.concatenate(
        [
            np.pad(resized[0], (rows, columns, (0, 0)), mode="edge"),
            np.pad(resized[1], (rows, columns))[..., None],
        ],
        axis=-1,
    )


def bleed(rgba: np.ndarray) -> np.ndarray:
    """Colours of a cut-out, uint8 (H, W, 3); outside its alpha, those of the nearest pixel inside."""
    from scipy.ndimage import distance_transform_edt

    outside = rgba[..., 3] < 128
    if outside.all() or not outside.any():
        return np.ascontiguousarray(rgba[..., :3])
    rows, columns = distance_transform_edt(outside, return_distances=False, return_indices=True)
    return rgba[rows, columns, :3]
