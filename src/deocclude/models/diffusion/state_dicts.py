"""DPMesh's and pix2gestalt's checkpoints to our networks: every key is used or named as unused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from deocclude.models.diffusion.body_prior import BodyPrior, BodyPriorConfig
from deocclude.models.diffusion.rgb_completion import ImageEncoderConfig, RgbDenoiser, RgbDenoiserConfig
from deocclude.models.diffusion.stable_diffusion import StableDiffusionConfig
from deocclude.models.foreign import Converted, Traced, needs, traced, unused_keys, without_prefix

StateDict = dict[str, Traced]

DPMESH = "module.backbone.sd_model."
UNET = "model.diffusion_model."
CONTROLNET = "control_model."
VAE = "first_stage_model."
JOINT_TOKENS = "module.kp_lifting."
AVERAGED = "model_ema.diffusion_model"
IMAGE_ENCODER = "cond_stage_model.model.visual."
PROJECTION = "cc_projection."


def body_prior_from_dpmesh(state_dict: Mapping[str, Tensor]) -> Converted:
    """The prior of a DPMesh model: U-Net with its low-rank weights added, ControlNet, VAE encoder, joint tokens.

    Raises ValueError for a checkpoint of another kind, with missing keys or other shapes.
    """
    first = f"{DPMESH}{CONTROLNET}input_blocks.0.0.weight"
    needs(state_dict, [first, f"{DPMESH}{UNET}input_blocks.0.0.weight", f"{JOINT_TOKENS}weight"], "DPMesh")
    tensors = traced(state_dict)
    parts = without_prefix(tensors, DPMESH)
    unet = merge_low_rank(without_prefix(parts, UNET))
    control, vae = without_prefix(parts, CONTROLNET), without_prefix(parts, VAE)
    config = BodyPriorConfig(networks=_widths(unet, vae))
    prior = _weightless(BodyPrior, config)

    converted = _controlnet(control)
    # The convolution of the latent and the one of the heatmaps, which DPMesh has as one of both.
    _shape(converted, "conv_in.weight", 4)
    both = converted.pop("conv_in.weight")
    converted |= {"conv_in.weight": both[:, :4], "controlnet_cond_embedding.weight": both[:, 4:]}
    filled = {
        **_prefixed("unet.", _unet(unet)),
        **_prefixed("controlnet.", converted),
        **_prefixed("vae.", {key: value for key, value in _vae(vae).items() if _of_encoder(key)}),
        **_prefixed("joint_tokens.", without_prefix(tensors, JOINT_TOKENS)),
    }
    _fill(prior, filled)
    return Converted(prior, config, unused_keys(state_dict, filled.values()))


def rgb_denoiser_from_pix2gestalt(state_dict: Mapping[str, Tensor], *, averaged: bool = True) -> Converted:
    """pix2gestalt's U-Net, VAE, CLIP image encoder and projection.

    averaged: take the moving average of the U-Net's weights, as pix2gestalt samples with.
    Raises ValueError for a checkpoint of another kind, with missing keys or other shapes.
    """
    needs(state_dict, [f"{UNET}input_blocks.0.0.weight", f"{PROJECTION}weight", f"{VAE}decoder.conv_in.weight",
                       f"{IMAGE_ENCODER}conv1.weight"], "pix2gestalt")  # fmt: skip
    tensors = traced(state_dict)
    raw = without_prefix(tensors, UNET)
    if averaged:
        # The average is stored under the parameters' names without their dots.
        needs(tensors, [f"{AVERAGED}{key.replace('.', '')}" for key in raw], "pix2gestalt with averaged weights")
    unet = {key: tensors[f"{AVERAGED}{key.replace('.', '')}"] for key in raw} if averaged else raw
    vae, clip = without_prefix(tensors, VAE), without_prefix(tensors, IMAGE_ENCODER)
    config = RgbDenoiserConfig(networks=_widths(unet, vae), image_encoder=_image_encoder_config(clip))
    denoiser = _weightless(RgbDenoiser, config)
    filled = {
        **_prefixed("unet.", _unet(unet)),
        **_prefixed("vae.", _vae(vae)),
        **_prefixed("image_encoder.", _image_encoder(clip)),
        **_prefixed("projection.", without_prefix(tensors, PROJECTION)),
    }
    _fill(denoiser, filled)
    return Converted(denoiser, config, unused_keys(state_dict, filled.values()))


def merge_low_rank(state_dict: Mapping[str, Traced]) -> StateDict:
    """Every `P.linear` with its `P.lora_up` and `P.lora_down` as one `P`: weight = linear + up @ down.

    Raises ValueError where one of the three is missing or does not fit the others.
    """
    merged = {}
    for key, value in state_dict.items():
        place, _, kind = key.rpartition(".linear.")
        if place:
            merged[f"{place}.{kind}"] = _with_low_rank(state_dict, place) if kind == "weight" else value
        elif ".lora_" in key:
            needs(state_dict, [f"{key.rpartition('.lora_')[0]}.linear.weight"], "a U-Net with low-rank weights")
        else:
            merged[key] = value
    return merged


def _with_low_rank(state_dict: Mapping[str, Traced], place: str) -> Traced:
    keys = [f"{place}.{part}.weight" for part in ("linear", "lora_up", "lora_down")]
    needs(state_dict, keys, "a U-Net with low-rank weights")
    (rows, columns), (up_rows, rank), (down_rows, down_columns) = (_shape(state_dict, key, 2) for key in keys)
    if (up_rows, rank, down_columns) != (rows, down_rows, columns):
        raise ValueError(f"the checkpoint does not fit: the low-rank weights of {place} have other sizes than its own")
    parts = [state_dict[key] for key in keys]
    weight, up, down = (part.tensor for part in parts)
    merged = (weight.float() + up.float() @ down.float()).to(weight.dtype)
    return Traced(merged, frozenset[str]().union(*(part.keys for part in parts)))


def _widths(unet: StateDict, vae: StateDict) -> StableDiffusionConfig:
    """Read off the shapes: the last residual block of each level of the two encoders."""
    blocks = ("input_blocks.1.0", "input_blocks.4.0", "input_blocks.7.0", "input_blocks.10.0")
    keys = [f"{block}.out_layers.3.weight" for block in blocks]
    vae_keys = [f"encoder.down.{level}.block.1.conv2.weight" for level in range(4)]
    context = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    needs({**unet, **vae}, [*keys, *vae_keys, context], "Stable Diffusion 1.x")
    return StableDiffusionConfig(
        channels=tuple(_shape(unet, key, 4)[0] for key in keys),  # type: ignore[arg-type]
        vae_channels=tuple(_shape(vae, key, 4)[0] for key in vae_keys),  # type: ignore[arg-type]
        context_dim=_shape(unet, context, 2)[1],
    )


def _shape(state_dict: Mapping[str, Traced], key: str, axes: int) -> tuple[int, ...]:
    """Of a tensor from which something is read off. Raises ValueError where it has another number of axes."""
    shape = state_dict[key].shape
    if len(shape) != axes:
        raise ValueError(f"the checkpoint does not fit: '{key}' has the shape {shape}, and {axes} axes are needed")
    return shape


def _unet(state_dict: StateDict) -> StateDict:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    return _converted(convert_ldm_unet_checkpoint, _prefixed(UNET, state_dict), {"layers_per_block": 2})


def _controlnet(state_dict: StateDict) -> StateDict:
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    return _converted(convert_controlnet_checkpoint, state_dict, {"layers_per_block": 2})


def _vae(state_dict: StateDict) -> StateDict:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    blocks = {"down_block_types": (None,) * 4, "up_block_types": (None,) * 4}
    return _converted(convert_ldm_vae_checkpoint, _prefixed(VAE, state_dict), blocks)


def _of_encoder(key: str) -> bool:
    return key.startswith(("encoder.", "quant_conv."))


def _image_encoder_config(clip: Mapping[str, Traced]) -> ImageEncoderConfig:
    """OpenAI's tower: its width says how many heads it has, one for 64 channels."""
    needs(clip, ["conv1.weight", "positional_embedding", "proj", "transformer.resblocks.0.mlp.c_fc.weight"], "CLIP")
    width, _, patch, _ = _shape(clip, "conv1.weight", 4)
    patches = _shape(clip, "positional_embedding", 2)[0] - 1
    _shape(clip, "proj", 2)
    if width < 64 or patches < 1:
        raise ValueError(f"the checkpoint does not fit: CLIP with {width} channels and {patches} patches")
    layers = {key.split(".")[2] for key in clip if key.startswith("transformer.resblocks.")}
    return ImageEncoderConfig(
        width=width, layers=len(layers), heads=width // 64, patch=patch, size=round(patches**0.5) * patch
    )


