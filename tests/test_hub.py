"""Downloads that demand the same bytes for ever, from a hub that stands in. No network."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deocclude.errors import InputError
from deocclude.hub import (
    Download,
    Hub,
    HubClient,
    HubFile,
    Listing,
    check_space,
    download,
    is_verified,
    local_folder,
    lock_path,
    plan_download,
)

COMMIT, LATER = "a" * 40, "b" * 40
FILES = {"config.json": b"{}", "part/model.safetensors": b"weights"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class FakeHub(HubClient):
    """A hub with one repository, which a test may change, and a cache in the hub client's layout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.serves = {COMMIT: dict(FILES)}
        self.main = COMMIT
        self.is_offline = False
        self.asked = 0

    def offline(self) -> bool:
        return self.is_offline

    def cache(self) -> Path:
        return self.folder

    def cached(self, repo_id: str, commit: str, path: str) -> Path | None:
        file = self.folder / "snapshots" / commit / path
        return file if file.is_file() else None

    def listing(self, repo_id: str, revision: str) -> Listing:
        self.asked += 1
        commit = self.main if revision == "main" else revision
        large = {path for path in self.serves[commit] if path.endswith(".safetensors")}
        return Listing(
            commit,
            {path: (len(data), sha256(data) if path in large else None) for path, data in self.serves[commit].items()},
        )

    def fetch(self, repo_id: str, commit: str, paths: list[str]) -> None:
        self.asked += 1
        for path in paths:
            file = self.folder / "snapshots" / commit / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.serves[commit][path])


def source(*, revision: str | None = COMMIT, pin: bytes | None = FILES["part/model.safetensors"]) -> Hub:
    files = (HubFile("config.json"), HubFile("part/model.safetensors", sha256(pin) if pin is not None else None))
    return Hub(repo_id="someone/some-model", revision=revision, files=files)


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHub:
    monkeypatch.setenv("DEOCCLUDE_HOME", str(tmp_path / "home"))
    fake = FakeHub(tmp_path / "cache")
    monkeypatch.setattr("deocclude.hub.HUB", fake)
    return fake


def plan(what: Hub) -> Download:
    return plan_download("some", what)


def fetched(what: Hub) -> Path:
    return download(plan(what))


def test_a_download_is_verified_and_recorded(hub: FakeHub) -> None:
    assert local_folder("some", source()) is None
    folder = fetched(source())
    assert local_folder("some", source()) == folder == hub.folder / "snapshots" / COMMIT
    entry = json.loads(lock_path().read_text("utf-8"))["some"]
    assert entry["repo"] == "someone/some-model" and entry["commit"] == COMMIT
    assert entry["files"] == {path: sha256(data) for path, data in FILES.items()}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["date"])


def test_what_is_here_and_pinned_is_verified_without_the_network(hub: FakeHub) -> None:
    fetched(source())
    asked, hub.is_offline = hub.asked, True
    written = lock_path().stat().st_mtime_ns
    fetched(source())
    assert hub.asked == asked
    assert lock_path().stat().st_mtime_ns == written


def test_files_that_another_program_fetched_are_here_but_not_verified(hub: FakeHub) -> None:
    hub.fetch("someone/some-model", COMMIT, list(FILES))
    assert local_folder("some", source()) is not None
    assert not is_verified("some", source())
    fetched(source())
    assert is_verified("some", source())


def test_half_a_download_is_not_here(hub: FakeHub) -> None:
    hub.fetch("someone/some-model", COMMIT, ["config.json"])
    assert local_folder("some", source()) is None
    assert plan(source()).missing_bytes == len(b"weights")


def test_without_pins_the_first_download_is_trusted_and_then_demanded(hub: FakeHub) -> None:
    free = source(revision=None, pin=None)
    assert local_folder("some", free) is None
    fetched(free)
    hub.serves[LATER], hub.main = FILES | {"part/model.safetensors": b"other weights"}, LATER
    assert plan(free).commit == COMMIT
    hub.serves[COMMIT]["part/model.safetensors"] = b"changed"
    (hub.folder / "snapshots" / COMMIT / "config.json").unlink()
    with pytest.raises(InputError, match=r"the hub lists sha256 .* and .*weights\.lock\.json of .* demands"):
        plan(free)


