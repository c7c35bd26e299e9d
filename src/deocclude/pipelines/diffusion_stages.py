"""Paper A's stages by name, each ablation row included: settings, and which weights fill them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from deocclude.conditioning.describer import GENERIC_DESCRIPTION, MAX_TOKENS
from deocclude.errors import InputError
from deocclude.models.diffusion.body_prior import HEATMAP_SIGMA, BodyPrior, BodyPriorConfig
from deocclude.models.diffusion.decoder_tuning import DecoderTuningConfig
from deocclude.models.diffusion.joint_heatmaps import JointInputConfig
from deocclude.models.diffusion.low_rank import add_low_rank
from deocclude.models.diffusion.mask_completion import PriorUNet, PriorUNetConfig
from deocclude.models.diffusion.sampling import SamplingConfig
from deocclude.pipelines.diffusion import (
    DiffusionMaskCompleter,
    DiffusionRgbCompleter,
    RgbStageConfig,
    Stage2Prior,
    UNetRgbCompleter,
)
from deocclude.presets import RgbOptions

if TYPE_CHECKING:
    from diffusers import ControlNetModel, UNet2DConditionModel

Profile = Literal["dpmesh", "sd15"]

PRIOR_WEIGHTS: dict[Profile, tuple[str, ...]] = {"dpmesh": ("dpmesh",), "sd15": ("sd15", "clip-text")}
"""What each profile of the prior loads."""

U_MASK = PriorUNetConfig()
MASK_STAGE_CONFIGS: dict[str, PriorUNetConfig] = {
    "diffusion": U_MASK,
    "mask-1": replace(U_MASK, inputs=("modal_mask",), has_prior=False),
    "mask-2": replace(U_MASK, inputs=("modal_mask",)),
    "mask-3": replace(U_MASK, joint_input=JointInputConfig(sub_joints=0)),
    "mask-4": U_MASK,
    "one-stage": replace(U_MASK, inputs=("modal_mask", "joints", "image"), outputs=("amodal_mask", "rgb")),
}
"""Paper A's Table 3, rows #1 to #4, and U_one (Eq. 18). `mask-4` is `diffusion` under its row's name."""

U_RGB = replace(U_MASK, inputs=("image", "modal_mask", "invisible_mask"), outputs=("rgb",), num_tokens=1)
"""U_rgb (Eq. 20); its T' has one channel, of the one token f_lw."""

_PAPER = RgbStageConfig(sampling=SamplingConfig(solver="ddim", steps=200), tuning=DecoderTuningConfig(steps=50))
_UNTUNED = replace(_PAPER, tuning=DecoderTuningConfig(steps=0))
RGB_STAGE_CONFIGS: dict[str, RgbStageConfig] = {
    "diffusion": RgbStageConfig(),
    "diffusion-paper": _PAPER,
    "rgb-5": replace(_UNTUNED, context="image", control=False),
    "rgb-6": replace(_UNTUNED, context="image"),
    "rgb-7": _UNTUNED,
    "rgb-8": _PAPER,
    "rgb-image": replace(_PAPER, context="image"),
    "rgb-generic": replace(_PAPER, vqa=False),
}
"""The fast setting, the paper's, its Table 4, rows #5 to #8 (neither f_c2 nor f_hs, f_c2, both, tuned as well), f_lw in
place of f_hs (Table 5's third row) and "a photo of a human" (Table K)."""


UNET_RGB_WEIGHTS = ("u-rgb", "pix2gestalt", "controlnet-seg", "clip-text")
"""What the ablation `two-stage-unet` loads."""


def mask_weights(name: str) -> tuple[str, ...]:
    """What the mask stage `name` loads besides the prior, which its U-Net chooses."""
    return ("u-mask" if MASK_STAGE_CONFIGS[name] == U_MASK else f"u-{name}",)


def rgb_weights(config: RgbStageConfig) -> tuple[str, ...]:
    """What an RGB stage of that configuration loads."""
    reads_words = config.context != "image"
    return (
        "pix2gestalt",
        *(["controlnet-seg"] if config.control else []),
        *(["clip-text"] if config.control or reads_words else []),
        *(["blip-vqa"] if config.vqa and reads_words else []),
    )


def load_mask_completer(name: str, *, device: torch.device, dtype: torch.dtype) -> DiffusionMaskCompleter:
    """A mask stage of `MASK_STAGE_CONFIGS`. Raises InputError, saying how to get them, where its weights lack."""
    from deocclude.weight_specs import require

    design = MASK_STAGE_CONFIGS[name]
    (unet_name,) = mask_weights(name)
    unet, sha256 = _load_unet(require(unet_name), design)
    hashes = {unet_name: sha256}
    prior = None
    if unet.config.has_prior:
        profile = prior_profile(unet.config)
        prior = load_body_prior(profile, unet.config.heatmap_sigma, dtype=dtype).to(device)
        hashes |= {name: weights_hash(name) for name in PRIOR_WEIGHTS[profile]}
        if prior.config.feature_channels != unet.config.prior_channels:
            raise InputError(f"u-mask was trained on another prior than {profile}: its maps have other channels")
    return DiffusionMaskCompleter(unet.to(device, dtype), prior, name=name, weights_sha256=hashes)


def _load_unet(path: Path, design: PriorUNetConfig) -> tuple[PriorUNet, str]:
    """A trained U-Net and its file's sha256. Raises InputError where it was trained as another design."""
    from deocclude.weights import load_network

    unet, sha256 = load_network(path, expected="PriorUNet")
    for field in ("inputs", "outputs", "has_prior"):
        ours, wanted = getattr(unet.config, field), getattr(design, field)
        if ours != wanted:
            raise InputError(f"{path}: trained as another design ({field}: {ours}, and {wanted} is needed)")
    return unet, sha256


