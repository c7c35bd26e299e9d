"""What the server remembers of a page: where its photograph lies and who is on it. Pixels stay on disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from deocclude.data.segmentations import decode_segmentation, encode_run_lengths
from deocclude.errors import InputError
from deocclude.images import open_image
from deocclude.types import Person

PREVIEW_SIDE = 1600
"""Longer side of what the page shows; it works on the photograph itself."""
PREFIX = "session-"
"""Of the folders of sessions."""


@dataclass(frozen=True)
class Seen:
    """One person of a page: the visible part as COCO run lengths, and the joints if anybody looked for them."""

    run_lengths: dict[str, Any]
    joints: np.ndarray | None = None

    @classmethod
    def of(cls, person: Person) -> Seen:
        """A found person in little memory."""
        return cls(encode_run_lengths(person.modal_mask), person.joints)

    @property
    def mask(self) -> np.ndarray:
        """The visible part, bool (H, W)."""
        return decode_segmentation(self.run_lengths, self.run_lengths["size"])


@dataclass(frozen=True)
class Session:
    """One photograph on one page.

    folder: the session's own, removed with it; its time of change is that of the last use. photograph: the file, in a
    folder of its own in there, since it may have any name. size_hw: of the upright photograph.
    """

    folder: Path
    photograph: Path
    size_hw: tuple[int, int]
    people: tuple[Seen, ...] = field(default=())

    def image(self, max_pixels: int) -> np.ndarray:
        """The photograph, uint8 (H, W, 3). Raises InputError as `images.open_image`."""
        try:
            return open_image(self.photograph, max_pixels=max_pixels)
        except InputError as error:
            raise without_folder(error, self.photograph) from error

    def with_people(self, people: list[Person]) -> Session:
        """The session with these people after those it knows."""
        return replace(self, people=(*self.people, *(Seen.of(person) for person in people)))

    def only(self, kept: list[int]) -> Session:
        """The session with these of its people, by number."""
        return replace(self, people=tuple(self.people[number] for number in kept))

    def new_folder(self) -> Path:
        """An empty folder for results, in the session's own."""
        return Path(tempfile.mkdtemp(prefix="layers-", dir=self.folder))

    def keep_only(self, folder: Path) -> None:
        """Remove all results but those in this folder of `new_folder`."""
        for other in self.folder.glob("layers-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def touch(self) -> None:
        """The session is in use now."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.folder)

    def end(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def open_session(uploaded: Path, folder: Path, *, max_pixels: int) -> tuple[Session, np.ndarray]:
    """A session for an uploaded file, in a new folder under `folder`, and its photograph, uint8 (H, W, 3).

    Raises InputError for a file that cannot be used; then nothing is kept.
    """
    own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    try:
        photograph = own / "photograph" / uploaded.name
        photograph.parent.mkdir()
        shutil.copyfile(uploaded, photograph)
        session = Session(own, photograph, (0, 0))
        image = session.image(max_pixels)
    except BaseException:
        shutil.rmtree(own, ignore_errors=True)
        raise
    return replace(session, size_hw=(image.shape[0], image.shape[1])), image


def end_old_sessions(folder: Path, seconds: float, *, spare: Collection[Path] = ()) -> None:
    """Remove the sessions under `folder` that were not used for so long. spare: folders of those that stay."""
    for own in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if own not in spare and time.time() - own.stat().st_mtime > seconds:
                shutil.rmtree(own, ignore_errors=True)


def preview(image: np.ndarray, path: Path) -> Path:
    """Write what the page shows of a picture uint8 (H, W, 3): a JPEG of at most PREVIEW_SIDE."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    picture.save(path, "JPEG", quality=92)
    return path


def for_visitors(error: InputError) -> str:
    """The sentence without the name of the home folder, which says who the server's user is."""
    return str(error).replace(os.path.expanduser("~") + os.sep, f"~{os.sep}")


def without_folder(error: InputError, path: Path) -> InputError:
    """The same sentence with the file's name alone: where it lies on the server is nobody's business."""
    return InputError(str(error).replace(str(path), path.name))
