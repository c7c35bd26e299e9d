"""Paper A's stages in miniature: the same networks' classes, a thousandth of their size, with seeded random weights.

They show that everything runs, on a laptop and without a model hub. What they paint is noise, and they say so.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import nn

from deocclude.conditioning.sentence_encoder import SentenceEncoder
from deocclude.models.diffusion.body_prior import BodyPrior, BodyPriorConfig
from deocclude.models.diffusion.configs import PriorUNetConfig
from deocclude.models.diffusion.mask_completion import PriorUNet
from deocclude.models.diffusion.rgb_completion import ImageEncoderConfig, RgbDenoiser, RgbDenoiserConfig
from deocclude.models.diffusion.stable_diffusion import StableDiffusionConfig, make_controlnet
from deocclude.stages.completers.diffusion import (
    DiffusionMaskCompleter,
    DiffusionRgbCompleter,
    Stage2Prior,
    UNetRgbCompleter,
)
from deocclude.stages.diffusion import MASK_DESIGNS, RGB_CONFIGS, RGB_DESIGN, DiffusionRgbConfig
from deocclude.stages.diffusion_tiny import tiny_config

NOTE = "miniature networks with random weights: the result shows that everything runs, and means nothing"

NETWORKS = StableDiffusionConfig(
    channels=(32, 32, 64, 64), vae_channels=(32, 32, 32, 32), context_dim=64, hint_channels=(4, 8, 8, 16)
)
VOCABULARY = 512

Module = TypeVar("Module", bound=nn.Module)


def tiny_mask_completer(name: str, *, device: torch.device, dtype: torch.dtype) -> DiffusionMaskCompleter:
    """The mask stage `name` in miniature."""
    config = tiny_unet_config(MASK_DESIGNS[name])
    unet = _tiny_unet(config).to(device, dtype)
    prior = tiny_body_prior().to(device, dtype) if config.has_prior else None
    return DiffusionMaskCompleter(unet, prior, name=f"{name}-tiny", note=NOTE)


def tiny_rgb_completer(
    name: str, config: DiffusionRgbConfig | None = None, *, device: torch.device, dtype: torch.dtype
) -> DiffusionRgbCompleter:
    """The RGB stage `name` in miniature, with its own settings in few steps unless `config` says others."""
    config = config or tiny_config(RGB_CONFIGS[name])
    return DiffusionRgbCompleter(
        tiny_denoiser().to(device, dtype),
        config,
        controlnet=_tiny_controlnet(device, dtype) if config.control else None,
        sentence_encoder=tiny_sentence_encoder(device, dtype),
        name=f"{name}-tiny",
        note=NOTE,
    )


def tiny_unet_rgb_completer(*, device: torch.device, dtype: torch.dtype) -> UNetRgbCompleter:
    """The RGB stage `two-stage-unet` in miniature."""
    return UNetRgbCompleter(
        _tiny_unet(tiny_unet_config(RGB_DESIGN)).to(device, dtype),
        build_stage_2_prior(device=device, dtype=dtype),
        name="two-stage-unet-tiny",
        note=NOTE,
    )


def build_stage_2_prior(*, device: torch.device, dtype: torch.dtype) -> Stage2Prior:
    """Stage 2's networks as a prior, in miniature."""
    controlnet = _tiny_controlnet(device, dtype)
    return Stage2Prior(tiny_denoiser().to(device, dtype), controlnet, tiny_sentence_encoder(device, dtype))


def tiny_unet_config(config: PriorUNetConfig) -> PriorUNetConfig:
    """The same inputs and outputs at a sixteenth of the width, for the miniature prior."""
    return replace(
        config,
        prior_channels=BodyPriorConfig(networks=NETWORKS).feature_channels,
        encoder=(4, 8, 8, 16, 16, 16, 16),
        projection=32,
        decoder=(24, 16, 8, 8, 4, 4),
    )


def tiny_body_prior() -> BodyPrior:
    """DPMesh's classes in miniature."""
    return _seeded(lambda: BodyPrior(BodyPriorConfig(networks=NETWORKS)))


def tiny_denoiser() -> RgbDenoiser:
    """pix2gestalt's classes in miniature."""
    encoder = ImageEncoderConfig(width=64, layers=2, heads=1)
    return _seeded(lambda: RgbDenoiser(RgbDenoiserConfig(networks=NETWORKS, image_encoder=encoder)))


def tiny_sentence_encoder(device: torch.device, dtype: torch.dtype) -> SentenceEncoder:
    """CLIP's text tower in miniature; its tokenizer numbers words by a checksum."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=NETWORKS.context_dim,
        intermediate_size=2 * NETWORKS.context_dim,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=NETWORKS.context_dim,
        bos_token_id=0,
        eos_token_id=VOCABULARY - 1,
    )
    model = _seeded(lambda: CLIPTextModelWithProjection(config))
    return SentenceEncoder(model.to(device, dtype), WordTokenizer(VOCABULARY))


class WordTokenizer:
    """A tokenizer without a vocabulary file: one number a word, the first and the last number frame a sentence."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        max_length: int | None = None,
        return_tensors: str | None = None,
        **rest: Any,
    ) -> Any:
        if isinstance(text, str):
            return SimpleNamespace(input_ids=self._ids(text))
        assert max_length is not None and return_tensors == "pt"
        rows = [self._ids(sentence) for sentence in text]
        padded = [(row[: max_length - 1] + [self.vocabulary - 1] * max_length)[:max_length] for row in rows]
        return SimpleNamespace(input_ids=torch.tensor(padded))

    def _ids(self, sentence: str) -> list[int]:
        words = [1 + zlib.crc32(word.encode()) % (self.vocabulary - 2) for word in sentence.lower().split()]
        return [0, *words, self.vocabulary - 1]


def _tiny_unet(config: PriorUNetConfig) -> PriorUNet:
    """A U-Net that finds some pixels to be a person and some not, so that what comes after it has something to do."""

    def build() -> PriorUNet:
        unet = PriorUNet(config)
        nn.init.normal_(unet.head.weight, std=3.0)
        assert unet.head.bias is not None
        nn.init.zeros_(unet.head.bias)
        return unet

    return _seeded(build, seed=11)  # one with which every design finds some pixels and not all; seed 0 takes them all


def _tiny_controlnet(device: torch.device, dtype: torch.dtype) -> Any:
    # diffusers' own `to` warns of a change of dtype whatever the model is.
    return nn.Module.to(_seeded(lambda: make_controlnet(NETWORKS)), device, dtype)


def _seeded(build: Callable[[], Module], seed: int = 0) -> Module:
    """A network whose random weights are always the same; what starts at zero, and would do nothing, does not here."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
        for parameter in network.parameters():
            if not parameter.any() and parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
    return network.requires_grad_(False).eval()
