"""No client holds the server up: not by sending slowly, by leaving, or by taking no answer. A real server on a port."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from tiny_web import RedFinder, encoded, files_in, red_methods, sample

from deocclude.types import Person
from deocclude.web.app import create_app
from deocclude.web.connections import server
from deocclude.web.limits import Limits, Listeners
from deocclude.web.methods import Methods

SECONDS = 5
"""In which an honest request is answered, whatever others do."""


class SlowFinder(RedFinder):
    """Finds people in so many tenths of a second, in which a network runs; counts what began and what ended."""

    def __init__(self) -> None:
        super().__init__()
        self.tenths = 5
        self.begun = self.ended = 0

    def __call__(self, image: np.ndarray) -> list[Person]:
        self.begun += 1
        layer = torch.nn.Identity()
        for _ in range(self.tenths):
            time.sleep(0.1)
            layer(torch.zeros(1))
        self.ended += 1
        return super().__call__(image)


@contextmanager
def serving(folder: Path, methods: Methods, **limits: int) -> Iterator[tuple[tuple[str, int], float]]:
    """A real server over miniatures: its host and port, and the seconds that it takes for a request alone.

    The second is what else the machine has to do: the bound of the law is beyond it.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    running = server(create_app(methods, folder, limits=Limits(**limits)), Limits(**limits))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: running.started)
        place = listener.getsockname()
        yield place, seconds_taken(place)
    finally:
        methods.close()
        running.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def request_for(path: str, content: bytes, place: tuple[str, int]) -> bytes:
    """A whole request with one file, as it goes over the network."""
    field = "files" if path.endswith("upload") else "image"
    head = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="a.png"\r\n\r\n'
    body = head.encode() + content + b"\r\n--b--\r\n"
    first = (
        f"POST {path} HTTP/1.1\r\nHost: {place[0]}:{place[1]}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return first.encode() + body


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it, at once or after its answer."""
    connection.setblocking(False)
    try:
        while connection.recv(2**16):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def asks(place: tuple[str, int]) -> int:
    """The status of a request for the people of a photograph."""
    files = {"image": encoded(sample()[0])}
    return httpx.post(f"http://{place[0]}:{place[1]}/api/people", files=files, verify=False, timeout=60).status_code


def seconds_taken(place: tuple[str, int]) -> float:
    """By an honest request for the people of a photograph, which gets them."""
    files = {"image": encoded(sample()[0])}
    with httpx.Client(base_url=f"http://{place[0]}:{place[1]}", verify=False, timeout=60) as client:
        begun = time.monotonic()
        answer = client.post("/api/people", files=files)
        taken = time.monotonic() - begun
    assert answer.status_code == 200, answer.text
    return taken


@contextmanager
def connections(place: tuple[str, int], count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """So many clients who have sent this."""
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(socket.create_connection(place, timeout=30)) for _ in range(count)]
        for client in clients:
            client.sendall(sent)
        yield clients


@pytest.mark.parametrize("path", ["/api/people", "/api/deocclude", "/gradio_api/upload"])
def test_fifty_uploads_that_stall_hold_no_place(tmp_path: Path, path: str) -> None:
    with serving(tmp_path, red_methods()) as (place, alone):
        sent = request_for(path, encoded(sample()[0]), place)
        with connections(place, 50, sent[:-20]) as clients:
            assert seconds_taken(place) < SECONDS + alone
            assert not any(map(is_closed, clients))  # they were there all the time


def test_fifty_who_leave_are_not_computed_for(tmp_path: Path) -> None:
    finder = SlowFinder()
    with serving(tmp_path, red_methods(finder)) as (place, alone):
        finder.tenths = 600
        with connections(place, 50, request_for("/api/people", encoded(sample()[0]), place)):
            wait_until(lambda: finder.begun == 2)
        finder.tenths = 5
        assert seconds_taken(place) < SECONDS + alone
        assert finder.ended == 2  # our requests, before and after
        wait_until(lambda: files_in(tmp_path) == [])


def test_fifty_who_stall_and_fifty_who_leave(tmp_path: Path) -> None:
    finder = SlowFinder()
    with serving(tmp_path, red_methods(finder)) as (place, alone):
        sent = request_for("/api/people", encoded(sample()[0]), place)
        finder.tenths = 600
        with connections(place, 50, sent[:-20]), connections(place, 50, sent) as leavers:
            wait_until(lambda: finder.begun == 2)
            for leaver in leavers:
                leaver.close()
            finder.tenths = 5
            assert seconds_taken(place) < SECONDS + alone


def test_who_leaves_while_their_body_arrives_leaves_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, red_methods(), arriving_bytes=2**20) as (place, alone):
        sent = request_for("/api/people", b"\0" * 2**19, place)
        with connections(place, 5, sent[:-20]) as clients:  # more than may arrive together
            assert any(client.recv(12) == b"HTTP/1.1 503" for client in clients[2:])
        wait_until(lambda: asks(place) == 200, SECONDS + alone)


def page_calls(place: tuple[str, int], path: str, session: str, event: int) -> int:
    """Call the page's event that opens an uploaded photograph."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [file, "feedforward", None], "fn_index": event, "session_hash": session, "trigger_id": None}
    return httpx.post(f"http://{place[0]}:{place[1]}/gradio_api/queue/join", json=body, timeout=30).status_code


def test_a_page_that_does_not_listen_is_not_computed_for(tmp_path: Path) -> None:
    finder = SlowFinder()
    with serving(tmp_path, red_methods(finder), unheard_seconds=1) as (place, alone):
        address = f"http://{place[0]}:{place[1]}"
        files = {"files": ("a.png", encoded(sample()[0]))}
        (own,) = httpx.post(f"{address}/gradio_api/upload", files=files, timeout=30).json()
        found = httpx.get(f"{address}/config", timeout=30).json()["dependencies"]
        event = next(one["id"] for one in found if one["api_name"] == "open")
        finder.tenths = 600
        with contextlib.ExitStack() as listening:
            for number in range(12):
                assert page_calls(place, own, f"leaver{number}", event) == 200
                if number % 2:  # every second one listens for a moment
                    news = f"{address}/gradio_api/queue/data?session_hash=leaver{number}"
                    listening.enter_context(httpx.stream("GET", news, timeout=30))
        time.sleep(1)
        finder.tenths = 5
        assert seconds_taken(place) < SECONDS + alone
        assert finder.ended == 2  # our requests, before and after

        assert page_calls(place, own, "stays", event) == 200
        with httpx.stream("GET", f"{address}/gradio_api/queue/data?session_hash=stays", timeout=30) as news:
            messages = [json.loads(line[6:]) for line in news.iter_lines() if line.startswith("data: ")]
        (end,) = (message for message in messages if message["msg"] == "process_completed")
        assert end["success"]


@pytest.mark.parametrize("path", ["/api/people", "/gradio_api/queue/join"])
def test_a_body_has_a_time_limit(tmp_path: Path, path: str) -> None:
    with serving(tmp_path, red_methods(), silent_seconds=1, header_seconds=2) as (place, _):
        sent = request_for(path, encoded(sample()[0]), place)
        with connections(place, 3, sent[:-20]) as clients:
            for client in clients:
                assert client.recv(100).startswith(b"HTTP/1.1 408 ")
            wait_until(lambda: all(map(is_closed, clients)))


def test_a_body_that_trickles_in_has_one_too(tmp_path: Path) -> None:
    with serving(tmp_path, red_methods(), silent_seconds=1, body_seconds=2) as (place, _):
        sent = request_for("/api/people", encoded(sample()[0]), place)
        with connections(place, 1, sent[:-100]) as (client,):
            client.settimeout(0.2)
            answer = b""
            for one in sent[-100:-20]:
                client.sendall(bytes([one]))
                with contextlib.suppress(TimeoutError):
                    answer = client.recv(100)
                    break
            assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_a_head_has_a_time_limit(tmp_path: Path, sent: bytes) -> None:
    with serving(tmp_path, red_methods(), header_seconds=1) as (place, _):
        whole = f"GET /api/health HTTP/1.1\r\nHost: {place[0]}:{place[1]}\r\n\r\n".encode()
        with connections(place, 3, sent) as first, connections(place, 3, whole) as second:
            for client in second:
                assert client.recv(15) == b"HTTP/1.1 200 OK"
                client.sendall(sent)  # the same once there was an answer
            wait_until(lambda: all(map(is_closed, [*first, *second])))


def test_connections_have_a_bound_and_those_that_ask_for_nothing_make_room(tmp_path: Path) -> None:
    finder = SlowFinder()
    with serving(tmp_path, red_methods(finder), connections=20, header_seconds=60) as (place, alone):
        with connections(place, 60, b"GET / HT") as clients:
            assert seconds_taken(place) < SECONDS + alone
            wait_until(lambda: sum(map(is_closed, clients)) >= 40)
            assert not all(map(is_closed, clients[-10:]))
        asks = request_for("/api/people", b"", place).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 1)
        with connections(place, 20, asks[:-20]) as clients:
            for client in clients:
                assert client.recv(100).startswith(b"HTTP/1.1 100 ")
            with connections(place, 1, b"GET / HT") as (late,):
                wait_until(lambda: is_closed(late))  # all others have asked for something: the newest goes
                assert not any(map(is_closed, clients))


