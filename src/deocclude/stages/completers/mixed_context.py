"""Mixed context diffusion sampling (Xu et al. 2024, "Amodal Completion via Progressive Mixed Context Diffusion").

A pretrained inpainting model paints a hole next to a person again with what usually stands there: another occluder. So
it starts on the person alone, before a plain background; midway, when the person's shape is settled, its own features
say what of the hole is person, and everything else is exchanged for the photograph's noised latent, in whose context it
finishes. Our own reading of the paper, on `diffusers` parts; what is simplified stands in docs/baselines.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deocclude.errors import InputError

GREY = 0.5
"""The plain background, between black and white."""


@dataclass(frozen=True, kw_only=True)
class MixedContextConfig:
    """How it samples."""

    steps: int = 50
    """Denoising steps."""
    plain_steps: int = 35
    """How many of them see the plain background; the paper's "intermediate" step is our reading of its figures."""
    guidance: float = 7.5
    """Weight of the words."""

    def __post_init__(self) -> None:
        if not 0 < self.plain_steps < self.steps:
            raise ValueError(f"need 0 < plain_steps < steps, got {self.plain_steps} and {self.steps}")


@dataclass(frozen=True)
class Inpainted:
    """picture: float32 (1, 3, S, S) in [0, 1]. person: where it shows the person, bool (1, 1, S, S)."""

    picture: Tensor
    person: Tensor


class MixedContextInpainting:
    """pipeline: a `StableDiffusionInpaintPipeline` with a DDIM scheduler; its networks are used, not its own loop."""

    def __init__(self, pipeline: Any, config: MixedContextConfig, *, weights_sha256: str | None = None) -> None:
        self.pipeline, self.config, self.weights_sha256 = pipeline, config, weights_sha256
        self.unet, self.vae, self.scheduler = pipeline.unet, pipeline.vae, pipeline.scheduler

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' arithmetic."""
        dtype: torch.dtype = self.unet.dtype
        return dtype

    @torch.inference_mode()
    def __call__(
        self, image: Tensor, person: Tensor, hole: Tensor, sentence: str, generator: torch.Generator
    ) -> Inpainted:
        """Paint the hole so that the person goes on in it where it should.

        image: float (1, 3, S, S) in [0, 1]. person, hole: bool (1, 1, S, S), disjoint. Raises InputError where the
        numbers overflow.
        """
        words = self._words(sentence, image.device)
        photograph = self._condition(image, hole)
        plain = self._condition(torch.where(person, image, image.new_tensor(GREY)), hole)
        shape = photograph[:, 1:].shape
        noise = torch.randn(shape, generator=generator, device=generator.device).to(image.device)
        latent = noise * self.scheduler.init_noise_sigma
        self.scheduler.set_timesteps(self.config.steps, device=image.device)
        timesteps = self.scheduler.timesteps
        # 1. The person alone.
        for timestep in timesteps[: self.config.plain_steps]:
            latent = self._step(latent, timestep, plain, words)
        # 2. What is person now, by what the network itself sees.
        timestep = timesteps[self.config.plain_steps]
        features = self._features(latent, timestep, plain, words)
        is_person = person_by_features(features, *(_shrunk(mask, shape[-2:]) for mask in (person, hole)))
        # 3. Everything else from the photograph, noised as far as the person is; without what is in the hole, which
        #    would come back.
        without_occluder = blurred_over(image, ~person & ~hole)
        background = self.scheduler.add_noise(self._encode(without_occluder), noise, timestep[None])
        latent = torch.where(is_person, latent, background)
        for timestep in timesteps[self.config.plain_steps :]:
            latent = self._step(latent, timestep, photograph, words)
        painted = self.vae.decode(latent.to(self.dtype) / self.vae.config.scaling_factor).sample.float()
        if not torch.isfinite(painted).all():
            raise InputError(f"the inpainting gave numbers that are not finite in {self.dtype}; try --dtype float32")
        return Inpainted(((painted + 1) / 2).clamp(0, 1), _enlarged(is_person, image.shape[-1]))

    def _words(self, sentence: str, device: torch.device) -> Tensor:
        """Tokens of the empty prompt and of the sentence, (2, n, C)."""
        given, empty = self.pipeline.encode_prompt(sentence, device, 1, True, negative_prompt="")
        return torch.cat([empty, given])

    def _encode(self, picture: Tensor) -> Tensor:
        """The mean of the VAE's posterior, scaled: float32 (1, 4, s, s)."""
        mean: Tensor = self.vae.encode((picture * 2 - 1).to(self.dtype)).latent_dist.mode()
        return mean.float() * self.vae.config.scaling_factor

    def _condition(self, picture: Tensor, hole: Tensor) -> Tensor:
        """What an inpainting U-Net is told: the hole, and the picture with the hole in mid-grey, (1, 5, s, s)."""
        latent = self._encode(torch.where(hole, picture.new_tensor(GREY), picture))
        return torch.cat([F.interpolate(hole.float(), latent.shape[-2:], mode="nearest"), latent], dim=1)

    def _step(self, latent: Tensor, timestep: Tensor, condition: Tensor, words: Tensor) -> Tensor:
        without, given = self._predict(latent, timestep, condition, words).float().chunk(2)
        noise = without + self.config.guidance * (given - without)
        stepped: Tensor = self.scheduler.step(noise, timestep, latent, return_dict=False)[0]
        return stepped

    def _predict(self, latent: Tensor, timestep: Tensor, condition: Tensor, words: Tensor) -> Tensor:
        inputs = torch.cat([self.scheduler.scale_model_input(latent, timestep), condition], dim=1)
        inputs = torch.cat([inputs] * 2).to(self.dtype)
        predicted: Tensor = self.unet(inputs, timestep, encoder_hidden_states=words, return_dict=False)[0]
        return predicted

    def _features(self, latent: Tensor, timestep: Tensor, condition: Tensor, words: Tensor) -> Tensor:
        """The last but one up block's map, of the branch that reads the words: float32 (1, C, s, s)."""
        maps: list[Tensor] = []
        hook = self.unet.up_blocks[-2].register_forward_hook(lambda module, inputs, output: maps.append(output))
        try:
            self._predict(latent, timestep, condition, words)
        finally:
            hook.remove()
        return F.interpolate(maps[0][1:].float(), latent.shape[-2:], mode="bilinear", align_corners=False)


