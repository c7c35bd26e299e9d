"""Denoising (paper A, Eqs. 14 and 15), against the equations written plainly and with a denoiser that knows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deocclude.models.diffusion.configs import MAX_STEPS, SamplingConfig
from deocclude.models.diffusion.rgb_completion import Conditioning, RgbDenoiser, null_conditioning, stacked
from deocclude.models.diffusion.sampling import draw_noise, make_scheduler, sample
from deocclude.stages.completers.diffusion_tiny import NETWORKS, tiny_denoiser

EVERY_SOLVER = pytest.mark.parametrize("solver", MAX_STEPS)


def plain_alphas() -> np.ndarray:
    """ᾱ_t of Stable Diffusion 1.x: 1000 steps, linear in the square root of β."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return np.cumprod(1 - betas)


ALPHAS = plain_alphas()


class StandIn:
    """In the denoiser's place: some function of everything it is given."""

    guided_noise = RgbDenoiser.guided_noise

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def predict_noise(self, noisy: Tensor, timestep: int, given: Conditioning, controlnet: Any = None) -> Tensor:
        self.calls.append((len(noisy), timestep))
        told = given.tokens.mean((1, 2)) + given.latents.mean((1, 2, 3))
        return (0.3 * noisy + told[:, None, None, None] + timestep / 1000).sin()


