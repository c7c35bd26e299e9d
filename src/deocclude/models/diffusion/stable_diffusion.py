"""Stable Diffusion 1.5's networks at any width: `diffusers` classes, none rewritten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

LATENT_SCALE = 0.18215
"""Latents of the denoising process are the VAE's times this, which gives them unit variance."""
LATENT_STRIDE = 8
"""Pixels of the picture in one pixel of the latent."""


@dataclass(frozen=True, kw_only=True)
class StableDiffusionConfig:
    """Widths; the defaults are SD 1.5's. Two residual blocks a level, eight heads, attention on all but the last."""

    channels: tuple[int, int, int, int] = (320, 640, 1280, 1280)
    """Of the U-Net and the ControlNet, by level."""
    vae_channels: tuple[int, int, int, int] = (128, 256, 512, 512)
    """Of the autoencoder, by level."""
    context_dim: int = 768
    """Width of the tokens that cross-attention reads."""
    hint_channels: tuple[int, ...] = (16, 32, 96, 256)
    """Of the ControlNet's own encoder of its hint, which shrinks a picture eight times."""


def make_unet(config: StableDiffusionConfig, *, in_channels: int = 4) -> UNet2DConditionModel:
    """The denoising U-Net: noisy latents (and others, concatenated) to the noise, (B, 4, h, w)."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=64,
        in_channels=in_channels,
        block_out_channels=config.channels,
        cross_attention_dim=config.context_dim,
        attention_head_dim=8,  # diffusers' name for the number of heads
    )


def make_controlnet(config: StableDiffusionConfig) -> ControlNetModel:
    """The trainable copy of the U-Net's encoder, for a hint (B, 3, 8h, 8w) in [0, 1]."""
    from diffusers import ControlNetModel

    return ControlNetModel(
        block_out_channels=config.channels,
        cross_attention_dim=config.context_dim,
        attention_head_dim=8,
        conditioning_embedding_out_channels=config.hint_channels,
    )


def make_vae(config: StableDiffusionConfig) -> AutoencoderKL:
    """The autoencoder: pictures (B, 3, 8h, 8w) in [-1, 1] to and from latents (B, 4, h, w)."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=config.vae_channels,
        layers_per_block=2,
        latent_channels=4,
        scaling_factor=LATENT_SCALE,
    )
