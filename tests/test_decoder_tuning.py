"""Decoder fine-tuning (paper A, Eqs. 16 and 17) on a miniature autoencoder."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deocclude.models.diffusion.decoder_tuning import DecoderTuningConfig, tuned_picture, tuning_errors
from deocclude.models.diffusion.stable_diffusion import LATENT_SCALE
from deocclude.stages.completers.diffusion_tiny import tiny_denoiser

SIZE = 64
CONFIG = DecoderTuningConfig(steps=4)


@pytest.fixture(scope="module")
def vae() -> Any:
    return tiny_denoiser().vae


def person(batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Latent, picture in [-1, 1] and modal mask; nobody looks like another."""
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(batch, 4, SIZE // 8, SIZE // 8, generator=generator)
    image = torch.rand(batch, 3, SIZE, SIZE, generator=generator) * 2 - 1
    modal_mask = torch.zeros(batch, 1, SIZE, SIZE, dtype=torch.bool)
    modal_mask[..., 10:40, 20:50] = True
    return latent, image, modal_mask


def decoded(vae: Any, latent: Tensor) -> Tensor:
    with torch.no_grad():
        return vae.decode(latent / LATENT_SCALE).sample


def visible_error(picture: Tensor, image: Tensor, modal_mask: Tensor) -> float:
    return tuning_errors(picture, picture, image, modal_mask)[1].item()


def test_the_terms_of_equation_16() -> None:
    generator = torch.Generator().manual_seed(0)
    picture, target, image = torch.rand(3, 2, 3, 8, 8, generator=generator) * 2 - 1
    modal_mask = torch.rand(2, 1, 8, 8, generator=generator) > 0.6
    hidden, visible = tuning_errors(picture, target, image, modal_mask)
    x, y, photo, m = (value.double().numpy() for value in (picture, target, image, modal_mask))
    assert hidden.item() == pytest.approx(np.mean((x * (1 - m) - y * (1 - m)) ** 2), rel=1e-5)
    assert visible.item() == pytest.approx(np.mean((x * m - photo * m) ** 2), rel=1e-5)


@pytest.mark.parametrize("together", [False, True])
def test_the_autoencoder_stays_as_it_was(vae: Any, together: bool) -> None:
    before = {key: value.clone() for key, value in vae.state_dict().items()}
    flags = {name: parameter.requires_grad for name, parameter in vae.named_parameters()}
    picture = tuned_picture(vae, *person(), replace(CONFIG, together=together))
    assert not torch.allclose(picture, decoded(vae, person()[0]), atol=1e-3)  # the copy did learn
    after = vae.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert flags == {name: parameter.requires_grad for name, parameter in vae.named_parameters()}
    assert all(parameter.grad is None for parameter in vae.parameters()) and not vae.training
    assert picture.dtype == torch.float32 and not picture.requires_grad


def test_no_steps_decode_plainly(vae: Any) -> None:
    latent, image, modal_mask = person(1)
    config = replace(CONFIG, steps=0)
    assert torch.equal(tuned_picture(vae, latent, image, modal_mask, config), decoded(vae, latent))


def test_visible_pixels_come_nearer_with_every_stretch_of_steps(vae: Any) -> None:
    latent, image, modal_mask = person(1)
    errors = [
        visible_error(tuned_picture(vae, latent, image, modal_mask, replace(CONFIG, steps=steps)), image, modal_mask)
        for steps in (0, 2, 5, 10)
    ]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.95 * errors[0]


def test_people_of_a_batch_are_tuned_one_by_one(vae: Any) -> None:
    latent, image, modal_mask = person()
    counted: list[None] = []
    batch = tuned_picture(vae, latent, image, modal_mask, CONFIG, on_step=lambda: counted.append(None))
    for index in range(2):
        one = slice(index, index + 1)
        alone = tuned_picture(vae, latent[one], image[one], modal_mask[one], CONFIG)
        torch.testing.assert_close(batch[one], alone, atol=1e-4, rtol=1e-4)
    assert len(counted) == 2 * CONFIG.steps


def test_together_they_share_a_decoder(vae: Any) -> None:
    counted: list[None] = []
    together = replace(CONFIG, together=True)
    shared = tuned_picture(vae, *person(), together, on_step=lambda: counted.append(None))
    assert len(counted) == CONFIG.steps and shared.shape == (2, 3, SIZE, SIZE)
    assert (shared - tuned_picture(vae, *person(), CONFIG)).abs().max() > 1e-3
    alone = person(1)
    torch.testing.assert_close(tuned_picture(vae, *alone, together), tuned_picture(vae, *alone, CONFIG))


def test_it_stops_early_where_it_may(vae: Any) -> None:
    latent, image, modal_mask = person(1)
    plain = decoded(vae, latent)
    at_first = visible_error(plain, image, modal_mask)
    steps: list[None] = []

    def tuned(stop_below: float | None) -> Tensor:
        steps.clear()
        config = replace(CONFIG, steps=12, stop_below=stop_below)
        return tuned_picture(vae, latent, image, modal_mask, config, on_step=lambda: steps.append(None))

    assert torch.equal(tuned(2 * at_first), plain) and len(steps) == 0
    picture = tuned(0.97 * at_first)
    assert 0 < len(steps) < 12 and visible_error(picture, image, modal_mask) < 0.97 * at_first
    for never in (0.0, None):
        tuned(never)
        assert len(steps) == 12


def test_it_works_where_gradients_are_off(vae: Any) -> None:
    """As in a pipeline: the tensors were made in inference mode too."""
    expected = tuned_picture(vae, *person(1), CONFIG)
    for off in (torch.inference_mode, torch.no_grad):
        with off():
            latent, image, modal_mask = (
                value * 1 if value.is_floating_point() else value | value for value in person(1)
            )
            assert torch.equal(tuned_picture(vae, latent, image, modal_mask, CONFIG), expected)


def test_the_visible_part_weighs_what_lambda_says(vae: Any) -> None:
    latent, image, modal_mask = person(1)
    moderate = copy.deepcopy(vae)
    moderate.decoder.conv_out.weight.mul_(0.5)
    plain = decoded(moderate, latent)
    assert plain.abs().max() < 1  # so that clamping I_do to [-1, 1] changes nothing

    def errors(weight: float) -> tuple[float, float]:
        config = replace(CONFIG, steps=10, visible_weight=weight)
        hidden, visible = tuning_errors(
            tuned_picture(moderate, latent, image, modal_mask, config), plain, image, modal_mask
        )
        return hidden.item(), visible.item()

    untouched = errors(0)
    assert untouched == (0, visible_error(plain, image, modal_mask))
    light, heavy = errors(0.1), errors(100)
    assert heavy[1] < light[1] < untouched[1] and heavy[0] > light[0] > 0


def test_the_hidden_part_is_drawn_to_what_can_be_shown(vae: Any) -> None:
    """I_do is clamped to [-1, 1]: a decoder that leaves that range is changed even where nothing is visible."""
    latent, image, modal_mask = person(1)
    plain = decoded(vae, latent)
    assert plain.abs().max() > 1
    assert not torch.equal(tuned_picture(vae, latent, image, modal_mask & False, replace(CONFIG, steps=1)), plain)


def test_half_precision_learns_too() -> None:
    vae = tiny_denoiser().vae.to(torch.bfloat16)
    latent, image, modal_mask = person(1)
    untuned, tuned = (tuned_picture(vae, latent, image, modal_mask, replace(CONFIG, steps=steps)) for steps in (0, 8))
    assert tuned.dtype == torch.float32 and all(p.dtype == torch.bfloat16 for p in vae.parameters())
    assert visible_error(tuned, image, modal_mask) < visible_error(untuned, image, modal_mask)


@pytest.mark.parametrize(
    "wrong", [{"steps": -1}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"visible_weight": -1.0}]
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="need steps >= 0, learning_rate > 0 and visible_weight >= 0"):
        DecoderTuningConfig(**wrong)
