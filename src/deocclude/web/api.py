"""The HTTP API: photographs in, people and layers out. `/api/docs` describes it from the same definitions."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from PIL import Image
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from deocclude import __version__
from deocclude.conditioning.people_finder import how_many
from deocclude.data.segmentations import encode_run_lengths
from deocclude.errors import InputError
from deocclude.images import open_image, open_mask
from deocclude.pipelines.scene import SceneDeoccluder
from deocclude.pipelines.scene_outputs import SCENE_JSON
from deocclude.pipelines.scene_people import SceneRequest
from deocclude.stages.presets import offered_presets
from deocclude.types import Person
from deocclude.web.api_docs import api_page
from deocclude.web.limits import Limits
from deocclude.web.methods import Methods, Stopped, complete
from deocclude.web.results import INVENTED, write_layers, zipped
from deocclude.web.sessions import for_visitors, without_folder

Photograph = Annotated[UploadFile, File(description="The photograph: JPEG, PNG, WEBP, TIFF or BMP.")]


async def _gone(request: Request) -> AsyncIterator[threading.Event]:
    """Set once the client has left. The body is there already: nothing else can come."""
    gone = threading.Event()

    async def wait() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    waiting = asyncio.create_task(wait())
    try:
        yield gone
    finally:
        waiting.cancel()


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Gone = Annotated[threading.Event, Depends(_gone)]
Preset = Annotated[str | None, Form(description="Which method; without one, the server's own choice.")]


def add_api(app: FastAPI, methods: Methods, limits: Limits, folder: Path) -> None:
    """Put the API's routes under `/api`, every error of theirs a JSON sentence. folder: for files on their way."""
    app.include_router(_routes(methods, limits, folder), prefix="/api")
    app.add_api_route("/api/docs", _docs, response_class=HTMLResponse, include_in_schema=False)
    # The last of the routes: what matches none of ours is answered here, and not in Gradio's words.
    app.add_api_route("/api/{rest:path}", _nothing, methods=METHODS, include_in_schema=False)

    @app.exception_handler(InputError)
    def _(_request: Request, error: InputError) -> JSONResponse:
        return _sentence(400, for_visitors(error))

    @app.exception_handler(Stopped)
    def _(_request: Request, _error: Stopped) -> JSONResponse:
        return _sentence(503, "the server is being ended; try again later")

    @app.exception_handler(RequestValidationError)
    def _(_request: Request, error: RequestValidationError) -> JSONResponse:
        problems = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()]
        return _sentence(422, "; ".join(problems))

    @app.exception_handler(HTTPException)
    def _(_request: Request, error: HTTPException) -> JSONResponse:
        return _sentence(error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    def _(_request: Request, _error: Exception) -> JSONResponse:
        return _sentence(500, "the server made a mistake; its log says which")


def _docs(request: Request) -> HTMLResponse:
    return HTMLResponse(api_page(request.app.openapi(), str(request.base_url)))


def _nothing(request: Request) -> JSONResponse:
    return _sentence(404, f"there is no {request.method} {request.url.path}; /api/docs lists what there is")


def _sentence(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status_code=status)


def _routes(methods: Methods, limits: Limits, folder: Path) -> APIRouter:
    router = APIRouter()

    @router.get("/health")
    def health() -> dict[str, Any]:
        """Whether the server is there, which presets it knows and what it refuses."""
        return {
            "status": "ok",
            "version": __version__,
            "preset": methods.default,
            "presets": list(offered_presets()),
            "limits": asdict(limits),
        }

    @router.post("/people")
    def people(
        image: Photograph,
        gone: Gone,
        masks: Annotated[Literal["rle", "png"], Form(description="COCO run lengths, or PNG in base64.")] = "rle",
        preset: Preset = None,
    ) -> dict[str, Any]:
        """Everybody in a photograph, the largest first: box, and mask of the visible part."""
        with _saved(image, folder) as path:
            return methods.run(
                preset or methods.default, lambda scenes: _people(scenes, path, masks, limits), stop=gone
            )

    @router.post("/deocclude", response_class=Response, responses={200: _answers()})
    def deocclude(
        image: Photograph,
        gone: Gone,
        mask: Annotated[
            list[UploadFile], File(description="The visible part of a person, white on black; once a person.")
        ] = [],  # noqa: B006  (FastAPI makes a new one for each request)
        box: Annotated[list[str], Form(description="X0,Y0,X1,Y1 in pixels: where a person is; once a person.")] = [],  # noqa: B006
        point: Annotated[list[str], Form(description="X,Y in pixels, on a person; once a person.")] = [],  # noqa: B006
        people: Annotated[str, Form(description="all, largest or a number, where nothing says who is meant.")] = "all",
        extend: Annotated[str, Form(description="Pixels by which people may reach beyond the picture, or auto.")] = "0",
        seed: Annotated[int | None, Form(ge=0, lt=2**63, description="Of whatever is drawn at random.")] = None,
        preset: Preset = None,
        answer: Annotated[Literal["zip", "json"], Form(description="How the files come back.")] = "zip",
    ) -> Response:
        """Complete people and return their layers: PNG pictures and masks, JSON, and an OpenRaster file of all.

        The hidden part is invented; the files say which pixels.
        """
        with _saved(image, folder) as path, _saved_all(mask, folder) as masks:
            wanted = _Wanted(
                people=how_many(people) or "all",
                masks=masks,
                boxes=[_four(one) for one in box],
                points=[_two(one) for one in point],
                extend=_extend(extend),
            )
            results = Path(tempfile.mkdtemp(prefix="answer-", dir=folder))
            try:
                files = methods.run(
                    preset or methods.default,
                    lambda scenes: _layers(scenes, path, wanted, results, limits),
                    seed=seed,
                    stop=gone,
                )
                return _answer(answer, files, path, results)
            except BaseException:
                shutil.rmtree(results, ignore_errors=True)
                raise

    return router


# --- the work: photographs are decoded here, when it is their turn, and gone with the function ---


@dataclass(frozen=True)
class _Wanted:
    """What a request says about people; masks are files still."""

    people: int | Literal["all"]
    masks: list[Path]
    boxes: list[tuple[float, float, float, float]]
    points: list[tuple[float, float]]
    extend: int | Literal["auto"]


def _people(scenes: SceneDeoccluder, path: Path, masks: str, limits: Limits) -> dict[str, Any]:
    picture = open_image(path, max_pixels=limits.pixels)
    found = scenes.finder(picture)[: limits.people]
    return {
        "width": picture.shape[1],
        "height": picture.shape[0],
        "people": [_described(person, masks) for person in found],
    }


def _layers(scenes: SceneDeoccluder, path: Path, wanted: _Wanted, results: Path, limits: Limits) -> list[Path]:
    """The files of a photograph's people, in the folder `results`."""
    picture = open_image(path, max_pixels=limits.pixels)
    if len(wanted.masks) > limits.people:
        raise InputError(f"{len(wanted.masks)} masks are more than the {limits.people} people completed together here")
    size_hw = picture.shape[0], picture.shape[1]
    request = SceneRequest(
        people=wanted.people,
        modal_masks=[open_mask(mask, size_hw, max_pixels=limits.pixels) for mask in wanted.masks],
        boxes=wanted.boxes,
        points=wanted.points,
        extend=wanted.extend,
    )
    scene = complete(scenes, picture, request, limits)
    if not scene.people:
        raise InputError(f"{path.name}: no person found in the picture; say where with a box, or give a mask")
    return write_layers(results, scene, path)


# --- what comes in ---


@contextmanager
def _saved(upload: UploadFile, folder: Path) -> Iterator[Path]:
    """The uploaded file on disk, under a tame form of its own name, for as long as the `with` block lasts."""
    own = Path(tempfile.mkdtemp(prefix="request-", dir=folder))
    name = re.sub(r"[^\w.-]", "_", Path(upload.filename or "").name).lstrip(".")[-80:]
    try:
        path = own / (name or "photograph")
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        try:
            yield path
        except InputError as error:
            raise without_folder(error, path) from error
    finally:
        shutil.rmtree(own, ignore_errors=True)


@contextmanager
def _saved_all(uploads: list[UploadFile], folder: Path) -> Iterator[list[Path]]:
    with ExitStack() as saved:
        yield [saved.enter_context(_saved(upload, folder)) for upload in uploads]


def _numbers(text: str, count: int, name: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise InputError(f"a {name} is {count} numbers with commas between them; got '{text[:80]}'")
    return numbers


def _four(text: str) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = _numbers(text, 4, "box")
    return x0, y0, x1, y1


def _two(text: str) -> tuple[float, float]:
    x, y = _numbers(text, 2, "point")
    return x, y


def _extend(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise InputError(f"extend is a number of pixels or auto; got '{text[:80]}'")
    return int(text)


# --- what goes out ---


def _described(person: Person, masks: str) -> dict[str, Any]:
    shown: Any = encode_run_lengths(person.modal_mask) if masks == "rle" else _png(person.modal_mask)
    return {
        "box_xyxy": list(person.box_xyxy),
        "visible_pixels": int(person.modal_mask.sum()),
        "modal_mask": shown,
    }


def _png(mask: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _answer(kind: str, files: list[Path], source: Path, results: Path) -> Response:
    """The files in the form wanted; their folder goes once they are sent."""
    gone = BackgroundTask(shutil.rmtree, results, ignore_errors=True)
    if kind == "zip":
        archive = zipped(files, results / f"{source.stem}_layers.zip")
        return FileResponse(archive, media_type="application/zip", filename=archive.name, background=gone)
    content = {
        "notice": INVENTED,
        "scene": next(json.loads(path.read_text("utf-8")) for path in files if path.name == SCENE_JSON),
        "files": {path.name: base64.b64encode(path.read_bytes()).decode() for path in files},
    }
    return JSONResponse(content, background=gone)


def _answers() -> dict[str, Any]:
    """What the description says of the two forms."""
    return {
        "description": "The layers: a ZIP, or JSON with the facts of each person and every file in base64.",
        "content": {"application/zip": {}, "application/json": {}},
    }
