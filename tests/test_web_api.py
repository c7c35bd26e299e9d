"""The HTTP API over miniatures: what it answers, what it refuses, and that nothing piles up."""

from __future__ import annotations

import base64
import io
import os
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from miniatures import peak_megabytes, photograph, with_red_person
from tiny_web import ADDRESS, BAD_PHOTOGRAPHS, BOX, RedFinder, decoded, encoded, files_in, red_methods, sample

from deocclude.data.segmentations import decode_segmentation
from deocclude.errors import InputError
from deocclude.layers.openraster import read_openraster
from deocclude.layers.stacking import flatten
from deocclude.pipelines.scene import SceneDeoccluder
from deocclude.types import Person
from deocclude.web.app import create_app
from deocclude.web.limits import Limits
from deocclude.web.methods import Methods


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def client(folder: Path) -> TestClient:
    return TestClient(create_app(red_methods(), folder), base_url=ADDRESS, raise_server_exceptions=False)


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_health_names_presets_and_limits(client: TestClient) -> None:
    answer = client.get("/api/health").json()
    assert answer["status"] == "ok" and "feedforward" in answer["presets"]
    assert answer["limits"]["pixels"] == Limits().pixels


def test_the_description_of_the_api_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page, description = client.get("/api/docs").text, client.get("/api/openapi.json").json()
    assert set(description["paths"]) == {"/api/health", "/api/people", "/api/deocclude"}
    for path in description["paths"]:
        assert path in page
    assert "<script" not in page and "src=" not in page and "https://" not in page


@pytest.mark.parametrize("masks", ["rle", "png"])
def test_people_are_listed_the_largest_first(client: TestClient, masks: str) -> None:
    image, small = with_red_person(photograph(), (60, 5, 70, 12))
    image, large = with_red_person(image, BOX)
    answer = client.post("/api/people", files={"image": encoded(image)}, data={"masks": masks}).json()
    assert [one["box_xyxy"] for one in answer["people"]] == [list(BOX), [60, 5, 70, 12]]
    for one, mask in zip(answer["people"], (large, small), strict=True):
        shown = one["modal_mask"]
        found = decode_segmentation(shown, (64, 96)) if masks == "rle" else decoded(base64.b64decode(shown)) > 0
        assert (found == mask).all()


def test_the_zip_holds_layers_that_make_the_photograph_again(client: TestClient, folder: Path, tmp_path: Path) -> None:
    image, mask = sample()
    answer = client.post("/api/deocclude", files={"image": ("street.png", encoded(image))})
    assert answer.status_code == 200 and "street_layers.zip" in answer.headers["content-disposition"]
    files = unzipped(answer.content)
    invisible = decoded(files["person_1_invisible.png"]) > 0
    assert invisible.any() and not (invisible & mask).any()
    assert (decoded(files["completed.png"])[~invisible] == image[~invisible]).all()
    (tmp_path / "layers.ora").write_bytes(files["layers.ora"])
    assert (flatten(read_openraster(tmp_path / "layers.ora"))[..., :3] == image).all()
    assert files_in(folder) == []


def test_the_json_answer_has_the_same_files(client: TestClient) -> None:
    image, _ = sample()
    whole = unzipped(client.post("/api/deocclude", files={"image": encoded(image)}).content)
    answer = client.post("/api/deocclude", files={"image": encoded(image)}, data={"answer": "json"}).json()
    assert set(answer["files"]) == set(whole)
    assert base64.b64decode(answer["files"]["person_1_cutout.png"]) == whole["person_1_cutout.png"]
    assert "invented" in answer["notice"] and answer["scene"]["people"][0]["number"] == 1


def test_the_person_may_be_named_by_mask_box_or_point(client: TestClient) -> None:
    image, mask = sample()
    sent = {"image": ("a.png", encoded(image))}
    answers = [
        client.post("/api/deocclude", files={**sent, "mask": encoded(mask)}),
        client.post("/api/deocclude", files=sent, data={"box": "5,10,40,60"}),
        client.post("/api/deocclude", files=sent, data={"point": "12,25"}),
    ]
    modal = [decoded(unzipped(answer.content)["person_1_modal.png"]) > 0 for answer in answers]
    assert all((one == mask).all() for one in modal)


