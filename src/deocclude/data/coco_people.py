"""People of a COCO instances file: of each, only the visible part is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deocclude.data.coco import CocoImage, CocoInstance, read_coco
from deocclude.data.occlusion_records import modal_alone, shared_picture
from deocclude.data.occlusion_set import OcclusionSample
from deocclude.errors import InputError


@dataclass(frozen=True, eq=False)
class CocoPerson:
    """One person among the objects of a COCO picture."""

    picture: CocoImage
    instance: CocoInstance

    @property
    def id(self) -> str:
        return f"{self.picture.path.stem}_{self.instance.id}"

    def load(self) -> OcclusionSample:
        """The person as a sample without amodal truth: they may go on where other objects and crowds are.

        Raises InputError that names the file.
        """
        image = shared_picture(self.picture.path)
        if image.shape[:2] != self.instance.image_hw:
            raise InputError(f"{self.picture.path}: its size is not the one its annotation file gives")
        others = [*self.picture.instances, *self.picture.crowds]
        in_front = [other.mask() for other in others if other is not self.instance]
        row = {"picture": self.picture.path.name, "name": self.instance.category}
        may_go_on = np.any(in_front, axis=0) if in_front else np.zeros(image.shape[:2], bool)
        return modal_alone(self.id, image, self.instance.mask(), may_go_on, row)


def read_coco_people(json_path: Path, images_dir: Path, *, min_area: float = 0) -> list[CocoPerson]:
    """The people of a COCO file whose visible part has at least `min_area` pixels, crowds left out.

    Raises InputError where the file is not COCO instance annotations.
    """
    return [
        CocoPerson(picture, instance)
        for picture in read_coco(json_path, images_dir)
        for instance in picture.instances
        if instance.category == "person" and instance.area >= min_area
    ]