def test_streams_of_news_have_a_bound(tmp_path: Path) -> None:
    with serving(tmp_path, red_methods(), streams=3) as (place, alone):
        lasting = f"GET /gradio_api/heartbeat/x HTTP/1.1\r\nHost: {place[0]}:{place[1]}\r\n\r\n".encode()
        with connections(place, 3, lasting) as clients:
            for client in clients:
                assert client.recv(15) == b"HTTP/1.1 200 OK"
            with connections(place, 1, lasting) as (late,):
                assert late.recv(12) == b"HTTP/1.1 503"
            assert seconds_taken(place) < SECONDS + alone


def test_who_takes_no_answer_holds_no_place_and_no_connection(tmp_path: Path) -> None:
    large = np.random.default_rng(0).integers(0, 255, (800, 1000, 3), np.uint8)
    large[200:400, 100:260] = (255, 0, 0)
    with serving(tmp_path, red_methods(), header_seconds=2, waiting=1) as (place, _):
        sent = request_for("/api/deocclude", encoded(large, "JPEG"), place)
        with contextlib.ExitStack() as opened:
            for _ in range(3):  # more than there are places
                client = opened.enter_context(socket.socket())
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.settimeout(60)
                client.connect(place)
                client.sendall(sent)
                assert client.recv(15) == b"HTTP/1.1 200 OK"  # of 10 MB
            wait_until(lambda: files_in(tmp_path) == [])  # the connections were aborted, and the results with them


