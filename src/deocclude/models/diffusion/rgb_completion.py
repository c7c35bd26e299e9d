"""Stage 2's denoiser (paper A, Eqs. 12 to 14): pix2gestalt's U-Net on the occluded picture and the modal mask.

The U-Net takes twelve channels: the noisy latent, scaled, then the latents of picture and mask, which are not. What it
reads by cross-attention, one CLIP token in pix2gestalt, is a sentence about the person in paper A (`text_tokens`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.diffusion.stable_diffusion import LATENT_SCALE, StableDiffusionConfig, make_unet, make_vae

if TYPE_CHECKING:
    from diffusers import ControlNetModel

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

HINT_COLOURS = {"ade20k": (150, 5, 61), "coco": (220, 20, 60), "white": (255, 255, 255)}
"""A person's colour in the segmentation maps that the ControlNet was trained on; white is what one might guess."""


@dataclass(frozen=True, kw_only=True)
class ImageEncoderConfig:
    """CLIP's image tower; the defaults are ViT-L/14's."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    patch: int = 14
    size: int = 224


@dataclass(frozen=True, kw_only=True)
class RgbDenoiserConfig:
    """Widths; the defaults are pix2gestalt's."""

    networks: StableDiffusionConfig = field(default_factory=StableDiffusionConfig)
    image_encoder: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)


@dataclass(frozen=True)
class Conditioning:
    """What every denoising step is told about B people.

    latents: z_0', float (B, 8, h, w): the occluded picture's and the modal mask's latent, unscaled.
    tokens: float (B, n, context_dim), what the U-Net's cross-attention reads.
    hint: the amodal mask as a picture, float (B, 3, 8h, 8w) in [0, 1], and hint_tokens (B, m, context_dim), what the
    ControlNet reads; both None where there is no ControlNet.
    """

    latents: Tensor
    tokens: Tensor
    hint: Tensor | None = None
    hint_tokens: Tensor | None = None

    def part(self, rows: slice) -> Conditioning:
        """Some of the people."""
        return Conditioning(*(None if value is None else value[rows] for value in vars(self).values()))  # type: ignore[arg-type]

    def repeated(self, count: int) -> Conditioning:
        """`count` times each person, one after the other."""
        values = (None if value is None else value.repeat_interleave(count, 0) for value in vars(self).values())
        return Conditioning(*values)  # type: ignore[arg-type]


