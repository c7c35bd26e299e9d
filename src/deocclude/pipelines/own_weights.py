"""Stages from a weights file that `deocclude train` wrote: its header says which network it holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deocclude.errors import InputError
from deocclude.types import MaskCompleter, RgbCompleter
from deocclude.weights import load_network, read_header, saved_config

if TYPE_CHECKING:
    import torch

    from deocclude.models.diffusion.body_prior import BodyPrior
    from deocclude.models.diffusion.mask_completion import PriorUNetConfig

Stage = Literal["mask", "RGB"]
_NETWORKS = {"mask": ("MaskCompletionNetwork", "amodal_mask"), "RGB": ("RgbCompletionNetwork", "rgb")}
"""Of each stage: paper B's network, and what paper A's, a `PriorUNet`, predicts."""

STAGE_2_PRIOR = ("pix2gestalt", "controlnet-seg", "clip-text")
"""What the prior of U_rgb loads."""


def load_mask_completer(file: str, *, device: torch.device, dtype: torch.dtype) -> MaskCompleter:
    """A mask stage: a `MaskCompletionNetwork` of any configuration, or a `PriorUNet` that predicts the mask.

    Raises InputError for another file, and where the prior's weights lack.
    """
    path = Path(file)
    config = _config(path, "mask")
    if not _is_prior_unet(config):
        from deocclude.pipelines import feedforward

        return _named(feedforward.load_mask_completer(path, device=device, dtype=dtype), path)
    from deocclude.pipelines.diffusion import DiffusionMaskCompleter

    unet, sha256 = load_network(path, expected="PriorUNet")
    prior, hashes = _body_prior(config, path, device, dtype) if config.has_prior else (None, {})
    hashes = {path.name: sha256, **hashes}
    return DiffusionMaskCompleter(unet.to(device, dtype), prior, name=path.name, weights_sha256=hashes)


def load_rgb_completer(file: str, *, device: torch.device, dtype: torch.dtype) -> RgbCompleter:
    """An RGB stage: a `RgbCompletionNetwork` of any configuration, or a `PriorUNet` that predicts the picture alone.

    Raises InputError for another file, and where the prior's weights lack.
    """
    path = Path(file)
    config = _config(path, "RGB")
    if not _is_prior_unet(config):
        from deocclude.pipelines import feedforward

        return _named(feedforward.load_rgb_completer(path, device=device, dtype=dtype), path)
    from deocclude.pipelines.diffusion import UNetRgbCompleter
    from deocclude.pipelines.diffusion_stages import build_stage_2_prior, weights_hash

    unet, sha256 = load_network(path, expected="PriorUNet")
    prior = build_stage_2_prior(device=device, dtype=dtype)
    hashes = {path.name: sha256, **{name: weights_hash(name) for name in STAGE_2_PRIOR}}
    return UNetRgbCompleter(unet.to(device, dtype), prior, name=path.name, weights_sha256=hashes)


def prior_weights(file: str, stage: Stage) -> tuple[str, ...]:
    """What the prior loads with which a file's network was trained. Raises InputError for a file that is no `stage`."""
    config = _config(Path(file), stage)
    if not _is_prior_unet(config) or not config.has_prior:
        return ()
    if stage == "RGB":
        return STAGE_2_PRIOR
    from deocclude.pipelines.diffusion_stages import PRIOR_WEIGHTS, prior_profile

    return PRIOR_WEIGHTS[prior_profile(config)]


def _config(path: Path, stage: Stage) -> Any:
    """The configuration of the network in a file. Raises InputError for a file that is no `stage`."""
    network, output = _NETWORKS[stage]
    name = _network_name(path)
    if name not in (network, "PriorUNet", None):
        raise InputError(f"{path}: holds a {name}, and the {stage} stage is a {network} or a PriorUNet")
    config = saved_config(path, expected=name or network)
    if _is_prior_unet(config):
        _check_prior_unet(config, path, stage, output)
    return config


def _check_prior_unet(config: PriorUNetConfig, path: Path, stage: Stage, output: str) -> None:
    """Raises InputError for a U-Net that does not predict what this stage does, or cannot be fed."""
    if output not in config.outputs or (stage == "RGB" and len(config.outputs) > 1):
        raise InputError(f"{path}: no {stage} stage; its network predicts {' and '.join(config.outputs)}")
    if stage == "RGB" and not config.has_prior:
        raise InputError(f"{path}: a PriorUNet that paints is fed with stage 2's prior, and this one takes none")


def _network_name(path: Path) -> str | None:
    """The class name in the file's header; None where that cannot be read, which loading explains."""
    try:
        metadata: dict[str, str] = read_header(path).get("__metadata__") or {}
    except (OSError, ValueError):
        return None
    return metadata.get("network")


def _is_prior_unet(config: Any) -> bool:
    return type(config).__name__ == "PriorUNetConfig"  # whose module a feed-forward stage need not import


def _body_prior(
    config: PriorUNetConfig, path: Path, device: torch.device, dtype: torch.dtype
) -> tuple[BodyPrior, dict[str, str]]:
    """The prior that a U-Net was trained with, and what identifies its weights."""
    from deocclude.pipelines.diffusion_stages import PRIOR_WEIGHTS, load_body_prior, prior_profile, weights_hash

    profile = prior_profile(config)
    prior = load_body_prior(profile, config.heatmap_sigma, dtype=dtype).to(device)
    if prior.config.feature_channels != config.prior_channels:
        raise InputError(f"{path}: trained on another prior than {profile}, whose maps have other channels")
    return prior, {name: weights_hash(name) for name in PRIOR_WEIGHTS[profile]}


def _named(stage: Any, path: Path) -> Any:
    """The stage under its file's name: a table tells it from the shipped one, wherever the file lies."""
    stage.name = path.name
    return stage
