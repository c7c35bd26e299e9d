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
from deocclude.presets import preset
from deocclude.web.limits import Limits

if TYPE_CHECKING:
    import numpy as np

    from deocclude.pipelines.scene import Scene, SceneDeoccluder
    from deocclude.pipelines.scene_people import SceneRequest

Result = TypeVar("Result")
POLL_SECONDS = 0.1
"""How often somebody who waits looks whether to go on waiting."""


class Stopped(Exception):
    """The user has stopped this."""


class Methods:
    """Loads presets and hands them out.

    build: makes the method of a preset; by default `SceneDeoccluder.from_preset` on `device`.
    default: the preset that is meant where nobody names one.
    running: how many may use one at a time.
    """

    def __init__(
        self,
        default: str = "feedforward",
        *,
        device: str = "cpu",
        running: int = 1,
        build: Callable[[str], SceneDeoccluder] | None = None,
    ) -> None:
        self.default = default
        self._device = device
        self._build = build or self._from_preset
        self._loaded: dict[str, SceneDeoccluder] = {}
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
            if name not in self._loaded:
                self._loaded[name] = self._build(name)
            return self._loaded[name]

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
        and where the method draws no candidates; Stopped, at the next layer of a network, once `stop` is set.
        Afterwards nothing of the work is held.
        """
        stop = stop or threading.Event()
        here = copy_context()  # by it, Gradio knows whose progress is reported
        future = self._workers.submit(here.run, self._run, name, work, seed, num_candidates, stop)
        while not wait([future], timeout=POLL_SECONDS).done:
            if stop.is_set() and future.cancel():
                raise Stopped
        return future.result()

    def _run(
        self,
        name: str,
        work: Callable[[SceneDeoccluder], Result],
        seed: int | None,
        num_candidates: int,
        stop: threading.Event,
    ) -> Result:
        try:
            with interruptible(stop):
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
    extend = 0 if request.extend == "auto" else request.extend
    _check_canvas((image.shape[0] + 2 * extend) * (image.shape[1] + 2 * extend), limits)
    found = scenes.find(image, request)
    _check_canvas(found.canvas.image.shape[0] * found.canvas.image.shape[1], limits)
    return scenes.complete([found])[0]


def _check_canvas(pixels: int, limits: Limits) -> None:
    if pixels > limits.canvas_pixels:
        raise InputError(
            f"the larger picture would have {pixels:,} pixels, over {limits.canvas_pixels:,}; extend it less"
        )


@contextmanager
def interruptible(stop: threading.Event) -> Iterator[None]:
    """Within the `with` block, this thread's networks raise Stopped at their next layer once `stop` is set."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    ours = threading.get_ident()

    def look(_module: Any, _inputs: Any) -> None:
        if threading.get_ident() == ours and stop.is_set():
            raise Stopped

    handle = register_module_forward_pre_hook(look)
    try:
        if stop.is_set():
            raise Stopped
        yield
    finally:
        handle.remove()


def _drawing(scenes: SceneDeoccluder, seed: int | None, num_candidates: int) -> SceneDeoccluder:
    """The same method with another seed and number of candidates; the networks are shared."""
    from deocclude.pipelines.completion import DrawsCandidates

    deoccluder = copy.copy(scenes.deoccluder)
    if num_candidates > 1 and not isinstance(deoccluder.rgb_completer, DrawsCandidates):
        raise InputError(f"the RGB stage '{deoccluder.rgb_completer.name}' has one answer; ask for 1 candidate")
    deoccluder.num_candidates = num_candidates
    deoccluder.seed = deoccluder.seed if seed is None else seed
    other = copy.copy(scenes)
    other.deoccluder = deoccluder
    return other


def _free_memory(device: str) -> None:
    """Give back what a stopped step held."""
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