class Knowing(StandIn):
    """Predicts the very noise that lies on `answer`: whatever the path, it ends there."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def predict_noise(self, noisy: Tensor, timestep: int, given: Conditioning, controlnet: Any = None) -> Tensor:
        alpha = float(ALPHAS[timestep])
        answer = self.answer.repeat(len(noisy) // len(self.answer), 1, 1, 1)
        return (noisy - alpha**0.5 * answer) / (1 - alpha) ** 0.5


def conditions(batch: int = 2, size: int = 8, dim: int = 64) -> tuple[Conditioning, Conditioning]:
    """Given, and the branch without a condition."""
    generator = torch.Generator().manual_seed(1)
    given = Conditioning(
        torch.randn(batch, 8, size, size, generator=generator), torch.randn(batch, 1, dim, generator=generator)
    )
    return given, null_conditioning(given)


def noise(batch: int = 2, size: int = 8) -> Tensor:
    return torch.randn(batch, 4, size, size, generator=torch.Generator().manual_seed(2))


def run(denoiser: Any, config: SamplingConfig, *, seed: int = 0, **more: Any) -> Tensor:
    given, null = conditions()
    generator = torch.Generator().manual_seed(seed)
    return sample(denoiser, noise(), given, null, config, generator=generator, **more)


@pytest.mark.parametrize(("steps", "timesteps"), [(4, [751, 501, 251, 1]), (3, [667, 334, 1]), (1, [1])])
@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.0])
def test_ddim_follows_equation_15(steps: int, timesteps: list[int], guidance: float) -> None:
    """Deterministic; t - 1 is the next timestep chosen, and the last one ends at the schedule's first alpha."""
    given, null = conditions()
    denoiser, latent = StandIn(), noise()
    for timestep in timesteps:
        without, with_condition = (denoiser.predict_noise(latent, timestep, told) for told in (null, given))
        predicted = without + guidance * (with_condition - without)
        alpha, before = ALPHAS[timestep], ALPHAS[max(timestep - 1000 // steps, 0)]
        clean = (latent - (1 - alpha) ** 0.5 * predicted) / alpha**0.5
        latent = before**0.5 * clean + (1 - before) ** 0.5 * predicted
    ours = run(StandIn(), SamplingConfig(solver="ddim", steps=steps, guidance=guidance))
    torch.testing.assert_close(ours, latent, atol=1e-4, rtol=1e-4)


def test_the_schedule_is_stable_diffusions() -> None:
    for solver in MAX_STEPS:
        alphas = make_scheduler(SamplingConfig(solver=solver, steps=4)).alphas_cumprod
        np.testing.assert_allclose(alphas.numpy(), ALPHAS, rtol=1e-5)


@EVERY_SOLVER
def test_guidance_of_one_leaves_the_other_branch_out(solver: str) -> None:
    config = SamplingConfig(solver=solver, steps=4, guidance=1.0)
    denoiser, both = StandIn(), StandIn()
    result = run(denoiser, config)
    assert [size for size, _ in denoiser.calls] == [2] * 4
    run(both, replace(config, guidance=2.0))
    assert [size for size, _ in both.calls] == [4] * 4
    given, null = conditions()
    other_null = replace(null, tokens=null.tokens + 5)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(sample(StandIn(), noise(), given, other_null, config, generator=generator), result)
    nearly = run(StandIn(), replace(config, guidance=1 + 1e-7))  # by way of both branches
    torch.testing.assert_close(nearly, result, atol=1e-4, rtol=1e-4)


@EVERY_SOLVER
@pytest.mark.parametrize("steps", [2, 3, 7])
def test_whoever_knows_the_answer_arrives_there(solver: str, steps: int) -> None:
    answer = noise(size=8).flip(0)
    latent = run(Knowing(answer), SamplingConfig(solver=solver, steps=steps))
    # `ddim` stops at ᾱ_0 = 0.99915, where 3 % of noise are left, as pix2gestalt does.
    torch.testing.assert_close(latent, answer, atol=0.15 if solver == "ddim" else 0.02, rtol=0)


@EVERY_SOLVER
def test_the_same_seed_gives_the_same_latent(solver: str) -> None:
    config = SamplingConfig(solver=solver, steps=5)
    first, again, other = (run(StandIn(), config, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (solver != "lcm")  # the others draw nothing on the way


def test_solvers_are_different_ones() -> None:
    latents = [run(StandIn(), SamplingConfig(solver=solver, steps=5)) for solver in MAX_STEPS]
    for index, latent in enumerate(latents):
        assert not any(torch.allclose(latent, other, atol=1e-3) for other in latents[:index])


@EVERY_SOLVER
def test_on_step_sees_every_latent(solver: str) -> None:
    seen: list[Tensor] = []
    result = run(StandIn(), SamplingConfig(solver=solver, steps=6), on_step=seen.append)
    assert len(seen) == 6 and torch.equal(seen[-1], result)
    assert not any(torch.equal(one, other) for one, other in pairwise(seen))


@EVERY_SOLVER
def test_a_latent_that_is_not_finite_is_no_result(solver: str) -> None:
    class Overflowing(StandIn):
        def predict_noise(self, noisy: Tensor, timestep: int, given: Conditioning, controlnet: Any = None) -> Tensor:
            predicted = super().predict_noise(noisy, timestep, given)
            return predicted / 0 if len(self.calls) == 2 else predicted

    with pytest.raises(ValueError, match=r"not finite after 3 steps in torch\.float32; try float32"):
        run(Overflowing(), SamplingConfig(solver=solver, steps=3))


@EVERY_SOLVER
def test_the_latent_is_float32_between_the_steps(solver: str) -> None:
    """Networks in half precision get halves; what a step changes is too small for them."""

    class Halves(StandIn):
        def predict_noise(self, noisy: Tensor, timestep: int, given: Conditioning, controlnet: Any = None) -> Tensor:
            assert noisy.dtype == torch.bfloat16
            return super().predict_noise(noisy.float(), timestep, given).bfloat16()

    seen: list[Tensor] = []
    config, generator = SamplingConfig(solver=solver, steps=8), torch.Generator().manual_seed(0)
    result = sample(Halves(), noise().bfloat16(), *conditions(), config, generator=generator, on_step=seen.append)
    assert all(latent.dtype == torch.float32 for latent in seen)
    torch.testing.assert_close(result, run(StandIn(), config), atol=0.1, rtol=0.02)


@EVERY_SOLVER
def test_the_most_steps_work(solver: str) -> None:
    """One more would not: a timestep twice, or one beyond the schedule."""
    most = MAX_STEPS[solver]
    timesteps = make_scheduler(SamplingConfig(solver=solver, steps=most)).timesteps.tolist()
    assert len(timesteps) == len(set(timesteps)) == most and min(timesteps) > 0 and max(timesteps) < 1000


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"steps": 0}, "must be 1 to 999, got 0"),
        ({"steps": 1000}, "must be 1 to 999, got 1000"),
        ({"steps": 1000, "solver": "ddim"}, "steps of ddim must be 1 to 999"),
        ({"steps": 51, "solver": "lcm"}, "steps of lcm must be 1 to 50, got 51"),
        ({"guidance": -0.5}, "guidance must be at least 0 and finite, got -0.5"),
        ({"guidance": float("nan")}, "finite, got nan"),
        ({"guidance": float("inf")}, "finite, got inf"),
        ({"solver": "euler"}, "no solver 'euler'; choose from ddim, unipc"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SamplingConfig(**wrong)


def test_a_persons_noise_does_not_depend_on_the_batch() -> None:
    """60 numbers a person: torch would draw 180 at once otherwise than three times 60."""
    like = torch.zeros(1, dtype=torch.float16)
    several = draw_noise(3, (3, 5), torch.Generator().manual_seed(4), like=like)
    generator = torch.Generator().manual_seed(4)
    one_by_one = [draw_noise(1, (3, 5), generator, like=like) for _ in range(3)]
    assert several.shape == (3, 4, 3, 5) and several.dtype == torch.float16
    assert torch.equal(several, torch.cat(one_by_one)) and not torch.equal(several[0], several[1])
    assert not torch.equal(several, draw_noise(3, (3, 5), torch.Generator().manual_seed(5), like=like))


def test_noise_is_standard_normal() -> None:
    values = draw_noise(4, (32, 32), torch.Generator().manual_seed(0), like=torch.zeros(1))
    assert values.mean().abs() < 0.03 and (values.std() - 1).abs() < 0.03
    assert draw_noise(1, (2, 2), None, like=torch.zeros(1)).shape == (1, 4, 2, 2)


# The denoiser itself


@pytest.fixture(scope="module")
def denoiser() -> RgbDenoiser:
    return tiny_denoiser().double()


def doubled(conditioning: Conditioning) -> Conditioning:
    return Conditioning(*(None if value is None else value.double() for value in vars(conditioning).values()))


@torch.inference_mode()
def test_guidance_is_null_plus_scale_times_the_difference(denoiser: RgbDenoiser) -> None:
    given, null = map(doubled, conditions(dim=NETWORKS.context_dim))
    latent = noise().double()
    of_given, of_null = (denoiser.predict_noise(latent, 300, told) for told in (given, null))
    assert (of_given - of_null).abs().max() > 1e-3
    for scale in (0.0, 1.0, 2.0, 7.5):
        guided = denoiser.guided_noise(latent, 300, stacked(null, given), scale)
        torch.testing.assert_close(guided, of_null + scale * (of_given - of_null))


@torch.inference_mode()
def test_the_unet_gets_noise_picture_and_mask_in_this_order(denoiser: RgbDenoiser) -> None:
    given, _ = map(doubled, conditions(dim=NETWORKS.context_dim))
    seen: list[Tensor] = []
    handle = denoiser.unet.conv_in.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    denoiser.predict_noise(noise().double(), 300, given)
    handle.remove()
    assert torch.equal(seen[0], torch.cat([noise().double(), given.latents], dim=1))


@torch.inference_mode()
def test_the_controlnet_gets_what_it_was_trained_with(denoiser: RgbDenoiser) -> None:
    """The noisy latent, the timestep, the hint and the sentence; what it says is added to the U-Net's skips."""
    given, _ = map(doubled, conditions(dim=NETWORKS.context_dim))
    given = replace(given, hint=torch.zeros(2, 3, 64, 64), hint_tokens=torch.zeros(2, 77, NETWORKS.context_dim))
    seen: list[tuple] = []

    class Listening:
        size = 0.0

        def __call__(self, *inputs: Any, return_dict: bool) -> tuple[list[Tensor], Tensor]:
            seen.append(inputs)
            channels, sides = (32, 32, 32, 32, 32, 32, 32, 64, 64, 64, 64, 64), (8, 8, 8, 4, 4, 4, 2, 2, 2, 1, 1, 1)
            skips = [torch.full((2, c, s, s), self.size).double() for c, s in zip(channels, sides, strict=True)]
            return skips, torch.full((2, 64, 1, 1), self.size).double()

    latent, controlnet = noise().double(), Listening()
    silent = denoiser.predict_noise(latent, 300, given, controlnet)
    assert seen[0][0] is latent and seen[0][1] == 300
    assert seen[0][2] is given.hint_tokens and seen[0][3] is given.hint
    torch.testing.assert_close(silent, denoiser.predict_noise(latent, 300, given))
    controlnet.size = 0.5
    assert (denoiser.predict_noise(latent, 300, given, controlnet) - silent).abs().max() > 1e-3
