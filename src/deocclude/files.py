"""Files of ours: where they lie, how large they are in words, and written whole or not at all: nobody reads half."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A hidden file beside `path` to write to, with its suffix. At the end of the `with` block it becomes `path`.

    After an exception it is gone and `path` is as it was. Raises OSError where it cannot take the place.
    """
    # The process's number keeps two commands that write the same file apart.
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        with contextlib.suppress(OSError):  # moved already, or never made
            unfinished.unlink()


@contextlib.contextmanager
def staging_folder(folder: Path, name: str) -> Iterator[Path]:
    """A hidden, empty folder in `folder`, to be filled and moved from; gone afterwards where it was not moved itself.

    What a killed process of the same number left there goes first.
    """
    staging = folder / f".{name}.{os.getpid()}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def home() -> Path:
    """Where converted and trained weights, the lock and hashes lie: DEOCCLUDE_HOME, or the platform's cache folder."""
    if folder := os.environ.get("DEOCCLUDE_HOME"):
        return Path(folder).expanduser()
    if sys.platform == "win32":
        caches = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "deocclude"


def human_size(size: float) -> str:
    """`1.5 GB`, `344 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 1):.0f} MB"
