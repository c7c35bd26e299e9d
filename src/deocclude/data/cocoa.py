"""Reader of amodal annotations: COCOA's files, one a picture or all in one, and COCO-style files with amodal masks.

COCOA            {annotations: [{image_id, url, regions: [REGION, …]}, …], images: [{id, file_name}, …]}
one a picture    {url, regions: [REGION, …]}, beside a picture of the same stem
COCO-style       {annotations: [REGION and id, image_id, category_id], images: […], categories: […]}

A REGION's `segmentation` is the amodal mask, as one polygon, several or run lengths. `visible_mask` is what this
project calls the modal mask, `invisible_mask` the rest; without either nothing is hidden. `order` counts from the
front.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deocclude.data.occlusion_records import shared_picture
from deocclude.data.occlusion_set import PICTURE_SUFFIXES, OcclusionSample
from deocclude.data.person_names import is_person_name
from deocclude.data.segmentations import decode_segmentation
from deocclude.errors import InputError
from deocclude.masks import invisible_mask

Region = dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Picture:
    """One annotated picture: under which names it may lie, its size if the file says so, its regions by id."""

    file_names: tuple[str, ...]
    size_hw: tuple[int, int] | None
    regions: dict[str, Region]


@dataclass(frozen=True, eq=False)
class AmodalRegion:
    """One annotated person. `json_path` and `images_dir` say where its file and its picture lie."""

    id: str
    json_path: Path
    images_dir: Path
    picture: _Picture
    region: Region

    @property
    def is_occluded(self) -> bool:
        """Whether the annotation says that something is hidden."""
        return "visible_mask" in self.region or "invisible_mask" in self.region

    def load(self) -> OcclusionSample:
        """Read the picture and decode the masks. Raises InputError that names file and person."""
        path = _found_picture(self.images_dir, self.picture.file_names)
        image = shared_picture(path)
        size_hw = image.shape[0], image.shape[1]
        if self.picture.size_hw not in (None, size_hw):
            raise InputError(f"{path}: its size is not the one that {self.json_path} gives")
        try:
            return self._decoded(image, size_hw, path.name)
        except (InputError, KeyError, TypeError) as error:
            raise InputError(f"{self.json_path}: the annotation of {self.id} is not usable ({error})") from error

    def _decoded(self, image: np.ndarray, size_hw: tuple[int, int], picture_name: str) -> OcclusionSample:
        amodal, modal = _masks(self.region, size_hw)
        not_scored = np.zeros(size_hw, bool)
        if "not_scored" in self.region:  # an export of ours
            not_scored = decode_segmentation(self.region["not_scored"], size_hw) & ~amodal
        row = {"picture": picture_name, "name": self.region["name"]}
        if isinstance(self.region.get("order"), int):
            row["order"] = str(self.region["order"])
        row["occluder"] = self._occluder(invisible_mask(modal, amodal))
        return OcclusionSample(self.id, image, modal, amodal, not_scored, row=row)

    def _occluder(self, invisible: np.ndarray) -> str:
        """The name of the region in front that covers most of what is hidden; empty where none does."""
        if not invisible.any():
            return ""
        own = self.region.get("order", 0)
        in_front = [other for other in self.picture.regions.values() if other.get("order", own) < own]
        covered, name = max(((_covered(other, invisible), other["name"]) for other in in_front), default=(0, ""))
        return name if covered else ""


def _covered(region: Region, invisible: np.ndarray) -> int:
    """Pixels of a hidden part behind a region; none where its mask is broken, which is not the person's fault."""
    with contextlib.suppress(InputError, KeyError):
        return int((decode_segmentation(region["segmentation"], invisible.shape) & invisible).sum())
    return 0


