"""Paper B's two networks as stages: logits to masks, labels to one-hots (its sections 4.1 and 4.2)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deocclude.parsing import NUM_LABELS, NUM_PARTS
from deocclude.types import MaskCompletion
from deocclude.weights import asset_path, load_network

if TYPE_CHECKING:
    from torch import Tensor

    from deocclude.models.feedforward.mask_completion import MaskCompletionNetwork
    from deocclude.models.feedforward.rgb_completion import RgbCompletionNetwork

CROP_SIZE = 256
"""The side the networks are trained at, pixels."""


class FeedforwardMaskCompleter:
    """Stage 1 of paper B on crops (B, 3, size, size)."""

    name = "feedforward"

    def __init__(
        self, network: MaskCompletionNetwork, *, size: int = CROP_SIZE, weights_sha256: str | None = None
    ) -> None:
        self.network = network.eval()
        self.size = size
        self.weights_sha256 = weights_sha256

    @torch.inference_mode()
    def __call__(
        self, image: Tensor, modal_mask: Tensor, *, joints: Tensor | None = None, refine_modal: bool = False
    ) -> MaskCompletion:
        """image float (B, 3, H, W) in [0, 1], modal_mask bool (B, 1, H, W), no joints, to the completion."""
        dtype = _dtype(self.network)
        logits = self.network(image.to(dtype), modal_mask.to(dtype))
        if refine_modal and logits.modal is not None:
            modal_mask = _or_given(logits.modal > 0, modal_mask)
        amodal_probability = logits.amodal.float().sigmoid()
        # Nothing ties the two heads together, so they can disagree; what is visible belongs to the person.
        amodal_mask = (amodal_probability >= 0.5) | modal_mask
        return MaskCompletion(
            modal_mask,
            amodal_mask,
            amodal_probability,
            _labels(logits.modal_parsing, modal_mask),
            _labels(logits.amodal_parsing, amodal_mask),
        )


class FeedforwardRgbCompleter:
    """Stage 2 of paper B on crops (B, 3, size, size). It draws nothing at random and reads no words."""

    name = "feedforward"

    def __init__(
        self, network: RgbCompletionNetwork, *, size: int = CROP_SIZE, weights_sha256: str | None = None
    ) -> None:
        self.network = network.eval()
        self.size = size
        self.weights_sha256 = weights_sha256

    @torch.inference_mode()
    def __call__(
        self,
        image: Tensor,
        completion: MaskCompletion,
        *,
        words: list[str] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """image float (B, 3, H, W) in [0, 1] to the network's own picture, float32 (B, 3, H, W) in [0, 1]."""
        dtype = _dtype(self.network)
        rgb: Tensor = self.network(
            image.to(dtype),
            completion.modal_mask.to(dtype),
            completion.amodal_mask.to(dtype),
            _one_hot_parts(completion.modal_parsing, completion.modal_mask).to(dtype),
            _one_hot_parts(completion.amodal_parsing, completion.amodal_mask).to(dtype),
        )
        return rgb.float()


def load_mask_completer(
    path: Path | None = None, *, device: torch.device, dtype: torch.dtype = torch.float32
) -> FeedforwardMaskCompleter:
    """Stage 1, with the package's weights unless `path` names others. Raises InputError without any."""
    network, sha256 = load_network(path or asset_path("mask_completion"), expected="MaskCompletionNetwork")
    return FeedforwardMaskCompleter(network.to(device, dtype), weights_sha256=sha256)


def load_rgb_completer(
    path: Path | None = None, *, device: torch.device, dtype: torch.dtype = torch.float32
) -> FeedforwardRgbCompleter:
    """Stage 2, with the package's weights unless `path` names others. Raises InputError without any."""
    network, sha256 = load_network(path or asset_path("rgb_completion"), expected="RgbCompletionNetwork")
    return FeedforwardRgbCompleter(network.to(device, dtype), weights_sha256=sha256)


def _dtype(network: torch.nn.Module) -> torch.dtype:
    return next(network.parameters()).dtype


def _or_given(refined: Tensor, given: Tensor) -> Tensor:
    """The refined masks; the given one where refinement left nothing of a person."""
    has_person = refined.flatten(1).any(dim=1).view(-1, 1, 1, 1)
    return torch.where(has_person, refined, given)


def _labels(logits: Tensor | None, mask: Tensor) -> Tensor | None:
    """Parsing logits (B, 20, h, w) to labels int64 (B, H, W), background outside the mask."""
    if logits is None:
        return None
    logits = F.interpolate(logits.float(), mask.shape[-2:], mode="bilinear", align_corners=False)
    inside = mask[:, 0]
    labels = torch.zeros(inside.shape, dtype=torch.int64, device=mask.device)
    labels[inside] = logits.movedim(1, -1)[inside].argmax(dim=-1)  # the person is a small part of the crop
    return labels


def _one_hot_parts(labels: Tensor | None, mask: Tensor) -> Tensor:
    """Labels (B, H, W) to a map of each part but background, bool (B, 19, H, W); all False without any."""
    if labels is None:
        return mask.new_zeros(len(mask), NUM_PARTS, *mask.shape[-2:])
    parts = torch.arange(1, NUM_LABELS, device=labels.device).view(1, -1, 1, 1)
    return (labels[:, None] == parts) & mask
