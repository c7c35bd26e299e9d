"""The methods a server has loaded: once each, in turn, and stopped at once where a user says so."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from miniatures import GrowDown, Paint, RedSegmenter, photograph
from tiny_web import RedFinder, red_methods, sample
from torch import Tensor, nn

from deocclude.errors import InputError
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.pipelines.scene import SceneDeoccluder
from deocclude.pipelines.scene_people import SceneRequest
from deocclude.stages.presets import presets
from deocclude.web.limits import Limits
from deocclude.web.methods import Methods, Stopped, complete
from deocclude.web.page import method_choices


class SlowPaint(Paint):
    """Goes through a layer for a minute. `began` is set once it does; `held` is what it works on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.began = nn.Identity(), threading.Event()
        self.held: weakref.ref[Tensor] | None = None

    def __call__(self, image: Tensor, *arguments: Any, **more: Any) -> Tensor:
        work = torch.zeros(1_000_000)
        self.held = weakref.ref(work)
        self.began.set()
        for _ in range(6000):
            time.sleep(0.01)
            work = self.layer(work)
        return super().__call__(image, *arguments, **more)


def slow_methods(stage: SlowPaint) -> Methods:
    def build(_preset: str) -> SceneDeoccluder:
        return SceneDeoccluder(Deoccluder(RedSegmenter(), GrowDown(), stage), RedFinder())

    return Methods(build=build)


def completed(scenes: SceneDeoccluder) -> np.ndarray:
    return complete(scenes, sample()[0], SceneRequest(), Limits()).rgb


def test_stopping_ends_the_work_at_the_next_layer_and_frees_its_memory() -> None:
    stage, stop = SlowPaint(), threading.Event()
    methods = slow_methods(stage)
    threading.Thread(target=lambda: (stage.began.wait(), stop.set())).start()
    start = time.monotonic()
    with pytest.raises(Stopped):
        methods.run("feedforward", completed, stop=stop)
    assert time.monotonic() - start < 30
    gc.collect()
    assert stage.held is not None and stage.held() is None


def test_after_a_stop_the_next_one_has_its_turn() -> None:
    stop = threading.Event()
    stop.set()
    methods = red_methods()
    with pytest.raises(Stopped):
        methods.run("feedforward", completed, stop=stop)
    assert (methods.run("feedforward", completed) != sample()[0]).any()


def test_whoever_waits_can_be_stopped_too() -> None:
    stage, running, waiting = SlowPaint(), threading.Event(), threading.Event()
    methods = slow_methods(stage)

    def run_until_stopped() -> None:
        with pytest.raises(Stopped):
            methods.run("feedforward", completed, stop=running)

    first = threading.Thread(target=run_until_stopped)
    first.start()
    assert stage.began.wait(30)
    waiting.set()
    with pytest.raises(Stopped):
        methods.run("feedforward", completed, stop=waiting)
    assert first.is_alive()
    running.set()
    first.join(30)
    assert not first.is_alive()


def test_stopping_one_leaves_other_threads_alone() -> None:
    stage, stop = SlowPaint(), threading.Event()
    methods = slow_methods(stage)

    def run_until_stopped() -> None:
        with pytest.raises(Stopped):
            methods.run("feedforward", completed, stop=stop)

    thread = threading.Thread(target=run_until_stopped)
    thread.start()
    assert stage.began.wait(30)
    stop.set()
    assert (nn.Identity()(torch.ones(3)) == 1).all()
    thread.join(30)


