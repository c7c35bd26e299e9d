"""Paper A's own setting written plainly with `diffusers`: the opponent of `benchmarks/diffusion.py`.

The simplest code that follows the paper and the repositories it builds on: float32; the prior's attention written out
in every layer; questions one at a time; both branches of the guidance one after the other; 200 DDIM steps; a decoder
that is copied and tuned for 50 steps, all of it computed anew in each. Nothing of our pipelines is called, only
networks.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = ("up_blocks.0.resnets.1", "up_blocks.1.attentions.1", "up_blocks.2.attentions.1", "up_blocks.3.attentions.2")
LATENT_SCALE = 0.18215
GUIDANCE = 2.0


def write_attention_out(unet: nn.Module) -> dict[str, Tensor]:
    """Attention with its probabilities in memory in every layer; the four layers' outputs, kept in a dictionary."""
    from diffusers.models.attention_processor import AttnProcessor

    unet.set_attn_processor(AttnProcessor())  # type: ignore[operator]
    outputs: dict[str, Tensor] = {}
    modules = dict(unet.named_modules())
    for name in TAPS:
        modules[name].register_forward_hook(lambda module, given, output, name=name: outputs.update({name: output}))
    return outputs


def body_prior(vae: Any, controlnet: Any, unet: Any, image: Tensor, heatmaps: Tensor, tokens: Tensor) -> None:
    """F and T of one crop, image (1, 3, S, S) in [0, 1]."""
    latent = vae.encode(image).latent_dist.mode()
    skips, middle = controlnet(latent, 1, tokens, heatmaps, return_dict=False)
    unet(latent, 1, tokens, down_block_additional_residuals=skips, mid_block_additional_residual=middle)


def answer_one_by_one(model: Any, pixels: Tensor, questions: Sequence[Tensor], longest_answer: int) -> None:
    """BLIP's own `generate` for each question, (1, n) token numbers, which looks at the picture each time."""
    for ids in questions:
        model.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=longest_answer)


def condition(vae: Any, clip_text: Any, ids: Tensor, image: Tensor, modal_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The latents of picture and mask (1, 8, h, w), and the sentence's tokens (1, 77, C)."""
    mask = modal_mask.float().expand(-1, 3, -1, -1)
    latents = torch.cat([vae.encode(picture * 2 - 1).latent_dist.mode() for picture in (image, mask)], dim=1)
    return latents, clip_text(ids).last_hidden_state


def denoising_step(
    unet: Any, controlnet: Any, noisy: Tensor, step: Any, latents: Tensor, token: Tensor, hint: Tensor, words: Tensor
) -> Tensor:
    """The noise of one step: without a condition, then with it."""
    predicted = []
    for strength in (0.0, 1.0):
        skips, middle = controlnet(noisy, step, words, hint, return_dict=False)
        inputs = torch.cat([noisy, latents * strength], dim=1)
        predicted.append(
            unet(
                inputs,
                step,
                token * strength,
                down_block_additional_residuals=skips,
                mid_block_additional_residual=middle,
            ).sample
        )
    without, given = predicted
    return without + GUIDANCE * (given - without)


class DecoderTuning:
    """Eq. 16 on a copy of the decoder; `step` is one of the fifty."""

    def __init__(self, vae: Any, latent: Tensor, image: Tensor, modal_mask: Tensor) -> None:
        with torch.inference_mode(False):
            self.vae = copy.deepcopy(vae).requires_grad_(False)
            self.vae.decoder.requires_grad_(True)
            self.latent, self.image, self.mask = latent.clone(), image.clone(), modal_mask.clone().float()
            with torch.no_grad():
                self.target = self.vae.decode(self.latent / LATENT_SCALE).sample
            self.optimizer = torch.optim.Adam(self.vae.decoder.parameters(), lr=1e-4)

    def step(self) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            painted = self.vae.decode(self.latent / LATENT_SCALE).sample
            hidden = F.mse_loss(painted * (1 - self.mask), self.target * (1 - self.mask))
            visible = F.mse_loss(painted * self.mask, self.image * self.mask)
            self.optimizer.zero_grad()
            (hidden + 100 * visible).backward()
            self.optimizer.step()
