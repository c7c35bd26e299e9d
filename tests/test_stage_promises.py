"""What a stage reads besides pictures and masks: kept or refused, through `Deoccluder` and through the command line.

A stage may read a prompt, joints or a reference. Whatever it is given, either the result depends on it or one sentence
says that the stage reads no such thing: nothing is accepted and dropped.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature_weights import look_in, quick, write_baselines, write_diffusion
from miniatures import photograph, standing_joints, write_png

from deocclude import Control, Deoccluder, InputError
from deocclude.cli.main import main
from deocclude.conditioning import describer, occlusion_evidence
from deocclude.images import open_image
from deocclude.pipelines import deoccluder as deoccluder_module
from deocclude.stages.catalogue import build_mask_stage, build_rgb_stage, stage_specs
from deocclude.stages.completers.trivial import CopyInputRgb
from deocclude.types import Hints

UNTRAINED = "feedforward-paper"
"""At its real size alone; `feedforward` is its class."""


def names(kind: Any) -> list[str]:
    """Miniatures of a name are the same classes as what is installed here under the name."""
    left_out = (UNTRAINED, "one-stage") if kind == "RGB" else (UNTRAINED,)
    return [name for name in stage_specs(kind) if name not in left_out and not name.endswith("-tiny")]


MASKS, PICTURES = names("mask"), names("RGB")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_baselines(folder)
    write_diffusion(folder)
    return folder


@pytest.fixture(autouse=True)
def here(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photograph, an L-shaped person whose hull is larger, and small and quick stages."""
    look_in(installed, monkeypatch)
    monkeypatch.setattr("deocclude.devices.free_memory", lambda device: None)
    monkeypatch.setattr(occlusion_evidence, "load_occlusion_estimator", lambda **options: None)  # stages are believed
    monkeypatch.setattr(describer, "load_describer", lambda folder, **options: lambda images: ["a man"] * len(images))
    for name, build in (("build_mask_stage", build_mask_stage), ("build_rgb_stage", build_rgb_stage)):
        monkeypatch.setattr(deoccluder_module, name, quickly(build))
    write_png(tmp_path / "photo.png", photograph(96, 80))
    write_png(tmp_path / "mask.png", bent())
    write_png(tmp_path / "other.png", photograph(40, 30, seed=1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@cache
def built(build: Callable[..., Any], name: str) -> Any:
    return quick(build(name))


def quickly(build: Callable[..., Any]) -> Callable[..., Any]:
    return lambda name, **options: built(build, name)


def bent() -> np.ndarray:
    mask = np.zeros((96, 80), bool)
    mask[20:70, 25:35] = mask[60:70, 25:60] = True
    return mask


def by_python(mask: str, rgb: str, **wishes: Any) -> tuple[np.ndarray, np.ndarray]:
    chosen = Deoccluder.from_preset("feedforward", mask_stage=mask, rgb_stage=rgb)
    joints = standing_joints(80) if "joints" in wishes else None
    result = chosen(photograph(96, 80), bent(), joints=joints, control=Control(**wishes))
    return result.amodal_probability, result.rgb


def by_command_line(mask: str, rgb: str, **wishes: Any) -> tuple[np.ndarray, np.ndarray]:
    options = ["--mask", "mask.png", "--mask-stage", mask, "--rgb-stage", rgb, "--output", "out", "--overwrite"]
    if "words" in wishes:
        options += ["--prompt", wishes["words"]]
    if "reference" in wishes:
        options += ["--reference", "other.png"]
    for name, (x, y) in wishes.get("joints", {}).items():
        options += ["--joint", f"{name}={x},{y}"]
    with redirect_stderr(io.StringIO()) as said:
        code = main(["run", "photo.png", *options])
    if code:
        raise InputError(said.getvalue().strip())
    return open_image(Path("out/photo_probability.png")), open_image(Path("out/photo_completed.png"))


def is_read(run: Callable[..., Any], mask: str, rgb: str, first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether the result depends on a wish; False where it is refused."""
    try:
        one, two = run(mask, rgb, **first), run(mask, rgb, **second)
    except InputError as error:
        if not re.search(rf"'({mask}|{rgb})' reads no \w+.*; ", str(error)) or "\n" in str(error):
            raise
        return False
    assert not all(np.array_equal(a, b) for a, b in zip(one, two, strict=True)), "accepted and dropped"
    return True


WAYS = pytest.mark.parametrize("run", [by_python, by_command_line])


@WAYS
@pytest.mark.parametrize("name", PICTURES)
def test_a_prompt_is_read_or_refused(run: Callable[..., Any], name: str) -> None:
    read = is_read(run, "convex-hull", name, {"words": "a woman"}, {"words": "a man in red"})
    assert read == ("prompt" in stage_specs("RGB")[name].accepts)


@WAYS
def test_a_prompt_is_read_where_mask_and_picture_are_painted_together(run: Callable[..., Any]) -> None:
    assert is_read(run, "amodal", "amodal", {"words": "a woman"}, {"words": "a man in red"})


@WAYS
@pytest.mark.parametrize("name", MASKS)
def test_joints_are_read_or_refused(run: Callable[..., Any], name: str) -> None:
    first, second = ({"joints": {"left-knee": place}} for place in ((40.0, 50.0), (60.0, 80.0)))
    assert is_read(run, name, "copy-input", first, second) == ("keypoints" in stage_specs("mask")[name].accepts)


@WAYS
@pytest.mark.parametrize("name", PICTURES)
def test_a_reference_is_read_or_refused(run: Callable[..., Any], name: str) -> None:
    wish = {"reference": photograph(40, 30, seed=1)}
    read = is_read(run, "convex-hull", name, wish, {})
    assert read == ("reference" in stage_specs("RGB")[name].accepts)


@pytest.mark.parametrize(("kind", "name"), [*(("mask", name) for name in MASKS), *(("RGB", name) for name in PICTURES)])
def test_a_stage_is_what_its_spec_says(kind: Any, name: str, here: Path) -> None:
    spec = stage_specs(kind)[name]
    build = build_mask_stage if kind == "mask" else build_rgb_stage
    size = build(name).size if spec.weights == () or spec.memory == 0 else spec.size  # the quick ones are small
    stage = built(build, name)
    assert (stage.name, size, stage.accepts, stage.batched) == (name, spec.size, spec.accepts, spec.batched)
    if kind == "RGB":
        assert stage.draws_candidates == spec.draws_candidates
        assert stage.needs_painting_mask_stage == spec.needs_painting_mask_stage
    others = {"keypoints", "prompt", "reference", "occluder_mask", "generator"} - stage.accepts
    for hint in others:
        with pytest.raises(
            InputError, match=rf"{kind} stage '{name}' reads no .*; (--\w+-stage .* would|no {kind} stage does)"
        ):
            stage.check(Hints(**{hint: object()}))  # type: ignore[arg-type]


def test_what_a_describer_says_is_replaced() -> None:
    """The stage's own sentence is in the result where the user gives none."""
    for name, sentence in (("diffusion", "a man"), ("sd-inpaint", "a photo of a human")):
        stage = built(build_rgb_stage, name)
        chosen = Deoccluder(None, built(build_mask_stage, "convex-hull"), stage)
        assert chosen(photograph(96, 80), bent()).facts["words"] == sentence
        said = chosen(photograph(96, 80), bent(), control=Control(words="a woman", more_words="in red")).facts["words"]
        assert said == "a woman, in red"
    silent = Deoccluder(None, built(build_mask_stage, "convex-hull"), CopyInputRgb())
    assert silent(photograph(96, 80), bent()).facts["words"] is None
