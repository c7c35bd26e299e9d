"""How much one server gives, and who must wait: every bound is in `Limits`, and nothing else decides."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is refused beyond."""

    body_bytes: int = 48 * 2**20
    """Of one request's body: a photograph, and a mask with it."""
    message_bytes: int = 2**20
    """Of what the page sends besides photographs: brush strokes, mostly."""
    arriving_bytes: int = 2**30
    """Of all the bodies that are on their way."""
    body_seconds: int = 180
    """Until a body is there."""
    silent_seconds: int = 15
    """In which none of a body arrives."""
    header_seconds: int = 10
    """Until the head of a request is there, and in which none of an answer is taken."""
    connections: int = 400
    """At a time; beyond, one on which nothing was asked makes room."""
    streams: int = 200
    """Connections on which pages wait for news."""
    unheard_seconds: int = 5
    """After which a page's work ends, where the page does not listen for what becomes of it."""
    pixels: int = 25_000_000
    """Of one photograph."""
    people: int = 12
    """Completed together."""
    candidates: int = 8
    """Pictures drawn of one person."""
    brush_points: int = 20_000
    """Of all brush strokes on one photograph together."""
    canvas_pixels: int = 50_000_000
    """Of a picture that is made larger because people are cut off by its edge."""
    running: int = 1
    """Photographs worked on at a time."""
    methods: int = 2
    """Presets that stay loaded; for another one, the one unused for longest goes."""
    waiting: int = 16
    """Requests that may wait for that; the next one is told to come again."""
    sessions: int = 100
    """Pages that are remembered; beyond, the oldest are forgotten."""
    kept_seconds: int = 3600
    """How long a session and its files are kept after they were last used."""
    folder_bytes: int = 4 * 2**30
    """Of all the files that pages keep on disk."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < (0 if name == "waiting" else 1):
                raise ValueError(f"{name} is too small: {value}")


class Busy(Exception):
    """As many requests as may wait are waiting. The message is a sentence for the user."""


class Listeners:
    """Which pages listen for what becomes of their events. One that has gone does not.

    grace: seconds that a page has, from when it calls an event, to begin listening.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._streams: dict[str, int] = {}
        self._called: dict[str, float] = {}  # the one longest ago first
        self._lock = threading.Lock()

    def calls(self, page: str) -> None:
        """A page calls an event now."""
        now = time.monotonic()
        with self._lock:
            self._called.pop(page, None)
            self._called[page] = now
            while now - next(iter(self._called.values())) > self._grace:
                del self._called[next(iter(self._called))]

    @contextmanager
    def listening(self, page: str) -> Iterator[None]:
        """The page listens for as long as the `with` block lasts."""
        with self._lock:
            self._streams[page] = self._streams.get(page, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._streams[page] -= 1
                if not self._streams[page]:
                    del self._streams[page]

    def is_gone(self, page: str) -> bool:
        """Whether the page does not wait for what it has called."""
        with self._lock:
            return page not in self._streams and time.monotonic() - self._called.get(page, -math.inf) > self._grace


class Admission:
    """Counts who is inside, running or waiting: so many may be, and no more. Nobody waits here."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._inside = 0
        self._lock = threading.Lock()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for as long as the `with` block lasts. Raises Busy where there is none."""
        with self._lock:
            if self._inside >= self._places:
                raise Busy(f"{self._inside} requests are waiting already, and no more can; try again in a minute")
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
