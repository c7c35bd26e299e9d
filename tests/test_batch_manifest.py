"""The manifest: what it keeps through a kill, and what it makes of a file that is not its own work."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deocclude.batch.inputs import result_name
from deocclude.batch.manifest import Manifest, Outcome, recorded, write_failures
from deocclude.batch.shards import Shard
from deocclude.errors import InputError

DONE = Outcome(id="a.png", input_sha256="1" * 64, status="done", people=2, files={"scene.json": "2" * 64})
FAILED = Outcome(id="b.png", input_sha256="", status="failed", error="no such file")
PATH = "manifest-all.sqlite"


def write_results(folder: Path, outcome: Outcome) -> None:
    place = folder / result_name(outcome.id)
    place.mkdir(parents=True, exist_ok=True)
    for name in outcome.files:
        (place / name).touch()


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    write_results(tmp_path, DONE)
    with Manifest(tmp_path, {"seed": 0}) as manifest:
        assert manifest.settled("a.png") is None
        manifest.record([DONE, FAILED])
        assert manifest.settled("a.png") == DONE.input_sha256
        assert manifest.settled("b.png") == "" and manifest.settled("b.png", retry_failed=True) is None
    assert recorded(tmp_path) == [DONE, FAILED]
    with Manifest(tmp_path, {"seed": 0}) as manifest:
        assert manifest.settled("a.png") == DONE.input_sha256
    write_failures(tmp_path / "failures.csv", recorded(tmp_path))
    assert list(csv.reader((tmp_path / "failures.csv").open())) == [["id", "error"], ["b.png", "no such file"]]


def test_a_disk_that_is_not_there_takes_no_results_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_results(tmp_path, DONE)
    unreadable = Outcome(id=DONE.id, input_sha256="", status="failed", error="no such file")
    with Manifest(tmp_path, {}) as manifest:
        manifest.record([DONE])
        manifest.record([unreadable])
        assert manifest.settled(DONE.id) == DONE.input_sha256
    assert recorded(tmp_path) == [DONE] and all(
        (tmp_path / result_name(DONE.id) / name).exists() for name in DONE.files
    )
    assert "a.png: no such file; what an earlier run made of it stays" in caplog.text


def test_other_settings_are_refused_or_done_anew(tmp_path: Path) -> None:
    write_results(tmp_path, DONE)
    with Manifest(tmp_path, {"seed": 0, "people": "all"}) as manifest:
        manifest.record([DONE])
    with pytest.raises(InputError, match=r"other settings \(seed\).*--overwrite"):
        Manifest(tmp_path, {"seed": 1, "people": "all"}, shard=Shard(0, 2))
    with Manifest(tmp_path, {"seed": 1, "people": "all"}, overwrite=True) as manifest:
        assert manifest.settled("a.png") is None
        manifest.record([DONE])
    with Manifest(tmp_path, {"seed": 1, "people": "all"}) as manifest:
        assert manifest.settled("a.png") == DONE.input_sha256


def test_shards_read_each_other_and_the_latest_word_counts(tmp_path: Path) -> None:
    failed = Outcome(id=DONE.id, input_sha256=DONE.input_sha256, status="failed", error="no")
    with Manifest(tmp_path, {}, shard=Shard(0, 2)) as first, Manifest(tmp_path, {}, shard=Shard(1, 2)) as second:
        first.record([failed])
        second.record([FAILED])
    write_results(tmp_path, DONE)
    with Manifest(tmp_path, {}) as whole:
        assert whole.settled(FAILED.id) == ""
        whole.record([DONE])
    assert recorded(tmp_path) == [DONE, FAILED]


def test_one_process_a_shard(tmp_path: Path) -> None:
    with Manifest(tmp_path, {}), pytest.raises(InputError, match="another process"):
        Manifest(tmp_path, {})
    with Manifest(tmp_path, {}):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot write"):
        Manifest(tmp_path / "file", {})
    with pytest.raises(InputError, match="no batch has written there"):
        recorded(tmp_path)


def test_outcomes_are_recorded_together_or_not_at_all(tmp_path: Path) -> None:
    wrong = Outcome(id="c.png", input_sha256=None, status="done")  # type: ignore[arg-type]
    with Manifest(tmp_path, {}) as manifest:
        with pytest.raises(sqlite3.IntegrityError):
            manifest.record([DONE, wrong])
        assert recorded(tmp_path) == []


def put(folder: Path, **changes: object) -> None:
    """A manifest with one row, changed."""
    with Manifest(folder, {}) as manifest:
        manifest.record([DONE])
    with sqlite3.connect(folder / PATH) as connection:
        for column, value in changes.items():
            connection.execute(f"UPDATE pictures SET {column} = ?", (value,))
    connection.close()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", ".hidden", "c:x", "a\\b", ""])
def test_results_in_a_manifest_are_plain_names(tmp_path: Path, name: str) -> None:
    put(tmp_path, files=json.dumps({name: "0"}))
    if name:
        with pytest.raises(InputError, match="not a manifest of 'deocclude batch', or damaged"):
            recorded(tmp_path)


@pytest.mark.parametrize(
    "change", [{"status": "lost"}, {"files": "[]"}, {"files": "{"}, {"people": "x"}, {"seconds": "y"}]
)
def test_rows_that_are_not_ours_are_refused(tmp_path: Path, change: dict[str, str]) -> None:
    put(tmp_path, **change)
    with pytest.raises(InputError, match=PATH):
        recorded(tmp_path)
    with Manifest(tmp_path, {}) as manifest, pytest.raises(InputError, match="damaged"):
        manifest.settled(DONE.id)


def test_another_version_and_another_database_are_refused(tmp_path: Path) -> None:
    put(tmp_path)
    with sqlite3.connect(tmp_path / PATH) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(InputError, match="another version"):
        Manifest(tmp_path, {})


def test_a_manifest_that_is_refused_keeps_no_lock(tmp_path: Path) -> None:
    put(tmp_path)
    whole = (tmp_path / PATH).read_bytes()
    (tmp_path / PATH).write_bytes(b"\0" * len(whole))
    with pytest.raises(InputError, match="damaged") as refused:
        Manifest(tmp_path, {})
    (tmp_path / PATH).write_bytes(whole)
    with Manifest(tmp_path, {}) as manifest:  # while the error is still there, and all that hangs on it
        assert manifest.settled(DONE.id) is None
    assert refused.value


@pytest.mark.parametrize(("at", "byte", "sentence"), [(18, 3, "cannot be written"), (20, 1, "or damaged")])
def test_a_header_that_forbids_to_write_is_refused(tmp_path: Path, at: int, byte: int, sentence: str) -> None:
    put(tmp_path)
    content = bytearray((tmp_path / PATH).read_bytes())
    content[at] = byte
    (tmp_path / PATH).write_bytes(content)
    with pytest.raises(InputError, match=f"{PATH}.*{sentence}"):
        Manifest(tmp_path, {})


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.binary(max_size=200), st.integers(0, 20_000))
def test_a_damaged_manifest_is_read_or_refused_in_a_sentence(tmp_path: Path, noise: bytes, at: int) -> None:
    for path in tmp_path.glob("*manifest*"):
        path.unlink()
    put(tmp_path)
    content = (tmp_path / PATH).read_bytes()
    at %= len(content)
    (tmp_path / PATH).write_bytes(content[:at] + noise + content[at + len(noise) :])
    sentence = read_or_refuse(tmp_path)
    assert sentence is None or PATH in sentence


def read_or_refuse(folder: Path) -> str | None:
    """What a run is told of the manifest there; None where it can be read."""
    try:
        with Manifest(folder, {}) as manifest:
            manifest.settled(DONE.id)
        recorded(folder)
    except InputError as error:
        return str(error)
    return None
