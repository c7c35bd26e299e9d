"""A weights file that `deocclude train` wrote is a stage: its header says which network it holds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError
from deocclude.stages.diffusion import CROP_SIZE, PRIOR_WEIGHTS, STAGE_2_PRIOR, U_MASK, hints_of_unet, prior_profile
from deocclude.stages.spec import WORK_ONCE, WORK_TWICE, Kind, StageSpec
from deocclude.weights import load_network, read_header, saved_config

if TYPE_CHECKING:
    import torch

    from deocclude.models.diffusion.body_prior import BodyPrior
    from deocclude.models.diffusion.configs import PriorUNetConfig

_NETWORKS = {"mask": ("MaskCompletionNetwork", "amodal_mask"), "RGB": ("RgbCompletionNetwork", "rgb")}
"""Of each kind of stage: paper B's network, and what paper A's, a `PriorUNet`, predicts."""


def stage_of_file(file: str, kind: Kind) -> StageSpec:
    """What the stage in a file is. Raises InputError for a file that is no stage of this kind.

    A mask stage is a `MaskCompletionNetwork` of any configuration or a `PriorUNet` that predicts the mask; an RGB stage
    a `RgbCompletionNetwork` or a `PriorUNet` that predicts the picture alone.
    """
    path = Path(file)
    config = _config(path, kind)
    is_unet = _is_prior_unet(config)
    common: dict[str, Any] = {
        "name": file,
        "kind": kind,
        "title": path.name,
        "paper": None,
        "licence": "yours",
        "size": CROP_SIZE,
        "options": None,
        "role": "own",
        "note": "your own network",
    }
    if not is_unet:
        load = partial(_load_feedforward, path, kind)
        return StageSpec(**common, weights=(), dtype="float32", accepts=frozenset(), batched=True, memory=0, load=load)
    own = 4 * U_MASK.parameters  # the file's own network, which is no weights of the catalogue's
    if kind == "RGB":
        return StageSpec(
            **common,
            weights=STAGE_2_PRIOR,
            dtype="fast",
            accepts=frozenset(),
            batched=False,
            memory=WORK_TWICE + own,
            load=partial(_load_unet_rgb, path),
        )
    prior = PRIOR_WEIGHTS[prior_profile(config)] if config.has_prior else ()
    return StageSpec(
        **common,
        weights=prior,
        dtype="fast" if prior else "float32",
        accepts=hints_of_unet(config),
        batched=False,
        memory=(WORK_ONCE if prior else 0) + own,
        load=partial(_load_unet_mask, path, config),
    )


def _load_feedforward(path: Path, kind: Kind, *, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers import feedforward

    load: Any = feedforward.load_mask_completer if kind == "mask" else feedforward.load_rgb_completer
    stage = load(path, device=device, dtype=dtype)
    stage.name = path.name  # a table tells it from the shipped one, wherever the file lies
    return stage


def _load_unet_mask(
    path: Path, saved: PriorUNetConfig, *, device: torch.device, dtype: torch.dtype, config: Any
) -> Any:
    from deocclude.stages.completers.diffusion import DiffusionMaskCompleter

    unet, sha256 = load_network(path, expected="PriorUNet")
    prior, hashes = _body_prior(saved, path, device, dtype) if saved.has_prior else (None, {})
    hashes = {path.name: sha256, **hashes}
    return DiffusionMaskCompleter(unet.to(device, dtype), prior, name=path.name, weights_sha256=hashes)


def _load_unet_rgb(path: Path, *, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers.diffusion import UNetRgbCompleter
    from deocclude.stages.completers.diffusion_loading import build_stage_2_prior, weights_hash

    unet, sha256 = load_network(path, expected="PriorUNet")
    prior = build_stage_2_prior(device=device, dtype=dtype)
    hashes = {path.name: sha256, **{spec.name: weights_hash(spec) for spec in STAGE_2_PRIOR}}
    return UNetRgbCompleter(unet.to(device, dtype), prior, name=path.name, weights_sha256=hashes)


def _config(path: Path, kind: Kind) -> Any:
    """The configuration of the network in a file. Raises InputError for a file that is no stage of this kind."""
    network, output = _NETWORKS[kind]
    name = _network_name(path)
    if name not in (network, "PriorUNet", None):
        raise InputError(f"{path}: holds a {name}, and the {kind} stage is a {network} or a PriorUNet")
    config = saved_config(path, expected=name or network)
    if _is_prior_unet(config):
        _check_prior_unet(config, path, kind, output)
    return config


def _check_prior_unet(config: PriorUNetConfig, path: Path, kind: Kind, output: str) -> None:
    """Raises InputError for a U-Net that does not predict what this stage does, or cannot be fed."""
    if output not in config.outputs or (kind == "RGB" and len(config.outputs) > 1):
        raise InputError(f"{path}: no {kind} stage; its network predicts {' and '.join(config.outputs)}")
    if kind == "RGB" and not config.has_prior:
        raise InputError(f"{path}: a PriorUNet that paints is fed with stage 2's prior, and this one takes none")


def _network_name(path: Path) -> str | None:
    """The class name in the file's header; None where that cannot be read, which loading explains."""
    try:
        metadata: dict[str, str] = read_header(path).get("__metadata__") or {}
    except (OSError, ValueError):
        return None
    return metadata.get("network")


def _is_prior_unet(config: Any) -> bool:
    return type(config).__name__ == "PriorUNetConfig"


def _body_prior(
    config: PriorUNetConfig, path: Path, device: torch.device, dtype: torch.dtype
) -> tuple[BodyPrior, dict[str, str]]:
    """The prior that a U-Net was trained with, and what identifies its weights."""
    from deocclude.stages.completers.diffusion_loading import load_body_prior, weights_hash

    profile = prior_profile(config)
    prior = load_body_prior(profile, config.heatmap_sigma, dtype=dtype).to(device)
    if prior.config.feature_channels != config.prior_channels:
        raise InputError(f"{path}: trained on another prior than {profile}, whose maps have other channels")
    return prior, {spec.name: weights_hash(spec) for spec in PRIOR_WEIGHTS[profile]}
