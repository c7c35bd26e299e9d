"""The methods a server has loaded: one for each preset, loaded on first use, used by so many at a time, stoppable."""

from __future__ import annotations

import copy
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from deocclude.conditioning.people_finder import how_many
from deocclude.errors import InputError
from deocclude.stages.presets import preset
from deocclude.web.limits import Limits

if TYPE_CHECKING:
    import numpy as np

    from deocclude.pipelines.scene import Scene, SceneDeoccluder
    from deocclude.pipelines.scene_people import SceneRequest

Result = TypeVar("Result")
POLL_SECONDS = 0.1
"""How often somebody who waits looks whether to go on waiting."""


class Stopped(Exception):
    """The user has stopped this, or the server."""


class Methods:
    """Loads presets and hands them out, until it is closed.

    build: makes the method of a preset; by default `SceneDeoccluder.from_preset` on `device`.
    default: the preset that is meant where nobody names one.
    running: how many may use one at a time. most_loaded: how many stay loaded; the one unused for longest goes first.
    """

    def __init__(
        self,
        default: str = "feedforward",
        *,
        device: str = "cpu",
        running: int = Limits.running,
        most_loaded: int = Limits.methods,
        build: Callable[[str], SceneDeoccluder] | None = None,
    ) -> None:
        self.default = default
        self._device = device
        self._build = build or self._from_preset
        self._most_loaded = most_loaded
        self._loaded: dict[str, SceneDeoccluder] = {}  # the one unused for longest first
        self._closed = threading.Event()
        self._loading = threading.Lock()
        # Threads of its own: memory that a thread gives back is the thread's to use again, so few threads keep little.
        self._workers = ThreadPoolExecutor(running, thread_name_prefix="method")

    def _from_preset(self, name: str) -> SceneDeoccluder:
        from deocclude.pipelines.scene import SceneDeoccluder

        return SceneDeoccluder.from_preset(name, device=self._device)

    def load(self, name: str) -> SceneDeoccluder:
        """The method of a preset. Raises InputError for an unknown one and one whose weights are missing."""
        preset(name)
        with self._loading:
            method = self._loaded.pop(name, None)
            if method is None:
                self._make_room()
                method = self._build(name)
            self._loaded[name] = method
            return method

    def _make_room(self) -> None:
        """For one more; before it is built, so that there are never more."""
        while len(self._loaded) >= self._most_loaded:
            del self._loaded[next(iter(self._loaded))]
            _free_memory(self._device)

    def run(
        self,
        name: str,
        work: Callable[[SceneDeoccluder], Result],
        *,
        seed: int | None = None,
        num_candidates: int = 1,
        stop: threading.Event | None = None,
    ) -> Result:
        """What `work` makes of a preset's method, once it is our turn: those who came first go first.

        seed: instead of the method's own. num_candidates: pictures of each person. Raises InputError as `load` does,
        and where the method draws no candidates; Stopped, at the next layer of a network, once `stop` is set or the
        methods are closed. Afterwards nothing of the work is held.
        """
        stop = stop or threading.Event()
        if self._closed.is_set():
            raise Stopped
        here = copy_context()  # by it, Gradio knows whose progress is reported
        future = self._workers.submit(here.run, self._run, name, work, seed, num_candidates, stop)
        while not (wait([future], timeout=POLL_SECONDS).done or future.cancelled()):  # `close` cancels too
            if stop.is_set():
                future.cancel()
        if future.cancelled():
            raise Stopped
        return future.result()

    def close(self) -> None:
        """Stop whoever is at work or waits, and take nobody else. Returns when that is done."""
        self._closed.set()
        self._workers.shutdown(cancel_futures=True)

    def _run(
        self,
        name: str,
        work: Callable[[SceneDeoccluder], Result],
        seed: int | None,
        num_candidates: int,
        stop: threading.Event,
    ) -> Result:
        try:
            with interruptible(stop, self._closed):
                return work(_drawing(self.load(name), seed, num_candidates))
        except Stopped:
            _free_memory(self._device)
            raise


def complete(scenes: SceneDeoccluder, image: np.ndarray, request: SceneRequest, limits: Limits) -> Scene:
    """De-occlude a photograph uint8 (H, W, 3) as a call of `scenes` does. Raises InputError beyond the limits too."""
    named = max(len(request.modal_masks), len(request.boxes), len(request.points))
    if named > limits.people:
        raise InputError(f"{named} people are more than the {limits.people} that are completed together here")
    asked = how_many(request.people)
    if asked is None or asked > limits.people:
        request = replace(request, people=limits.people)
    return scenes(image, replace(request, max_canvas_pixels=limits.canvas_pixels))


@contextmanager
def interruptible(*stops: threading.Event) -> Iterator[None]:
    """Within the `with` block, this thread's networks raise Stopped at their next layer once one of `stops` is set."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    ours = threading.get_ident()

    def look(_module: Any, _inputs: Any) -> None:
        if threading.get_ident() == ours and any(stop.is_set() for stop in stops):
            raise Stopped

    handle = register_module_forward_pre_hook(look)
    try:
        if any(stop.is_set() for stop in stops):
            raise Stopped
        yield
    finally:
        handle.remove()


def _drawing(scenes: SceneDeoccluder, seed: int | None, num_candidates: int) -> SceneDeoccluder:
    """The same method with another seed and number of candidates; the networks are shared."""
    deoccluder = copy.copy(scenes.deoccluder)
    if num_candidates > 1 and not deoccluder.rgb_completer.draws_candidates:
        raise InputError(f"the RGB stage '{deoccluder.rgb_completer.name}' has one answer; ask for 1 candidate")
    deoccluder.num_candidates = num_candidates
    deoccluder.seed = deoccluder.seed if seed is None else seed
    other = copy.copy(scenes)
    other.deoccluder = deoccluder
    return other


def _free_memory(device: str) -> None:
    """Give back what a stopped step or a method that was let go of held."""
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
