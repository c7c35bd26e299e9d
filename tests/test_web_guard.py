"""What stands before Gradio: no file but the page's own, no address fetched, no foreign site, no more than allowed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tiny_web import ADDRESS, RedFinder, encoded, red_methods, sample

from deocclude.web.app import create_app
from deocclude.web.limits import Admission, Busy, Limits

FILE = "/gradio_api/file="


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(red_methods(), folder), base_url=ADDRESS) as client:
        yield client


@pytest.fixture
def secret(folder: Path) -> Path:
    path = folder.parent / "secret.png"
    path.write_bytes(b"secret")
    return path


def upload(client: TestClient, content: bytes, name: str = "street.png") -> str:
    answer = client.post("/gradio_api/upload", files={"files": (name, content)})
    assert answer.status_code == 200
    return str(answer.json()[0])


def test_the_pages_own_file_is_served(client: TestClient, folder: Path) -> None:
    content = encoded(sample()[0])
    path = upload(client, content)
    assert Path(path).is_relative_to(folder)
    assert client.get(FILE + path).content == content


def test_no_other_file_is_served(client: TestClient, folder: Path, secret: Path) -> None:
    (folder / "link.png").symlink_to(secret)
    (folder / "up").symlink_to(folder.parent)
    names = [
        "/etc/passwd",
        "//etc/passwd",
        str(secret),
        "secret.png",
        "../secret.png",
        f"{folder}/../secret.png",
        f"{folder}/%2e%2e/secret.png",
        f"{folder}/%252e%252e/secret.png",
        f"{folder}/..%2fsecret.png",
        f"{folder}/link.png",
        f"{folder}/up/secret.png",
        str(folder),
        f"{folder}/",
        f"{folder}/nothing.png",
        f"{folder}\0.png",
        f"file://{secret}",
        str(Path(__file__)),
        "pyproject.toml",
        ".env",
        "x" * 5000,
    ]
    for name in names:
        answer = client.get(FILE + name.replace("\0", "%00"))
        assert answer.status_code in (403, 404), name
        assert b"secret" not in answer.content.replace(b"secret.png", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://127.0.0.1:1/a.png",
        "/gradio_api/info",
        "/gradio_api/call/open",
        "/gradio_api/component_server",
        "/gradio_api/custom_component/1/server/component/x.py",
        "/static/../../../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc/passwd",
        "/login",
        "/monitoring",
    ],
)
def test_what_the_page_does_not_need_is_not_there(client: TestClient, path: str) -> None:
    for answer in (client.get(path), client.post(path, json={})):
        assert answer.status_code >= 400
        assert b"root:" not in answer.content


@pytest.fixture
def other_server() -> Iterator[tuple[str, list[str]]]:
    """An address on this machine, and who asked there for what."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(encoded(sample()[0]))

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/photo.png", asked
    server.shutdown()
    thread.join()
    server.server_close()


def join(client: TestClient, data: list[Any], *, name: str = "open", session: str = "s") -> Any:
    """Send the page's event that calls a function of this name."""
    config = client.get("/config").json()
    event = next(one for one in config["dependencies"] if one["api_name"] == name)
    body = {"data": data, "fn_index": event["id"], "session_hash": session, "trigger_id": None}
    return client.post("/gradio_api/queue/join", json=body)


def test_no_address_is_fetched(client: TestClient, other_server: tuple[str, list[str]]) -> None:
    url, asked = other_server
    meta = {"_type": "gradio.FileData"}
    own = upload(client, encoded(sample()[0]))
    for file in (
        {"path": url, "meta": meta},
        {"path": url, "url": url, "meta": meta},
        {"path": own, "url": url, "meta": meta},
        {"path": None, "url": url, "meta": meta},
        {"path": own, "url": "http://[", "meta": meta},
        {"path": own, "url": "data:image/png;base64,AAAA", "meta": meta},
        {"path": f"file://{own}", "meta": meta},
        {"path": own, "url": url.replace("127.0.0.1", "localhost"), "meta": meta},
    ):
        for data in ([file, "feedforward", None], [{"background": file, "layers": [[file]]}, "feedforward", None]):
            answer = join(client, data)
            assert answer.status_code == 400 and "not fetched" in answer.json()["error"]
    assert client.get(FILE + url).status_code == 403
    assert client.get(f"{FILE}{url}", follow_redirects=True).status_code == 403
    assert client.post("/api/people", data={"image": url}).status_code == 422
    assert asked == []


def test_data_in_place_of_a_file_is_an_address_too(client: TestClient) -> None:
    for address in ("c://host/a.png", "ftp:a.png", "data:image/png;base64,AAAA", "://host/a.png"):
        file = {"path": address, "meta": {"_type": "gradio.FileData"}}
        assert join(client, [file, "feedforward", None]).status_code == 400, address


def test_an_upload_of_ours_passes(client: TestClient) -> None:
    own = upload(client, encoded(sample()[0]))
    file = {"path": own, "url": f"{ADDRESS}{FILE}{own}", "meta": {"_type": "gradio.FileData"}}
    assert join(client, [file, "feedforward", None]).status_code == 200


