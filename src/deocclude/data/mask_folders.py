"""Pictures in one folder and their masks, 8 bits a pixel, in others: one's own data, and AHP.

A mask belongs to the picture of its own stem or, where several people share a picture, of its stem up to the last
underscore: masks/street_1.png and masks/street_2.png to photos/street.jpg.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deocclude.data.label_maps import NOT_SCORED, PERSON, read_person_map
from deocclude.data.occlusion_records import modal_alone, shared_picture, unoccluded
from deocclude.data.occlusion_set import OcclusionSample
from deocclude.data.people import PersonSample
from deocclude.errors import InputError
from deocclude.images import SUFFIXES, find_images, open_image, open_mask

AHP_FOLDERS = ("occluded", "modal", "amodal", "whole")
AHP_PEOPLE_FOLDERS = ("images", "masks")


@dataclass(frozen=True)
class MaskedPerson:
    """One person: the picture and at least one mask.

    picture_path: None where no picture has the mask's stem.
    modal_dir, amodal_dir, whole_dir: where the mask of the visible part, of the whole person, and the picture without
        the occluder lie, under the mask's stem; None where there are none.
    """

    id: str
    picture_path: Path | None
    modal_dir: Path | None = None
    amodal_dir: Path | None = None
    whole_dir: Path | None = None

    def load(self) -> OcclusionSample:
        """The person as a sample. Without a modal mask nothing is hidden; without an amodal one it is unknown.

        Raises InputError that names the file.
        """
        if self.picture_path is None:
            mask = (self.modal_dir or self.amodal_dir or Path()) / self.id
            raise InputError(f"{mask}: no picture has this mask's stem, or its stem up to the last underscore")
        image = shared_picture(self.picture_path)
        size_hw = image.shape[0], image.shape[1]
        row = {"picture": self.picture_path.name}
        if self.amodal_dir is None:
            assert self.modal_dir is not None, "a masked person has a mask"
            modal, _ = _read_labels(_by_stem(self.modal_dir, self.id), size_hw)
            return modal_alone(self.id, image, modal, np.ones(size_hw, bool), row)
        amodal, not_scored = _read_labels(_by_stem(self.amodal_dir, self.id), size_hw)
        if self.modal_dir is None:
            return unoccluded(self.id, PersonSample(image, amodal, not_scored), row)
        modal, _ = _read_labels(_by_stem(self.modal_dir, self.id), size_hw)
        amodal = amodal | modal  # what is visible belongs to the person
        whole = None if self.whole_dir is None else self._whole(self.whole_dir, size_hw)
        return OcclusionSample(self.id, image, modal, amodal, not_scored & ~amodal, whole, row)

    def _whole(self, folder: Path, size_hw: tuple[int, int]) -> np.ndarray:
        path = _by_stem(folder, self.id)
        whole = open_image(path)
        if whole.shape[:2] != size_hw:
            raise InputError(f"{path}: its size is not that of {self.picture_path}")
        return whole


def read_mask_folders(
    pictures: Iterable[Path],
    *,
    modal_dir: Path | None = None,
    amodal_dir: Path | None = None,
    whole_dir: Path | None = None,
) -> list[MaskedPerson]:
    """One person for each mask, sorted. `pictures` are files or folders.

    modal_dir: masks of what is visible; without it every person is whole. amodal_dir: masks of the whole person;
    without it nobody knows them. whole_dir: pictures without the occluder, under the mask's stem.

    Raises InputError without any mask folder, for whole pictures without both, and for a folder without pictures.
    """
    first_dir = modal_dir or amodal_dir
    if first_dir is None:
        raise InputError("masks are needed: of the visible part (modal), of the whole person (amodal) or both")
    if whole_dir is not None and (modal_dir is None or amodal_dir is None):
        raise InputError(f"{whole_dir}: pictures without the occluder go with both masks, modal and amodal")
    by_stem: dict[str, Path] = {}
    for path in find_images(pictures):
        if path.stem in by_stem:
            raise InputError(f"{path}: {by_stem[path.stem]} has the same stem; masks go by stem")
        by_stem[path.stem] = path
    masks = find_images([first_dir])
    return [
        MaskedPerson(path.stem, _picture_of(path.stem, by_stem), modal_dir, amodal_dir, whole_dir) for path in masks
    ]


def read_ahp_folder(root: Path) -> list[MaskedPerson]:
    """AHP as the documentation asks to arrange it.

    root/images and root/masks: photographs of whole people (training). root/occluded, root/modal, root/amodal and,
    where it is known, root/whole: test pictures, synthetic or real. Raises InputError for a folder that is neither.
    """
    root = Path(root)
    images, masks = (root / name for name in AHP_PEOPLE_FOLDERS)
    if images.is_dir() and masks.is_dir():
        return read_mask_folders([images], amodal_dir=masks)
    occluded, modal, amodal, whole = (root / name for name in AHP_FOLDERS)
    if not (occluded.is_dir() and modal.is_dir() and amodal.is_dir()):
        raise InputError(f"{root}: needs the folders images and masks, or occluded, modal and amodal")
    whole_dir = whole if whole.is_dir() else None
    return read_mask_folders([occluded], modal_dir=modal, amodal_dir=amodal, whole_dir=whole_dir)


def _picture_of(mask_stem: str, by_stem: dict[str, Path]) -> Path | None:
    return by_stem.get(mask_stem) or by_stem.get(mask_stem.rpartition("_")[0])


def _by_stem(folder: Path, stem: str) -> Path:
    """The picture file of that stem. Raises InputError where there is none."""
    for suffix in SUFFIXES:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    raise InputError(f"{folder}: has no picture file called {stem}")


def _read_labels(path: Path, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The person and what is not scored, bool (H, W): a label map of 255, 128 and 0, or any usual form of a mask."""
    try:
        labels = read_person_map(path, size_hw)
    except InputError:
        labels = None  # no label map of ours: 0 and 1, soft edges, a JPEG, …
    if labels is not None and (labels == NOT_SCORED).any() and (labels == PERSON).any():
        return labels == PERSON, labels == NOT_SCORED
    return open_mask(path, size_hw), np.zeros(size_hw, bool)
