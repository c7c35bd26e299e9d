"""What a batch is given: folders, globs, COCO files and tar shards become items, each with an id and a file to read.

Nothing is unpacked: a picture in a shard is a place in the tar file, and what it is called decides no path.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import tarfile
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from deocclude.errors import InputError
from deocclude.images import SUFFIXES, is_missing

if TYPE_CHECKING:
    from deocclude.data.coco import CocoInstance

NAME_BYTES = 80
"""Of an output's name, what may come from the input's: the rest of a file name's 255 is for what is added."""
IN_SHARD = "::"
"""In an id, between a shard and a picture's name there."""
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Item:
    """One picture to do.

    id: what it is called in the manifest: its path as it was given, with its name in the shard where it lies in one.
    path: its file. span: where in that file it lies, offset and size in bytes; the whole file without one.
    people: whose masks are to be used, from a COCO file; None where people are to be found.
    problem: why it cannot be done, known before it is opened.
    """

    id: str
    path: Path
    span: tuple[int, int] | None = None
    people: tuple[CocoInstance, ...] | None = None
    problem: str | None = None

    @property
    def file_name(self) -> str:
        """The picture's own name, without where it lies."""
        return _file_name(self.id)

    @contextlib.contextmanager
    def as_file(self) -> Iterator[Path]:
        """The picture as a file of its own, which for one in a shard is gone afterwards. Raises InputError, OSError."""
        if self.problem is not None:
            raise InputError(self.problem)
        if self.span is None:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="deocclude-") as folder:
            copy = Path(folder) / "picture"
            self._copy_member(copy, *self.span)
            try:
                yield copy
            except InputError as error:  # names the copy, which nobody knows
                raise InputError(str(error).replace(str(copy), self.id)) from error

    def input_sha256(self, file_sha256: str) -> str:
        """Of all that is given: the picture's bytes, of which this is the hash, and the masks if there are any."""
        if self.people is None:
            return file_sha256
        masks = json.dumps([one.segmentation for one in self.people], default=str)
        return hashlib.sha256(f"{file_sha256} {masks}".encode()).hexdigest()

    def modal_masks(self, image: np.ndarray) -> tuple[np.ndarray, ...] | None:
        """The masks of the people given, bool (H, W), the largest first, empty ones left out; None without any given.

        Raises InputError for masks of another size than the picture.
        """
        if self.people is None:
            return None
        if any(one.image_hw != image.shape[:2] for one in self.people):
            raise InputError(f"{self.id}: its size is not the one its annotation file gives")
        masks = sorted((one.mask() for one in self.people), key=lambda mask: -int(mask.sum()))
        return tuple(mask for mask in masks if mask.any())

    def _copy_member(self, copy: Path, offset: int, size: int) -> None:
        with self.path.open("rb") as shard, copy.open("wb") as target:
            shard.seek(offset)
            while size > 0 and (chunk := shard.read(min(size, _CHUNK))):
                target.write(chunk)
                size -= len(chunk)
        if size:
            raise InputError(f"{self.id}: the shard ends in the middle of it")


def result_name(picture_id: str) -> str:
    """What a picture's results are called: its stem made harmless, and a hash of its id, so that no two meet."""
    plain = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", PurePosixPath(_file_name(picture_id)).stem)).strip(
        "_-"
    )
    plain = plain.encode("utf-8", "ignore")[:NAME_BYTES].decode("utf-8", "ignore")
    return f"{plain or 'picture'}_{hashlib.sha256(os.fsencode(picture_id)).hexdigest()[:12]}"


def _file_name(picture_id: str) -> str:
    return PurePosixPath(picture_id.replace(IN_SHARD, "/")).name


def find_items(
    inputs: Iterable[str | Path],
    *,
    output: Path,
    recursive: bool = False,
    images_dir: Path | None = None,
    coco_masks: bool = False,
) -> list[Item]:
    """The pictures that the inputs name, in their order, each once.

    inputs: pictures; folders (with their subfolders if `recursive`) and globs, searched for pictures, globs for `.tar`
    too; `.tar` shards; COCO instances as `.json`, whose pictures are in `images_dir`. What lies in `output`, and hidden
    files, are not searched. coco_masks: the people of a COCO file are given by their masks there.

    A picture that cannot be used becomes an item that fails, and so does a missing one of several inputs. Raises
    InputError for an input that names none.
    """
    found: dict[tuple[str, int], Item] = {}
    names = [str(given) for given in inputs]
    for given in names:
        if is_missing(given) and len(names) > 1:
            items = [Item(id=_id(given), path=Path(given))]
        else:
            items = list(_items_of(given, output, recursive, images_dir, coco_masks))
        if not items:
            raise InputError(f"{given}: no pictures there (looked for {' '.join(SUFFIXES)})")
        for item in items:
            found.setdefault((os.path.realpath(item.path), item.span[0] if item.span else -1), item)
    return list(found.values())


