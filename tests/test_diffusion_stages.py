"""Paper A's stages in miniature, one by one and behind `Deoccluder`: every preset, every setting, their laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from miniatures import GrowDown, Paint, RedSegmenter, photograph, standing_joints, with_hints, with_red_person
from test_deoccluder import assert_laws
from torch import Tensor, nn

from deocclude import Deoccluder, InputError
from deocclude.conditioning.describer import GENERIC_DESCRIPTION
from deocclude.models.diffusion.rgb_completion import HINT_COLOURS, RgbDenoiser, mask_hint, null_conditioning
from deocclude.pipelines.deoccluder import NO_JOINTS
from deocclude.stages.catalogue import build_mask_stage, build_rgb_stage, configured, find_stage, stage_specs
from deocclude.stages.completers.diffusion import (
    DiffusionMaskCompleter,
    DiffusionRgbCompleter,
    OneStageRgbCompleter,
    UNetRgbCompleter,
    visible_error,
)
from deocclude.stages.completers.diffusion_tiny import (
    NOTE,
    tiny_denoiser,
    tiny_mask_completer,
    tiny_rgb_completer,
)
from deocclude.stages.diffusion import MASK_DESIGNS, RGB_CONFIGS
from deocclude.stages.diffusion_tiny import STEPS
from deocclude.stages.presets import preset, presets
from deocclude.types import Deocclusion, Hints, MaskCompletion

SIZE = 64
"""Of every crop here: U_mask halves it six times."""
CPU = torch.device("cpu")
TINY_PRESETS = [name for name in presets() if name.endswith("-tiny")]
CONTEXTS = {"text_pooled": 1, "image": 1, "image+text": 2, "text_tokens": 77, "text_tokens_projected": 77}
"""What the U-Net may read, and how many tokens that is."""
WORDS = ["a woman with short hair and a blue coat", "a man in a red jacket and black shoes"]


@cache
def mask_stage(name: str) -> Any:
    stage = build_mask_stage(name)
    stage.size = SIZE
    return stage


@cache
def rgb_stage(name: str) -> Any:
    stage = build_rgb_stage(name)
    stage.size = SIZE
    return stage


@cache
def exact_mask_stage(name: str) -> DiffusionMaskCompleter:
    """In float64: at this size float32's rounding is magnified, where a normalisation sees two numbers."""
    return tiny_mask_completer(name, device=CPU, dtype=torch.float64)


@cache
def exact_rgb_stage(name: str) -> DiffusionRgbCompleter:
    return tiny_rgb_completer(name, device=CPU, dtype=torch.float64)


def with_config(*, denoiser: RgbDenoiser | None = None, **changes: Any) -> DiffusionRgbCompleter:
    """The fast stage with other settings."""
    stage = rgb_stage("diffusion-tiny")
    return DiffusionRgbCompleter(
        denoiser or stage.denoiser,
        replace(stage.config, **changes),
        controlnet=stage.controlnet,
        sentence_encoder=stage.sentence_encoder,
        size=SIZE,
    )


