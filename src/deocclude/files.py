"""Files that are there whole or not at all: whoever reads one never sees half."""

from __future__ import annotations

import contextlib
import os
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
