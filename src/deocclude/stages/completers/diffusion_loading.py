"""Paper A's stages and its frozen priors, filled with the weights that `stages.diffusion` names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deocclude.conditioning.describer import GENERIC_DESCRIPTION
from deocclude.errors import InputError
from deocclude.models.diffusion.body_prior import BodyPrior, BodyPriorConfig
from deocclude.models.diffusion.configs import HEATMAP_SIGMA, PriorUNetConfig
from deocclude.models.diffusion.low_rank import add_low_rank
from deocclude.models.diffusion.mask_completion import PriorUNet
from deocclude.stages.completers.diffusion import (
    DiffusionMaskCompleter,
    DiffusionRgbCompleter,
    Stage2Prior,
    UNetRgbCompleter,
)
from deocclude.stages.diffusion import (
    BLIP,
    CLIP_TEXT,
    CONTROLNET,
    DPMESH,
    MASK_DESIGNS,
    MASK_WEIGHTS,
    PIX2GESTALT,
    PRIOR_WEIGHTS,
    RGB_DESIGN,
    SD15,
    STAGE_2_PRIOR,
    TEXT_TOKENS,
    U_RGB,
    DiffusionRgbConfig,
    Profile,
    prior_profile,
)
from deocclude.weight_specs import WeightSpec, require, require_all
from deocclude.weights import known_sha256, load_network

if TYPE_CHECKING:
    from diffusers import ControlNetModel, UNet2DConditionModel


def load_mask_completer(name: str, *, device: torch.device, dtype: torch.dtype) -> DiffusionMaskCompleter:
    """A mask stage of `MASK_DESIGNS`. Raises InputError, saying how to get them, where its weights lack."""
    weights = MASK_WEIGHTS[name]
    unet, sha256 = _load_unet(require(weights), MASK_DESIGNS[name])
    hashes = {weights.name: sha256}
    prior = None
    if unet.config.has_prior:
        profile = prior_profile(unet.config)
        prior = load_body_prior(profile, unet.config.heatmap_sigma, dtype=dtype).to(device)
        hashes |= {spec.name: weights_hash(spec) for spec in PRIOR_WEIGHTS[profile]}
        if prior.config.feature_channels != unet.config.prior_channels:
            raise InputError(f"u-mask was trained on another prior than {profile}: its maps have other channels")
    return DiffusionMaskCompleter(unet.to(device, dtype), prior, name=name, weights_sha256=hashes)


def _load_unet(path: Path, design: PriorUNetConfig) -> tuple[PriorUNet, str]:
    """A trained U-Net and its file's sha256. Raises InputError where it was trained as another design."""
    unet, sha256 = load_network(path, expected="PriorUNet")
    for field in ("inputs", "outputs", "has_prior"):
        ours, wanted = getattr(unet.config, field), getattr(design, field)
        if ours != wanted:
            raise InputError(f"{path}: trained as another design ({field}: {ours}, and {wanted} is needed)")
    return unet, sha256


def weights_hash(spec: WeightSpec) -> str:
    """What identifies weights in a JSON file: a file's sha256, a hub repository's commit."""
    path = require(spec)
    return f"commit {path.name}" if path.is_dir() else known_sha256(path)


def with_profile(config: PriorUNetConfig, profile: Profile) -> PriorUNetConfig:
    """The same U-Net for the other prior."""
    return replace(config, num_tokens=TEXT_TOKENS) if profile == "sd15" else config


def load_body_prior(profile: Profile, sigma: float = HEATMAP_SIGMA, *, dtype: torch.dtype = torch.float32) -> BodyPrior:
    """The prior, on the CPU. Raises InputError, saying how to get it, where it lacks."""
    if profile == "sd15":
        return _stable_diffusion_prior(require(SD15), dtype)
    prior: BodyPrior = load_network(require(DPMESH), expected="BodyPrior", dtype=dtype)[0]
    prior.config = replace(prior.config, sigma=sigma)
    return prior


