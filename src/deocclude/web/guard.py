"""What stands before the page and the API: who may ask, what for, and how much of it.

Gradio's server can do more than this page needs: it fetches pictures from addresses, passes requests on, serves files.
Here a request gets through only where the page or the API needs it; the rest never reaches Gradio.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from deocclude.web.access import Access, Refused
from deocclude.web.bodies import Bodies, Gone, too_large
from deocclude.web.limits import Admission, Busy, Limits, Listeners

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)
FILE = "/gradio_api/file="
UPLOAD = "/gradio_api/upload"
MESSAGE = "/gradio_api/queue/join"
NEWS = "/gradio_api/queue/data"
STREAMS = (NEWS, "/gradio_api/heartbeat/", "/gradio_api/upload_progress")
API = "/api/"
OPEN_EXACTLY = {
    "/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", UPLOAD, MESSAGE, "/gradio_api/upload_progress",
    NEWS, "/gradio_api/run/predict", "/gradio_api/cancel", "/gradio_api/reset",
    "/gradio_api/startup-events",
}  # fmt: skip
OPEN_BELOW = (API, "/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/", FILE)
MISTAKE = "the server made a mistake; its log says which"
HEADERS = [
    # Whatever a page of Gradio's may name: nothing is loaded from elsewhere, nothing is sent there.
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; form-action 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Guard:
    """ASGI middleware. folder: the only one whose files are served and read. access: who may send requests.

    listeners: learns which pages call events and listen. sweep: removes what is not kept any longer; called now and
    then, and before the disk is looked at.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        folder: Path,
        limits: Limits,
        access: Access,
        listeners: Listeners,
        sweep: Callable[[], None],
    ) -> None:
        self._app = app
        self._sweep = sweep
        self._folder = folder.resolve()
        self._limits = limits
        self._access = access
        self._bodies = Bodies(limits, self._folder)
        self._listeners = listeners
        self._admission = Admission(limits.running + limits.waiting)
        self._streams = Admission(limits.streams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a sentence."""
        if scope["type"] == "lifespan":
            sweeping = asyncio.create_task(self._sweep_regularly())
            try:
                await self._app(scope, receive, send)
            finally:
                sweeping.cancel()
        elif scope["type"] == "http":
            await self._answered(scope, receive, send)
        else:  # a WebSocket; the page uses none
            await send({"type": "websocket.close", "code": 1008})

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send)
        try:
            await self._checked(scope, receive, answer)
            await answer.end()
        except Refused as refusal:
            await answer.refuse(refusal.status, str(refusal))
        except Gone:
            pass
        except Busy as busy:
            await answer.refuse(503, str(busy), (b"retry-after", b"30"))
        except Exception:
            logger.exception("a request to %s failed", scope["path"])
            await answer.refuse(500, MISTAKE)

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._limits.kept_seconds / 10)
            await asyncio.to_thread(self._sweep)

    async def _checked(self, scope: Scope, receive: Receive, send: _Answer) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._access.check_sender(scope["method"], headers)
        if self._access.token is not None:
            if scope["path"] == "/" and self._access.opens(scope["query_string"]):
                await send.open(self._access, scope["scheme"])
                return
            self._access.check_token(headers)
        path = scope["path"]
        if path not in OPEN_EXACTLY and not path.startswith(OPEN_BELOW):
            raise Refused(404, f"there is nothing at {path}")
        if path.startswith(FILE):
            self._check_file(path.removeprefix(FILE))
        if scope["method"] in ("GET", "HEAD"):
            await self._read(scope, receive, send)
            return
        is_large = path == UPLOAD or path.startswith(API)
        limit = self._limits.body_bytes if is_large else self._limits.message_bytes
        if int(_digits(headers.get("content-length"))) > limit:
            raise too_large(limit)
        if path == MESSAGE or is_large:
            await asyncio.to_thread(self._check_disk)
        async with self._bodies.whole(receive, limit) as body:
            if path.startswith(API):
                await self._worked_on(scope, body.again(receive), send)
            elif path == UPLOAD or not body.size:
                await self._app(scope, body.again(receive), send)
            else:
                message = await asyncio.to_thread(self._checked_message, body.all(), headers.get("host", ""))
                await self._app(scope, _replayed(message, receive), send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A page, a file, or a stream of news, which lasts for as long as the client likes."""
        with ExitStack() as held:
            if scope["path"].startswith(STREAMS):
                held.enter_context(self._streams.place())
            if scope["path"] == NEWS:
                query = parse_qs(scope["query_string"].decode("latin-1"))
                held.enter_context(self._listeners.listening(query.get("session_hash", [""])[-1]))
            await self._app(scope, receive, send)

    async def _worked_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request of the API. It has a place until its answer begins, however slowly that is taken, or the client
        leaves.
        """
        with ExitStack() as held:
            held.enter_context(self._admission.place())

            async def receiving() -> Message:
                message = await receive()
                if message["type"] == "http.disconnect":
                    held.close()
                return message

            async def sending(message: Message) -> None:
                held.close()
                await send(message)

            await self._app(scope, receiving, sending)

    def _checked_message(self, body: bytes, host: str) -> bytes:
        """The message as it was understood here, so that Gradio reads what was checked. Raises Refused.

        Files that it names are those of the page: nothing else is read, no address is fetched.
        """
        try:
            content = json.loads(body)
            for one in _objects(content):
                self._check_object(one, host)
            if isinstance(content, dict) and isinstance(page := content.get("session_hash"), str):
                self._listeners.calls(page)
            return json.dumps(content).encode()
        except (ValueError, RecursionError):
            raise Refused(400, "the request is not JSON") from None

    def _check_object(self, one: dict[str, Any], host: str) -> None:
        path, url = one.get("path"), one.get("url")
        # A browser names the address under which it sees its own upload; that one is not fetched either, only allowed.
        if (isinstance(path, str) and _is_address(path)) or (isinstance(url, str) and not _is_here(url, host)):
            raise Refused(400, "addresses are not fetched; upload the picture itself")
        if "path" in one:
            self._check_file(path)

    def _check_file(self, name: Any) -> None:
        """Only a regular file in the folder, wherever links and dots lead. Raises Refused."""
        if not (isinstance(name, str) and self._is_own_file(name)):
            raise Refused(403, "only the page's own files are here")

    def _is_own_file(self, name: str) -> bool:
        # First by the name alone: on Windows, to look at \\host\share is to send a password there.
        if not (os.path.isabs(name) and Path(os.path.normpath(name)).is_relative_to(self._folder)):
            return False
        try:
            path = Path(name).resolve()
            return path.is_relative_to(self._folder) and path.is_file()
        except (OSError, ValueError):
            return False

    def _check_disk(self) -> None:
        self._sweep()
        if _bytes_in(self._folder) > self._limits.folder_bytes:
            raise Refused(507, "the server has no room for more pictures now; try again in an hour")


def _bytes_in(folder: Path) -> int:
    """Of all the files at any depth; some may go meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _digits(length: str | None) -> str:
    return length if length and length.isascii() and length.isdigit() and len(length) < 20 else "0"


def _replayed(body: bytes, receive: Receive) -> Receive:
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def _is_address(path: str) -> bool:
    """Whether it begins as `https:` or `data:` do; a single letter is a drive of Windows."""
    scheme, colon, _ = path.partition("/")[0].partition(":")
    return bool(colon) and (len(scheme) != 1 or path[2:].startswith("//"))


def _is_here(url: str, host: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.netloc == host if parts.scheme in ("http", "https") else not (parts.scheme or parts.netloc)


def _objects(content: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object inside, at any depth."""
    left = [content]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left += one.values()
        elif isinstance(one, list):
            left += one


class _Answer:
    """Sends what the application answers, with our headers, or a sentence of ours while nothing has been sent.

    What a server's own machinery says of a mistake, a plain "Internal Server Error", is held back for `end`.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = self._failed = False

    async def __call__(self, message: Message) -> None:
        """Send one message of the application."""
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            self._failed = message["status"] == 500 and any(
                name.lower() == b"content-type" and value.startswith(b"text/plain") for name, value in headers
            )
            message = {**message, "headers": [*headers, *HEADERS]}
        if not self._failed:
            self._begun = True
            await self._send(message)

    async def end(self) -> None:
        """The application has done its part."""
        if self._failed:
            await self.refuse(500, MISTAKE)

    async def refuse(self, status: int, sentence: str, *headers: tuple[bytes, bytes]) -> None:
        """Send a sentence, unless something else was sent already."""
        if not self._begun:
            body = json.dumps({"error": sentence}).encode()
            await self._whole(status, body, (b"content-type", b"application/json"), *headers)

    async def open(self, access: Access, scheme: str) -> None:
        """Keep the token in a cookie and show the page under an address without it."""
        flags = "Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if scheme == "https" else "")
        cookie = f"{access.cookie}={access.token}; {flags}"
        await self._whole(303, b"", (b"location", b"/"), (b"set-cookie", cookie.encode()))

    async def _whole(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self._failed, length = False, (b"content-length", str(len(body)).encode())
        await self({"type": "http.response.start", "status": status, "headers": [length, *headers]})
        await self._send({"type": "http.response.body", "body": body})