class RgbDenoiser(nn.Module):
    """pix2gestalt's networks; the ControlNet, which paper A adds, is given with each call."""

    def __init__(self, config: RgbDenoiserConfig) -> None:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        super().__init__()
        self.config = config
        encoder, context_dim = config.image_encoder, config.networks.context_dim
        self.unet = make_unet(config.networks, in_channels=12)
        self.vae = make_vae(config.networks)
        self.image_encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=encoder.width,
                intermediate_size=4 * encoder.width,
                num_hidden_layers=encoder.layers,
                num_attention_heads=encoder.heads,
                patch_size=encoder.patch,
                image_size=encoder.size,
                projection_dim=context_dim,
                hidden_act="quick_gelu",
            )
        )
        self.projection = nn.Linear(context_dim, context_dim)
        self.requires_grad_(False)

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' arithmetic."""
        return self.projection.weight.dtype

    def encode(self, picture: Tensor) -> Tensor:
        """The mean of the VAE's posterior, unscaled (B, 4, S / 8, S / 8). picture: (B, 3, S, S) in [-1, 1]."""
        mean: Tensor = self.vae.encode(picture.to(self.dtype)).latent_dist.mode()
        return mean

    def decode(self, latent: Tensor) -> Tensor:
        """A denoised, scaled latent (B, 4, h, w) to the decoder's picture (B, 3, 8h, 8w), about [-1, 1]."""
        picture: Tensor = self.vae.decode(latent.to(self.dtype) / LATENT_SCALE).sample
        return picture

    def condition_latents(self, image: Tensor, modal_mask: Tensor) -> Tensor:
        """z_0' (Eq. 13): the latents of picture and mask, (B, 8, S / 8, S / 8).

        image: (B, 3, S, S) in [0, 1]. modal_mask: bool (B, 1, S, S), which becomes a picture of -1 and 1.
        """
        mask = modal_mask.to(image.dtype).expand(-1, 3, -1, -1)
        return torch.cat([self.encode(image * 2 - 1), self.encode(mask * 2 - 1)], dim=1)

    def image_token(self, image: Tensor) -> Tensor:
        """CLIP's image embedding, not normalised, (B, 1, context_dim): pix2gestalt's condition and paper A's f_lw."""
        embedding: Tensor = self.image_encoder(self.clip_picture(image).to(self.dtype)).image_embeds
        return embedding[:, None]

    def clip_picture(self, image: Tensor) -> Tensor:
        """image (B, 3, S, S) in [0, 1] as CLIP gets it from pix2gestalt: bicubic, corners aligned, not antialiased."""
        size = self.config.image_encoder.size
        resized = F.interpolate(image.float(), (size, size), mode="bicubic", align_corners=True, antialias=False)
        mean, std = (torch.tensor(value, device=image.device).view(3, 1, 1) for value in (CLIP_MEAN, CLIP_STD))
        return (resized - mean) / std

    def predict_noise(
        self, noisy: Tensor, timestep: int | Tensor, given: Conditioning, controlnet: ControlNetModel | None = None
    ) -> Tensor:
        """ε_t (Eq. 14) for scaled noisy latents (B, 4, h, w), with f_c2 (Eq. 13) where there is a ControlNet.

        The paper feeds z_0' to the ControlNet, which has no room for eight channels: it gets z_t, as it was trained.
        """
        skips = middle = None
        if controlnet is not None and given.hint is not None:
            skips, middle = controlnet(noisy, timestep, given.hint_tokens, given.hint, return_dict=False)
        inputs = torch.cat([noisy, given.latents.to(noisy.dtype)], dim=1)
        noise: Tensor = self.unet(
            inputs,
            timestep,
            given.tokens,
            down_block_additional_residuals=skips,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]
        return noise

    def guided_noise(
        self,
        noisy: Tensor,
        timestep: int | Tensor,
        null_and_given: Conditioning,
        guidance: float,
        controlnet: ControlNetModel | None = None,
    ) -> Tensor:
        """Classifier-free guidance, null + `guidance` · (given - null), in one pass.

        noisy: (B, 4, h, w). null_and_given: 2B conditions, first those of the null branch (`stacked`).
        """
        without, given = self.predict_noise(torch.cat([noisy] * 2), timestep, null_and_given, controlnet).chunk(2)
        return without + guidance * (given - without)


def stacked(first: Conditioning, second: Conditioning) -> Conditioning:
    """Two conditionings as one batch."""
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return Conditioning(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))  # type: ignore[arg-type]


def null_conditioning(given: Conditioning, empty_hint_tokens: Tensor | None = None) -> Conditioning:
    """The branch without a condition: zero tokens after the projection and zero latents, as pix2gestalt has it.

    The ControlNet's hint stays, with the tokens of the empty sentence (1 or B, m, context_dim).
    """
    hint_tokens = given.hint_tokens
    if hint_tokens is not None:
        assert empty_hint_tokens is not None, "a ControlNet reads the empty sentence where there is no condition"
        hint_tokens = empty_hint_tokens.to(hint_tokens).expand_as(hint_tokens)
    return Conditioning(torch.zeros_like(given.latents), torch.zeros_like(given.tokens), given.hint, hint_tokens)


def mask_hint(amodal_mask: Tensor, colour: str = "ade20k") -> Tensor:
    """The amodal mask bool (B, 1, S, S) as the ControlNet's segmentation map, float32 (B, 3, S, S) in [0, 1]."""
    if colour not in HINT_COLOURS:
        raise ValueError(f"no hint colour '{colour}'; choose from {sorted(HINT_COLOURS)}")
    rgb = torch.tensor(HINT_COLOURS[colour], device=amodal_mask.device).view(3, 1, 1) / 255
    return amodal_mask * rgb