def people(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, modal masks and joints of people who stand differently."""
    image = torch.rand(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    modal_mask = torch.zeros(batch, 1, SIZE, SIZE, dtype=torch.bool)
    joints = torch.from_numpy(standing_joints(SIZE))[None].repeat(batch, 1, 1)
    for index in range(batch):
        modal_mask[index, :, 6 : 30 + 4 * index, 20:44] = True
        joints[index, :, 0] += 3 * index
    return image, modal_mask, joints


def completed(batch: int = 2) -> tuple[Tensor, MaskCompletion]:
    """Pictures and a mask completion: everybody goes on downwards."""
    image, modal_mask, _ = people(batch)
    amodal_mask = modal_mask.clone()
    amodal_mask[..., 30:58, 24:40] = True
    return image, MaskCompletion(modal_mask, amodal_mask, amodal_mask.float())


def one_person(image: Tensor, completion: MaskCompletion, index: int) -> tuple[Tensor, MaskCompletion]:
    one = slice(index, index + 1)
    masks = (completion.modal_mask, completion.amodal_mask, completion.amodal_probability)
    return image[one], MaskCompletion(*(mask[one] for mask in masks))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def red_person() -> tuple[np.ndarray, np.ndarray]:
    return with_red_person(photograph(96, 80), (25, 20, 55, 60))


@cache
def run_preset(name: str, *, seed: int = 0, **more: Any) -> Deocclusion:
    stages = mask_stage(preset(name).mask_stage), rgb_stage(preset(name).rgb_stage)
    return Deoccluder(RedSegmenter(), *stages, seed=seed, **more)(*red_person())


# Names


def test_every_row_is_a_stage_and_has_a_miniature() -> None:
    for name in MASK_DESIGNS:
        assert {name, f"{name}-tiny"} <= set(stage_specs("mask"))
    for name in (*RGB_CONFIGS, "two-stage-unet"):
        assert {name, f"{name}-tiny"} <= set(stage_specs("RGB"))
    assert "one-stage" in stage_specs("RGB")


def test_every_ablation_has_a_preset_and_a_miniature() -> None:
    names = ["diffusion", *(f"mask-{row}" for row in range(1, 5)), *(f"rgb-{row}" for row in range(5, 9))]
    for name in (*names, "one-stage", "two-stage-unet"):
        real, tiny = preset(name), preset(f"{name}-tiny")
        assert tiny.mask_stage == f"{real.mask_stage}-tiny"
        assert tiny.rgb_stage in (real.rgb_stage, f"{real.rgb_stage}-tiny")
        assert (real.joints, real.detector) == ("vitpose", "rt-detr")
        assert (tiny.joints, tiny.detector) == ("movenet", "embedded")


def test_table_4_adds_one_thing_a_row() -> None:
    """#5 is pix2gestalt; then f_c2, f_hs and the tuned decoder."""
    rows = [RGB_CONFIGS[f"rgb-{row}"] for row in range(5, 9)]
    assert [(row.control, row.context, row.tuning.steps) for row in rows] == [
        (False, "image", 0),
        (True, "image", 0),
        (True, "text_pooled", 0),
        (True, "text_pooled", 50),
    ]
    assert {(row.sampling.solver, row.sampling.steps, row.sampling.guidance) for row in rows} == {("ddim", 200, 2.0)}
    assert RGB_CONFIGS["diffusion-paper"] == rows[3]


# Every preset from photograph to result


@pytest.mark.parametrize("name", TINY_PRESETS)
def test_every_preset_keeps_the_laws(name: str) -> None:
    image, mask = red_person()
    result = run_preset(name)
    assert_laws(image, result)
    assert result.invisible_mask.any() and not result.amodal_mask.all()
    assert np.array_equal(result.modal_mask, mask)
    assert len(result.candidates) == 1 and np.array_equal(result.candidates[0], result.rgb)
    own = result.own_picture
    assert own is not None and own.shape == image.shape and own.dtype == np.uint8
    assert (own[~(result.amodal_mask | result.own_mask)] == 255).all() and not (own[result.amodal_mask] == 255).all()


@pytest.mark.parametrize("name", TINY_PRESETS)
def test_every_preset_is_a_function_of_its_seed(name: str) -> None:
    first, again, other = run_preset(name), run_preset.__wrapped__(name), run_preset(name, seed=1)
    for field in ("rgb", "amodal_mask", "amodal_probability", "own_picture"):
        assert np.array_equal(getattr(first, field), getattr(again, field))
    draws = isinstance(rgb_stage(preset(name).rgb_stage), DiffusionRgbCompleter)
    assert np.array_equal(first.rgb, other.rgb) != draws
    assert np.array_equal(first.amodal_mask, other.amodal_mask)


@pytest.mark.parametrize("name", TINY_PRESETS)
def test_every_preset_says_what_it_is(name: str) -> None:
    facts = run_preset(name).facts
    assert facts["notes"] == [NOTE] and "miniature" in NOTE
    assert facts["method"]["mask_completion"] == preset(name).mask_stage
    assert facts["method"]["rgb_completion"] == preset(name).rgb_stage
    reads = "prompt" in rgb_stage(preset(name).rgb_stage).accepts
    assert facts["words"] == (GENERIC_DESCRIPTION if reads else None)
    assert reads == (name in ("diffusion-tiny", "rgb-7-tiny", "rgb-8-tiny", "rgb-generic-tiny"))


def test_a_preset_is_loaded_by_name() -> None:
    deoccluder = Deoccluder.from_preset("diffusion-tiny", num_candidates=2, seed=3)
    assert deoccluder.mask_completer.size == deoccluder.rgb_completer.size == 256
    assert deoccluder.facts["method"]["conditioning"] == "embedded"
    assert deoccluder.num_candidates == 2 and deoccluder.seed == 3


# Candidates


def test_candidates_are_kept_the_best_first() -> None:
    image, _ = red_person()
    result = run_preset("diffusion-tiny", num_candidates=3)
    assert len(result.candidates) == 3 and np.array_equal(result.candidates[0], result.rgb)
    for index, candidate in enumerate(result.candidates):
        assert np.array_equal(candidate[~result.invisible_mask], image[~result.invisible_mask])
        assert not any(np.array_equal(candidate, other) for other in result.candidates[:index])


def test_candidates_are_ranked_by_the_visible_pixels() -> None:
    image, completion = completed()
    stage = rgb_stage("diffusion-tiny")
    pictures = stage.candidates(image, completion, 3, hints=Hints(generator=seeded()))
    assert pictures.shape == (2, 3, 3, SIZE, SIZE) and pictures.dtype == torch.float32
    errors = visible_error(pictures, image, completion.modal_mask)
    assert (errors.diff(dim=1) > 0).all()
    single = with_hints(stage, *one_person(image, completion, 0), generator=seeded())
    assert errors[0, 0] <= visible_error(single[:, None], image[:1], completion.modal_mask[:1])[0, 0] + 1e-3


@pytest.mark.filterwarnings("ignore:In CPU autocast")  # float64 is for this test alone
@pytest.mark.parametrize("name", ["diffusion", "rgb-8"])
def test_how_many_are_painted_at_once_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, (image, completion) = exact_rgb_stage(name), completed()
    together = stage.candidates(image.double(), completion, 3, hints=Hints(generator=seeded()))
    monkeypatch.setattr("deocclude.stages.completers.diffusion.MAX_AT_ONCE", 2)
    torch.testing.assert_close(
        stage.candidates(image.double(), completion, 3, hints=Hints(generator=seeded())), together, atol=1e-4, rtol=0
    )


def test_the_visible_error_is_that_of_the_visible_pixels() -> None:
    generator = seeded()
    pictures, image = torch.rand(2, 3, 3, 8, 8, generator=generator), torch.rand(2, 3, 8, 8, generator=generator)
    modal_mask = torch.rand(2, 1, 8, 8, generator=generator) > 0.7
    errors = visible_error(pictures, image, modal_mask)
    for person in range(2):
        for candidate in range(3):
            difference = (pictures[person, candidate] - image[person])[:, modal_mask[person, 0]]
            torch.testing.assert_close(errors[person, candidate], difference.abs().mean())
    assert not visible_error(pictures, image, modal_mask & False).any()


@pytest.mark.parametrize("name", ["feedforward", "one-stage-tiny", "two-stage-unet-tiny", "mask-4-tiny"])
def test_stages_with_one_answer_have_no_candidates(name: str) -> None:
    mask_completer = GrowDown() if name == "feedforward" else mask_stage(preset(name).mask_stage)
    rgb_completer = Paint() if name == "feedforward" else rgb_stage(preset(name).rgb_stage)
    with pytest.raises(InputError, match="has one answer; leave the candidates out"):
        Deoccluder(RedSegmenter(), mask_completer, rgb_completer, num_candidates=2)


# The mask stage


@pytest.mark.parametrize("name", MASK_DESIGNS)
def test_mask_stages_keep_their_laws(name: str) -> None:
    image, modal_mask, joints = people()
    stage = mask_stage(f"{name}-tiny")
    completion = stage(image, modal_mask, hints=Hints(keypoints=joints).only(stage.accepts), refine_modal=True)
    assert torch.equal(completion.modal_mask, modal_mask)  # paper A takes it as exact
    probability = completion.amodal_probability
    assert probability.dtype == torch.float32 and probability.min() >= 0 and probability.max() <= 1
    assert torch.equal(completion.amodal_mask, (probability >= 0.5) | modal_mask)
    assert (completion.amodal_mask & ~modal_mask).any() and not completion.amodal_mask.all()
    assert (completion.rgb is not None) == (name == "one-stage")
    assert completion.modal_parsing is None and not probability.requires_grad


@pytest.mark.parametrize("name", MASK_DESIGNS)
def test_mask_stages_treat_people_of_a_batch_one_by_one(name: str) -> None:
    image, modal_mask, joints = people()
    stage = exact_mask_stage(name)
    together = with_hints(stage, image, modal_mask, keypoints=joints)
    for index in range(2):
        one = slice(index, index + 1)
        alone = with_hints(stage, image[one], modal_mask[one], keypoints=joints[one])
        torch.testing.assert_close(alone.amodal_probability, together.amodal_probability[one], atol=1e-4, rtol=0)
        if alone.rgb is not None and together.rgb is not None:
            torch.testing.assert_close(alone.rgb, together.rgb[one], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", MASK_DESIGNS)
def test_joints_change_the_stages_that_use_them(name: str) -> None:
    image, modal_mask, joints = people()
    stage = mask_stage(f"{name}-tiny")
    with_joints, without, none = (
        with_hints(stage, image, modal_mask, keypoints=given).amodal_probability for given in (joints, joints * 0, None)
    )
    assert torch.equal(without, none)
    assert torch.equal(with_joints, none) != ("keypoints" in stage.accepts)
    assert ("keypoints" in stage.accepts) == (name != "mask-1")


@pytest.mark.parametrize("joints", [None, np.zeros((25, 3), np.float32)], ids=["nobody looked", "none found"])
def test_without_joints_it_goes_on_and_says_so(joints: np.ndarray | None) -> None:
    image, mask = red_person()
    for name, notes in (("diffusion-tiny", [NOTE, NO_JOINTS]), ("mask-1-tiny", [NOTE])):
        stages = mask_stage(preset(name).mask_stage), rgb_stage(preset(name).rgb_stage)
        result = Deoccluder(None, *stages)(image, mask, joints=joints)
        assert_laws(image, result)
        assert result.facts["notes"] == notes


# The RGB stage: what it is told


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_context_gives_as_many_tokens_as_it_should(context: str) -> None:
    image, completion = completed()
    stage = with_config(context=context)
    given, null = stage.conditioning(image, completion, Hints(prompt=WORDS))
    channels = stage.denoiser.config.networks.context_dim
    assert given.tokens.shape == null.tokens.shape == (2, CONTEXTS[context], channels)
    picture = with_hints(stage, image, completion, prompt=WORDS, generator=seeded())
    assert picture.shape == image.shape and picture.dtype == torch.float32
    assert picture.min() >= 0 and picture.max() <= 1 and picture.std() > 0


def test_a_texts_embedding_is_brought_to_the_length_of_the_pictures() -> None:
    """Before pix2gestalt's projection, which is the identity here, as it was before its training."""
    denoiser = tiny_denoiser()
    nn.init.eye_(denoiser.projection.weight)
    nn.init.zeros_(denoiser.projection.bias)
    image, _ = completed()
    stages = {context: with_config(denoiser=denoiser, context=context) for context in CONTEXTS}
    sentences = rgb_stage("diffusion-tiny").sentence_encoder(WORDS)
    tokens = {context: stage.context_tokens(image, sentences) for context, stage in stages.items()}
    of_picture, pooled = denoiser.image_token(image), sentences.pooled[:, None]
    torch.testing.assert_close(tokens["image"], of_picture)
    torch.testing.assert_close(tokens["text_pooled"].norm(dim=-1), of_picture.norm(dim=-1))
    assert ((pooled.norm(dim=-1) - of_picture.norm(dim=-1)).abs() > 0.05).all()  # it had another one
    cosine = torch.nn.functional.cosine_similarity(tokens["text_pooled"], pooled, dim=-1)
    torch.testing.assert_close(cosine, torch.ones(2, 1))
    torch.testing.assert_close(tokens["image+text"], torch.cat([tokens["image"], tokens["text_pooled"]], dim=1))
    torch.testing.assert_close(tokens["text_tokens"], sentences.hidden)
    torch.testing.assert_close(tokens["text_tokens_projected"], sentences.projected)


def test_tokens_go_through_pix2gestalts_projection_but_the_plain_text_tokens() -> None:
    image, _ = completed()
    stage = with_config()
    projection, encoder = stage.denoiser.projection, stage.sentence_encoder
    assert encoder is not None
    sentences = encoder(WORDS)
    projected = with_config(context="text_tokens_projected").context_tokens(image, sentences)
    assert torch.equal(projected, projection(sentences.projected))
    assert torch.equal(
        with_config(context="image").context_tokens(image, None), projection(stage.denoiser.image_token(image))
    )
    assert torch.equal(with_config(context="text_tokens").context_tokens(image, sentences), sentences.hidden)


@pytest.mark.parametrize(
    ("context", "control"), [*((context, True) for context in CONTEXTS), ("image", False), ("text_pooled", False)]
)
def test_words_change_the_result_where_they_are_read(context: str, control: bool) -> None:
    image, completion = completed(1)
    stage = with_config(context=context, control=control)
    first, second = (with_hints(stage, image, completion, prompt=[words], generator=seeded()) for words in WORDS)
    assert torch.equal(first, second) == (context == "image")
    assert ("prompt" in stage.accepts) == (context != "image")


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_reference_changes_the_result_where_the_picture_is_read(context: str) -> None:
    image, completion = completed(1)
    stage = with_config(context=context)
    reference = torch.rand(1, 3, 50, 40, generator=seeded(1))
    plain, shown, itself = (
        with_hints(stage, image, completion, generator=seeded(), reference=one) for one in (None, reference, image)
    )
    assert torch.equal(plain, shown) == ("reference" not in stage.accepts) and torch.equal(plain, itself)
    assert ("reference" in stage.accepts) == ("image" in context)


def test_people_are_described_where_somebody_reads_it() -> None:
    asked: list[Sequence[np.ndarray]] = []

    def describer(images: Sequence[np.ndarray]) -> list[str]:
        asked.append(images)
        return [f"person {index} in red" for index, _ in enumerate(images)]

    def stage(**changes: Any) -> DiffusionRgbCompleter:
        made = with_config(**changes)
        made.describer = describer
        return made

    image, _ = completed()
    assert stage().describe(image) == ["person 0 in red", "person 1 in red"]
    assert [picture.shape for picture in asked[0]] == [(SIZE, SIZE, 3)] * 2 and asked[0][0].dtype == np.uint8
    assert stage(vqa=False).describe(image) == [GENERIC_DESCRIPTION] * 2
    assert stage(context="image").describe(image) == []
    assert len(asked) == 1
    result = Deoccluder(RedSegmenter(), mask_stage("diffusion-tiny"), stage())(*red_person())
    assert result.facts["words"] == "person 0 in red"
    assert not np.array_equal(result.rgb, run_preset("diffusion-tiny").rgb)


@pytest.mark.parametrize("colour", HINT_COLOURS)
def test_the_hint_shows_the_amodal_mask_in_a_colour(colour: Any) -> None:
    image, completion = completed()
    given, null = with_config(hint_colour=colour).conditioning(image, completion, Hints(prompt=WORDS))
    assert given.hint is not None and given.hint.shape == image.shape and null.hint is given.hint
    person = completion.amodal_mask[:, 0]
    assert {tuple(pixel) for pixel in (given.hint * 255).round().int().permute(0, 2, 3, 1)[person].tolist()} == {
        HINT_COLOURS[colour]
    }
    assert not given.hint.permute(0, 2, 3, 1)[~person].any()


def test_hint_colours() -> None:
    assert HINT_COLOURS == {"ade20k": (150, 5, 61), "coco": (220, 20, 60), "white": (255, 255, 255)}
    with pytest.raises(ValueError, match=r"no hint colour 'red'; choose from \['ade20k', 'coco', 'white'\]"):
        mask_hint(torch.ones(1, 1, 8, 8, dtype=torch.bool), "red")


def test_the_null_branch_is_told_nothing_but_the_hint() -> None:
    image, completion = completed()
    stage = with_config()
    given, null = stage.conditioning(image, completion, Hints(prompt=WORDS))
    assert given.tokens.any() and given.latents.any() and not null.tokens.any() and not null.latents.any()
    assert null.hint is given.hint and given.hint_tokens is not None and null.hint_tokens is not None
    assert stage.sentence_encoder is not None
    assert torch.equal(given.hint_tokens, stage.sentence_encoder(WORDS).hidden)
    assert torch.equal(null.hint_tokens, stage.sentence_encoder(["", ""]).hidden)
    plain, of_plain = with_config(control=False).conditioning(image, completion, Hints(prompt=WORDS))
    assert plain.hint is plain.hint_tokens is of_plain.hint is of_plain.hint_tokens is None
    assert torch.equal(null_conditioning(plain).tokens, of_plain.tokens)


def test_without_words_the_controlnet_reads_the_empty_sentence() -> None:
    image, completion = completed()
    stage = with_config(context="image")
    given, null = stage.conditioning(image, completion, Hints(prompt=WORDS))
    assert given.hint_tokens is not None and null.hint_tokens is not None
    assert torch.equal(given.hint_tokens, null.hint_tokens)


def test_conditions_of_several_pictures_of_a_person_stand_together() -> None:
    given, _ = with_config().conditioning(*completed(), Hints(prompt=WORDS))
    several = given.repeated(3)
    for one, many in zip(vars(given).values(), vars(several).values(), strict=True):
        assert torch.equal(many, one[[0, 0, 0, 1, 1, 1]])


@pytest.mark.parametrize(("name", "sees_it"), [("rgb-5", False), ("rgb-6", True), ("diffusion", True)])
def test_the_amodal_mask_counts_where_there_is_a_controlnet(name: str, sees_it: bool) -> None:
    image, completion = completed(1)
    smaller = replace(completion, amodal_mask=completion.modal_mask)
    stage = rgb_stage(f"{name}-tiny")
    first, second = (with_hints(stage, image, told, generator=seeded()) for told in (completion, smaller))
    assert torch.equal(first, second) != sees_it


@pytest.mark.parametrize("name", ["rgb-5", "rgb-7", "rgb-8"])
def test_picture_and_modal_mask_count(name: str) -> None:
    image, completion = completed(1)
    stage = rgb_stage(f"{name}-tiny")
    picture = with_hints(stage, image, completion, generator=seeded())
    assert not torch.equal(with_hints(stage, image.flip(-1), completion, generator=seeded()), picture)
    other = replace(completion, modal_mask=completion.modal_mask & (torch.arange(SIZE) > 24))
    assert not torch.equal(with_hints(stage, image, other, generator=seeded()), picture)


# The RGB stage: what it does


@pytest.mark.filterwarnings("ignore:In CPU autocast")  # float64 is for this test alone
@pytest.mark.parametrize(("name", "count"), [("diffusion", 1), ("rgb-5", 1), ("rgb-8", 2)])
def test_rgb_stages_treat_people_of_a_batch_one_by_one(name: str, count: int) -> None:
    """One generator for all: each person's noise is drawn after the other's, in a batch or not."""
    image, completion = completed()
    stage, generator = exact_rgb_stage(name), seeded()
    hints = Hints(prompt=WORDS, generator=seeded()).only(stage.accepts)
    together = stage.candidates(image, completion, count, hints=hints)
    assert together.shape == (2, count, 3, SIZE, SIZE)
    for index in range(2):
        person = one_person(image, completion, index)
        hints = Hints(prompt=[WORDS[index]], generator=generator).only(stage.accepts)
        alone = stage.candidates(*person, count, hints=hints)
        torch.testing.assert_close(alone, together[index : index + 1], atol=1e-4, rtol=0)


def test_a_tuned_decoder_comes_nearer_to_the_visible_pixels() -> None:
    """Table 4's last row, and nothing else is different: the untuned picture is the same."""
    image, completion = completed(1)
    untuned, tuned = (with_hints(rgb_stage(f"rgb-{row}-tiny"), image, completion, generator=seeded()) for row in (7, 8))
    errors = [visible_error(picture[:, None], image, completion.modal_mask) for picture in (untuned, tuned)]
    assert errors[1] < errors[0]
    assert (tuned - untuned).abs().mean() < 0.1


def test_each_step_can_be_watched() -> None:
    latents: list[Tensor] = []
    image, completion = completed()
    rgb_stage("diffusion-tiny").candidates(
        image, completion, 2, hints=Hints(generator=seeded()), on_step=latents.append
    )
    assert [tuple(latent.shape) for latent in latents] == [(4, 4, SIZE // 8, SIZE // 8)] * STEPS


def test_half_precision_runs() -> None:
    image, modal_mask, joints = people(1)
    mask_completer = tiny_mask_completer("diffusion", device=CPU, dtype=torch.bfloat16)
    completion = with_hints(mask_completer, image, modal_mask, keypoints=joints)
    exact = with_hints(mask_stage("diffusion-tiny"), image, modal_mask, keypoints=joints)
    assert completion.amodal_probability.dtype == torch.float32
    assert (completion.amodal_probability - exact.amodal_probability).abs().mean() < 0.1
    rgb_completer = tiny_rgb_completer("rgb-8", device=CPU, dtype=torch.bfloat16)
    picture = with_hints(rgb_completer, image, completion, generator=seeded())
    assert picture.dtype == torch.float32 and picture.min() >= 0 and picture.max() <= 1
    assert mask_completer.dtype == rgb_completer.dtype == torch.bfloat16


def test_numbers_that_are_not_finite_are_told_in_a_sentence() -> None:
    image, completion = completed(1)
    rgb_completer = tiny_rgb_completer("rgb-5", device=CPU, dtype=torch.float32)
    nn.init.constant_(rgb_completer.denoiser.vae.decoder.conv_out.bias, torch.inf)
    with pytest.raises(InputError, match=r"the decoder gave numbers that are not finite in torch\.float32"):
        rgb_completer(image, completion)
    nn.init.constant_(rgb_completer.denoiser.unet.conv_out.bias, torch.nan)
    with pytest.raises(InputError, match="the RGB stage failed: the latent is not finite after 4 steps"):
        rgb_completer(image, completion)
    mask_completer = tiny_mask_completer("mask-1", device=CPU, dtype=torch.float32)
    nn.init.constant_(mask_completer.unet.head.bias, torch.nan)
    with pytest.raises(InputError, match="the mask stage gave numbers that are not finite"):
        mask_completer(image, completion.modal_mask)


# The designs of Table 5


def test_one_stage_paints_what_the_mask_stage_predicted() -> None:
    image, modal_mask, joints = people()
    completion = with_hints(mask_stage("one-stage-tiny"), image, modal_mask, keypoints=joints)
    picture = OneStageRgbCompleter()(image, completion)
    assert picture is completion.rgb and picture.min() >= 0 and picture.max() <= 1


def test_one_stage_goes_with_its_own_mask_stage_alone() -> None:
    with pytest.raises(InputError, match="'one-stage' goes with the mask stage 'one-stage' alone"):
        Deoccluder(RedSegmenter(), mask_stage("diffusion-tiny"), rgb_stage("one-stage"))
    with pytest.raises(InputError, match="'one-stage' goes with the mask stage 'one-stage' alone"):
        OneStageRgbCompleter()(*completed())


def test_u_rgb_reads_all_it_is_given_and_draws_nothing() -> None:
    image, completion = completed()
    stage = rgb_stage("two-stage-unet-tiny")
    assert isinstance(stage, UNetRgbCompleter)
    picture = stage(image, completion)
    assert torch.equal(picture, stage(image, completion)) and "generator" not in stage.accepts
    assert picture.shape == image.shape and picture.min() >= 0 and picture.max() <= 1
    smaller = replace(completion, amodal_mask=completion.modal_mask)
    for other_image, other in ((image.flip(-1), completion), (image, smaller)):
        assert not torch.equal(stage(other_image, other), picture)
    features = stage.prior.features(image, completion)
    assert [tuple(value.shape) for value in features.attention] == [(2, 1, 2, 2), (2, 1, 4, 4)]
    for attention in features.attention:  # of one token
        torch.testing.assert_close(attention, torch.ones_like(attention))


# Settings of the command line


def test_options_change_a_stage() -> None:
    options = {"solver": "ddim", "steps": 2, "guidance": 1.0, "context": "image+text", "vqa": False}
    options |= {"hint_colour": "coco", "decoder_tuning_steps": 1, "decoder_tuning_stop_below": 0.5}
    stage = build_rgb_stage("diffusion-tiny", options=options)
    config = stage.config  # type: ignore[attr-defined]
    assert (config.sampling.solver, config.sampling.steps, config.sampling.guidance) == ("ddim", 2, 1.0)
    assert (config.context, config.vqa, config.hint_colour) == ("image+text", False, "coco")
    assert (config.tuning.steps, config.tuning.stop_below) == (1, 0.5)
    for name, real in RGB_CONFIGS.items():
        assert configured(find_stage("RGB", name), {}) == real


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"solver": "lcm"}, "--lcm-lora"),
        ({"steps": 0}, "steps of unipc must be 1 to 999"),
        ({"guidance": -1.0}, "guidance must be at least 0"),
        ({"decoder_tuning_steps": -1}, "steps >= 0"),
        ({"decoder_tuning_steps": 2, "decoder_tuning_stop_below": -0.1}, "stop_below must be at least 0"),
        ({"decoder_tuning_stop_below": 0.1}, "give --decoder-tuning-steps"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        configured(find_stage("RGB", "diffusion"), options)


@pytest.mark.parametrize("name", ["feedforward", "copy-input", "one-stage", "two-stage-unet-tiny"])
def test_other_stages_have_no_such_options(name: str) -> None:
    with pytest.raises(
        InputError, match=f"the RGB stage '{name}' has no --steps, --decoder-tuning-steps; those are for"
    ):
        build_rgb_stage(name, options={"steps": 3, "decoder_tuning_steps": 2})