def test_a_slow_reader_gets_the_whole_answer(tmp_path: Path) -> None:
    large = np.zeros((1200, 1600, 3), np.uint8)
    large[200:400, 100:260] = (255, 0, 0)
    large[600:] = np.random.default_rng(0).integers(0, 255, (600, 1600, 3), np.uint8)
    with serving(tmp_path, red_methods(), header_seconds=2) as (place, _):
        sent = request_for("/api/deocclude", encoded(large, "JPEG"), place).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
            client.settimeout(60)
            client.connect(place)
            client.sendall(sent)
            answer, began = bytearray(), time.monotonic()
            while part := client.recv(2**20):
                answer += part
                if time.monotonic() - began < 6:  # longer than anybody may take nothing
                    time.sleep(0.05)
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        (length,) = (int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
        assert len(body) == length > 2**20


def test_a_websocket_is_not_opened(tmp_path: Path) -> None:
    with serving(tmp_path, red_methods()) as ((host, port), _):
        headers = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        answer = httpx.get(f"http://{host}:{port}/api/nothing", headers=headers, timeout=30)
        assert answer.status_code == 404 and set(answer.json()) == {"error"}


def test_what_others_do_wrong_is_no_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(tmp_path, red_methods()) as (place, alone):
        address = f"http://{place[0]}:{place[1]}"
        assert httpx.get(address, headers={"host": "[x"}, timeout=30).status_code == 403
        assert httpx.post(f"{address}/api/people", headers={"origin": "http://[x"}, timeout=30).status_code == 403
        with connections(place, 10, request_for("/api/people", encoded(sample()[0]), place)[:-20]):
            pass
        assert seconds_taken(place) < SECONDS + alone
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_listeners_know_who_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    now: dict[str, Any] = {"time": 100.0}
    monkeypatch.setattr("deocclude.web.limits.time", SimpleNamespace(monotonic=lambda: now["time"]))
    listeners = Listeners(5)
    assert listeners.is_gone("never seen")
    listeners.calls("page")
    assert not listeners.is_gone("page")
    with listeners.listening("page"), listeners.listening("page"):
        now["time"] += 1000
        assert not listeners.is_gone("page")
    assert listeners.is_gone("page")
    listeners.calls("page")
    listeners.calls("other")
    now["time"] += 6
    listeners.calls("page")
    assert not listeners.is_gone("page") and listeners.is_gone("other")
    assert list(listeners._called) == ["page"]
