"""Other methods' stages in miniature, loaded by name as on a user's machine: their laws, conventions and files.

The numbers of the original code: `test_baselines_golden.py`. The floor under every table: `test_trivial.py`.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from miniature_weights import SIZE, look_in, quick, write_baselines
from miniatures import TINY_MASK as FEEDFORWARD_MASK
from miniatures import TINY_RGB as FEEDFORWARD_RGB
from miniatures import GrowDown, RedSegmenter, mask_network, photograph, rgb_network, with_hints, with_red_person
from safetensors.torch import load_file, save_file
from test_deoccluder import assert_laws
from torch import Tensor

from deocclude import Deoccluder, InputError
from deocclude.models.feedforward.mask_completion import MASK_COMPLETION_PRESETS
from deocclude.models.feedforward.rgb_completion import RGB_COMPLETION_PRESETS
from deocclude.stages.catalogue import build_mask_stage, build_rgb_stage, check_weights, stage_specs
from deocclude.stages.completers.amodal import ProgressConfig, within_reach
from deocclude.stages.completers.mixed_context import MixedContextConfig, blurred_over, person_by_features
from deocclude.stages.completers.pix2gestalt import not_white
from deocclude.types import Hints, MaskCompletion
from deocclude.weights import save_network

PAPER = "feedforward-paper"
OTHERS = {"sssd", "sdamodal", "pix2gestalt", "amodal"} | {
    name
    for name, spec in stage_specs("RGB").items()
    if spec.listed and not name.startswith(("feedforward", "diffusion"))
}
"""Other people's methods with weights."""
MASKS, PICTURES = ([name for name in stage_specs(kind) if name in OTHERS] for kind in ("mask", "RGB"))
DRAWING = [name for name in PICTURES if "generator" in stage_specs("RGB")[name].accepts]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything the baselines load, each under its name, as converters and hub leave it."""
    folder = tmp_path_factory.mktemp("baselines")
    write_baselines(folder)
    return folder


@pytest.fixture(autouse=True)
def found(installed: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names that were asked for."""
    return look_in(installed, monkeypatch)


class Stages:
    """Built by name when they are asked for, each once."""

    def __init__(self) -> None:
        self.built: dict[tuple[str, str], Any] = {}

    def mask(self, name: str) -> Any:
        if ("mask", name) not in self.built:
            self.built["mask", name] = quick(build_mask_stage(name, dtype=torch.float32))
        return self.built["mask", name]

    def rgb(self, name: str) -> Any:
        if ("rgb", name) not in self.built:
            self.built["rgb", name] = quick(build_rgb_stage(name, dtype=torch.float32))
        return self.built["rgb", name]


@pytest.fixture(scope="module")
def stages() -> Stages:
    return Stages()


def people() -> tuple[Tensor, MaskCompletion]:
    """Two who go on downwards, the second one narrower."""
    image = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    modal_mask = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.bool)
    modal_mask[..., 8:32, 20:44] = True
    modal_mask[1, ..., :26] = False
    amodal_mask = modal_mask.clone()
    amodal_mask[..., 32:56, 26:40] = True
    return image, MaskCompletion(modal_mask, amodal_mask, amodal_mask.float())


def one_of(image: Tensor, completion: MaskCompletion, index: int) -> tuple[Tensor, MaskCompletion]:
    one = slice(index, index + 1)
    masks = (completion.modal_mask, completion.amodal_mask, completion.amodal_probability)
    return image[one], MaskCompletion(*(mask[one] for mask in masks))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# By name


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_stage_loads_what_its_list_names(name: str, found: set[str]) -> None:
    stage = build_mask_stage(name)
    assert stage.name == name and found == {one.name for one in stage_specs("mask")[name].weights}
    check_weights(name, "copy-input", "embedded")
    assert stage.weights_sha256  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", PICTURES)
def test_an_rgb_stage_loads_what_its_list_names(name: str, found: set[str]) -> None:
    stage = build_rgb_stage(name)
    assert stage.name == name and found == {one.name for one in stage_specs("RGB")[name].weights}
    check_weights("copy-input", name, "embedded")
    assert stage.weights_sha256  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "name"), [("mask", n) for n in MASKS] + [("RGB", n) for n in PICTURES])
