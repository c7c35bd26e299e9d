"""What has become of each picture, on disk.

SQLite rather than lines of JSON: a transaction survives `kill -9` whole, a retried picture replaces its row, and a
million rows need not be read to ask for one. Each shard writes a file of its own and reads those of the others, so no
two processes write to one database, which a network file system may not bear.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import logging
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from deocclude.batch.inputs import result_name
from deocclude.batch.shards import Shard
from deocclude.errors import InputError
from deocclude.files import written_whole

logger = logging.getLogger(__name__)

Status = Literal["done", "no-person", "failed"]

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS configurations (sha256 TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pictures (
    id TEXT PRIMARY KEY,
    input_sha256 TEXT NOT NULL,
    configuration_sha256 TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    people INTEGER NOT NULL,
    seconds REAL NOT NULL,
    files TEXT NOT NULL,
    recorded_at REAL NOT NULL
);
"""
_COLUMNS = "id, input_sha256, status, error, people, seconds, files, recorded_at"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one picture.

    input_sha256: of its bytes, empty where they could not be read. error: one sentence, where it failed.
    people: how many were completed. seconds: its share of the time. files: SHA-256 of each result by its name in the
    picture's own folder, `inputs.result_name`.
    recorded_at: when, in seconds since 1970; set where it is read from a manifest.
    """

    id: str
    input_sha256: str
    status: Status
    error: str | None = None
    people: int = 0
    seconds: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    recorded_at: float = field(default=0.0, compare=False)


def failure(picture_id: str, input_sha256: str, error: Exception, seconds: float) -> Outcome:
    """A picture that could not be done, with the reason in one line."""
    reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    reason = " ".join(reason.split()).removeprefix(f"{picture_id}: ")  # it is recorded beside the id
    return Outcome(id=picture_id, input_sha256=input_sha256, status="failed", error=reason, seconds=seconds)


class Manifest:
    """The record of one shard, beside the results in `folder`; `with` closes it.

    configuration: all that decides what a picture becomes, for JSON. A picture is settled by its id, the hash of its
    input and the hash of this. Results of another configuration are refused, or replaced if `overwrite`.

    Raises InputError where the folder cannot be written, holds results of another configuration or a damaged manifest,
    and where another process is at work on the same shard.
    """

    def __init__(
        self, folder: Path, configuration: dict[str, Any], *, shard: Shard | None = None, overwrite: bool = False
    ) -> None:
        self.folder, self.shard = folder, shard or Shard()
        content = json.dumps(configuration, sort_keys=True)
        self.configuration_sha256 = hashlib.sha256(content.encode()).hexdigest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot write results there ({error.strerror or error})") from error
        path = folder / f"manifest-{self.shard.tag}.sqlite"
        with contextlib.ExitStack() as opened:  # a manifest that is refused does not keep the lock
            opened.enter_context(contextlib.closing(_lock(folder / f".manifest-{self.shard.tag}.lock")))
            self._own = opened.enter_context(contextlib.closing(_open(path, writable=True)))
            self._others = [
                opened.enter_context(contextlib.closing(_open(other))) for other in _paths(folder) if other != path
            ]
            if not overwrite:
                self._refuse_other_results(content)
            with _readable(self._own, path), self._own:
                self._own.execute(
                    "INSERT OR REPLACE INTO configurations VALUES (?, ?)", (self.configuration_sha256, content)
                )
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def settled(self, picture_id: str, *, retry_failed: bool = False) -> str | None:
        """The input hash for which this picture need not be done again; None where it must be.

        A picture whose results are no longer there must be, and one that failed if `retry_failed`.
        """
        for connection in (self._own, *self._others):
            for row in _rows(
                connection, "id = ? AND configuration_sha256 = ?", (picture_id, self.configuration_sha256)
            ):
                if row.status == "failed" and retry_failed:
                    continue
                if all((self.folder / result_name(picture_id) / name).is_file() for name in row.files):
                    return row.input_sha256
        return None

    def record(self, outcomes: Iterable[Outcome]) -> None:
        """Write what became of pictures, all of them or none. Results of an earlier run that are no longer true go.

        A picture that could not be read (a disk that is not there) says nothing about the results it once had: they and
        their record stay.
        """
        outcomes = [one for one in outcomes if not self._is_kept(one)]
        with self._own:
            self._own.executemany(
                "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        one.id,
                        one.input_sha256,
                        self.configuration_sha256,
                        one.status,
                        one.error,
                        one.people,
                        round(one.seconds, 3),
                        json.dumps(one.files),
                        time.time(),
                    )
                    for one in outcomes
                ],
            )
        for one in outcomes:
            if one.status != "done":
                shutil.rmtree(self.folder / result_name(one.id), ignore_errors=True)

    def _is_kept(self, outcome: Outcome) -> bool:
        """Whether a picture that cannot be read now was done before."""
        if outcome.status != "failed" or outcome.input_sha256 or not self.settled(outcome.id, retry_failed=True):
            return False
        logger.warning("%s: %s; what an earlier run made of it stays", outcome.id, outcome.error)
        return True

    def _refuse_other_results(self, content: str) -> None:
        """Raise InputError where results were made otherwise."""
        question = """SELECT content FROM configurations WHERE sha256 != ? AND sha256 IN
                      (SELECT DISTINCT configuration_sha256 FROM pictures) LIMIT 1"""
        for connection in (self._own, *self._others):
            with _readable(connection):
                row = connection.execute(question, (self.configuration_sha256,)).fetchone()
                if row is None:
                    continue
                before, now = json.loads(row[0]), json.loads(content)
                differing = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
            raise InputError(
                f"{self.folder}: its results were made with other settings ({', '.join(differing)}); "
                "choose another --output, or --overwrite to make them anew"
            )


def recorded(folder: Path) -> list[Outcome]:
    """What all shards' manifests in a folder say, one outcome a picture, the latest, by id.

    Raises InputError where there is no manifest, or a damaged one.
    """
    paths = _paths(folder)
    if not paths:
        raise InputError(f"{folder}: no batch has written there")
    latest: dict[str, Outcome] = {}
    for path in paths:
        with contextlib.closing(_open(path)) as connection:
            for outcome in _rows(connection):
                before = latest.get(outcome.id)
                if before is None or before.recorded_at < outcome.recorded_at:
                    latest[outcome.id] = outcome
    return [latest[name] for name in sorted(latest)]


def write_failures(path: Path, outcomes: Iterable[Outcome]) -> None:
    """The pictures that failed and why, as CSV: id, error. Raises InputError where it cannot be written."""
    try:
        with written_whole(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["id", "error"])
            table.writerows([one.id, one.error] for one in outcomes if one.status == "failed")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error})") from error


# --- SQLite --------------------------------------------------------------------------------------------------


def _paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("manifest-*.sqlite") if path.is_file())


def _lock(path: Path) -> sqlite3.Connection:
    """Held until it is closed, or the process ends, however it ends."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        connection.close()
        if "locked" in str(error):
            raise InputError(f"{path.parent}: another process is at work on this shard there; wait for it") from error
        raise InputError(f"{path.parent}: cannot write results there ({error})") from error
    return connection