def test_closing_ends_the_work_and_the_waiting() -> None:
    stage = SlowPaint()
    methods = slow_methods(stage)
    stopped = threading.Semaphore(0)

    def run_until_closed() -> None:
        with pytest.raises(Stopped):
            methods.run("feedforward", completed)
        stopped.release()

    threads = [threading.Thread(target=run_until_closed, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert stage.began.wait(30)
    start = time.monotonic()
    methods.close()
    for _ in threads:
        assert stopped.acquire(timeout=30)
    assert time.monotonic() - start < 30
    with pytest.raises(Stopped):
        methods.run("feedforward", completed)


def test_no_more_methods_are_loaded_than_may_be() -> None:
    alive: weakref.WeakSet[SceneDeoccluder] = weakref.WeakSet()
    built: list[str] = []

    def build(name: str) -> SceneDeoccluder:
        assert len(alive) < 2, "room is made before the next one is there"
        scenes = SceneDeoccluder(Deoccluder(RedSegmenter(), GrowDown(), Paint()), RedFinder())
        alive.add(scenes)
        built.append(name)
        return scenes

    methods = Methods(build=build, most_loaded=2)
    one, two, three = list(presets())[:3]
    for name in (one, two, one, three, one, two):
        assert methods.run(name, completed).shape == (64, 96, 3)
        assert len(alive) <= 2
    assert built == [one, two, three, two]  # the one unused for longest has gone


def test_a_preset_is_loaded_once() -> None:
    built: list[str] = []

    def build(name: str) -> SceneDeoccluder:
        built.append(name)
        time.sleep(0.05)
        return SceneDeoccluder(Deoccluder(RedSegmenter(), GrowDown(), Paint()), RedFinder())

    methods = Methods(build=build, running=4)
    threads = [threading.Thread(target=methods.run, args=("feedforward", completed)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == ["feedforward"]


def test_what_a_method_cannot_do_is_said_in_a_sentence() -> None:
    with pytest.raises(InputError, match="no preset"):
        red_methods().run("../weights", completed)
    with pytest.raises(InputError, match="one answer"):
        red_methods().run("feedforward", completed, num_candidates=3)


@pytest.mark.parametrize(
    ("request_", "limits", "problem"),
    [
        (SceneRequest(boxes=[(0, 0, 9, 9)] * 3), Limits(people=2), "3 people"),
        (SceneRequest(extend=1000), Limits(canvas_pixels=100_000), "extend it by less"),
        (SceneRequest(extend="auto"), Limits(canvas_pixels=6144), None),
    ],
)
def test_scenes_keep_within_the_limits(request_: SceneRequest, limits: Limits, problem: str | None) -> None:
    methods = red_methods()

    def work(scenes: SceneDeoccluder) -> int:
        return len(complete(scenes, sample()[0], request_, limits).people)

    if problem is None:
        assert methods.run("feedforward", work) == 1
    else:
        with pytest.raises(InputError, match=problem):
            methods.run("feedforward", work)


def test_people_cut_off_need_no_more_memory_than_the_limit_allows() -> None:
    image = photograph(1000, 1000)
    image[:900] = (255, 0, 0)  # one person, cut off on three sides: 2800 x 3000 pixels
    limits = Limits(canvas_pixels=2_000_000)

    def work(scenes: SceneDeoccluder) -> None:
        tracemalloc.start()
        try:
            complete(scenes, image, SceneRequest(extend="auto"), limits)
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    peaks: list[int] = []
    with pytest.raises(InputError, match="more than 2,000,000; do without that"):
        red_methods().run("feedforward", work)
    assert peaks[0] < 20_000_000  # the canvas alone would be 25 million bytes


def test_the_menu_offers_what_can_run_here_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the package brings, then what needs weights, with what licences forbid; no ablation and no miniature."""
    monkeypatch.setenv("DEOCCLUDE_HOME", str(tmp_path))
    monkeypatch.setattr("deocclude.hub.HUB.cached", lambda *arguments: None)
    texts = {name: text for text, name in method_choices("feedforward")}
    assert next(iter(texts)) == "feedforward" and "needs weights" not in texts["feedforward"]
    assert all("needs weights" in text for name, text in texts.items() if name != "feedforward")
    assert "non-commercial" in texts["pix2gestalt"] and "lama" in texts
    assert not [name for name in texts if name.endswith("-tiny") or name.startswith(("mask-", "rgb-"))]
    assert next(iter(dict(map(reversed, method_choices("diffusion-tiny"))))) == "diffusion-tiny"
