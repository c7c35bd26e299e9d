from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deocclude.files import home, human_size, written_whole


@pytest.mark.parametrize("name", ["a.json", "a", "a.tar.gz"])
def test_a_file_is_replaced_at_the_end(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")
    with written_whole(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old" and unfinished.name.startswith(".")
        assert unfinished.suffix == path.suffix or not path.suffix
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(TypeError), written_whole(path) as unfinished:
        unfinished.write_text("half") + "nonsense"
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_two_processes_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with written_whole(tmp_path / "a.json") as ours:
        monkeypatch.setattr("os.getpid", lambda: -1)
        with written_whole(tmp_path / "a.json") as theirs:
            assert ours != theirs
            theirs.write_text("theirs")
        ours.write_text("ours")
    assert (tmp_path / "a.json").read_text() == "ours"


def test_a_place_that_is_none_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"), written_whole(tmp_path / "file" / "a") as unfinished:
        unfinished.write_text("new")


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "~/.cache/deocclude"),
        ("linux", {"XDG_CACHE_HOME": "/big"}, "/big/deocclude"),
        ("darwin", {}, "~/Library/Caches/deocclude"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/deocclude"),
        ("linux", {"DEOCCLUDE_HOME": "~/mine"}, "~/mine"),
    ],
)
def test_the_folder_is_the_users_or_the_platforms(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("DEOCCLUDE_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert home() == Path(expected).expanduser()


def test_sizes_are_for_people() -> None:
    assert [human_size(size) for size in (15_500_000_000, 999_000_000, 343_673_076, 12)] == [
        "15.5 GB",
        "999 MB",
        "344 MB",
        "1 MB",
    ]
