"""No request makes the server read a file that is not the page's own: not by an event of the page, wherever it lies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tiny_web import ADDRESS, encoded, files_in, red_methods, sample

from deocclude.web.app import create_app
from deocclude.web.guard import Guard

SECRET = b"a secret of the server's user"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="a FIFO and /dev/zero are needed")
ROUTES = ("/gradio_api/queue/join", "/gradio_api/run/predict")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(folder: Path) -> Guard:
    app = create_app(red_methods(), folder)
    assert isinstance(app, Guard)
    return app


@pytest.fixture(scope="module")
def client(server: Guard) -> Iterator[TestClient]:
    with TestClient(server, base_url=ADDRESS) as client:
        yield client


def uploaded(client: TestClient) -> str:
    answer = client.post("/gradio_api/upload", files={"files": ("street.png", encoded(sample()[0]))})
    return str(answer.json()[0])


def events(client: TestClient) -> list[dict[str, Any]]:
    """Every event of the page, as a browser reads them."""
    found = client.get("/config").json()["dependencies"]
    assert len(found) > 15 and any(one["api_name"] == "change_preset" for one in found)
    return found


@pytest.fixture(scope="module")
def foreign(folder: Path) -> dict[str, str]:
    """Names of what is not the page's own, by kind; some of it lies in the folder all the same."""
    (folder.parent / "id_rsa").write_bytes(SECRET)
    os.mkfifo(folder.parent / "pipe")
    os.mkfifo(folder / "pipe.png")
    (folder / "leads-out.png").symlink_to(folder.parent / "id_rsa")
    (folder / "leads-to-zeros.png").symlink_to("/dev/zero")
    (folder / "up").symlink_to(folder.parent)
    return {
        "file": str(folder.parent / "id_rsa"),
        "file by dots": f"{folder}/../id_rsa",
        "file by a name that begins alike": f"{folder}-of-another/a.png",
        "device": "/dev/zero",
        "FIFO": str(folder.parent / "pipe"),
        "FIFO in the folder": str(folder / "pipe.png"),
        "folder": str(folder.parent),
        "the folder itself": str(folder),
        "link": str(folder / "leads-out.png"),
        "link to a device": str(folder / "leads-to-zeros.png"),
        "file behind a link": str(folder / "up" / "id_rsa"),
        "relative": os.path.relpath(folder.parent / "id_rsa"),
        "nothing": str(folder / "nothing.png"),
        "empty": "",
        "NUL": f"{folder}/a.png\0.png",
        "too long": f"{folder}/{'x' * 5000}",
        "no text": "\ud800",
        "UNC": r"\\server\share\a.png",
        "UNC with slashes": "//server/share/a.png",
        "Windows": r"C:\Users\a.png",
        "Windows with slashes": "C:/Users/a.png",
    }


def at_every_place(event: dict[str, Any], file: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Messages that call an event with the file at one place of its data, as it is and deeper; the rest is empty."""
    for shape in (file, [file], {"picture": {"people": [file]}}, {**file, "also": file}):
        for place in range(len(event["inputs"])):
            data = [None] * len(event["inputs"])
            data[place] = shape  # type: ignore[call-overload]
            yield {"data": data}
        yield {"data": [None] * len(event["inputs"]), "event_data": shape}


@pytest.mark.parametrize("route", ROUTES)
def test_no_event_reads_a_foreign_file(client: TestClient, folder: Path, foreign: dict[str, str], route: str) -> None:
    before, asked = sorted(folder.rglob("*")), 0
    for event in events(client):
        for kind, path in foreign.items():
            file = {"path": path, "meta": {"_type": "gradio.FileData"}}
            for message in at_every_place(event, file):
                body = {**message, "fn_index": event["id"], "session_hash": "s", "trigger_id": None}
                answer = client.post(route, content=json.dumps(body), headers={"content-type": "application/json"})
                assert answer.status_code == 403, (event["api_name"], kind, message)
                asked += 1
    assert asked > 3000
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("path", [None, 1, ["/etc/passwd"], {"path": "/etc/passwd"}, True])
def test_a_path_is_text(client: TestClient, path: Any) -> None:
    for route in (*ROUTES, "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/anything"):
        answer = client.post(route, json={"data": [{"path": path}], "session_hash": "s"})
        assert answer.status_code == (404 if route.endswith("anything") else 403)


def test_what_was_checked_is_what_is_read(client: TestClient, foreign: dict[str, str]) -> None:
    """One name twice in an object: the one that counts is the last, for the check and for Gradio."""
    own, secret = json.dumps(uploaded(client)), json.dumps(foreign["file"])
    (event,) = (one for one in events(client) if one["api_name"] == "open")
    for first, last, status in ((own, secret, 403), (secret, own, 200)):
        file = f'{{"path": {first}, "path": {last}, "meta": {{"_type": "gradio.FileData"}}}}'
        body = f'{{"data": [{file}, "feedforward", null], "fn_index": {event["id"]}, "session_hash": "twice"}}'
        answer = client.post(ROUTES[0], content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status
        if status == 200:
            assert completed(client, "twice")["success"]


def completed(client: TestClient, session: str) -> dict[str, Any]:
    """What comes of the session's event in the end."""
    with client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as answer:
        for line in answer.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                return dict(message)
    raise AssertionError("the event came to no end")


def test_text_that_looks_like_a_file_is_text(client: TestClient, folder: Path, foreign: dict[str, str]) -> None:
    (event,) = (one for one in events(client) if one["api_name"] == "change_preset")
    text = json.dumps({"path": foreign["file"], "meta": {"_type": "gradio.FileData"}})
    data = [{"picture": text, "people": []}, "feedforward"]
    body = {"data": data, "fn_index": event["id"], "session_hash": "text"}
    assert client.post(ROUTES[0], json=body).status_code == 200
    assert completed(client, "text")["output"]["data"][0]["picture"] == text
    assert not any(SECRET in path.read_bytes() for path in files_in(folder) if not path.is_symlink())


def test_gradio_itself_refuses_foreign_files(server: Guard, folder: Path, foreign: dict[str, str]) -> None:
    """The second lock, with the guard left out."""
    with TestClient(server._app, base_url=ADDRESS) as unguarded:
        before = sorted(folder.rglob("*"))
        for event in events(unguarded):
            if event["api_name"] not in ("open", "change_preset", "complete"):
                continue
            file = {"path": foreign["file"], "meta": {"_type": "gradio.FileData"}}
            data = [file, *[None] * (len(event["inputs"]) - 1)]
            if event["api_name"] == "complete":
                data = [None, {"a": file}, *data[2:]]
            body = {"data": data, "fn_index": event["id"], "session_hash": "foreign"}
            assert unguarded.post(ROUTES[0], json=body).status_code == 200
            assert not completed(unguarded, "foreign")["success"]
        assert sorted(folder.rglob("*")) == before
