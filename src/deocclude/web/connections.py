"""The server's connections: so many at a time, and each must send its request and take its answer within time."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from deocclude.web.limits import Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def server(app: ASGIApp, limits: Limits | None = None) -> uvicorn.Server:
    """A server for what `create_app` returns, within the same limits."""

    class Bounded(BoundedConnection):
        _limits = limits or Limits()

    # Without WebSockets: a request for one is answered as any other.
    config = uvicorn.Config(app, http=Bounded, ws="none", log_level="warning", timeout_graceful_shutdown=2)
    return uvicorn.Server(config)


class BoundedConnection(H11Protocol):
    """One connection that is aborted where nothing comes of it.

    That is where the head of a request is not there `header_seconds` after the connection or the answer before it, and
    where the client takes nothing of an answer for as long. How long a body may take is the guard's to say.
    """

    _limits = Limits()
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come; where there are too many, another one has to go."""
        super().connection_made(transport)
        self._watch()
        if sum(not one.transport.is_closing() for one in self._all()) > self._limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request has come."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """The answer has been handed over; the client may not have taken all of it yet."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client takes less than there is."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The client has taken it."""
        super().resume_writing()
        self._watch()

    def _unsupported_upgrade_warning(self) -> None:
        """None: who asks for a WebSocket asks for what is not here, and uvicorn would advise to install it."""

    def _watch(self) -> None:
        """Run the clock while it is the client's turn."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering and not self.flow.write_paused:
            self._unwatch()
        elif self._timer is None:
            self._look_after(math.inf)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_after(self, unsent: float) -> None:
        self._timer = self.loop.call_later(self._limits.header_seconds, self._look, unsent)

    def _look(self, unsent_before: float) -> None:
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < unsent_before:  # slow, but it takes its answer
            self._look_after(unsent)
        else:
            self.transport.abort()

    def _all(self) -> set[BoundedConnection]:
        return cast("set[BoundedConnection]", self.connections)

    def _make_room(self) -> None:
        """In place of the one that has waited longest with nothing asked; where all have asked, the newest goes."""
        idle = [one for one in self._all() if one is not self and one._timer and not one.transport.is_closing()]
        longest = min(idle, key=lambda one: one._timer.when() if one._timer else math.inf, default=self)
        longest.transport.abort()
