"""Decoder fine-tuning (paper A, Eqs. 16 and 17): a copy of the VAE's decoder learns the photograph's visible pixels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from deocclude.models.diffusion.configs import DecoderTuningConfig
from deocclude.models.diffusion.stable_diffusion import LATENT_SCALE

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


def tuned_picture(
    vae: AutoencoderKL,
    latent: Tensor,
    image: Tensor,
    modal_mask: Tensor,
    config: DecoderTuningConfig,
    *,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """I*_do = D_θ*(z_do) (Eq. 17), float32 (B, 3, S, S), about [-1, 1]. The VAE itself stays bit-identical.

    latent: z_do, scaled, (B, 4, S / 8, S / 8). image: I_o, float (B, 3, S, S) in [-1, 1]. modal_mask: bool
    (B, 1, S, S).
    """
    # Only the decoder learns, so what comes before it is the same in every step.
    with torch.no_grad():
        quantised = vae.post_quant_conv(latent.to(vae.dtype) / LATENT_SCALE)
    batches = [slice(None)] if config.together else [slice(index, index + 1) for index in range(len(latent))]
    pictures = [
        _tuned(vae.decoder, quantised[part], image[part], modal_mask[part], config, on_step) for part in batches
    ]
    return torch.cat(pictures)


def _tuned(
    decoder: nn.Module,
    quantised: Tensor,
    image: Tensor,
    modal_mask: Tensor,
    config: DecoderTuningConfig,
    on_step: Callable[[], None],
) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        # Tensors made in inference mode can't take part in autograd; copies of them can.
        quantised, image, modal_mask = quantised.clone(), image.float().clone(), modal_mask.clone()
        tuned = copy.deepcopy(decoder).requires_grad_(True)
        with torch.no_grad():
            target = tuned(quantised).float().clamp(-1, 1)  # I_do, of the decoder as it was
        # Adam's steps of 1e-4 vanish in half precision: the weights that learn are float32, the arithmetic stays.
        # Nor do gradients fit into float16 without care; bfloat16 has float32's range.
        dtype = torch.bfloat16 if quantised.dtype == torch.float16 else quantised.dtype
        tuned.float()
        optimizer = torch.optim.Adam(tuned.parameters(), lr=config.learning_rate)
        for _ in range(config.steps):
            with torch.autocast(quantised.device.type, dtype, enabled=dtype != torch.float32):
                picture = tuned(quantised.float()).float()
            hidden, visible = tuning_errors(picture, target, image, modal_mask)
            if config.stop_below is not None and visible < config.stop_below:
                break
            optimizer.zero_grad(set_to_none=True)
            (hidden + config.visible_weight * visible).backward()
            optimizer.step()
            on_step()
        with torch.no_grad(), torch.autocast(quantised.device.type, dtype, enabled=dtype != torch.float32):
            return tuned(quantised.float()).float()


def tuning_errors(picture: Tensor, target: Tensor, image: Tensor, modal_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of Eq. 16, before λ: squared error to I_do where the person is not visible, to I_o where it is.

    Means over the whole tensor, as Blended Latent Diffusion takes them; pictures (B, 3, S, S) in [-1, 1].
    """
    hidden = ((picture - target) * ~modal_mask).square().mean()
    visible = ((picture - image) * modal_mask).square().mean()
    return hidden, visible