def person_by_features(features: Tensor, person: Tensor, hole: Tensor) -> Tensor:
    """The person, and what in the hole is nearer to the person's mean feature than to the background's.

    features: float (1, C, s, s). person, hole: bool (1, 1, s, s). Nearness is the cosine. Bool (1, 1, s, s).
    """
    background = ~person & ~hole
    if not person.any() or not background.any():
        return person | hole  # nothing to compare with: all of the hole may be the person
    directions = F.normalize(features, dim=1)

    def likeness(mask: Tensor) -> Tensor:
        mean = (directions * mask).sum(dim=(2, 3), keepdim=True)
        return (directions * F.normalize(mean, dim=1)).sum(dim=1, keepdim=True)

    return person | (hole & (likeness(person) > likeness(background)))


def blurred_over(image: Tensor, known: Tensor) -> Tensor:
    """The picture where it is known, and a blur of the nearest known pixels elsewhere; grey where nothing is known.

    By pyramids: what a pixel lacks it gets from the half size. image: float (1, 3, S, S), known: bool (1, 1, S, S).
    """
    if not known.any():
        return torch.full_like(image, GREY)

    def filled(colour: Tensor, weight: Tensor) -> Tensor:
        mean = colour / weight.clamp(min=1e-6)
        if (weight > 0).all():
            return mean
        half = filled(F.avg_pool2d(colour, 2, ceil_mode=True), F.avg_pool2d(weight, 2, ceil_mode=True))
        return torch.where(weight > 0, mean, F.interpolate(half, colour.shape[-2:], mode="bilinear"))

    return filled(image * known, known.to(image))


def _shrunk(mask: Tensor, size_hw: torch.Size) -> Tensor:
    """A mask at the latent's size: True from one half."""
    height, width = size_hw
    return F.adaptive_avg_pool2d(mask.float(), (height, width)) >= 0.5


def _enlarged(mask: Tensor, size: int) -> Tensor:
    """A mask of the latent at the picture's size, its corners rounded."""
    return F.interpolate(mask.float(), (size, size), mode="bilinear", align_corners=False) >= 0.5