_IMAGE_ENCODER_NAMES = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre": "pre_layrnorm",
    "ln_post": "post_layernorm",
}
_BLOCK_NAMES = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def _image_encoder(clip: Mapping[str, Traced]) -> StateDict:
    """OpenAI's names to those of `transformers`; the three projections of attention, stored as one, are cut apart."""
    converted: StateDict = {}
    for key, value in clip.items():
        if key == "proj":
            converted["visual_projection.weight"] = Traced(value.tensor.T.contiguous(), value.keys)
        elif key.startswith("transformer.resblocks."):
            _, _, index, rest = key.split(".", 3)
            block = f"vision_model.encoder.layers.{index}"
            if rest.startswith("attn.in_proj_"):
                if value.ndim == 0 or value.shape[0] % 3:
                    raise ValueError(f"the checkpoint does not fit: '{key}' is not three projections of one size")
                for name, part in zip("qkv", value.tensor.chunk(3), strict=True):
                    ours = f"{block}.self_attn.{name}_proj.{rest.removeprefix('attn.in_proj_')}"
                    converted[ours] = Traced(part, value.keys)
            else:
                converted[f"{block}.{_renamed(rest, _BLOCK_NAMES)}"] = value
        else:
            converted[f"vision_model.{_renamed(key, _IMAGE_ENCODER_NAMES)}"] = value
    return converted


