"""The model hub: files of a repository at one commit, downloaded into `huggingface_hub`'s own cache and verified.

Where neither commit nor hash of an entry is pinned, the first download is trusted: it takes the commit and each large
file's sha256 from the hub's own metadata, compares the file that arrived, and records repository, commit, sha256 and
date in `weights.lock.json`. From then on those bytes are demanded. Small text files (configuration, vocabulary) have no
sha256 at the hub: the commit fixes them, and the lock records what arrived.

Only `plan_download` and `download` reach the network.
"""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deocclude.errors import InputError
from deocclude.files import home, human_size, written_whole
from deocclude.weights import file_sha256


@dataclass(frozen=True)
class HubFile:
    """A file of a hub repository. sha256 is None for text, and where no trustworthy source gave it."""

    path: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Hub:
    """Files of a hub repository at one commit; None: what `main` is at the first download."""

    repo_id: str
    revision: str | None
    files: tuple[HubFile, ...]


@dataclass(frozen=True)
class Listing:
    """What the hub says about a repository at a commit: of each file its bytes, and its sha256 if it is a large one."""

    commit: str
    files: Mapping[str, tuple[int, str | None]]


class HubClient:
    """The only place that speaks with `huggingface_hub`, so that tests may stand in for it."""

    def offline(self) -> bool:
        """Whether the user forbids the network (HF_HUB_OFFLINE). Raises InputError without the hub's client."""
        try:
            from huggingface_hub import constants
        except ModuleNotFoundError as error:
            raise InputError(
                "downloading needs the package 'huggingface_hub'; pip install 'deocclude[diffusion]'"
            ) from error
        return bool(constants.HF_HUB_OFFLINE)

    def cache(self) -> Path:
        """The folder of all downloaded repositories."""
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE)

    def cached(self, repo_id: str, commit: str, path: str) -> Path | None:
        """A file that is in the cache; asks no network."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(repo_id, path, revision=commit)
        return Path(found) if isinstance(found, str) else None

    def listing(self, repo_id: str, revision: str) -> Listing:
        """A repository's files. Raises InputError where the hub cannot be reached or refuses."""
        from huggingface_hub import HfApi

        with _one_sentence(repo_id):
            info = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
        files = {
            file.rfilename: (file.size or 0, file.lfs.sha256 if file.lfs else None) for file in info.siblings or []
        }
        return Listing(info.sha or revision, files)

    def fetch(self, repo_id: str, commit: str, paths: list[str]) -> None:
        """Download files into the cache, with progress bars; what is there already stays."""
        from huggingface_hub import snapshot_download

        with _one_sentence(repo_id):
            snapshot_download(repo_id, revision=commit, allow_patterns=paths)


HUB = HubClient()


@contextmanager
def _one_sentence(repo_id: str) -> Iterator[None]:
    """Whatever the hub's client or its network library raises, as an InputError."""
    try:
        yield
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if not isinstance(error, OSError) and library not in ("huggingface_hub", "httpx", "httpx2", "requests"):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{repo_id}: could not be had from the hub ({reason}); check the connection, or copy the cache folder "
            f"{HUB.cache()} from a machine that has it"
        ) from error


@dataclass(frozen=True)
class Download:
    """What `download` would do for one entry. expected: each file's sha256 and who demands it, or None."""

    name: str
    source: Hub
    commit: str
    expected: Mapping[str, tuple[str, str] | None]
    missing_bytes: int


def plan_download(name: str, source: Hub) -> Download:
    """Look at the cache and, unless everything demanded is there, at the hub. name: of the entry in the lock.

    Raises InputError for files the hub does not serve, offline, and where the hub lists other bytes than demanded.
    """
    paths = [file.path for file in source.files]
    commit, expected = _known_commit(name, source), _demanded(name, source)
    complete = commit is not None and _cached_folder(source, commit) is not None
    if complete and all(path in expected for path in paths if path.endswith(".safetensors")):
        assert commit is not None
        return Download(name, source, commit, {path: expected.get(path) for path in paths}, 0)
    if HUB.offline():
        raise InputError(
            f"HF_HUB_OFFLINE is set, so {name} can neither be downloaded nor compared with the hub; unset it and "
            "run the command again"
        )
    listing = HUB.listing(source.repo_id, commit or "main")
    absent = [path for path in paths if path not in listing.files]
    if absent:
        raise InputError(f"{source.repo_id} has no {absent[0]} at {listing.commit[:12]}; report it to deocclude")
    for path in paths:
        listed = listing.files[path][1]
        _same(f"{path} of {source.repo_id}", listed, "the hub lists", expected.get(path))
        if listed is not None:
            expected.setdefault(path, (listed, "the hub's metadata"))
    missing = [path for path in paths if HUB.cached(source.repo_id, listing.commit, path) is None]
    size = sum(listing.files[path][0] for path in missing)
    return Download(name, source, listing.commit, {path: expected.get(path) for path in paths}, size)


