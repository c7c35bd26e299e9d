"""The folder of predictions: one method's answers on one occlusion set.

amodal/ID.png      the whole person: 255 / 0
rgb/ID.webp        the completed person in the picture's own frame (.png is read too)
candidates/2/ID.webp, candidates/3/ID.webp, …
                   the method's second, third, … choice, where it was asked for several
modal/ID.png       when the method found or refined it
predictions.json   how they were made, the seconds for each person, and whom the method could not do
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from deocclude.data.occlusion_set import FOLDERS
from deocclude.errors import InputError
from deocclude.files import written_whole
from deocclude.images import open_image, save_image
from deocclude.types import Deocclusion

RECORD_NAME = "predictions.json"
SCORES = ("scores.csv", "scores.json")
"""What `evaluation.score_files` writes beside the predictions."""
PICTURE_FOLDERS = ("amodal", "rgb", "modal", "candidates")


@dataclass(frozen=True)
class Prediction:
    """What a method said about one person, at the picture's own size.

    amodal_mask, modal_mask: bool (H, W); rgb: uint8 (H, W, 3). None where the method does not give it.
    candidates: further pictures like `rgb`, in the method's own order.
    """

    amodal_mask: np.ndarray
    modal_mask: np.ndarray | None = None
    rgb: np.ndarray | None = None
    candidates: tuple[np.ndarray, ...] = ()


@dataclass
class Record:
    """predictions.json.

    settings: what was asked for; a folder is resumed with the same settings only.
    facts: what the method says about itself (weights' hash, …), from its latest answer.
    seconds: of each person, the method alone, without files.
    failed: of each person without an answer, why.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    commit: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class PredictionFolder:
    """Reads and writes one folder of predictions."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def check_apart(self, set_root: Path) -> None:
        """Raise InputError where an occlusion set has its files: both call them amodal/ID.png and modal/ID.png."""
        places = {(self.root / name).resolve() for name in ("", *PICTURE_FOLDERS)}
        if places & {(set_root / name).resolve() for name in ("", *FOLDERS)}:
            raise InputError(f"{self.root}: is where the occlusion set {set_root} has its files; choose another folder")

    def has(self, person_id: str, *, with_modal: bool) -> bool:
        """Whether this person is done. The amodal mask is written last: no person is left half done."""
        return self._amodal(person_id).exists() and (not with_modal or self._modal(person_id).exists())

    def write(self, person_id: str, result: Deocclusion, *, with_modal: bool, raw: bool = False) -> None:
        """Write one person's files, replacing older ones. raw: the stages' own mask and picture."""
        amodal_mask, rgb = (result.own_mask, result.own_picture) if raw else (result.amodal_mask, result.rgb)
        assert rgb is not None, "a Deoccluder keeps the stage's own picture"
        self._forget_candidates(person_id)
        pictures = {self.root / "rgb" / f"{person_id}.webp": rgb}
        pictures |= {self._candidate(rank, person_id): one for rank, one in enumerate(result.candidates[1:], start=2)}
        for path in (*pictures, self._amodal(person_id), *([self._modal(person_id)] if with_modal else [])):
            path.parent.mkdir(parents=True, exist_ok=True)
        for path, picture in pictures.items():
            save_image(path, picture, overwrite=True)
        if with_modal:
            save_image(self._modal(person_id), result.modal_mask, overwrite=True)
        save_image(self._amodal(person_id), amodal_mask, overwrite=True)

    def forget(self, person_ids: Iterable[str]) -> None:
        """Remove these people's predictions, the record, and the scores, which are of what is removed."""
        for person_id in person_ids:
            for path in (self._amodal(person_id), self._modal(person_id), *self._rgb_places(person_id)):
                path.unlink(missing_ok=True)
            self._forget_candidates(person_id)
        for name in (RECORD_NAME, *SCORES):
            (self.root / name).unlink(missing_ok=True)

    def read(self, person_id: str, size_hw: tuple[int, int]) -> Prediction | None:
        """One person's prediction; None where the method gave no amodal mask.

        Raises InputError for a file that cannot be read or is not of the picture's size (H, W).
        """
        if not self._amodal(person_id).exists():
            return None
        modal, rgb = self._modal(person_id), self._rgb(person_id)
        return Prediction(
            amodal_mask=_read(self._amodal(person_id), size_hw)[..., 0] > 127,
            modal_mask=_read(modal, size_hw)[..., 0] > 127 if modal.exists() else None,
            rgb=_read(rgb, size_hw) if rgb is not None else None,
            candidates=tuple(_read(path, size_hw) for path in self._candidates(person_id)),
        )

    def read_record(self) -> Record:
        """predictions.json; an empty record for a folder that another program wrote."""
        path = self.root / RECORD_NAME
        if not path.exists():
            return Record()
        try:
            return Record(**json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: is not a record of predictions ({error}); remove it") from error

    def write_record(self, record: Record) -> None:
        """Replace predictions.json."""
        write_json(self.root / RECORD_NAME, vars(record))

    def _amodal(self, person_id: str) -> Path:
        return self.root / "amodal" / f"{person_id}.png"

    def _modal(self, person_id: str) -> Path:
        return self.root / "modal" / f"{person_id}.png"

    def _rgb(self, person_id: str) -> Path | None:
        return next((path for path in self._rgb_places(person_id) if path.exists()), None)

    def _rgb_places(self, person_id: str) -> list[Path]:
        return [self.root / "rgb" / f"{person_id}{suffix}" for suffix in (".webp", ".png")]

    def _candidate(self, rank: int, person_id: str) -> Path:
        return self.root / "candidates" / str(rank) / f"{person_id}.webp"

    def _candidates(self, person_id: str) -> Iterator[Path]:
        """The further pictures that are there, the better first."""
        ranked = (self._candidate(rank, person_id) for rank in count(2))
        return takewhile(Path.exists, ranked)

    def _forget_candidates(self, person_id: str) -> None:
        for path in list(self._candidates(person_id)):
            path.unlink()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all, and its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _read(path: Path, size_hw: tuple[int, int]) -> np.ndarray:
    picture = open_image(path)
    if picture.shape[:2] != size_hw:
        raise InputError(
            f"{path}: is {picture.shape[1]}x{picture.shape[0]}, its picture {size_hw[1]}x{size_hw[0]}; "
            "predictions have the picture's own size"
        )
    return picture
