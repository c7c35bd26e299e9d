"""Who may send requests: names, sites and tokens."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tiny_web import red_methods

from deocclude.errors import InputError
from deocclude.web.access import Access, Refused, is_loopback, own_names
from deocclude.web.app import create_app

TOKEN = "0123456789abcdef-_ABC"
EVERYWHERE = Access.at("0.0.0.0", token=TOKEN)


def is_let_in(access: Access, host: str, origin: str | None = None) -> bool:
    try:
        access.check_sender("POST", {"host": host} | ({} if origin is None else {"origin": origin}))
    except Refused:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:7860", "[::1]:7860", "127.0.0.1:80"])
def test_this_machine_is_let_in(host: str) -> None:
    assert is_let_in(Access.at("127.0.0.1"), host) and is_let_in(EVERYWHERE, host)


@pytest.mark.parametrize("host", ["192.168.1.7:7860", "0.0.0.0:7860", "[fe80::1]", "10.0.0.1"])
def test_addresses_are_let_in_where_other_machines_are(host: str) -> None:
    assert is_let_in(EVERYWHERE, host) and not is_let_in(Access.at("127.0.0.1"), host)


def test_names_of_this_machine_are_let_in_where_other_machines_are() -> None:
    own = socket.gethostname()
    for name in (own, own.upper(), f"{own}:7860", f"{own.partition('.')[0]}.local"):
        assert is_let_in(EVERYWHERE, name) and not is_let_in(Access.at("127.0.0.1"), name)
    assert is_let_in(Access.at("office.example"), "office.example:7860")


STRANGE_HOSTS = [
    "", "evil.example", "127.0.0.1.evil.example", "evil.example:7860", "[x", "[::1", "::1", "[evil.example]", "a b",
    "localhost@evil.example", "evil.example@localhost", "localhost:port", "localhost:7860:1", "localhost/", "127.1",
    "2130706433", "0x7f.1", "localhost\0", "löcalhost",
]  # fmt: skip


@pytest.mark.parametrize("host", STRANGE_HOSTS)
def test_a_name_that_was_made_to_point_here_is_not(host: str) -> None:
    assert not is_let_in(EVERYWHERE, host) and not is_let_in(Access.at("127.0.0.1"), host)


def test_a_name_may_be_allowed() -> None:
    for listening in ("127.0.0.1", "0.0.0.0"):
        access = Access.at(listening, allowed=["Photos.Example"], token=TOKEN)
        assert is_let_in(access, "photos.example", "https://photos.example")
        assert not is_let_in(access, "other.example")
    for wrong in ("http://photos.example", "photos.example:80", "*", "", "-a"):
        with pytest.raises(InputError, match="no host name"):
            Access.at("127.0.0.1", allowed=[wrong])


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[x", "http://127.0.0.1:1", "http://"])
def test_pages_of_other_sites_are_not(origin: str) -> None:
    for access in (Access.at("127.0.0.1"), EVERYWHERE):
        assert not is_let_in(access, "127.0.0.1:7860", origin)
        assert is_let_in(access, "127.0.0.1:7860", "http://127.0.0.1:7860")


def test_there_is_a_token_where_other_machines_are_let_in() -> None:
    assert Access.at("127.0.0.1").token is None and Access.at("localhost").token is None
    tokens = {Access.at(host).token for host in ("0.0.0.0", "::", "192.168.1.7", "office.example")}
    assert len(tokens) == 4 and all(len(str(token)) >= 32 for token in tokens)
    assert Access.at("127.0.0.1", token=TOKEN).token == Access.at("0.0.0.0", token=TOKEN).token == TOKEN
    for weak in ("", "short", "x" * 300, "a" * 20 + "&b", "a" * 20 + "\n"):
        with pytest.raises(InputError, match="a token is 16 to 200"):
            Access.at("127.0.0.1", token=weak)


def test_loopback_is_known() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.0.0.2", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.7", "office.example", *own_names())))


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[TestClient]:
    """On another machine, without the token."""
    app = create_app(red_methods(), tmp_path, access=EVERYWHERE)
    with TestClient(app, base_url="http://192.168.1.7:7860", follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/config", "/api/health", "/gradio_api/upload", "/gradio_api/queue/join", "/x"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer tökens"},
        {"cookie": f"{EVERYWHERE.cookie}=; other={TOKEN}"},
        {"cookie": f"{Access.at('0.0.0.0').cookie}={TOKEN}"},
    ],
)
def test_without_the_token_there_is_nothing(stranger: TestClient, path: str, headers: dict[str, str]) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    for answer in (stranger.get(path, headers=raw), stranger.post(path, json={}, headers=raw)):
        assert answer.status_code == 401 and "token" in answer.json()["error"]
        assert TOKEN not in answer.text and "set-cookie" not in answer.headers


def test_programs_send_the_token_in_a_header(stranger: TestClient) -> None:
    for bearer in ("Bearer", "bearer"):
        assert stranger.get("/api/health", headers={"authorization": f"{bearer} {TOKEN}"}).status_code == 200


def test_a_browser_keeps_the_token_of_the_printed_address(stranger: TestClient) -> None:
    for wrong in ("", "x", f"{TOKEN}x"):
        assert stranger.get(f"/?token={wrong}").status_code == 401
    opened = stranger.get(f"/?token={TOKEN}")
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    assert re.fullmatch(rf"{EVERYWHERE.cookie}={TOKEN}; Path=/; HttpOnly; SameSite=Lax", opened.headers["set-cookie"])
    assert stranger.get("/").status_code == 200  # by the cookie
    assert stranger.get("/config").status_code == stranger.get("/api/health").status_code == 200


def test_no_token_opens_a_foreign_name_or_site(stranger: TestClient) -> None:
    shown = {"authorization": f"Bearer {TOKEN}"}
    assert stranger.get("/", headers={**shown, "host": "evil.example"}).status_code == 403
    assert stranger.post("/api/people", headers={**shown, "origin": "http://evil.example"}).status_code == 403