def _items_of(given: str, output: Path, recursive: bool, images_dir: Path | None, coco_masks: bool) -> Iterator[Item]:
    path = Path(given)
    if path.suffix.lower() == ".json" and path.is_file():
        if images_dir is None:
            raise InputError(f"{given}: say in which folder its pictures are, with --images DIR")
        yield from _of_coco(path, images_dir, coco_masks)
    elif path.is_file():
        yield from _of_file(path)
    elif path.is_dir():
        if os.path.realpath(path) == os.path.realpath(output):
            raise InputError(f"{given} is the output too; choose another --output")
        below = _below(path) if recursive else sorted(path.iterdir())
        yield from _of_search(below, SUFFIXES, output)
    elif glob.has_magic(given):
        yield from _of_search(map(Path, sorted(glob.glob(given, recursive=True))), (*SUFFIXES, ".tar"), output)
    else:
        raise InputError(f"{given}: no such file or folder")


def _below(folder: Path) -> Iterator[Path]:
    """Everything in a folder and its subfolders, hidden ones left out, sorted."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names))


def _of_search(paths: Iterable[Path], suffixes: tuple[str, ...], output: Path) -> Iterator[Item]:
    results = Path(os.path.realpath(output))
    for path in paths:
        if path.suffix.lower() not in suffixes or path.name.startswith(".") or not path.is_file():
            continue
        if not Path(os.path.realpath(path.parent)).is_relative_to(results):
            yield from _of_file(path)


def _of_file(path: Path) -> Iterator[Item]:
    if path.suffix.lower() == ".tar":
        return _of_shard(path)
    return iter([Item(id=_id(path), path=path)])


def _id(path: Path | str) -> str:
    """A path as text that every database and file can hold."""
    return _text(Path(os.path.normpath(path)).as_posix())


def _text(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _of_shard(path: Path) -> Iterator[Item]:
    """The pictures of a webdataset shard: members `KEY.jpg` and so on. `KEY.mask.png` is another part of a sample."""
    shard = _id(path)
    seen: dict[str, int] = {}
    try:
        # "r:" takes no compressed tar, in which no picture has a place of its own.
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if not (member.isreg() and member.sparse is None and _is_picture(name)):
                    continue
                times = seen[member.name] = seen.get(member.name, 0) + 1
                suffix = f"#{times}" if times > 1 else ""
                stem, dot, end = member.name.rpartition(".")
                place = member.offset_data, member.size
                yield Item(id=f"{shard}{IN_SHARD}{_text(f'{stem}{suffix}{dot}{end}')}", path=path, span=place)
            problem = _rest(path, archive.offset)
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        problem = f"is not a whole, uncompressed tar file ({error})"
    if problem:
        yield Item(id=shard, path=path, span=(-1, 0), problem=f"{shard}: {problem}; what comes before is done")


def _is_picture(name: str) -> bool:
    """Whether a member is a photograph: its key ends at the first dot, and only a suffix follows."""
    key, dot, extension = name.partition(".")
    return bool(key) and f"{dot}{extension.lower()}" in SUFFIXES


def _rest(path: Path, offset: int) -> str | None:
    """What is wrong where tarfile stopped: it takes a damaged header for the end."""
    with path.open("rb") as file:
        file.seek(offset)
        return "is damaged in the middle" if file.read(tarfile.BLOCKSIZE).strip(b"\0") else None


def _of_coco(json_path: Path, images_dir: Path, coco_masks: bool) -> Iterator[Item]:
    from deocclude.data.coco import read_coco

    for picture in read_coco(json_path, images_dir):
        people = tuple(one for one in picture.instances if one.category == "person") if coco_masks else None
        inside = os.path.relpath(os.path.normpath(picture.path), os.path.normpath(images_dir))
        item = Item(id=_id(picture.path), path=picture.path, people=people)
        if inside.split(os.sep)[0] == os.pardir:
            item = replace(item, problem=f"{json_path}: names a picture outside {images_dir}: {inside}")
        yield item