def _renamed(key: str, names: Mapping[str, str]) -> str:
    """`ln_1.weight` by the table's `ln_1`; a key the table lacks stays, and a strict load names it."""
    for old, new in names.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def _prefixed(prefix: str, state_dict: Mapping[str, Traced]) -> StateDict:
    return {f"{prefix}{key}": value for key, value in state_dict.items()}


def _converted(
    convert: Callable[..., Mapping[str, Any]], state_dict: StateDict, config: Mapping[str, Any]
) -> StateDict:
    """By a converter of diffusers, which only renames and cuts, so that it does not notice that these are no tensors.

    What it does not find it enters as None: left out, a strict load names it.
    """
    try:
        return {key: value for key, value in convert(state_dict, config).items() if value is not None}
    except KeyError as error:
        raise ValueError(f"not a checkpoint of Stable Diffusion 1.x: it has no {error}") from error


def _weightless(network: type[nn.Module], config: Any) -> Any:
    """A network whose weights take no memory: it gets the checkpoint's. Raises ValueError for impossible widths."""
    from accelerate import init_empty_weights

    try:
        with init_empty_weights(include_buffers=False):
            return network(config)
    except ValueError as error:
        raise ValueError(f"the checkpoint does not fit: {error}") from error


def _fill(network: nn.Module, filled: StateDict) -> None:
    """Load strictly. Raises ValueError with the first thing that does not fit."""
    try:
        network.load_state_dict({key: value.tensor for key, value in filled.items()}, strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n", 2)[1].split())
        raise ValueError(f"the checkpoint does not fit: {reason[:300]}") from error
    network.requires_grad_(False).eval()