def test_the_seed_decides_what_is_drawn(client: TestClient) -> None:
    image, _ = sample()

    def drawn(seed: int) -> bytes:
        answer = client.post("/api/deocclude", files={"image": encoded(image)}, data={"seed": str(seed)})
        return unzipped(answer.content)["person_1_cutout.png"]

    assert drawn(1) == drawn(1) != drawn(2)


def test_people_may_reach_beyond_the_picture(client: TestClient) -> None:
    image, _ = with_red_person(photograph(), (10, 40, 26, 64))
    answer = client.post("/api/deocclude", files={"image": encoded(image)}, data={"extend": "30"})
    assert decoded(unzipped(answer.content)["completed.png"]).shape[:2] == (64 + 60, 96 + 60)


@pytest.mark.parametrize("name", BAD_PHOTOGRAPHS)
@pytest.mark.parametrize("path", ["/api/people", "/api/deocclude"])
def test_a_bad_photograph_is_refused_in_a_sentence(client: TestClient, folder: Path, path: str, name: str) -> None:
    answer = client.post(path, files={"image": ("holiday.png", BAD_PHOTOGRAPHS[name]())})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("holiday.png: ") and str(folder) not in answer.text
    assert files_in(folder) == []


BAD_WISHES: dict[str, dict[str, str]] = {
    "a box of three": {"box": "1,2,3"},
    "a box of words": {"box": "a,b,c,d"},
    "a box without end": {"box": "0,0,nan,inf"},
    "a point outside": {"point": "500,500,1"},
    "nobody there": {"point": "90,2"},
    "box and point": {"box": "5,10,40,60", "point": "12,25"},
    "no such number of people": {"people": "-3"},
    "people without end": {"people": "9" * 5000},
    "no such preset": {"preset": "../../etc/passwd"},
    "no extension": {"extend": "-1"},
    "a canvas too large": {"extend": "9000"},
}


@pytest.mark.parametrize("name", BAD_WISHES)
def test_a_bad_wish_is_refused_in_a_sentence(client: TestClient, name: str) -> None:
    image, _ = sample()
    answer = client.post("/api/deocclude", files={"image": encoded(image)}, data=BAD_WISHES[name])
    assert answer.status_code == 400 and set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    ("mask", "problem"),
    [(np.zeros((64, 96), bool), "empty"), (np.ones((32, 32), bool), "32"), (np.ones((64, 96), bool), "mask")],
    ids=["all black", "another size", "all white"],
)
def test_a_bad_mask_is_refused_in_a_sentence(client: TestClient, folder: Path, mask: np.ndarray, problem: str) -> None:
    image, _ = sample()
    answer = client.post("/api/deocclude", files={"image": encoded(image), "mask": ("m.png", encoded(mask))})
    assert answer.status_code == 400
    assert "m.png" in answer.json()["error"] and problem in answer.json()["error"]
    assert str(folder) not in answer.text


