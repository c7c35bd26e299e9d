"""The occlusion set: the folder that every command reads and writes.

manifest.csv             id, occlusion_ratio, occluder, …; truth: `modal` where nobody knows the whole person
occluded/ID.(webp|png|jpg)   the picture with the occluder
modal/ID.png             what is visible of the person: 255 / 0
amodal/ID.png            the whole person: 255 / 0, 128 not scored
whole/ID.(webp|png|jpg)  the picture without the occluder, where somebody knows it
parsing/ID.png           LIP-20 of the whole person, 255 ignore; optional
initial_modal/ID.png     the modal mask as a detector might give it, 255 / 0; optional
joints.json              the labelled keypoints (`data.keypoint_files`); optional
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from deocclude.data.folder_writing import FolderWriter
from deocclude.data.keypoint_files import KEYPOINTS_JSON, read_keypoints
from deocclude.data.label_maps import NOT_SCORED, PERSON, read_label_map, read_person_map
from deocclude.errors import InputError
from deocclude.images import open_image
from deocclude.masks import occlusion_ratio

PICTURE_SUFFIXES = (".webp", ".png", ".jpg", ".jpeg")
FOLDERS = ("occluded", "modal", "amodal", "whole", "parsing", "initial_modal")
MANIFEST = "manifest.csv"
TRUTH, MODAL_ALONE = "truth", "modal"
"""Column of the manifest, and its value where nobody knows the whole person."""
BOX_COLUMNS = ("x0", "y0", "x1", "y1")
"""Columns of the manifest: the box of the visible person in pixels, x1 and y1 exclusive; optional."""
MAX_ID_BYTES = 200
"""With a suffix and the mark of an unfinished file it is a file name on every file system."""


@dataclass(frozen=True, eq=False)
class OcclusionSample:
    """One occluded person, all arrays of one size.

    id: the file name without its suffix.
    occluded: the picture with the occluder, uint8 (H, W, 3).
    modal, amodal: the visible part and the whole person, bool (H, W), modal inside amodal.
    not_scored: neither person nor background (a carried bag), bool (H, W), disjoint from `amodal`.
    whole: the picture without the occluder, uint8 (H, W, 3); None where nobody knows it.
    row: the manifest's line.
    parsing: LIP-20 labels of the whole person, 255 ignore, uint8 (H, W), or None.
    initial_modal: the modal mask as a detector might give it, bool (H, W), or None.
    is_amodal_known: False where nobody knows the whole person. `amodal` is then the modal mask, and the places where
        the person may go on are not scored.
    """

    id: str
    occluded: np.ndarray
    modal: np.ndarray
    amodal: np.ndarray
    not_scored: np.ndarray
    whole: np.ndarray | None = None
    row: dict[str, str] = field(default_factory=dict)
    parsing: np.ndarray | None = None
    initial_modal: np.ndarray | None = None
    is_amodal_known: bool = True

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """The box of the visible person, from the manifest. Raises InputError if it has none."""
        try:
            x0, y0, x1, y1 = (float(self.row[column]) for column in BOX_COLUMNS)
        except (KeyError, ValueError):
            raise InputError(f"{MANIFEST}: {self.id} has no box in the columns {', '.join(BOX_COLUMNS)}") from None
        return x0, y0, x1, y1


class OcclusionSet:
    """A folder of occluded people, read one at a time.

    Raises InputError that names the file: at once for a folder without a usable manifest, on access for the rest.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.rows = _read_manifest(self.root / MANIFEST)

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.rows]

    def check_boxes(self) -> None:
        """Raise InputError if the manifest does not give each person's box."""
        if missing := [column for column in BOX_COLUMNS if column not in self.rows[0]]:
            raise InputError(
                f"{self.root / MANIFEST}: without {', '.join(missing)}; a box is in {', '.join(BOX_COLUMNS)}"
            )

    def marked_keypoints(self) -> dict[str, np.ndarray]:
        """Keypoints drawn by hand, by id: COCO-17, float32 (17, 3) of x, y, v; empty if the set has none.

        Raises InputError for a joints.json that cannot be used.
        """
        path = self.root / KEYPOINTS_JSON
        if not path.exists():
            return {}
        file = read_keypoints(path)
        return file.people if file.order == "COCO-17" else {}

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[OcclusionSample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> OcclusionSample:
        row = self.rows[index]
        id = row["id"]
        occluded = open_image(self.occluded_path(id))
        size_hw = occluded.shape[:2]
        labels = read_person_map(self.root / "amodal" / f"{id}.png", size_hw)
        amodal = labels == PERSON
        return OcclusionSample(
            id=id,
            occluded=occluded,
            modal=self._modal(id, amodal),
            amodal=amodal,
            not_scored=labels == NOT_SCORED,
            whole=self._whole(id, size_hw),
            row=dict(row),
            parsing=self._optional_map("parsing", id, size_hw),
            initial_modal=None if (mask := self._optional_map("initial_modal", id, size_hw)) is None else mask >= 128,
            is_amodal_known=row.get(TRUTH) != MODAL_ALONE,
        )

    def occluded_path(self, id: str) -> Path:
        """Where the picture with the occluder lies. Raises InputError where it does not."""
        path = self._picture("occluded", id)
        if path is None:
            place = self.root / "occluded" / id
            raise InputError(f"{place}: no such picture (.webp, .png or .jpg), but the manifest lists it")
        return path

    def _picture(self, folder: str, id: str) -> Path | None:
        paths = (self.root / folder / f"{id}{suffix}" for suffix in PICTURE_SUFFIXES)
        return next((path for path in paths if path.exists()), None)

    def _modal(self, id: str, amodal: np.ndarray) -> np.ndarray:
        path = self.root / "modal" / f"{id}.png"
        modal = read_person_map(path, amodal.shape) == PERSON
        outside = int((modal & ~amodal).sum())
        if outside:
            raise InputError(f"{path}: {outside} of its pixels lie outside amodal/{id}.png, of which it must be a part")
        return modal

    def _whole(self, id: str, size_hw: tuple[int, int]) -> np.ndarray | None:
        path = self._picture("whole", id)
        if path is None:
            return None
        whole = open_image(path)
        if whole.shape[:2] != size_hw:
            raise InputError(f"{path}: its size is not that of occluded/{id}")
        return whole

    def _optional_map(self, folder: str, id: str, size_hw: tuple[int, int]) -> np.ndarray | None:
        path = self.root / folder / f"{id}.png"
        return read_label_map(path, size_hw) if path.exists() else None


def _read_manifest(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; an occlusion set has a manifest.csv with a column 'id'") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not rows:
        raise InputError(f"{path}: lists nobody")
    seen: set[str] = set()
    for row in rows:
        if None in row or None in row.values():
            raise InputError(f"{path}: the line of '{row.get('id')}' has another number of columns than the heading")
        _check_id(row.get("id", ""), path)
        if row["id"] in seen:
            raise InputError(f"{path}: '{row['id']}' is listed twice")
        seen.add(row["id"])
    return rows


def _check_id(id: str, where: Path) -> None:
    """An id becomes a file name: it must not lead out of the folder."""
    is_plain = id.isprintable() and not id.startswith(".") and not any(character in id for character in '/\\:"')
    if not id or not is_plain or len(id.encode()) > MAX_ID_BYTES:
        raise InputError(f"{where}: '{id}' cannot be an id; it must be a plain file name without suffix")


class OcclusionSetWriter(FolderWriter):
    """Writes an occlusion set whole or not at all: `with OcclusionSetWriter(root) as writer: writer.write(sample)`.

    image_format: of the pictures, both lossless; masks are PNG.

    Raises InputError for a place that is taken or cannot be written and for an id used twice, and ValueError
    for arrays that are not a sample.
    """

    kind = "an occlusion set"
    parts = frozenset({MANIFEST, *FOLDERS})

    def __init__(
        self, root: str | Path, *, overwrite: bool = False, image_format: Literal["png", "webp"] = "png"
    ) -> None:
        super().__init__(root, overwrite=overwrite)
        self.suffix = f".{image_format}"
        self.rows: dict[str, dict[str, str]] = {}

    def write(self, sample: OcclusionSample) -> None:
        """Add one person. The manifest's id, occlusion ratio and truth are the sample's, the rest its row's."""
        _check_id(sample.id, self.root)
        if sample.id in self.rows:
            raise InputError(f"{self.root}: '{sample.id}' was written already")
        _check_sample(sample)
        labels = sample.amodal * np.uint8(PERSON) + sample.not_scored * np.uint8(NOT_SCORED)
        self.save("amodal", f"{sample.id}.png", labels)
        self.save("modal", f"{sample.id}.png", sample.modal)
        self.save("occluded", f"{sample.id}{self.suffix}", sample.occluded)
        if sample.whole is not None:
            self.save("whole", f"{sample.id}{self.suffix}", sample.whole)
        if sample.parsing is not None:
            self.save("parsing", f"{sample.id}.png", sample.parsing)
        if sample.initial_modal is not None:
            self.save("initial_modal", f"{sample.id}.png", sample.initial_modal)
        row = {key: value for key, value in sample.row.items() if key != TRUTH}
        self.rows[sample.id] = {**row, "id": sample.id, **_truth_columns(sample)}

    def finish(self) -> None:
        """Write the manifest."""
        columns = dict.fromkeys(["id", "occlusion_ratio", *(key for row in self.rows.values() for key in row)])
        self.save_table(MANIFEST, self.rows.values(), columns)


def _truth_columns(sample: OcclusionSample) -> dict[str, str]:
    if sample.is_amodal_known:
        return {"occlusion_ratio": f"{occlusion_ratio(sample.modal, sample.amodal):.4f}"}
    return {"occlusion_ratio": "", TRUTH: MODAL_ALONE}


def _check_sample(sample: OcclusionSample) -> None:
    shape = sample.amodal.shape
    for name in ("modal", "amodal", "not_scored", "initial_modal"):
        mask = getattr(sample, name)
        if mask is not None and (mask.dtype != bool or mask.shape != shape):
            raise ValueError(f"{sample.id}: {name} must be bool {shape}, got {mask.dtype} {mask.shape}")
    for name, wanted in (("occluded", (*shape, 3)), ("whole", (*shape, 3)), ("parsing", shape)):
        array = getattr(sample, name)
        if array is not None and (array.dtype != np.uint8 or array.shape != wanted):
            raise ValueError(f"{sample.id}: {name} must be uint8 {wanted}, got {array.dtype} {array.shape}")
    if (sample.modal & ~sample.amodal).any() or (sample.not_scored & sample.amodal).any():
        raise ValueError(f"{sample.id}: the modal mask must lie inside the amodal one, and what is not scored outside")