def _open(path: Path, *, writable: bool = False) -> sqlite3.Connection:
    """A manifest, made if it is to be written and not there. Raises InputError for a file that is none."""
    mode = "rwc" if writable else "rw"  # a reader too may have to roll back what a killed writer left
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=60)
    except sqlite3.Error as error:
        raise InputError(f"{path}: cannot be opened ({error})") from error
    try:
        with _readable(connection, path):
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if writable and version == 0:
                connection.executescript(_TABLES)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif version not in (0, _VERSION):
                raise InputError(f"{path}: was written by another version of deocclude; choose another --output")
            elif version == 0:  # another shard is just making it
                connection.close()
                connection = sqlite3.connect(":memory:")
                connection.executescript(_TABLES)
    except InputError:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _readable(connection: sqlite3.Connection, path: Path | None = None) -> Iterator[None]:
    """Turns what a damaged database raises into an InputError."""
    try:
        yield
    except (sqlite3.Error, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        name = path or _path_of(connection)
        if "readonly" in str(error):
            raise InputError(f"{name}: cannot be written; choose another --output") from error
        raise InputError(f"{name}: not a manifest of 'deocclude batch', or damaged ({error}); move it away") from error


def _path_of(connection: sqlite3.Connection) -> str:
    with contextlib.suppress(sqlite3.Error):
        return str(connection.execute("PRAGMA database_list").fetchone()[2])
    return "the manifest"


def _rows(connection: sqlite3.Connection, where: str = "1", values: tuple[str, ...] = ()) -> list[Outcome]:
    with _readable(connection):
        found = connection.execute(f"SELECT {_COLUMNS} FROM pictures WHERE {where}", values).fetchall()
        return [_checked(*row) for row in found]


def _checked(
    picture_id: Any, input_sha256: Any, status: Any, error: Any, people: Any, seconds: Any, files: Any, at: Any
) -> Outcome:
    """A row as an outcome. Raises ValueError, TypeError for what this module does not write: paths, above all."""
    names = json.loads(files)
    if not isinstance(names, dict) or not all(_is_plain(name) for name in names):
        raise ValueError("a result is not a plain file name")
    if status not in get_args(Status):
        raise ValueError(f"unknown status {status!r}")
    return Outcome(
        id=str(picture_id),
        input_sha256=str(input_sha256),
        status=status,
        error=None if error is None else str(error),
        people=int(people),
        seconds=float(seconds),
        files={name: str(digest) for name, digest in names.items()},
        recorded_at=float(at),
    )


def _is_plain(name: str) -> bool:
    """Whether it names a file in a folder, and no other place."""
    return not name.startswith(".") and not any(one in name for one in ("/", "\\", "\0", ":"))
