"""Paper A's two stages behind the two protocols; its sections 3.3 and 3.4 in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from deocclude.conditioning.describer import GENERIC_DESCRIPTION
from deocclude.errors import InputError
from deocclude.images import as_image
from deocclude.masks import invisible_mask
from deocclude.models.diffusion.body_prior import BodyPrior, PriorFeatures, UNetTaps
from deocclude.models.diffusion.decoder_tuning import tuned_picture
from deocclude.models.diffusion.joint_heatmaps import joint_input
from deocclude.models.diffusion.mask_completion import PriorUNet
from deocclude.models.diffusion.rgb_completion import (
    Conditioning,
    RgbDenoiser,
    mask_hint,
    null_conditioning,
)
from deocclude.models.diffusion.sampling import draw_noise, sample
from deocclude.models.diffusion.stable_diffusion import LATENT_SCALE, LATENT_STRIDE
from deocclude.skeletons import NUM_JOINTS
from deocclude.stages.completers.base import MaskStage, RgbStage
from deocclude.stages.diffusion import CROP_SIZE, DiffusionRgbConfig, hints_of_unet
from deocclude.types import NO_HINTS, Hints, MaskCompletion

if TYPE_CHECKING:
    from diffusers import ControlNetModel

    from deocclude.conditioning.sentence_encoder import SentenceEncoder, SentenceFeatures

MAX_AT_ONCE = 8
"""Pictures painted in one batch: more are painted in several, in the memory of one."""


class Describer(Protocol):
    """Says a sentence about each person; `conditioning.describer.Describer` is one."""

    def __call__(self, images: Sequence[np.ndarray]) -> Sequence[str]: ...


class DiffusionMaskCompleter(MaskStage):
    """Stage 1: body prior, joints and modal mask to the amodal mask (Eqs. 4 to 10).

    unet: U_mask, or U_one, which also predicts the picture (Eq. 18). prior: None for ablation #1. note: what a user
    must be told of these weights.
    """

    def __init__(
        self,
        unet: PriorUNet,
        prior: BodyPrior | None,
        *,
        name: str = "diffusion",
        size: int = CROP_SIZE,
        weights_sha256: dict[str, str] | None = None,
        note: str | None = None,
    ) -> None:
        self.unet, self.prior = unet.eval(), prior
        self.name, self.size = name, size
        self.accepts = hints_of_unet(unet.config)
        self.paints = "rgb" in unet.config.outputs
        self.weights_sha256, self.note = weights_sha256, note

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' arithmetic."""
        return next(self.unet.parameters()).dtype

    @torch.inference_mode()
    def complete(self, image: Tensor, modal_mask: Tensor, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
        """image float (B, 3, S, S) in [0, 1], modal_mask bool (B, 1, S, S).

        Paper A takes the modal mask as exact, so `refine_modal` changes nothing.
        """
        dtype = self.dtype
        joints = hints.keypoints
        if joints is None:
            joints = image.new_zeros(len(image), NUM_JOINTS, 3)
        prior = self.prior_features(image, joints)
        pictures = {
            "modal_mask": modal_mask,
            "joints": joint_input(joints, modal_mask, self.unet.config.joint_input),
            "image": image,
        }
        inputs = torch.cat([pictures[name].to(dtype) for name in self.unet.config.inputs], dim=1)
        output = self.unet(inputs, prior)
        assert output.amodal_logits is not None, "stage 1 predicts a mask"
        _check_finite(output.amodal_logits, "the mask stage")
        probability = output.amodal_logits.float().sigmoid()
        rgb = None if output.rgb is None else output.rgb.float()
        return MaskCompletion(modal_mask, (probability >= 0.5) | modal_mask, probability, rgb=rgb)

    def prior_features(self, image: Tensor, joints: Tensor) -> PriorFeatures | None:
        """F and T (Eq. 7) at U_mask's precision."""
        if self.prior is None:
            return None
        dtype = next(self.prior.parameters()).dtype
        features = self.prior(image.to(dtype), joints)
        return features.map(lambda value: value.to(self.dtype))


class OneStageRgbCompleter(RgbStage):
    """Stage 2 of the one-stage ablation: the picture that U_one predicted with the mask (Eq. 18)."""

    name = "one-stage"
    size = CROP_SIZE
    needs_painting_mask_stage = True

    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        """The mask stage's picture (B, 3, S, S). Raises InputError where the mask stage made none."""
        if completion.rgb is None:
            raise InputError("the RGB stage 'one-stage' goes with the mask stage 'one-stage' alone")
        return completion.rgb


class DiffusionRgbCompleter(RgbStage):
    """Stage 2: prompt, amodal mask and occluded picture to the person's picture, by denoising (Eqs. 12 to 17).

    The ControlNet and the sentence encoder may be None where the configuration needs none. note: what a user must be
    told of these weights.
    """

    draws_candidates = True

    def __init__(
        self,
        denoiser: RgbDenoiser,
        config: DiffusionRgbConfig,
        *,
        controlnet: ControlNetModel | None = None,
        sentence_encoder: SentenceEncoder | None = None,
        describer: Describer | None = None,
        name: str = "diffusion",
        size: int = CROP_SIZE,
        weights_sha256: dict[str, str] | None = None,
        note: str | None = None,
    ) -> None:
        assert controlnet is not None or not config.control, "f_c2 needs a ControlNet"
        assert sentence_encoder is not None or not (config.control or config.reads_prompt), "prompts need CLIP"
        self.denoiser, self.config = denoiser.eval(), config
        self.controlnet = controlnet if config.control else None
        self.sentence_encoder, self.describer = sentence_encoder, describer
        self.accepts = config.accepts
        self.name, self.size = name, size
        self.weights_sha256, self.note = weights_sha256, note

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' arithmetic."""
        return self.denoiser.dtype

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as plain values, for a JSON file."""
        lcm_lora = self.config.lcm_lora
        return {**asdict(self.config), "lcm_lora": None if lcm_lora is None else lcm_lora.name}

    def describe(self, image: Tensor) -> list[str]:
        """A sentence about each person (Eq. 12), none where nothing reads them.

        image: float (B, 3, S, S) in [0, 1], the crop with the occluder.
        """
        if not self.config.reads_prompt:
            return []
        if not self.config.vqa or self.describer is None:
            return [GENERIC_DESCRIPTION] * len(image)
        return list(self.describer([as_image(one) for one in image]))

    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        """image float (B, 3, S, S) in [0, 1] to the person before white, float32 (B, 3, S, S) in [0, 1]."""
        return self.candidates(image, completion, 1, hints=hints)[:, 0]

    @torch.inference_mode()
    def candidates(
        self,
        image: Tensor,
        completion: MaskCompletion,
        count: int,
        *,
        hints: Hints = NO_HINTS,
        on_step: Callable[[Tensor], None] = lambda latent: None,
    ) -> Tensor:
        """`count` pictures of each person, best first by `visible_error`: float32 (B, count, 3, S, S) in [0, 1].

        Raises InputError where the numbers overflow in this dtype.
        """
        self.check(hints)
        given, null = self.conditioning(image, completion, hints)
        given, null = given.repeated(count), null.repeated(count)
        side = image.shape[-1] // LATENT_STRIDE
        noise = draw_noise(len(given.latents), (side, side), hints.generator, like=given.latents)
        shown, modal_mask = (value.repeat_interleave(count, 0) for value in (image, completion.modal_mask))
        painted = []
        for first in range(0, len(noise), MAX_AT_ONCE):
            rows = slice(first, first + MAX_AT_ONCE)
            latent = self._sample(noise[rows], given.part(rows), null.part(rows), hints.generator, on_step)
            painted.append(self.picture(latent, shown[rows], modal_mask[rows]))
        pictures = torch.cat(painted).unflatten(0, (len(image), count))
        return _ranked(pictures, visible_error(pictures, image, completion.modal_mask))

    def _sample(
        self,
        noise: Tensor,
        given: Conditioning,
        null: Conditioning,
        generator: torch.Generator | None,
        on_step: Callable[[Tensor], None],
    ) -> Tensor:
        """z_do (Eq. 15). Raises InputError where the numbers overflow."""
        try:
            return sample(
                self.denoiser,
                noise,
                given,
                null,
                self.config.sampling,
                controlnet=self.controlnet,
                generator=generator,
                on_step=on_step,
            )
        except ValueError as error:
            raise InputError(f"the RGB stage failed: {error}") from error

    def picture(self, latent: Tensor, image: Tensor, modal_mask: Tensor) -> Tensor:
        """I_do, or I*_do of a fine-tuned decoder (Eq. 17): float32 (B, 3, S, S) in [0, 1]."""
        if self.config.tuning.steps:
            decoded = tuned_picture(self.denoiser.vae, latent, image * 2 - 1, modal_mask, self.config.tuning)
        else:
            decoded = self.denoiser.decode(latent)
        _check_finite(decoded, "the decoder")
        return ((decoded.float() + 1) / 2).clamp(0, 1)

    def conditioning(
        self, image: Tensor, completion: MaskCompletion, hints: Hints
    ) -> tuple[Conditioning, Conditioning]:
        """C_2 (Eqs. 12 and 13) and its null branch; computed once for all steps."""
        sentences = empty = None
        if self.sentence_encoder is not None:
            sentences = self.sentence_encoder(hints.prompt or [GENERIC_DESCRIPTION] * len(image))
            empty = self.sentence_encoder([""]).hidden.to(self.denoiser.dtype)
        shown = image if hints.reference is None else hints.reference
        given = Conditioning(
            latents=self.denoiser.condition_latents(image, completion.modal_mask),
            tokens=self.context_tokens(shown, sentences),
        )
        if self.controlnet is not None:
            assert sentences is not None and empty is not None
            # Without a prompt in the condition (ablation #6) the ControlNet reads the empty sentence.
            hidden = sentences.hidden if self.config.reads_prompt else empty.expand(len(image), -1, -1)
            hint = mask_hint(completion.amodal_mask, self.config.hint_colour)
            given = Conditioning(
                given.latents, given.tokens, hint.to(self.denoiser.dtype), hidden.to(self.denoiser.dtype)
            )
        return given, null_conditioning(given, empty)

    def context_tokens(self, image: Tensor, sentences: SentenceFeatures | None) -> Tensor:
        """What the U-Net's cross-attention reads, (B, n, C), after pix2gestalt's projection.

        A text's pooled embedding is in the space of pictures' embeddings, on which the U-Net was trained, but of
        another length: it is brought to that of this very picture's embedding.
        """
        context, projection = self.config.context, self.denoiser.projection
        if context == "text_tokens":
            assert sentences is not None
            return sentences.hidden.to(self.denoiser.dtype)  # as the paper may be read; untrained for
        if context == "text_tokens_projected":
            assert sentences is not None
            projected: Tensor = projection(sentences.projected.to(self.denoiser.dtype))
            return projected
        picture = self.denoiser.image_token(image)
        if context == "image":
            tokens: Tensor = projection(picture)
            return tokens
        assert sentences is not None
        text = sentences.pooled[:, None].to(picture)
        text = text * (picture.norm(dim=-1, keepdim=True) / text.norm(dim=-1, keepdim=True).clamp(min=1e-6))
        tokens = projection(text if context == "text_pooled" else torch.cat([picture, text], dim=1))
        return tokens


class Stage2Prior:
    """F', T' (Eq. 19): what ε_rgb knows of a picture, for the ablation that paints without denoising."""

    def __init__(self, denoiser: RgbDenoiser, controlnet: ControlNetModel, sentence_encoder: SentenceEncoder) -> None:
        self.denoiser, self.controlnet = denoiser.eval(), controlnet
        self.sentence_encoder = sentence_encoder
        self.taps = UNetTaps(denoiser.unet)

    @torch.no_grad()
    def features(self, image: Tensor, completion: MaskCompletion) -> PriorFeatures:
        """One pass at t = 0 on the picture's own latent, with f_lw and f_c2; image float (B, 3, S, S) in [0, 1].

        f_lw is one token, so T' is one channel of ones.
        """
        latents = self.denoiser.condition_latents(image, completion.modal_mask)
        noisy = latents[:, :4] * LATENT_SCALE
        hidden = self.sentence_encoder([""]).hidden.to(noisy).expand(len(image), -1, -1)
        hint = mask_hint(completion.amodal_mask).to(noisy)
        control = self.controlnet(noisy, 0, hidden, hint, return_dict=False)
        tokens = self.denoiser.projection(self.denoiser.image_token(image))
        return self.taps.features(torch.cat([noisy, latents], dim=1), 0, tokens, control)


class UNetRgbCompleter(RgbStage):
    """Stage 2 of the ablation `two-stage (U_rgb)`: one pass of a U-Net fed with stage 2's prior (Eq. 20)."""

    def __init__(
        self,
        unet: PriorUNet,
        prior: Stage2Prior,
        *,
        name: str = "two-stage-unet",
        size: int = CROP_SIZE,
        weights_sha256: dict[str, str] | None = None,
        note: str | None = None,
    ) -> None:
        self.unet, self.prior = unet.eval(), prior
        self.name, self.size = name, size
        self.weights_sha256, self.note = weights_sha256, note

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' arithmetic."""
        return next(self.unet.parameters()).dtype

    @torch.inference_mode()
    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        """image float (B, 3, S, S) in [0, 1] to the network's picture, float32 (B, 3, S, S) in [0, 1]."""
        pictures = {
            "image": image,
            "modal_mask": completion.modal_mask,
            "invisible_mask": invisible_mask(completion.modal_mask, completion.amodal_mask),
        }
        dtype = self.dtype
        inputs = torch.cat([pictures[name].to(dtype) for name in self.unet.config.inputs], dim=1)
        rgb = self.unet(inputs, self.prior.features(image, completion).map(lambda value: value.to(dtype))).rgb
        assert rgb is not None, "stage 2 predicts a picture"
        return rgb.float()


def _check_finite(values: Tensor, what: str) -> None:
    """Raises InputError for values that overflowed."""
    if not torch.isfinite(values).all():
        raise InputError(f"{what} gave numbers that are not finite in {values.dtype}; try --dtype float32")


def visible_error(pictures: Tensor, image: Tensor, modal_mask: Tensor) -> Tensor:
    """How far each picture is from the photograph where the person is visible: mean absolute difference, (B, N).

    pictures: (B, N, 3, S, S) and image (B, 3, S, S) in [0, 1]. modal_mask: bool (B, 1, S, S).
    """
    difference = (pictures - image[:, None]).abs().mean(dim=2) * modal_mask
    return difference.sum((2, 3)) / modal_mask.sum((2, 3)).clamp(min=1)


def _ranked(pictures: Tensor, errors: Tensor) -> Tensor:
    """Each person's pictures, the one with the smallest error first."""
    order = errors.argsort(dim=1, stable=True)
    return torch.stack([each[ranks] for each, ranks in zip(pictures, order, strict=True)])
