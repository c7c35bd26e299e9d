"""From noise to the latent of the de-occluded person (paper A, Eq. 15), with `diffusers` schedulers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deocclude.models.diffusion.configs import SamplingConfig
from deocclude.models.diffusion.rgb_completion import Conditioning, RgbDenoiser, stacked

if TYPE_CHECKING:
    from diffusers import ControlNetModel

NOISE_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
"""Stable Diffusion 1.x's, which pix2gestalt keeps."""


def make_scheduler(config: SamplingConfig) -> Any:
    """The scheduler of a solver, with its timesteps set."""
    import diffusers

    if config.solver == "ddim":
        # The last step ends at the first alpha of the schedule, not at 1, as pix2gestalt's sampler does.
        scheduler: Any = diffusers.DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False, set_alpha_to_one=False)
    elif config.solver == "unipc":
        scheduler = diffusers.UniPCMultistepScheduler(**NOISE_SCHEDULE)
    elif config.solver == "dpm++":
        scheduler = diffusers.DPMSolverMultistepScheduler(**NOISE_SCHEDULE, algorithm_type="dpmsolver++")
    else:
        settings = {key: value for key, value in NOISE_SCHEDULE.items() if key != "steps_offset"}
        scheduler = diffusers.LCMScheduler(**settings)
    scheduler.set_timesteps(config.steps)
    return scheduler


def draw_noise(count: int, size_hw: tuple[int, int], generator: torch.Generator | None, *, like: Tensor) -> Tensor:
    """z_T: `count` standard normal latents (count, 4, h, w), on the device and of the dtype of `like`.

    Each is drawn after the other, so that the first ones' noise does not depend on how many there are.
    """
    device = generator.device if generator is not None else like.device
    drawn = [torch.randn((1, 4, *size_hw), generator=generator, device=device) for _ in range(count)]
    return torch.cat(drawn).to(like)


def sample(
    denoiser: RgbDenoiser,
    noise: Tensor,
    given: Conditioning,
    null: Conditioning,
    config: SamplingConfig,
    *,
    controlnet: ControlNetModel | None = None,
    generator: torch.Generator | None = None,
    on_step: Callable[[Tensor], None] = lambda latent: None,
) -> Tensor:
    """z_do: the denoised, scaled latent, float32 (B, 4, h, w). Raises ValueError where it is not finite.

    Between the steps the latent is float32 whatever the networks are: what a step changes is small.
    noise: (B, 4, h, w). given, null: the conditions of the B people and of the branch without a condition.
    generator: of the noise that `lcm` adds on the way. on_step: called with the latent after every step.
    """
    scheduler = make_scheduler(config)
    both = stacked(null, given)  # the same in every step
    latent = noise.float() * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps.tolist():
        scaled = scheduler.scale_model_input(latent, timestep).to(noise.dtype)
        if config.guidance == 1:
            predicted = denoiser.predict_noise(scaled, timestep, given, controlnet)
        else:
            predicted = denoiser.guided_noise(scaled, timestep, both, config.guidance, controlnet)
        more = {"generator": generator} if config.solver == "lcm" else {}
        latent = scheduler.step(predicted.float(), timestep, latent, return_dict=False, **more)[0]
        on_step(latent)
    if not torch.isfinite(latent).all():
        raise ValueError(f"the latent is not finite after {config.steps} steps in {noise.dtype}; try float32")
    return latent
