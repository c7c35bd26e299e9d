"""Paper B's two networks as stages: logits to masks, labels to one-hots (its sections 3.2 and 3.3)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deocclude.models.feedforward.mask_completion import mean_logits, mirrored, parsing_labels
from deocclude.models.feedforward.rgb_completion import one_hot_parts
from deocclude.parsing import FLIPPED_PARTS
from deocclude.stages.completers.base import MaskStage, RgbStage
from deocclude.types import Hints, MaskCompletion
from deocclude.weights import asset_path, load_network

if TYPE_CHECKING:
    from torch import Tensor, nn

CROP_SIZE = 256
"""The side the networks are trained at, pixels."""


class _Feedforward:
    """A trained network that works on crops (B, 3, size, size).

    mirror: ask the network about the mirrored crop too and average (ours; False is the paper).
    """

    name = "feedforward"
    batched = True

    def __init__(
        self, network: nn.Module, *, size: int = CROP_SIZE, mirror: bool = True, weights_sha256: str | None = None
    ) -> None:
        self.network = network.eval()
        self.size = size
        self.mirror = mirror
        self.weights_sha256: str | dict[str, str] | None = weights_sha256

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's arithmetic."""
        return next(self.network.parameters()).dtype


class FeedforwardMaskCompleter(_Feedforward, MaskStage):
    """Stage 1 of paper B: a `MaskCompletionNetwork`.

    body_weight: of another estimate of the whole body, where there is one, in a mean with the network's own (ours; 0 is
        the paper). The other options are those of both networks.
    """

    def __init__(self, network: nn.Module, *, body_weight: float = 0.0, **options: Any) -> None:
        super().__init__(network, **options)
        self.body_weight = body_weight
        self.accepts = frozenset({"body_probability"} if body_weight else ())

    @torch.inference_mode()
    def complete(self, image: Tensor, modal_mask: Tensor, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
        """image float (B, 3, H, W) in [0, 1], modal_mask bool (B, 1, H, W), to the completion."""
        inputs = image.to(self.dtype), modal_mask.to(self.dtype)
        logits = self.network(*inputs)
        if self.mirror:
            logits = mean_logits(logits, mirrored(self.network(*(value.flip(-1) for value in inputs))))
        if refine_modal and logits.modal is not None:
            modal_mask = _or_given(logits.modal > 0, modal_mask)
        amodal_probability = logits.amodal.float().sigmoid()
        if hints.body_probability is not None:
            amodal_probability = torch.lerp(amodal_probability, hints.body_probability, self.body_weight)
        # Nothing ties the two heads together, so they can disagree; what is visible belongs to the person.
        amodal_mask = (amodal_probability >= 0.5) | modal_mask
        return MaskCompletion(
            modal_mask,
            amodal_mask,
            amodal_probability,
            parsing_labels(logits.modal_parsing, modal_mask),
            parsing_labels(logits.amodal_parsing, amodal_mask),
        )


class FeedforwardRgbCompleter(_Feedforward, RgbStage):
    """Stage 2 of paper B: a `RgbCompletionNetwork`. It draws nothing at random and reads no prompt."""

    @torch.inference_mode()
    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        """image float (B, 3, H, W) in [0, 1] to the network's own picture, float32 (B, 3, H, W) in [0, 1]."""
        pictures = image, completion.modal_mask, completion.amodal_mask
        parts = (
            one_hot_parts(completion.modal_parsing, completion.modal_mask),
            one_hot_parts(completion.amodal_parsing, completion.amodal_mask),
        )
        rgb: Tensor = self.network(*(value.to(self.dtype) for value in (*pictures, *parts)))
        if self.mirror:
            swapped = (maps[:, FLIPPED_PARTS] for maps in parts)
            mirrored_rgb = self.network(*(value.to(self.dtype).flip(-1) for value in (*pictures, *swapped)))
            rgb = (rgb + mirrored_rgb.flip(-1)) / 2
        return rgb.float()


def load_mask_completer(
    path: Path | None = None, *, device: torch.device, dtype: torch.dtype = torch.float32, body_weight: float = 0.0
) -> FeedforwardMaskCompleter:
    """Stage 1, with the package's weights unless `path` names others. Raises InputError without any."""
    network, sha256 = load_network(path or asset_path("mask_completion"), expected="MaskCompletionNetwork")
    network = network.to(device, dtype, memory_format=torch.channels_last)
    return FeedforwardMaskCompleter(network, body_weight=body_weight, weights_sha256=sha256)


def load_rgb_completer(
    path: Path | None = None, *, device: torch.device, dtype: torch.dtype = torch.float32
) -> FeedforwardRgbCompleter:
    """Stage 2, with the package's weights unless `path` names others. Raises InputError without any."""
    network, sha256 = load_network(path or asset_path("rgb_completion"), expected="RgbCompletionNetwork")
    return FeedforwardRgbCompleter(network.to(device, dtype, memory_format=torch.channels_last), weights_sha256=sha256)


def _or_given(refined: Tensor, given: Tensor) -> Tensor:
    """The refined masks; the given one where refinement left nothing of a person."""
    has_person = refined.flatten(1).any(dim=1).view(-1, 1, 1, 1)
    return torch.where(has_person, refined, given)
