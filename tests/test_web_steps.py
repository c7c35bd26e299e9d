"""What the page's buttons do, over miniatures: from a photograph to layers, and sentences for everything else."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from miniatures import photograph, with_red_person
from PIL import Image, ImageCms
from tiny_web import BAD_PHOTOGRAPHS, BOX, encoded, files_in, red_methods, sample

from deocclude.errors import InputError
from deocclude.pipelines.scene_people import SceneRequest
from deocclude.web.limits import Limits
from deocclude.web.methods import Methods, complete
from deocclude.web.results import write_candidates
from deocclude.web.sessions import Session
from deocclude.web.steps import Steps

PAGE = SimpleNamespace(session_hash="page")
NOTHING = (False, "", "", None, 1, 0)
"""The wishes of somebody who has none: extend, words, box, reference, candidates, seed."""


def no_progress(*_: Any, **__: Any) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    return tmp_path / "served"


@pytest.fixture
def steps(folder: Path) -> Steps:
    return Steps(red_methods(), Limits(), folder)


def dropped(tmp_path: Path, content: bytes, name: str = "street.png") -> str:
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


def opened(steps: Steps, tmp_path: Path, image: np.ndarray) -> tuple[Session, dict[str, Any], str]:
    session, value, told, *_ = steps.open(dropped(tmp_path, encoded(image)), "feedforward", None, PAGE, no_progress)
    return session, value, told


def completed(steps: Steps, session: Session | None, value: Any, *wishes: Any) -> list[Any]:
    return steps.complete(session, value, "feedforward", *(wishes or NOTHING), PAGE, no_progress)


def two_people() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, second = with_red_person(photograph(), (60, 5, 70, 12))
    image, first = with_red_person(image, BOX)
    return image, first, second


def test_from_a_photograph_to_layers(steps: Steps, tmp_path: Path, folder: Path) -> None:
    image, mask = sample()
    session, value, told = opened(steps, tmp_path, image)
    assert value["chosen"] == 0 and "One person" in told and (session.people[0].mask == mask).all()
    assert (folder / value["picture"].removeprefix("/gradio_api/file=")).is_file()

    _, sentence, pictures, _, _, cutout, archive, layers, _ = completed(steps, session, value)

    assert "The hidden part is invented." in sentence
    names = {Path(path).name for path in layers}
    assert {"layers.ora", "scene.json", "coco.json", "completed.png", "person_1_cutout.png"} <= names
    for path in (*pictures, cutout["value"] if isinstance(cutout, dict) else cutout, archive, *layers):
        assert Path(path).is_relative_to(folder) and Path(path).is_file()


def test_what_was_painted_is_what_is_completed(steps: Steps, tmp_path: Path) -> None:
    session, value, _ = opened(steps, tmp_path, sample()[0])
    strokes = [
        {"person": 0, "tool": "erase", "radius": 4, "points": [12, 22]},
        {"person": 0, "tool": "keep", "radius": 3, "points": [18, 45, 18, 50]},
    ]
    layers = completed(steps, session, {**value, "strokes": strokes})[7]
    shown = {Path(path).name: np.array(Image.open(path)) for path in layers if path.endswith(".png")}
    assert not shown["person_1_modal.png"][22, 12] and shown["person_1_modal.png"][30, 18]
    assert shown["person_1_invisible.png"].any() and not shown["person_1_invisible.png"][45:51, 18].any()


def test_a_point_and_a_box_add_people_and_replace_the_same_one(steps: Steps, tmp_path: Path) -> None:
    image, first, _ = two_people()
    session, value, told = opened(steps, tmp_path, image)
    assert len(session.people) == 2 and value["chosen"] is None and "2 people" in told
    value["strokes"] = [{"person": 1, "tool": "add", "radius": 2, "points": [65, 20]}]
    event = SimpleNamespace(_data={"x": 15, "y": 25})
    session, value, *_ = steps.point(session, value, "feedforward", event, PAGE)
    assert len(session.people) == 2 and value["chosen"] == 1
    assert (session.people[1].mask == first).all()
    assert [stroke["person"] for stroke in value["strokes"]] == [0]
    event = SimpleNamespace(_data={"box": [0, 0, 96, 64]})  # the segmenter of the miniatures takes both for one
    session, value, *_ = steps.box(session, value, "feedforward", event, PAGE)
    assert len(session.people) == 1 and value["chosen"] == 0 and value["strokes"] == []


def test_everybody_is_completed_together(steps: Steps, tmp_path: Path) -> None:
    session, value, _ = opened(steps, tmp_path, two_people()[0])
    result = steps.complete_everybody(session, value, "feedforward", *NOTHING, PAGE, no_progress)
    assert {"person_1_cutout.png", "person_2_cutout.png"} <= {Path(path).name for path in result[7]}


def test_the_result_can_be_shown_with_its_outline(steps: Steps, tmp_path: Path) -> None:
    session, value, _ = opened(steps, tmp_path, sample()[0])
    views = completed(steps, session, value)[0]
    (before, plain), cutout = steps.show(views, 1, False)
    (same, outlined), _ = steps.show(views, 1, True)
    assert before == same and plain != outlined and Path(cutout).name == "person_1_cutout.png"
    assert (np.array(Image.open(plain)) != np.array(Image.open(outlined))).any()


NAMES = ("preview.jpg", "before.jpg", "before.jpg.png", "after_1.jpg.png", "layers.png", "street_layers.zip.png")


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_may_have_any_name(steps: Steps, tmp_path: Path, name: str) -> None:
    image, _ = sample()
    content = encoded(image)
    session, value, *_ = steps.open(dropped(tmp_path, content, name), "feedforward", None, PAGE, no_progress)
    assert session.photograph.read_bytes() == content and session.photograph.name == name
    layers = {
        Path(path).name: np.array(Image.open(path))
        for path in completed(steps, session, value)[7]
        if "ora" not in path and "json" not in path
    }
    invisible = layers["person_1_invisible.png"] > 0
    assert invisible.any() and (layers["completed.png"][..., :3][~invisible] == image[~invisible]).all()
    assert session.photograph.read_bytes() == content


def sessions_in(folder: Path) -> list[Path]:
    return list(folder.glob("session-*"))


def test_another_photograph_takes_the_place_of_the_one_before(steps: Steps, tmp_path: Path, folder: Path) -> None:
    session, value, _ = opened(steps, tmp_path, sample()[0])
    with pytest.raises(gr.Error):
        steps.open(dropped(tmp_path, b"no picture", "bad.png"), "feedforward", session, PAGE, no_progress)
    assert completed(steps, session, value)[7], "one that cannot be opened leaves the page as it was"
    path = dropped(tmp_path, encoded(two_people()[0]))
    second, *_ = steps.open(path, "feedforward", session, PAGE, no_progress)
    assert sessions_in(folder) == [second.folder]
    third, *_ = steps.open_sample("feedforward", second, PAGE, no_progress)
    assert sessions_in(folder) == [third.folder]


def test_a_photograph_that_nobody_could_look_at_is_not_kept(tmp_path: Path, folder: Path) -> None:
    def build(_preset: str) -> Any:
        raise InputError("the weights are missing")

    steps = Steps(Methods(build=build), Limits(), folder)
    with pytest.raises(gr.Error):
        steps.open(dropped(tmp_path, encoded(sample()[0])), "feedforward", None, PAGE, no_progress)
    assert sessions_in(folder) == [] and files_in(folder) == []

    def stop(*_: Any, **__: Any) -> None:
        stopped.leave(PAGE)

    methods = red_methods()
    stopped = Steps(methods, Limits(), folder)
    methods.run, run = lambda *given, **more: (stop(), run(*given, **more))[1], methods.run  # type: ignore[method-assign]
    with pytest.raises(gr.Error) as refusal:
        stopped.open(dropped(tmp_path, encoded(sample()[0])), "feedforward", None, PAGE, no_progress)
    assert "Stopped" in refusal.value.message and sessions_in(folder) == []


def test_only_the_last_result_is_kept(steps: Steps, tmp_path: Path) -> None:
    session, value, _ = opened(steps, tmp_path, sample()[0])
    completed(steps, session, value)
    some = len(files_in(session.folder))
    views, _, pictures, *_, archive, layers, _ = completed(steps, session, value)
    assert len(files_in(session.folder)) == some
    assert all(Path(path).is_file() for path in (*pictures, archive, *layers, *views.outlined, *views.cutouts))


def test_what_nobody_used_for_an_hour_goes_unless_it_is_at_work(tmp_path: Path, folder: Path) -> None:
    aged: list[Path] = []

    def age_and_sweep(session: Session) -> None:
        os.utime(session.folder, (time.time() - 3700,) * 2)
        steps.sweep()
        aged.append(session.folder)

    methods = red_methods()
    steps = Steps(methods, Limits(), folder)
    session, value, _ = opened(steps, tmp_path, sample()[0])
    other, *_ = opened(steps, tmp_path, sample()[0])

    def meanwhile(amount: float, **_: Any) -> None:
        if amount == 0.3:  # it is completed now, and that takes hours
            age_and_sweep(session)

    steps.complete(session, value, "feedforward", *NOTHING, PAGE, meanwhile)
    steps.sweep()
    assert aged and session.folder.exists() and other.folder.exists()
    age_and_sweep(other)
    assert sessions_in(folder) == [session.folder]


def test_a_field_that_was_emptied_means_the_usual_number(steps: Steps, tmp_path: Path) -> None:
    session, value, _ = opened(steps, tmp_path, two_people()[0])
    value["chosen"] = 0

    def cutout(*wishes: Any) -> bytes:
        return next(
            Path(path).read_bytes() for path in completed(steps, session, value, *wishes)[7] if "cutout" in path
        )

    assert cutout(False, "", "", None, None, None) == cutout(*NOTHING)
    everybody = steps.complete_everybody(
        session, value, "feedforward", False, "", "", None, None, None, PAGE, no_progress
    )
    assert everybody[7]


def test_candidates_keep_the_colour_profile(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = Path(dropped(tmp_path, encoded(sample()[0], icc_profile=profile)))
    scene = red_methods().run("feedforward", lambda scenes: complete(scenes, sample()[0], SceneRequest(), Limits()))
    scene = replace(scene, people=(replace(scene.people[0], candidates=(scene.rgb, scene.rgb)),))
    written = write_candidates(tmp_path, scene, path)
    assert [Image.open(one).info["icc_profile"] for one in written] == [profile, profile]


@pytest.mark.parametrize("name", BAD_PHOTOGRAPHS)
def test_a_bad_photograph_is_refused_in_a_sentence(steps: Steps, tmp_path: Path, folder: Path, name: str) -> None:
    path = dropped(tmp_path, BAD_PHOTOGRAPHS[name](), "holiday.png")
    with pytest.raises(gr.Error) as refusal:
        steps.open(path, "feedforward", None, PAGE, no_progress)
    assert refusal.value.message.startswith("holiday.png: ") and str(tmp_path) not in refusal.value.message
    assert files_in(folder) == []


@pytest.mark.parametrize(
    ("wishes", "problem"),
    [
        ((False, "a red coat", "", None, 1, 0), "reads no prompt"),
        ((False, "", "1,2", None, 1, 0), "a box is four numbers"),
        ((False, "", "", None, 4, 0), "one answer"),
    ],
)
def test_a_wish_that_cannot_be_fulfilled_is_answered(
    steps: Steps, tmp_path: Path, wishes: tuple[Any, ...], problem: str
) -> None:
    session, value, _ = opened(steps, tmp_path, sample()[0])
    with pytest.raises(gr.Error) as refusal:
        completed(steps, session, value, *wishes)
    assert problem in refusal.value.message


def test_joints_are_for_methods_that_read_them(steps: Steps, tmp_path: Path) -> None:
    session, value, _ = opened(steps, tmp_path, sample()[0])
    assert value["reads_joints"] is False
    moved = [{"person": 0, "joint": "left-knee", "x": 20.0, "y": 50.0}]
    with pytest.raises(gr.Error) as refusal:
        completed(steps, session, {**value, "moved": moved})
    assert "reads no keypoints" in refusal.value.message


def test_nobody_chosen_is_said(steps: Steps, tmp_path: Path) -> None:
    session, value, told = opened(steps, tmp_path, photograph())
    assert "Nobody was found" in told
    with pytest.raises(gr.Error) as refusal:
        completed(steps, session, value)
    assert "click the person" in refusal.value.message


def test_a_page_that_is_forgotten_says_so(steps: Steps, tmp_path: Path, folder: Path) -> None:
    session, value, _ = opened(steps, tmp_path, sample()[0])
    session.end()
    assert files_in(folder) == []
    for forgotten in (session, None):
        with pytest.raises(gr.Error) as refusal:
            completed(steps, forgotten, value)
        assert "choose the photograph again" in refusal.value.message


def test_our_own_mistakes_show_no_details(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session, value, _ = opened(steps, tmp_path, sample()[0])
    monkeypatch.setattr("deocclude.web.steps.complete", lambda *_: 1 / 0)
    with pytest.raises(gr.Error) as refusal:
        completed(steps, session, value)
    assert "division" not in refusal.value.message and "ZeroDivisionError" in caplog.text