def test_another_site_may_not_ask(client: TestClient) -> None:
    files = {"image": encoded(sample()[0])}
    foreign = client.post("/api/people", files=files, headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403 and "another site" in foreign.json()["error"]
    assert client.post("/api/people", files=files, headers={"origin": ADDRESS}).status_code == 200


def test_only_names_of_this_machine_are_answered(client: TestClient) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        assert client.get("/", headers={"host": host}).status_code == 403
    for host in ("localhost:7860", "[::1]:7860", "127.0.0.1"):
        assert client.get("/api/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("number", [9999, -1, 10**30, 1.5, "x", None, [0]])
@pytest.mark.parametrize("route", ["queue/join", "run/predict"])
def test_an_event_that_does_not_exist_is_answered_in_json(client: TestClient, route: str, number: Any) -> None:
    answer = client.post(f"/gradio_api/{route}", json={"data": [], "fn_index": number, "session_hash": "s"})
    assert answer.status_code >= 400 and set(answer.json()) <= {"error", "detail"}


def test_a_mistake_of_the_server_is_a_sentence_and_in_its_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.post("/gradio_api/queue/join", json={"data": [], "fn_index": 9999, "session_hash": "s"})
    assert answer.status_code == 500 and answer.json() == {"error": "the server made a mistake; its log says which"}
    assert [record.name for record in caplog.records if record.levelname == "ERROR"] == ["deocclude.web.guard"]


def test_a_number_that_overflows_is_answered_in_json(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    for number in ("1e400", "-1e400", "NaN", "1" * 5000):
        for place in (f'{{"data": [{number}], "fn_index": 0}}', f'{{"data": [], "fn_index": {number}}}'):
            answer = client.post("/gradio_api/run/predict", content=place, headers=headers)
            assert answer.status_code >= 400 and set(answer.json()) <= {"error", "detail"}


def test_no_websocket_is_opened(client: TestClient) -> None:
    for path in ("/", "/api/people", "/gradio_api/queue/join"):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(path):
            pass


def test_browsers_are_told_to_load_nothing_from_elsewhere(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'self'") and "http" not in policy and "*" not in policy


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join"])
def test_what_is_too_large_is_refused(tmp_path: Path, path: str) -> None:
    limits = Limits(body_bytes=2**16, message_bytes=2**14)
    client = TestClient(create_app(red_methods(), tmp_path, limits=limits), base_url=ADDRESS)
    files = {"files": ("large.png", b"\0" * 2**17)}
    answer = client.post(path, files=files) if path.endswith("upload") else client.post(path, json=["x" * 2**15])
    assert answer.status_code == 413 and "more than" in answer.json()["error"]


def test_a_full_disk_takes_no_more(tmp_path: Path) -> None:
    client = TestClient(create_app(red_methods(), tmp_path, limits=Limits(folder_bytes=10)), base_url=ADDRESS)
    (tmp_path / "old.png").write_bytes(b"\0" * 11)
    answer = client.post("/gradio_api/upload", files={"files": ("a.png", b"a")})
    assert answer.status_code == 507 and "no room" in answer.json()["error"]


def test_a_full_disk_begins_no_work_either(tmp_path: Path) -> None:
    with TestClient(create_app(red_methods(), tmp_path, limits=Limits(folder_bytes=10)), base_url=ADDRESS) as client:
        own = upload(client, encoded(sample()[0]))
        answer = join(client, [{"path": own, "meta": {"_type": "gradio.FileData"}}, "feedforward", None])
        assert answer.status_code == 507 and "no room" in answer.json()["error"]


def session_of(folder: Path, name: str, *, seconds_old: float) -> Path:
    """A session's folder with a photograph, last used so long ago."""
    own = folder / f"session-{name}"
    (own / "photograph").mkdir(parents=True)
    (own / "photograph" / "a.png").write_bytes(b"\0" * 11)
    os.utime(own, (time.time() - seconds_old,) * 2)
    return own


def test_what_is_too_old_makes_room(tmp_path: Path) -> None:
    client = TestClient(create_app(red_methods(), tmp_path, limits=Limits(folder_bytes=15)), base_url=ADDRESS)
    old = session_of(tmp_path, "old", seconds_old=3700)
    new = session_of(tmp_path, "new", seconds_old=3500)
    upload(client, b"a")
    assert new.exists() and not old.exists()


def test_what_is_too_old_goes_though_nobody_comes(tmp_path: Path) -> None:
    app = create_app(red_methods(), tmp_path, limits=Limits(kept_seconds=3))
    old = session_of(tmp_path, "old", seconds_old=0)
    with TestClient(app, base_url=ADDRESS):
        until = time.monotonic() + 30
        while old.exists():
            assert time.monotonic() < until
            time.sleep(0.05)


def test_files_may_go_while_the_disk_is_looked_at(client: TestClient, folder: Path) -> None:
    end = threading.Event()

    def come_and_go() -> None:
        while not end.is_set():
            place = folder / "request-1"
            place.mkdir()
            for number in range(300):
                (place / f"{number}.png").touch()
            for number in range(300):
                (place / f"{number}.png").unlink()
            place.rmdir()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(60):
            upload(client, b"a")
    finally:
        end.set()
        thread.join()


def test_a_full_queue_of_the_page_says_so(tmp_path: Path) -> None:
    finder = RedFinder()
    finder.gate.clear()
    app = create_app(red_methods(finder), tmp_path, limits=Limits(waiting=3))
    with TestClient(app, base_url=ADDRESS) as client:
        own = upload(client, encoded(sample()[0]))
        file = {"path": own, "meta": {"_type": "gradio.FileData"}}
        answers = [join(client, [file, "feedforward", None], session=f"s{number}") for number in range(20)]
        finder.gate.set()
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503} and statuses.count(200) <= 3 + 2  # those who wait, and whoever was let in
    assert "full" in answers[-1].text


def test_admission_counts_who_is_inside() -> None:
    admission = Admission(2)
    with admission.place():
        with admission.place(), pytest.raises(Busy, match="try again"), admission.place():
            pass
        with admission.place():
            pass


@pytest.mark.parametrize("wrong", [{"running": 0}, {"waiting": -1}, {"pixels": 0}])
def test_limits_are_sensible(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="too small"):
        Limits(**wrong)
