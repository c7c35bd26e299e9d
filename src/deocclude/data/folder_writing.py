"""Folders that are written whole or not at all: nobody finds half a data set."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import numpy as np

from deocclude.errors import InputError
from deocclude.images import save_image


class FolderWriter:
    """`with Writer(root) as writer: …` writes to a hidden folder beside `root`, which takes its place at the end.

    An exception leaves nothing behind. `overwrite` replaces an older folder of the kind, but none that holds anything
    else. Raises InputError for a place that is taken or cannot be written.
    """

    kind: ClassVar[str]
    """What the folder is, in messages: "an occlusion set"."""
    parts: ClassVar[frozenset[str]]
    """The names such a folder may hold."""

    def __init__(self, root: str | Path, *, overwrite: bool = False) -> None:
        self.root = Path(root).resolve()
        self._check_place(overwrite)
        self._temporary = self.root.with_name(f".{self.root.name}.{os.getpid()}.partial")

    def finish(self) -> None:
        """Write what can be written only when everybody is known."""
        raise NotImplementedError

    def save(self, folder: str, name: str, array: np.ndarray) -> None:
        """Write a picture or mask to the folder `folder`."""
        (self._temporary / folder).mkdir(exist_ok=True)
        save_image(self._temporary / folder / name, array)

    def save_text(self, name: str, text: str) -> None:
        """Write a file beside the folders."""
        (self._temporary / name).write_text(text, encoding="utf-8")

    def save_table(self, name: str, rows: Iterable[Mapping[str, str]], columns: Iterable[str]) -> None:
        """Write a CSV; what a row lacks stays empty."""
        with (self._temporary / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def __enter__(self) -> Self:
        try:
            self._temporary.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{self.root}: cannot be written ({error.strerror})") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
                self._move_into_place()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _move_into_place(self) -> None:
        # A folder cannot be replaced by a full one in one step: the older one steps aside first.
        older = self.root.with_name(f"{self._temporary.name}.older")
        try:
            if self.root.exists():
                os.replace(self.root, older)
            os.replace(self._temporary, self.root)
        except OSError as error:
            if older.exists() and not self.root.exists():
                os.replace(older, self.root)
            raise InputError(f"{self.root}: cannot be written ({error.strerror})") from error
        shutil.rmtree(older, ignore_errors=True)

    def _check_place(self, overwrite: bool) -> None:
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise InputError(f"{self.root}: exists already and is a file")
        strangers = sorted({path.name for path in self.root.iterdir()} - self.parts)
        if strangers:
            raise InputError(
                f"{self.root}: holds '{strangers[0]}', which is no part of {self.kind}; choose another folder"
            )
        if any(self.root.iterdir()) and not overwrite:
            raise InputError(f"{self.root}: exists already; choose another folder or say --overwrite")