def test_a_damaged_file_is_noticed(hub: FakeHub) -> None:
    fetched(source())
    (hub.folder / "snapshots" / COMMIT / "part" / "model.safetensors").write_bytes(b"weighty")
    with pytest.raises(InputError, match=r"model\.safetensors: the file has sha256 .* delete the file"):
        fetched(source())
    (hub.folder / "snapshots" / COMMIT / "part" / "model.safetensors").write_bytes(b"weights")
    (hub.folder / "snapshots" / COMMIT / "config.json").write_bytes(b"{ }")  # no pin, but recorded
    with pytest.raises(InputError, match="lock"):
        fetched(source())


def test_a_hub_that_lists_other_bytes_than_the_pin_is_refused_before_anything_is_fetched(hub: FakeHub) -> None:
    with pytest.raises(InputError, match="this version of deocclude demands") as caught:
        plan(source(pin=b"what we saw"))
    assert "\n" not in str(caught.value)
    assert not hub.folder.exists()


def test_a_new_pin_replaces_the_old_record(hub: FakeHub) -> None:
    fetched(source())
    hub.serves[LATER] = FILES | {"part/model.safetensors": b"better weights"}
    newer = source(revision=LATER, pin=b"better weights")
    assert not is_verified("some", newer)
    fetched(newer)
    assert json.loads(lock_path().read_text("utf-8"))["some"]["commit"] == LATER


def test_a_file_that_the_hub_does_not_have_is_named(hub: FakeHub) -> None:
    del hub.serves[COMMIT]["part/model.safetensors"]
    with pytest.raises(InputError, match=r"someone/some-model has no part/model\.safetensors"):
        plan(source())


def test_offline_is_respected(hub: FakeHub) -> None:
    hub.is_offline = True
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        plan(source())
    assert hub.asked == 0


def test_a_full_disk_is_said_before_the_download(monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> None:
    plans = [plan(source())]
    check_space(plans)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1))
    with pytest.raises(InputError, match=r"1 MB to download and 1 MB free.*HF_HUB_CACHE"):
        check_space(plans)
    check_space([replace(plans[0], missing_bytes=0)])


@pytest.mark.parametrize("content", ["{", "[]", '{"some": 3}'])
def test_a_damaged_lock_is_not_taken_for_an_empty_one(content: str) -> None:
    lock_path().parent.mkdir(parents=True)
    lock_path().write_text(content, "utf-8")
    with pytest.raises(InputError, match=r"weights\.lock\.json: .*delete it"):
        plan(source(revision=None))


class RefusedError(Exception):
    """As a network library's own errors, which are no OSError."""


RefusedError.__module__ = "httpx2"


@pytest.mark.parametrize("error", [ConnectionError("no route\nto host"), RefusedError("refused"), RefusedError()])
def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    import huggingface_hub

    def fail(*args: Any, **settings: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    for ask in (lambda: HubClient().listing("a/b", "main"), lambda: HubClient().fetch("a/b", COMMIT, ["x"])):
        with pytest.raises(InputError, match=r"^a/b: could not be had from the hub .*connection") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_our_own_mistakes_are_not_taken_for_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **settings: [][0])
    with pytest.raises(IndexError):
        HubClient().fetch("a/b", COMMIT, ["x"])


def test_the_client_asks_for_exactly_the_pinned_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    calls: list[tuple[Any, ...]] = []
    large = SimpleNamespace(rfilename="m.safetensors", size=7, lfs=SimpleNamespace(sha256="0" * 64))
    small = SimpleNamespace(rfilename="config.json", size=2, lfs=None)

    def model_info(self: Any, repo_id: str, **settings: Any) -> Any:
        calls.append((repo_id, settings))
        return SimpleNamespace(sha=COMMIT, siblings=[large, small])

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo_id, **settings: calls.append((repo_id, settings))
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    client = HubClient()
    assert client.listing("a/b", "main").files == {"m.safetensors": (7, "0" * 64), "config.json": (2, None)}
    client.fetch("a/b", COMMIT, ["m.safetensors"])
    assert calls == [
        ("a/b", {"revision": "main", "files_metadata": True}),
        ("a/b", {"revision": COMMIT, "allow_patterns": ["m.safetensors"]}),
    ]
    assert client.cached("a/b", COMMIT, "part/m.safetensors") is None
    file = tmp_path / "models--a--b" / "snapshots" / COMMIT / "part" / "m.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    assert client.cached("a/b", COMMIT, "part/m.safetensors") == file
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert client.offline() and client.cache() == tmp_path
