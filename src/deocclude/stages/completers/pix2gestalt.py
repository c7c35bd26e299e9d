"""pix2gestalt (Ozguroglu et al. 2024) in its own way: it paints the whole person on white, and white is not the person.

CLIP's image embedding as the one token, DDIM with 200 steps, eta 1 and guidance 2, at 256 px; the mask is what is
darker than 250 of 255 in the picture. Paper A's row #5 takes the same weights with eta 0 (`rgb-5`). Weights: converted
by the user; CC BY-NC 4.0, non-commercial.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from deocclude.models.diffusion.configs import SamplingConfig
from deocclude.models.diffusion.rgb_completion import Conditioning, RgbDenoiser, null_conditioning, stacked
from deocclude.models.diffusion.sampling import draw_noise, make_scheduler
from deocclude.models.diffusion.stable_diffusion import LATENT_STRIDE
from deocclude.stages.completers.base import MaskStage, RgbStage
from deocclude.stages.completers.diffusion import visible_error
from deocclude.types import NO_HINTS, Hints, MaskCompletion

CROP_SIZE = 256
WHITE_ABOVE = 250
"""Grey values, of 255, that are background."""
GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""
SEED = 0
"""Of the mask stage, which gets none."""


@dataclass(frozen=True, kw_only=True)
class Pix2gestaltConfig:
    """How it samples; the defaults are the authors'."""

    steps: int = 200
    """Denoising steps."""
    guidance: float = 2.0
    """Weight of the condition."""
    eta: float = 1.0
    """Share of the noise that DDPM would add in each step."""


class Pix2gestalt:
    """The painter that both stages share. `last` is the picture it painted last, with which a mask was made."""

    def __init__(self, denoiser: RgbDenoiser, config: Pix2gestaltConfig, *, weights_sha256: str | None = None) -> None:
        self.denoiser, self.config, self.weights_sha256 = denoiser.eval(), config, weights_sha256
        self.last: Tensor | None = None

    @torch.inference_mode()
    def paint(self, image: Tensor, modal_mask: Tensor, generator: torch.Generator) -> Tensor:
        """One picture of each person on white, float32 (B, 3, S, S) in [0, 1].

        image: float (B, 3, S, S) in [0, 1]. modal_mask: bool (B, 1, S, S). The people are painted one after the other,
        so that a person's noise is drawn in one piece.
        """
        people = zip(image.split(1), modal_mask.split(1), strict=True)
        self.last = torch.cat([self._paint_one(*person, generator) for person in people])
        return self.last

    def _paint_one(self, image: Tensor, modal_mask: Tensor, generator: torch.Generator) -> Tensor:
        denoiser, config = self.denoiser, self.config
        tokens = denoiser.projection(denoiser.image_token(image))
        given = Conditioning(denoiser.condition_latents(image, modal_mask), tokens)
        both = stacked(null_conditioning(given), given)
        side = image.shape[-1] // LATENT_STRIDE
        latent = draw_noise(1, (side, side), generator, like=given.latents).float()
        scheduler = make_scheduler(SamplingConfig(solver="ddim", steps=config.steps, guidance=config.guidance))
        for timestep in scheduler.timesteps.tolist():
            noise = denoiser.guided_noise(latent.to(denoiser.dtype), timestep, both, config.guidance).float()
            latent = scheduler.step(noise, timestep, latent, eta=config.eta, generator=generator, return_dict=False)[0]
        return ((denoiser.decode(latent).float() + 1) / 2).clamp(0, 1)


class _Painting:
    """What both stages have: the painter."""

    name = "pix2gestalt"

    def __init__(self, painter: Pix2gestalt, *, size: int = CROP_SIZE) -> None:
        self.painter, self.size = painter, size
        self.weights_sha256: str | dict[str, str] | None = painter.weights_sha256

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' arithmetic."""
        return self.painter.denoiser.dtype

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as plain values, for a JSON file."""
        return asdict(self.painter.config)


class Pix2gestaltMaskCompleter(_Painting, MaskStage):
    """Paints, and takes for the person what is not white."""

    paints = True

    def complete(self, image: Tensor, modal_mask: Tensor, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
        """image float (B, 3, S, S) in [0, 1], modal_mask bool (B, 1, S, S); refines nothing."""
        # Everybody from the same noise, so that nobody's mask depends on who else is in the batch.
        pictures = [
            self.painter.paint(one, mask, torch.Generator(image.device).manual_seed(SEED))
            for one, mask in zip(image.split(1), modal_mask.split(1), strict=True)
        ]
        self.painter.last = rgb = torch.cat(pictures)
        painted = not_white(rgb)
        return MaskCompletion(modal_mask, painted | modal_mask, painted.float(), rgb=rgb)


class Pix2gestaltRgbCompleter(_Painting, RgbStage):
    """The picture itself: the mask stage's own, where the mask was read off it, a new one otherwise.

    The amodal mask that it is given changes nothing: pix2gestalt reads none.
    """

    accepts = frozenset({"generator"})
    draws_candidates = True

    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        """image float (B, 3, S, S) in [0, 1] to the person on white, float32 (B, 3, S, S) in [0, 1]."""
        mine = self.painter.last
        if mine is not None and completion.rgb is not None and torch.equal(mine, completion.rgb):
            return mine
        return self.candidates(image, completion, 1, hints=hints)[:, 0]

    def candidates(self, image: Tensor, completion: MaskCompletion, count: int, *, hints: Hints = NO_HINTS) -> Tensor:
        """`count` new pictures of each person, (B, count, 3, S, S), the nearest to the visible pixels first."""
        self.check(hints)
        generator = hints.generator or torch.Generator(image.device).manual_seed(SEED)
        modal_mask = completion.modal_mask
        shown, masks = image.repeat_interleave(count, 0), modal_mask.repeat_interleave(count, 0)
        pictures = self.painter.paint(shown, masks, generator).unflatten(0, (len(image), count))
        order = visible_error(pictures, image, modal_mask).argsort(dim=1, stable=True)
        return torch.stack([each[ranks] for each, ranks in zip(pictures, order, strict=True)])


def not_white(picture: Tensor) -> Tensor:
    """Where a picture float (B, 3, S, S) in [0, 1] is darker than white paper: bool (B, 1, S, S)."""
    shares = picture.new_tensor(GREY).view(3, 1, 1)
    grey = ((picture * 255).round() * shares).sum(dim=1, keepdim=True).round()
    return grey <= WHITE_ABOVE