def test_a_picture_without_people_says_so(client: TestClient) -> None:
    answer = client.post("/api/deocclude", files={"image": ("empty_street.png", encoded(photograph()))})
    assert answer.status_code == 400 and "no person found" in answer.json()["error"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/people/1", "/api/predict"])
def test_what_is_not_there_is_said_in_a_sentence(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 404 and set(answer.json()) == {"error"}


@pytest.mark.parametrize(("method", "path"), [("GET", "people"), ("PUT", "deocclude"), ("POST", "health")])
def test_the_wrong_method_is_said_in_a_sentence(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, f"/api/{path}")
    assert answer.status_code == 404 and f"no {method} /api/{path}" in answer.json()["error"]


def test_the_home_folder_of_the_server_is_not_named(tmp_path: Path) -> None:
    def build(_: str) -> SceneDeoccluder:
        raise InputError(f"{Path.home() / 'weights.safetensors'}: there is no such file")

    client = TestClient(create_app(Methods(build=build), tmp_path), base_url=ADDRESS)
    answer = client.post("/api/people", files={"image": encoded(sample()[0])})
    assert answer.status_code == 400
    assert answer.json()["error"] == f"~{os.sep}weights.safetensors: there is no such file"


@pytest.mark.parametrize("data", [{"seed": "-1"}, {"seed": "9" * 5000}, {"seed": "x"}, {"answer": "tar"}, None])
def test_what_is_no_request_is_422(client: TestClient, data: dict[str, str] | None) -> None:
    files = {} if data is None else {"image": encoded(sample()[0])}
    answer = client.post("/api/deocclude", files=files, data=data or {})
    assert answer.status_code == 422 and set(answer.json()) == {"error"}


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "..", "a/../../b.png", "\u0000.png", "x" * 400])
def test_a_photographs_name_leads_nowhere(client: TestClient, folder: Path, name: str) -> None:
    before = set(folder.parent.iterdir())
    answer = client.post("/api/deocclude", files={"image": (name, encoded(sample()[0]))})
    assert answer.status_code == 200
    assert set(folder.parent.iterdir()) == before and files_in(folder) == []


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_body_over_the_limit_is_refused(tmp_path: Path, announced: bool) -> None:
    limits = Limits(body_bytes=2**16)
    client = TestClient(create_app(red_methods(), tmp_path, limits=limits), base_url=ADDRESS)
    boundary = b"--b\r\nContent-Disposition: form-data; name=image; filename=a.png\r\n\r\n"
    parts = [boundary, *[b"\0" * 2**12] * 64, b"\r\n--b--\r\n"]
    content = b"".join(parts) if announced else iter(parts)
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post("/api/people", content=content, headers=headers)
    assert answer.status_code == 413 and "MB" in answer.json()["error"]
    assert files_in(tmp_path) == []


def test_of_a_hundred_at_once_some_wait_and_the_rest_are_told_to_come_again(tmp_path: Path) -> None:
    finder, limits = RedFinder(), Limits(running=2, waiting=5)
    app = create_app(red_methods(finder, running=2), tmp_path, limits=limits)
    finder.gate.clear()
    content, refused = encoded(sample()[0]), threading.Semaphore(0)

    def ask(_: int) -> int:
        answer = TestClient(app, base_url=ADDRESS).post("/api/people", files={"image": content})
        if answer.status_code == 503:
            assert "try again" in answer.json()["error"] and int(answer.headers["retry-after"]) > 0
            refused.release()
        return answer.status_code

    with ThreadPoolExecutor(100) as pool:
        answers = pool.map(ask, range(100))
        for _ in range(93):  # all who find no place are answered while nobody has been served yet
            assert refused.acquire(timeout=60)
        assert len(files_in(tmp_path)) <= 7
        finder.gate.set()
        statuses = list(answers)
    assert (statuses.count(200), statuses.count(503)) == (7, 93)
    assert finder.most <= 2
    assert files_in(tmp_path) == []


def test_whoever_waits_while_the_server_ends_is_told_so(tmp_path: Path) -> None:
    methods = red_methods()
    client = TestClient(create_app(methods, tmp_path), base_url=ADDRESS, raise_server_exceptions=False)
    methods.close()
    answer = client.post("/api/deocclude", files={"image": encoded(sample()[0])})
    assert answer.status_code == 503 and "try again" in answer.json()["error"]
    assert files_in(tmp_path) == []


class FindsNobody(RedFinder):
    """At once, so that the time goes into photographs."""

    def __call__(self, image: np.ndarray) -> list[Person]:
        return []


def ask_a_hundred_times(megapixels: int) -> None:
    """A hundred requests at once with photographs of so many megapixels."""
    import tempfile

    content = encoded(np.zeros((1000, 1000 * megapixels, 3), np.uint8), "JPEG")
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(red_methods(FindsNobody()), Path(folder), limits=Limits(waiting=100))

        def ask(_: int) -> int:
            return TestClient(app, base_url=ADDRESS).post("/api/people", files={"image": content}).status_code

        with ThreadPoolExecutor(100) as pool:
            assert set(pool.map(ask, range(100))) == {200}


def test_a_hundred_requests_hold_one_photograph_in_memory() -> None:
    # 6 megapixels are 18 MB, and 36 while they are converted; all decoded at once they would be 1,800 and more.
    assert peak_megabytes(ask_a_hundred_times, 6) < 600