def check_space(plans: Iterable[Download]) -> None:
    """Raises InputError where the disk of the hub's cache cannot hold what is missing."""
    needed = sum(plan.missing_bytes for plan in plans)
    folder = HUB.cache().expanduser().absolute() if needed else Path.cwd()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: {human_size(needed)} to download and {human_size(free)} free; make room, or put the cache on "
            "another disk with HF_HUB_CACHE"
        )


def download(plan: Download) -> Path:
    """Fetch what is missing, compare every file with its sha256 and record it in the lock. Returns the folder.

    Raises InputError where the hub cannot be reached and where bytes differ.
    """
    source = plan.source
    if _cached_folder(source, plan.commit) is None:
        HUB.fetch(source.repo_id, plan.commit, list(plan.expected))
    folder = _cached_folder(source, plan.commit)
    if folder is None:
        raise InputError(f"{source.repo_id}: the download is not complete; run the command again")
    arrived = {path: file_sha256(folder / path) for path in plan.expected}
    for path, sha256 in arrived.items():
        _same(str(folder / path), sha256, "the file has", plan.expected[path])
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    entry = {"repo": source.repo_id, "commit": plan.commit, "date": today, "files": arrived}
    lock = _read_lock()
    known = lock.get(plan.name, {})
    if {**known, "date": today} != entry:
        _write_lock({**lock, plan.name: entry})
    return folder


def lock_path() -> Path:
    """What was downloaded: of each entry repository, commit, date and every file's sha256."""
    return home() / "weights.lock.json"


def local_folder(name: str, source: Hub) -> Path | None:
    """The folder with every file of the entry if all are in the cache; asks no network."""
    return _cached_folder(source, _known_commit(name, source))


def is_verified(name: str, source: Hub) -> bool:
    """Whether the entry's files have been compared with their hashes by `download`."""
    return bool(_read_lock().get(name, {}).get("commit") == _known_commit(name, source))


def _known_commit(name: str, source: Hub) -> str | None:
    """The pinned commit, or else the one of the first download."""
    commit: str | None = source.revision or _read_lock().get(name, {}).get("commit")
    return commit


def _demanded(name: str, source: Hub) -> dict[str, tuple[str, str]]:
    """Each file's sha256 that is pinned here or was recorded at this commit, and which of the two it is."""
    entry = _read_lock().get(name, {})
    recorded: dict[str, str] = entry.get("files", {}) if entry.get("commit") == _known_commit(name, source) else {}
    demanded = {path: (sha256, f"{lock_path()} of {entry.get('date')}") for path, sha256 in recorded.items()}
    pinned = {file.path: (file.sha256, "this version of deocclude") for file in source.files if file.sha256}
    return {**demanded, **pinned}


def _same(what: str, sha256: str | None, who: str, expected: tuple[str, str] | None) -> None:
    """Raises InputError where two hashes are known and differ."""
    if sha256 is None or expected is None or sha256 == expected[0]:
        return
    raise InputError(
        f"{what}: {who} sha256 {sha256[:12]}…, and {expected[1]} demands {expected[0][:12]}…; do not use it: delete "
        "the file from the cache and download again, and if they still differ, ask who published it"
    )


def _cached_folder(source: Hub, commit: str | None) -> Path | None:
    """The folder with every file of `source` at `commit`, or None."""
    if commit is None:
        return None
    try:
        found = [HUB.cached(source.repo_id, commit, file.path) for file in source.files]
    except ModuleNotFoundError:  # without huggingface_hub nothing was downloaded
        return None
    first = found[0]
    if first is None or None in found:
        return None
    return first.parents[len(Path(source.files[0].path).parts) - 1]


def _read_lock() -> dict[str, Any]:
    path = lock_path()
    try:
        lock = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it to trust the next download anew") from error
    if not isinstance(lock, dict) or not all(isinstance(entry, dict) for entry in lock.values()):
        raise InputError(f"{path}: not a list of downloads; delete it to trust the next download anew")
    return lock


def _write_lock(lock: Mapping[str, Any]) -> None:
    path = lock_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n", "utf-8")
