"""What stands before the page and the API: who may ask, what for, and how much of it.

Gradio's server can do more than this page needs: it fetches pictures from addresses, passes requests on, serves files.
Here a request gets through only where the page or the API needs it; the rest never reaches Gradio.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deocclude.web.limits import Admission, Busy, Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FILE = "/gradio_api/file="
UPLOAD = "/gradio_api/upload"
MESSAGE = "/gradio_api/queue/join"
OPEN_EXACTLY = {
    "/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", UPLOAD, MESSAGE, "/gradio_api/upload_progress",
    "/gradio_api/queue/data", "/gradio_api/run/predict", "/gradio_api/cancel", "/gradio_api/reset",
    "/gradio_api/startup-events",
}  # fmt: skip
OPEN_BELOW = ("/api/", "/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/", FILE)
HEADERS = [
    # Whatever a page of Gradio's may name: nothing is loaded from elsewhere, nothing is sent there.
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; form-action 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Refused(Exception):
    """A request that is not let through: the HTTP status, and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Guard:
    """ASGI middleware. folder: the only one files are served from. loopback: answer to this machine's names alone.

    sweep: removes what is not kept any longer; called now and then, and before the disk is looked at.
    """

    def __init__(
        self, app: ASGIApp, *, folder: Path, limits: Limits, loopback: bool, sweep: Callable[[], None]
    ) -> None:
        self._app = app
        self._sweep = sweep
        self._folder = folder.resolve()
        self._limits = limits
        self._loopback = loopback
        self._admission = Admission(limits.running + limits.waiting)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a sentence."""
        if scope["type"] == "lifespan":
            sweeping = asyncio.create_task(self._sweep_regularly())
            try:
                await self._app(scope, receive, send)
            finally:
                sweeping.cancel()
        elif scope["type"] == "http":
            try:
                await self._checked(scope, receive, _with_headers(send))
            except Refused as refusal:
                await _answer(send, refusal.status, str(refusal))
            except Busy as busy:
                await _answer(send, 503, str(busy), (b"retry-after", b"30"))

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._limits.kept_seconds / 10)
            await asyncio.to_thread(self._sweep)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_sender(scope["method"], headers)
        path = scope["path"]
        if path not in OPEN_EXACTLY and not path.startswith(OPEN_BELOW):
            raise Refused(404, f"there is nothing at {path}")
        if path.startswith(FILE):
            self._check_file(path.removeprefix(FILE))
        if scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        is_large = path == UPLOAD or path.startswith("/api/")
        limit = self._limits.body_bytes if is_large else self._limits.message_bytes
        if int(_digits(headers.get("content-length"))) > limit:
            raise _too_large(limit)
        if path in (UPLOAD, MESSAGE):
            await asyncio.to_thread(self._check_disk)
        if not is_large:
            body = await _whole_body(receive, limit)
            _check_message(body, headers.get("host", ""))
            await self._app(scope, _replayed(body, receive), send)
            return
        with self._admission.place():
            await self._counted(scope, receive, send, limit)

    async def _counted(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        """Pass a large body on while it keeps within the limit, whatever length it has announced."""
        taken, answered, over = 0, False, False

        async def counting() -> Message:
            nonlocal taken, over
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                over = True
                return {"type": "http.disconnect"}
            return message

        async def sending(message: Message) -> None:
            nonlocal answered
            if not over or answered:
                answered = True
                await send(message)

        try:
            await self._app(scope, counting, sending)
        except Exception:
            if not over:
                raise
        if over and not answered:
            raise _too_large(limit)

    def _check_sender(self, method: str, headers: dict[str, str]) -> None:
        """Another site's page may not use this one, and no name that was made to point here either."""
        host = headers.get("host", "")
        if self._loopback and (urlsplit(f"//{host}").hostname or "") not in LOOPBACK:
            raise Refused(403, "this server answers to localhost and 127.0.0.1 only")
        origin = headers.get("origin")
        if method not in ("GET", "HEAD") and origin and urlsplit(origin).netloc != host:
            raise Refused(403, "another site may not send requests here")

    def _check_file(self, name: str) -> None:
        """Only what is in the folder, wherever links and dots lead. Raises Refused."""
        try:
            path = Path(name).resolve()
            is_ours = Path(name).is_absolute() and path.is_relative_to(self._folder) and path.is_file()
        except (OSError, ValueError):
            is_ours = False
        if not is_ours:
            raise Refused(403, "only the page's own files are here")

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


def _too_large(limit: int) -> Refused:
    return Refused(413, f"that is more than the {limit / 2**20:.0f} MB taken here; make the picture smaller")


async def _whole_body(receive: Receive, limit: int) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > limit:
            raise _too_large(limit)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def _check_message(body: bytes, host: str) -> None:
    """Files that the page names are those it uploaded: no address is fetched, no data slips past the limits."""
    if not body:
        return
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the request is not JSON") from None
    for one in _objects(content):
        path, url = one.get("path"), one.get("url")
        if isinstance(path, str) and _is_address(path):
            raise Refused(400, "addresses are not fetched; upload the picture itself")
        # A browser names the address under which it sees its own upload; that one is not fetched either, only allowed.
        if isinstance(url, str) and not _is_here(url, host):
            raise Refused(400, "addresses are not fetched; upload the picture itself")


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


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, sentence: str, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps({"error": sentence}).encode()
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await _with_headers(send)({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