def weights_hash(name: str) -> str:
    """What identifies weights in a JSON file: a file's sha256, a hub repository's commit."""
    from deocclude.weight_specs import require
    from deocclude.weights import known_sha256

    path = require(name)
    return f"commit {path.name}" if path.is_dir() else known_sha256(path)


def prior_profile(config: PriorUNetConfig) -> Profile:
    """Which prior a U-Net was trained with: DPMesh's has a token a joint, Stable Diffusion's a text's 77."""
    return "sd15" if config.num_tokens == MAX_TOKENS else "dpmesh"


def with_profile(config: PriorUNetConfig, profile: Profile) -> PriorUNetConfig:
    """The same U-Net for the other prior."""
    return replace(config, num_tokens=MAX_TOKENS) if profile == "sd15" else config


def load_body_prior(profile: Profile, sigma: float = HEATMAP_SIGMA, *, dtype: torch.dtype = torch.float32) -> BodyPrior:
    """The prior, on the CPU. Raises InputError, saying how to get it, where it lacks."""
    from deocclude.weight_specs import require
    from deocclude.weights import load_network

    if profile == "sd15":
        return _stable_diffusion_prior(require("sd15"), dtype)
    prior: BodyPrior = load_network(require("dpmesh"), expected="BodyPrior", dtype=dtype)[0]
    prior.config = replace(prior.config, sigma=sigma)
    return prior


def _stable_diffusion_prior(folder: Path, dtype: torch.dtype) -> BodyPrior:
    """Plain Stable Diffusion 1.5, which reads "a photo of a human" whatever it sees."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, UNet2DConditionModel

    local: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "torch_dtype": dtype}
    with init_empty_weights(include_buffers=False):
        prior = BodyPrior(BodyPriorConfig(profile="sd15", num_tokens=MAX_TOKENS))
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
    name: str, *, device: torch.device, dtype: torch.dtype, options: RgbOptions | None = None
) -> DiffusionRgbCompleter:
    """An RGB stage of `RGB_STAGE_CONFIGS`. Raises InputError, saying how to get them, where its weights lack."""
    from deocclude.conditioning.describer import load_describer
    from deocclude.weight_specs import require, require_all
    from deocclude.weights import known_sha256, load_network

    config = configured(RGB_STAGE_CONFIGS[name], options)
    needed = rgb_weights(config)
    require_all(needed)
    lcm_lora = None if options is None else options.lcm_lora
    # Weights that others are added to are cast after that: in float32 the sum is rounded once.
    first_dtype = dtype if lcm_lora is None else torch.float32
    denoiser, sha256 = load_network(require("pix2gestalt"), expected="RgbDenoiser", dtype=first_dtype)
    hashes = {"pix2gestalt": sha256, **{name: weights_hash(name) for name in needed[1:]}}
    if lcm_lora is not None:
        add_low_rank_file(denoiser.unet, lcm_lora)
        hashes["lcm-lora"] = known_sha256(lcm_lora)
    controlnet = _load_controlnet(require("controlnet-seg"), device, dtype) if "controlnet-seg" in needed else None
    encoder = _load_sentence_encoder(device, dtype) if "clip-text" in needed else None
    describer = None
    if "blip-vqa" in needed and encoder is not None:
        describer = load_describer(require("blip-vqa"), count_tokens=encoder.count_tokens, device=device, dtype=dtype)
    return DiffusionRgbCompleter(
        denoiser.to(device, dtype),
        config,
        controlnet=controlnet,
        sentence_encoder=encoder,
        describer=describer,
        name=name,
        weights_sha256=hashes,
    )


def configured(config: RgbStageConfig, options: RgbOptions | None) -> RgbStageConfig:
    """A stage's configuration with the options that were given. Raises InputError for values that make no sense."""
    given = {} if options is None else options.given
    if (given.get("solver", config.sampling.solver) == "lcm") != ("lcm_lora" in given):
        raise InputError("the solver lcm and weights distilled for it go together; give --solver lcm --lcm-lora FILE")
    try:
        sampling = replace(config.sampling, **{k: v for k, v in given.items() if k in ("solver", "steps", "guidance")})
        names = {"decoder_tuning_steps": "steps", "decoder_tuning_stop": "stop_below"}
        tuning = replace(config.tuning, **{names[k]: v for k, v in given.items() if k in names})
    except ValueError as error:
        raise InputError(str(error)) from error
    if "decoder_tuning_stop" in given and not tuning.steps:
        raise InputError("decoder_tuning_stop ends a tuning that this stage does not do; give --decoder-tuning-steps")
    rest = {k: v for k, v in given.items() if k in ("context", "vqa", "hint_colour")}
    return replace(config, sampling=sampling, tuning=tuning, **rest)


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
    from deocclude.weight_specs import require

    unet, sha256 = _load_unet(require("u-rgb"), U_RGB)
    prior = build_stage_2_prior(device=device, dtype=dtype)
    hashes = {"u-rgb": sha256, **{name: weights_hash(name) for name in UNET_RGB_WEIGHTS if name != "u-rgb"}}
    return UNetRgbCompleter(unet.to(device, dtype), prior, weights_sha256=hashes)


def build_stage_2_prior(*, device: torch.device, dtype: torch.dtype) -> Stage2Prior:
    """The frozen networks of stage 2 as a prior (Eq. 19)."""
    from deocclude.weight_specs import require
    from deocclude.weights import load_network

    denoiser, _ = load_network(require("pix2gestalt"), expected="RgbDenoiser", dtype=dtype)
    controlnet = _load_controlnet(require("controlnet-seg"), device, dtype)
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
    from deocclude.weight_specs import require

    return load_sentence_encoder(require("clip-text"), device=device, dtype=dtype)
