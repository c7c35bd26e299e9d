"""The bodies of requests: taken whole, within time and bounds, before anything else is done for a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING

from deocclude.web.access import Refused
from deocclude.web.limits import Busy, Limits

if TYPE_CHECKING:
    from starlette.types import Message, Receive

IN_MEMORY = 2**18
"""Bytes of a body beyond which it lies on disk."""
PART = 2**18


class Gone(Exception):
    """The client has left; no answer is needed."""


class Body:
    """The whole body of a request. It lies in memory or, if large, on disk until it has been read `again`."""

    def __init__(self, folder: Path, release: Callable[[int], None]) -> None:
        self._file: IO[bytes] = SpooledTemporaryFile(IN_MEMORY, dir=str(folder))  # noqa: SIM115  (see `close`)
        self._release = release
        self.size = 0

    def add(self, part: bytes) -> None:
        """The next bytes."""
        self._file.write(part)

    def all(self) -> bytes:
        """The whole of it in memory."""
        self._file.seek(0)
        return self._file.read()

    def again(self, receive: Receive) -> Receive:
        """An ASGI channel that gives the body, and then what comes from `receive`: that the client has left."""
        self._file.seek(0)
        left, is_given = self.size, False

        async def receiving() -> Message:
            nonlocal left, is_given
            if is_given:
                return await receive()
            part = await asyncio.to_thread(self._file.read, PART)
            left -= len(part)
            is_given = left == 0
            if is_given:
                self.close()
            return {"type": "http.request", "body": part, "more_body": not is_given}

        return receiving

    def close(self) -> None:
        """Give back what holds it."""
        self._file.close()
        self._release(self.size)
        self.size = 0


class Bodies:
    """Takes bodies from the network. folder: where the large ones lie, in files without a name."""

    def __init__(self, limits: Limits, folder: Path) -> None:
        self._limits, self._folder = limits, folder
        self._held = 0  # in one event loop: no lock

    @asynccontextmanager
    async def whole(self, receive: Receive, most: int) -> AsyncIterator[Body]:
        """The body that arrives, of at most so many bytes, for as long as the `with` block lasts.

        Raises Refused where it is larger or takes too long, Busy where too much has arrived with others already, and
        Gone where the client leaves first.
        """
        body = Body(self._folder, self._release)
        try:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    await self._take(body, receive, most)
            except TimeoutError:
                raise Refused(408, "the request took too long to arrive; try again") from None
            yield body
        finally:
            body.close()

    def _release(self, size: int) -> None:
        self._held -= size

    async def _take(self, body: Body, receive: Receive, most: int) -> None:
        more = True
        while more:
            async with asyncio.timeout(self._limits.silent_seconds):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            part = message.get("body", b"")
            if body.size + len(part) > most:
                raise too_large(most)
            if self._held + len(part) > self._limits.arriving_bytes:
                raise Busy("too many photographs arrive at once; try again in a minute")
            self._held += len(part)
            body.size += len(part)
            await asyncio.to_thread(body.add, part)
            more = message.get("more_body", False)


def too_large(limit: int) -> Refused:
    """The refusal of a body beyond so many bytes."""
    return Refused(413, f"that is more than the {limit / 2**20:.0f} MB taken here; make the picture smaller")
