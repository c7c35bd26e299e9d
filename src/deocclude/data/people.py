"""Photographs of one whole person each: what synthesis starts from."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from deocclude.data.label_maps import NOT_SCORED, PERSON, read_label_map, read_person_map
from deocclude.errors import InputError
from deocclude.images import find_images, open_image
from deocclude.parsing import IGNORE_LABEL, NUM_LABELS


@dataclass(frozen=True, eq=False)
class PersonSample:
    """One photograph in memory.

    image: uint8 (H, W, 3).
    person: the whole person, bool (H, W), not empty.
    not_scored: the carried bag, bool (H, W), disjoint from `person`.
    parsing: LIP-20 labels, 255 ignore, uint8 (H, W); None where nobody annotated them.
    """

    image: np.ndarray
    person: np.ndarray
    not_scored: np.ndarray
    parsing: np.ndarray | None = None


class PersonRecord(Protocol):
    """A photograph of one person that has not been read yet."""

    @property
    def id(self) -> str: ...
    def load(self) -> PersonSample:
        """Read the pictures. Raises InputError that names the file."""
        ...


@dataclass(frozen=True)
class FolderPerson:
    """A photograph of a folder with images/ and masks/, and parsing/ where it exists."""

    id: str
    image_path: Path
    mask_path: Path
    parsing_path: Path | None = None

    def load(self) -> PersonSample:
        return load_person(self.image_path, self.mask_path, self.parsing_path)


def load_person(image_path: Path, mask_path: Path, parsing_path: Path | None) -> PersonSample:
    """Read one photograph and its label maps. Raises InputError that names the file."""
    image = open_image(image_path)
    labels = read_person_map(mask_path, image.shape[:2])
    if not (labels == PERSON).any():
        raise InputError(f"{mask_path}: holds no person (no pixel is 255)")
    parsing = read_label_map(parsing_path, image.shape[:2]) if parsing_path else None
    if parsing is not None and (strange := parsing[(parsing >= NUM_LABELS) & (parsing != IGNORE_LABEL)]).size:
        raise InputError(f"{parsing_path}: {strange[0]} is no LIP label (0 to 19, or 255 for ignore)")
    return PersonSample(image, labels == PERSON, labels == NOT_SCORED, parsing)


def read_people(root: Path, split: Literal["train", "val", "all"] = "all") -> list[FolderPerson]:
    """The pictures of root/images, sorted; each has its mask at root/masks/STEM.png.

    split: only the ids that the columns id and split of root/index.csv give to it; `all` needs no index.
    Raises InputError where there is nothing.
    """
    root = Path(root)
    people = [_folder_person(root, path) for path in find_images([root / "images"])]
    stems = [person.id for person in people]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"{root / 'images'}: there are two pictures called '{twice}'; their masks would be one file")
    if split != "all":
        chosen = {row["id"] for row in read_index(root / "index.csv", {"id", "split"}) if row["split"] == split}
        people = [person for person in people if person.id in chosen]
        if not people:
            raise InputError(f"{root / 'index.csv'}: gives no picture to the split '{split}'")
    return people


def _folder_person(root: Path, image_path: Path) -> FolderPerson:
    name = f"{image_path.stem}.png"
    parsing_path = root / "parsing" / name
    return FolderPerson(
        image_path.stem, image_path, root / "masks" / name, parsing_path if parsing_path.exists() else None
    )


def read_index(path: Path, columns: set[str]) -> list[dict[str, str]]:
    """The lines of a CSV that has at least these columns. Raises InputError otherwise."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    missing = columns - set(reader.fieldnames or ())
    if missing:
        raise InputError(f"{path}: the columns {', '.join(sorted(missing))} are missing")
    return rows