def _masks(region: Region, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Amodal and modal mask, bool (H, W). What is visible belongs to the person."""
    amodal = decode_segmentation(region["segmentation"], size_hw)
    if "visible_mask" in region:
        modal = decode_segmentation(region["visible_mask"], size_hw)
    elif "invisible_mask" in region:
        modal = amodal & ~decode_segmentation(region["invisible_mask"], size_hw)
    else:
        modal = amodal
    amodal = amodal | modal
    if not amodal.any():
        raise InputError("its mask is empty")
    return amodal, modal


def _found_picture(images_dir: Path, file_names: Iterable[str]) -> Path:
    names = list(file_names)
    for path in (images_dir / name for name in names):
        with contextlib.suppress(OSError):  # a name longer than the file system has them
            if path.is_file():
                return path
    raise InputError(f"{images_dir}: has no picture called {' or '.join(names)}")


def anything(name: str) -> bool:
    """Takes every region, whatever its name."""
    return True


def read_amodal_json(
    json_path: Path, images_dir: Path | None = None, *, is_wanted: Callable[[str], bool] = is_person_name
) -> list[AmodalRegion]:
    """The people of an amodal annotation file, in its order. Masks are decoded and pictures looked for on `load`.

    images_dir: where the pictures lie; by default beside the file.
    is_wanted: whether a region or category of this name is a person, for which stuff and crowds are not asked.

    Raises InputError for a file that is none of the three kinds.
    """
    json_path = Path(json_path)
    content = _read_json(json_path)
    try:
        pictures = list(_pictures(content, json_path.stem))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{json_path}: is no amodal annotation file ({type(error).__name__}: {error})") from error
    folder = json_path.parent if images_dir is None else Path(images_dir)
    return [
        AmodalRegion(id, json_path, folder, picture, region)
        for picture in pictures
        for id, region in picture.regions.items()
        if _is_one_thing(region) and is_wanted(region["name"])
    ]


def names_in(json_path: Path) -> list[str]:
    """The names in an amodal annotation file, each once: what there is to be wanted."""
    regions = read_amodal_json(json_path, is_wanted=anything)
    return list(dict.fromkeys(region.region["name"] for region in regions))


def _is_one_thing(region: Region) -> bool:
    return not region.get("isStuff") and not region.get("iscrowd")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error})") from error


def _pictures(content: Any, stem: str) -> Iterator[_Picture]:
    if "regions" in content:
        yield _cocoa_picture(content, {}, stem)
        return
    images = {image["id"]: image for image in content["images"]}
    categories = {category["id"]: category["name"] for category in content.get("categories", [])}
    single: dict[Any, list[Region]] = {}
    for annotation in content["annotations"]:
        if "regions" in annotation:
            yield _cocoa_picture(annotation, images.get(annotation["image_id"], {}), "")
        else:
            category = categories.get(annotation.get("category_id"), "person")
            single.setdefault(annotation["image_id"], []).append(_named(annotation, category))
    for image_id, regions in single.items():
        yield _coco_picture(images[image_id], regions)


def _cocoa_picture(annotation: dict[str, Any], image: dict[str, Any], stem: str) -> _Picture:
    """COCOA's regions are known by their number. `stem`: of a file of one picture, else empty."""
    described = {**annotation, **image}
    names = [described[key].rpartition("/")[2] for key in ("file_name", "url") if key in described]
    if "file_name" in described:
        names.insert(0, described["file_name"])  # with its folder first
    if stem:
        names += [f"{stem}{suffix}" for suffix in PICTURE_SUFFIXES]
    regions = {
        _id(region, f"{stem or Path(names[0]).stem}_{number}"): _named(region, "")
        for number, region in enumerate(annotation["regions"], 1)
    }
    return _Picture(tuple(dict.fromkeys(names)), _size_hw(described), regions)


def _coco_picture(image: dict[str, Any], annotations: list[Region]) -> _Picture:
    stem = Path(image["file_name"]).stem
    regions = {_id(region, f"{stem}_{region['id']}"): region for region in annotations}
    return _Picture((image["file_name"],), _size_hw(image), regions)


def _id(region: Region, otherwise: str) -> str:
    """The id that an export of ours keeps."""
    return str(region.get("set_id", otherwise))


def _named(region: Region, category: str) -> Region:
    return {**region, "name": str(region.get("name", category)).strip()}


def _size_hw(image: dict[str, Any]) -> tuple[int, int] | None:
    return (int(image["height"]), int(image["width"])) if "height" in image and "width" in image else None