def _stable_diffusion_prior(folder: Path, dtype: torch.dtype) -> BodyPrior:
    """Plain Stable Diffusion 1.5, which reads "a photo of a human" whatever it sees."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, UNet2DConditionModel

    local: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "torch_dtype": dtype}
    with init_empty_weights(include_buffers=False):
        prior = BodyPrior(BodyPriorConfig(profile="sd15", num_tokens=TEXT_TOKENS))
    # The networks themselves, not copies: they are large.
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", **local)
    vae = AutoencoderKL.from_pretrained(folder / "vae", **local)
    prior.unet.load_state_dict(unet.state_dict(), assign=True)
    encoder = {key: value for key, value in vae.state_dict().items() if key.startswith(("encoder.", "quant_conv."))}
    prior.vae.load_state_dict(encoder, assign=True)
    words = _load_sentence_encoder(torch.device("cpu"), torch.float32)([GENERIC_DESCRIPTION])
    prior.context.copy_(words.hidden)
    prior.requires_grad_(False)
    return prior.to(dtype).eval()


def load_rgb_completer(
    name: str, config: DiffusionRgbConfig, *, device: torch.device, dtype: torch.dtype
) -> DiffusionRgbCompleter:
    """An RGB stage of this configuration. Raises InputError, saying how to get them, where its weights lack."""
    from deocclude.conditioning.describer import load_describer

    needed = config.weights
    require_all(needed)
    lcm_lora = config.lcm_lora
    # Weights that others are added to are cast after that: in float32 the sum is rounded once.
    first_dtype = dtype if lcm_lora is None else torch.float32
    denoiser, sha256 = load_network(require(PIX2GESTALT), expected="RgbDenoiser", dtype=first_dtype)
    hashes = {PIX2GESTALT.name: sha256, **{spec.name: weights_hash(spec) for spec in needed[1:]}}
    if lcm_lora is not None:
        add_low_rank_file(denoiser.unet, lcm_lora)
        hashes["lcm-lora"] = known_sha256(lcm_lora)
    controlnet = _load_controlnet(require(CONTROLNET), device, dtype) if CONTROLNET in needed else None
    encoder = _load_sentence_encoder(device, dtype) if CLIP_TEXT in needed else None
    describer = None
    if BLIP in needed and encoder is not None:
        describer = load_describer(require(BLIP), count_tokens=encoder.count_tokens, device=device, dtype=dtype)
    return DiffusionRgbCompleter(
        denoiser.to(device, dtype),
        config,
        controlnet=controlnet,
        sentence_encoder=encoder,
        describer=describer,
        name=name,
        weights_sha256=hashes,
    )


def add_low_rank_file(unet: UNet2DConditionModel, path: Path) -> None:
    """Add low-rank weights from a safetensors file to the U-Net. Raises InputError for a file that has none for it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        add_low_rank(unet, load_file(path))
    except (OSError, SafetensorError, ValueError, RuntimeError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: no low-rank weights for this U-Net ({reason})") from error


def load_unet_rgb_completer(*, device: torch.device, dtype: torch.dtype) -> UNetRgbCompleter:
    """The RGB stage of the ablation `two-stage (U_rgb)`."""
    unet, sha256 = _load_unet(require(U_RGB), RGB_DESIGN)
    prior = build_stage_2_prior(device=device, dtype=dtype)
    hashes = {U_RGB.name: sha256, **{spec.name: weights_hash(spec) for spec in STAGE_2_PRIOR}}
    return UNetRgbCompleter(unet.to(device, dtype), prior, weights_sha256=hashes)


def build_stage_2_prior(*, device: torch.device, dtype: torch.dtype) -> Stage2Prior:
    """The frozen networks of stage 2 as a prior (Eq. 19)."""
    denoiser, _ = load_network(require(PIX2GESTALT), expected="RgbDenoiser", dtype=dtype)
    controlnet = _load_controlnet(require(CONTROLNET), device, dtype)
    return Stage2Prior(denoiser.to(device, dtype), controlnet, _load_sentence_encoder(device, dtype))


def _load_controlnet(folder: Path, device: torch.device, dtype: torch.dtype) -> ControlNetModel:
    from diffusers import ControlNetModel

    loaded: Any = ControlNetModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, torch_dtype=dtype
    )
    controlnet: ControlNetModel = loaded.to(device).eval().requires_grad_(False)
    return controlnet


def _load_sentence_encoder(device: torch.device, dtype: torch.dtype) -> Any:
    from deocclude.conditioning.sentence_encoder import load_sentence_encoder

    return load_sentence_encoder(require(CLIP_TEXT), device=device, dtype=dtype)