def test_missing_weights_are_one_sentence(
    kind: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_in(tmp_path, monkeypatch)
    build = build_mask_stage if kind == "mask" else build_rgb_stage
    chosen = (name, "copy-input") if kind == "mask" else ("copy-input", name)
    for ask in (lambda: build(name), lambda: check_weights(*chosen, "embedded")):
        with pytest.raises(InputError) as caught:
            ask()
        sentence = str(caught.value)
        needed = stage_specs(kind)[name].weights[0]
        assert f"{needed.name} is not on this machine" in sentence and needed.licence in sentence
        assert "\n" not in sentence


@pytest.mark.parametrize(
    ("name", "part"),
    [("sd15-inpaint", "unet"), ("sd15-inpaint", "text_encoder"), ("sd21", "vae"), ("flux2-klein", "transformer")],
)
@pytest.mark.parametrize("damage", ["fewer", "more", "other"])
def test_files_that_do_not_fit_are_one_sentence(
    name: str, part: str, damage: str, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strictly: a tensor that is missing, too many or of another shape stops the stage."""
    for source in installed.iterdir():
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / source.name)
    look_in(tmp_path, monkeypatch)
    (file,) = (tmp_path / name / part).glob("*.safetensors")
    tensors = load_file(file)
    key = next(key for key in sorted(tensors) if key.endswith("weight") and tensors[key].ndim > 1)
    if damage == "more":
        tensors["xyzzy.weight"] = torch.zeros(2)
    elif damage == "fewer":
        del tensors[key]
    else:
        tensors[key] = torch.zeros(3, 5)
    save_file(tensors, file, {"format": "pt"})
    build = {"sd21": lambda: build_mask_stage("sdamodal"), "flux2-klein": lambda: build_rgb_stage("flux2-klein")}
    with pytest.raises(InputError) as caught:
        build.get(name, lambda: build_rgb_stage("sd-inpaint"))()
    assert str(tmp_path / name / part) in str(caught.value) and "\n" not in str(caught.value)


def test_files_of_old_repositories_are_read(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that `diffusers` and `transformers` had in 2022, when Stable Diffusion 1.5 was published."""
    shutil.copytree(installed / "sd15-inpaint", tmp_path / "sd15-inpaint")
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def old_vae(key: str) -> str:
        for ours, theirs in new.items():
            key = key.replace(ours, theirs) if "mid_block.attentions.0" in key else key
        return key

    for part, old in (("vae", old_vae), ("text_encoder", lambda key: f"text_model.{key.removeprefix('text_model.')}")):
        (file,) = (tmp_path / "sd15-inpaint" / part).glob("*.safetensors")
        tensors = {old(key): value for key, value in load_file(file).items()}
        if part == "text_encoder":
            tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        save_file(tensors, file, {"format": "pt"})
    inputs = one_of(*people(), 0)
    expected = with_hints(quick(build_rgb_stage("sd-inpaint")), *inputs, generator=seeded())
    look_in(tmp_path, monkeypatch)
    assert torch.equal(with_hints(quick(build_rgb_stage("sd-inpaint")), *inputs, generator=seeded()), expected)


@pytest.mark.parametrize(("stage", "wrong"), [("sssd", "sssd-content"), ("sdamodal", "sssd-mask")])
def test_another_networks_file_is_one_sentence(
    stage: str, wrong: str, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (needed, *_) = stage_specs("mask")[stage].weights
    shutil.copy(installed / f"{wrong}.safetensors", tmp_path / f"{needed.name}.safetensors")
    look_in(tmp_path, monkeypatch)
    with pytest.raises(InputError, match=r"it holds a Sssd\w+, and a \w+ is needed"):
        build_mask_stage(stage)


def test_paper_b_at_its_own_size_is_trained_by_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_in(tmp_path, monkeypatch)
    for build, network, config in (
        (build_mask_stage, "mask-completion", "mask-completion --config paper-inverse-l2 --losses paper"),
        (build_rgb_stage, "rgb-completion", "rgb-completion --config paper"),
    ):
        with pytest.raises(InputError, match=f"{network}-paper is not on this machine.*deocclude train {config}"):
            build(PAPER)
    networks = {
        "mask-completion": mask_network(replace(FEEDFORWARD_MASK, num_templates=5)),
        "rgb-completion": rgb_network(),
    }
    for name, network in networks.items():
        save_network(tmp_path / f"{name}-paper.safetensors", network, network.config)
    for build in (build_mask_stage, build_rgb_stage):
        with pytest.raises(InputError, match="another configuration than paper; give the file itself as the stage"):
            build(PAPER)
    monkeypatch.setitem(MASK_COMPLETION_PRESETS, "paper", FEEDFORWARD_MASK)
    monkeypatch.setitem(RGB_COMPLETION_PRESETS, "paper", FEEDFORWARD_RGB)
    image, completion = people()
    mask, rgb = build_mask_stage(PAPER), build_rgb_stage(PAPER)
    assert mask.name == rgb.name == PAPER
    assert rgb(image, mask(image, completion.modal_mask)).shape == image.shape


# Laws of the stages


@pytest.mark.parametrize("name", MASKS)
def test_mask_stages_keep_their_laws(name: str, stages: Stages) -> None:
    image, given = people()
    completion = stages.mask(name)(image, given.modal_mask, refine_modal=True)
    assert torch.equal(completion.modal_mask, given.modal_mask)  # none of them corrects it
    probability = completion.amodal_probability
    assert probability.shape == given.modal_mask.shape and probability.dtype == torch.float32
    assert probability.min() >= 0 and probability.max() <= 1
    assert torch.equal(completion.amodal_mask, (probability > 0.5) | given.modal_mask)
    assert (completion.rgb is not None) == stages.mask(name).paints


@pytest.mark.parametrize("name", MASKS)
def test_mask_stages_treat_people_of_a_batch_one_by_one(name: str, stages: Stages) -> None:
    image, given = people()
    stage = stages.mask(name)
    together, again = (stage(image, given.modal_mask) for _ in range(2))
    assert torch.equal(together.amodal_probability, again.amodal_probability)  # nothing is drawn anew
    for index in range(2):
        one = slice(index, index + 1)
        alone = stage(image[one], given.modal_mask[one])
        torch.testing.assert_close(alone.amodal_probability, together.amodal_probability[one], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", PICTURES)
def test_rgb_stages_treat_people_of_a_batch_one_by_one(name: str, stages: Stages) -> None:
    image, completion = people()
    stage, generator = stages.rgb(name), seeded()
    together = with_hints(stage, image, completion, generator=seeded())
    assert together.shape == image.shape and together.dtype == torch.float32
    assert together.min() >= 0 and together.max() <= 1 and together.std() > 0
    for index in range(2):
        alone = with_hints(stage, *one_of(image, completion, index), generator=generator)
        torch.testing.assert_close(alone, together[index : index + 1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", PICTURES)
def test_rgb_stages_are_functions_of_the_seed(name: str, stages: Stages) -> None:
    inputs = one_of(*people(), 0)
    first, again, other = (with_hints(stages.rgb(name), *inputs, generator=seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and torch.equal(first, other) != (name in DRAWING)


@pytest.mark.parametrize("name", ["sssd", "amodal", "sd-inpaint", "lama", "flux2-klein"])
def test_what_hides_the_person_does_not_count(name: str, stages: Stages) -> None:
    image, completion = one_of(*people(), 0)
    hidden = completion.amodal_mask & ~completion.modal_mask
    others = torch.where(hidden, 1 - image, image)
    first, second = (with_hints(stages.rgb(name), shown, completion, generator=seeded()) for shown in (image, others))
    assert torch.equal(first[hidden.expand_as(first)], second[hidden.expand_as(first)])


# From photograph to result


@pytest.mark.parametrize(
    ("mask", "rgb"),
    [(name, name) for name in ("sssd", "pix2gestalt", "amodal")]
    + [("sdamodal", "lama"), ("", "sd-inpaint"), ("", "flux2-klein"), ("amodal", "pix2gestalt")],
)
def test_from_photograph_to_result(mask: str, rgb: str, stages: Stages) -> None:
    image, modal_mask = with_red_person(photograph(96, 80), (25, 20, 55, 60))
    parts = stages.mask(mask) if mask else GrowDown(SIZE), stages.rgb(rgb)
    first, again = (Deoccluder(RedSegmenter(), *parts, seed=3)(image, modal_mask) for _ in range(2))
    assert_laws(image, first)
    assert np.array_equal(first.rgb, again.rgb) and np.array_equal(first.amodal_mask, again.amodal_mask)
    assert np.array_equal(first.modal_mask, modal_mask)
    assert first.facts["method"]["rgb_completion"] == rgb
    assert first.facts["weights_sha256"]["rgb_completion"]


# SSSD and SDAmodal: their conventions


@pytest.mark.parametrize("name", ["sssd", "amodal"])
def test_the_person_goes_on_under_occluders_alone(name: str, stages: Stages) -> None:
    """With a mask of what lies in front, and without anything in front not at all."""
    image, given = people()
    stage = stages.mask(name)
    in_front = torch.zeros_like(given.modal_mask)
    in_front[..., 32:40, :] = True
    completion = stage(image, given.modal_mask, hints=Hints(occluder_mask=in_front))
    assert not (completion.amodal_mask & ~given.modal_mask & ~in_front).any()
    nothing = stage(image, given.modal_mask, hints=Hints(occluder_mask=in_front & False))
    assert torch.equal(nothing.amodal_mask, given.modal_mask)


def test_features_are_averaged_over_noises_that_everybody_shares(stages: Stages) -> None:
    image, _ = people()
    features_of = stages.mask("sdamodal").features_of
    maps = features_of(image)
    assert [tuple(value.shape[1:]) for value in maps] == [(64, 2, 2), (64, 4, 4), (32, 8, 8), (32, 8, 8)]
    for first, second in zip(maps, features_of(image), strict=True):
        assert torch.equal(first, second)
    for together, alone in zip(maps, features_of(image[1:]), strict=True):
        torch.testing.assert_close(together[1:], alone, atol=1e-3, rtol=1e-3)


# pix2gestalt


def test_white_is_not_the_person() -> None:
    picture = torch.tensor([255, 251, 250, 249, 0]).view(1, 1, 1, 5).expand(1, 3, 1, 5) / 255
    assert not_white(picture).flatten().tolist() == [False, False, True, True, True]
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    assert not_white(red).all()


def test_the_picture_off_which_the_mask_was_read_is_not_painted_again(stages: Stages) -> None:
    image, given = one_of(*people(), 0)
    for name in ("pix2gestalt", "amodal"):
        mask, rgb = stages.mask(name), stages.rgb(name)
        assert mask.painter is rgb.painter  # loaded once
        completion = mask(image, given.modal_mask)
        assert torch.equal(rgb(image, completion, hints=Hints(generator=seeded(5))), completion.rgb)
        foreign = MaskCompletion(given.modal_mask, given.amodal_mask, given.amodal_probability, rgb=1 - image)
        assert not torch.equal(rgb(image, foreign, hints=Hints(generator=seeded(5))), foreign.rgb)


def test_rounds_do_not_answer_for_what_they_did_not_paint(stages: Stages) -> None:
    image, given = one_of(*people(), 0)
    completion = stages.mask("amodal")(image, given.modal_mask)
    far = given.modal_mask.clone()
    far[..., -6:, :] = True
    other = MaskCompletion(given.modal_mask, far, far.float(), rgb=completion.rgb)
    assert not torch.equal(stages.rgb("amodal")(image, other, hints=Hints(generator=seeded())), completion.rgb)


def test_candidates_are_ranked_by_the_visible_pixels(stages: Stages) -> None:
    from deocclude.stages.completers.diffusion import visible_error

    image, completion = people()
    pictures = stages.rgb("pix2gestalt").candidates(image, completion, 3, hints=Hints(generator=seeded()))
    assert pictures.shape == (2, 3, 3, SIZE, SIZE)
    assert (visible_error(pictures, image, completion.modal_mask).diff(dim=1) >= 0).all()


# amodal


def test_features_say_what_is_person() -> None:
    features = torch.zeros(1, 2, 4, 4)
    features[:, 0, :, :2] = 1
    features[:, 1, :, 2:] = 1
    person, hole = (torch.zeros(1, 1, 4, 4, dtype=torch.bool) for _ in range(2))
    person[..., 0, :2] = True
    hole[..., 2:, :] = True
    found = person_by_features(features, person, hole)
    assert torch.equal(found, person | (hole & (torch.arange(4) < 2)))
    assert torch.equal(person_by_features(features, person, ~person), torch.ones_like(person))


def test_what_is_in_the_hole_is_blurred_over() -> None:
    image, given = one_of(*people(), 0)
    known = ~given.amodal_mask
    blurred = blurred_over(image, known)
    assert torch.equal(blurred[known.expand_as(image)], image[known.expand_as(image)])
    others = torch.where(known, image, 1 - image)
    assert torch.equal(blurred_over(others, known), blurred)
    assert blurred.min() >= 0 and blurred.max() <= 1
    colour = torch.tensor([0.2, 0.4, 0.8]).view(1, 3, 1, 1).expand_as(image)
    torch.testing.assert_close(blurred_over(torch.where(known, colour, image), known), colour)
    assert (blurred_over(image, known & False) == 0.5).all()


def test_a_round_looks_as_far_as_it_may() -> None:
    person = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    person[..., 10:18, 12:16] = True
    near = within_reach(person, 0.25)
    assert near[..., 8:20, 10:18].all() and int(near.sum()) == 12 * 8
    assert not within_reach(person & False, 0.25).any()


def test_rounds_end_where_nothing_joins(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    from deocclude.stages.completers.mixed_context import Inpainted

    image, given = one_of(*people(), 0)
    painter, holes = stages.mask("amodal").painter, []

    def inpaint(picture: Tensor, person: Tensor, hole: Tensor, *rest: Any) -> Inpainted:
        holes.append(hole)
        rows = torch.arange(SIZE).view(-1, 1) < 44
        return Inpainted(torch.zeros_like(picture), person | (hole & rows))

    monkeypatch.setattr(painter, "inpaint", inpaint)
    monkeypatch.setattr(painter, "config", ProgressConfig(max_rounds=5, reach=0.25))
    made = painter.complete(image, given.modal_mask, ~given.modal_mask, "a man", seeded())
    assert 2 <= len(holes) < 5  # the last one added nothing
    for earlier, later in pairwise(holes):
        assert not (earlier & later).any()  # nothing is painted twice
    assert torch.equal(made.painted, torch.stack(holes).any(dim=0))
    assert torch.equal(made.picture[~made.painted.expand_as(image)], image[~made.painted.expand_as(image)])
    assert not (made.person & ~made.painted & ~given.modal_mask).any()


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="0 < plain_steps < steps, got 5 and 5"):
        MixedContextConfig(steps=5, plain_steps=5)


@pytest.mark.parametrize("name", ["sd-inpaint", "pix2gestalt"])
def test_settings_are_told(name: str, stages: Stages) -> None:
    result = Deoccluder(None, GrowDown(SIZE), stages.rgb(name))(*with_red_person(photograph(96, 80), (25, 20, 55, 60)))
    assert result.facts["rgb_settings"]["num_inference_steps" if name == "sd-inpaint" else "steps"] == 2


@pytest.mark.parametrize("name", MASKS)
def test_masks_in_half_precision(name: str) -> None:
    image, given = people()
    completion = quick(build_mask_stage(name, dtype=torch.bfloat16))(image, given.modal_mask)
    assert completion.amodal_probability.dtype == torch.float32
    assert torch.isfinite(completion.amodal_probability).all()


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_in_half_precision(name: str) -> None:
    image, completion = people()
    stage = quick(build_rgb_stage(name, dtype=torch.bfloat16))
    picture = with_hints(stage, image, completion, generator=seeded())
    assert picture.dtype == torch.float32 and picture.min() >= 0 and picture.max() <= 1
    assert stage.dtype == torch.bfloat16
