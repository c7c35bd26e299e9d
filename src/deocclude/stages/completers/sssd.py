"""SSSD (Zhan et al. 2020) as two stages: PCNet-M completes the mask, PCNet-C the colours, each as it was trained.

PCNet-M says how a person goes on under what lies in front: the occluder mask, or everything else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deocclude.masks import invisible_mask
from deocclude.models.sssd import SssdContentNetwork, SssdMaskNetwork, amodal_probability
from deocclude.stages.completers.base import MaskStage, RgbStage
from deocclude.stages.completers.windows import paper_windows
from deocclude.types import Hints, MaskCompletion

WINDOW_SIZE = 256
"""Side of the square that both networks are trained on, pixels."""
CROP_SIZE = 512
"""Side of the crop out of which PCNet-M's square is cut: about as many pixels of the photograph as the square has."""
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Network:
    """What both stages have: one network, which says their arithmetic."""

    network: nn.Module

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's arithmetic."""
        return next(self.network.parameters()).dtype


class SssdMaskCompleter(_Network, MaskStage):
    """PCNet-M. A person is category 1, as in the training on COCOA."""

    name = "sssd"
    accepts = frozenset({"occluder_mask"})

    def __init__(
        self,
        network: SssdMaskNetwork,
        *,
        size: int = CROP_SIZE,
        window_size: int = WINDOW_SIZE,
        weights_sha256: str | None = None,
    ) -> None:
        self.network = network.eval()
        self.size, self.window_size, self.weights_sha256 = size, window_size, weights_sha256

    @torch.inference_mode()
    def complete(self, image: Tensor, modal_mask: Tensor, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
        """image float (B, 3, S, S) in [0, 1], modal_mask bool (B, 1, S, S); refines nothing."""
        # Without an order of the objects everything else may lie in front: SSSD's own setting without one.
        occluders = ~modal_mask if hints.occluder_mask is None else hints.occluder_mask & ~modal_mask
        windows = paper_windows(modal_mask)
        seen, in_front = (
            windows.cut(mask.to(self.dtype), self.window_size, "nearest") for mask in (modal_mask, occluders)
        )
        probability = amodal_probability(self.network(seen, in_front)).float()
        # Outside the occluders the network was taught nothing.
        probability = torch.where(occluders, windows.paste(probability, image.shape[-1]), modal_mask.float())
        return MaskCompletion(modal_mask, (probability > 0.5) | modal_mask, probability.clamp(0, 1))


class SssdRgbCompleter(_Network, RgbStage):
    """PCNet-C: partial convolutions on the whole picture with the invisible region cut out."""

    name = "sssd"

    def __init__(
        self, network: SssdContentNetwork, *, size: int = WINDOW_SIZE, weights_sha256: str | None = None
    ) -> None:
        self.network = network.eval()
        self.size, self.weights_sha256 = size, weights_sha256

    @torch.inference_mode()
    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        """image float (B, 3, S, S) in [0, 1] to the network's picture, float32 (B, 3, S, S) in [0, 1]."""
        known = ~invisible_mask(completion.modal_mask, completion.amodal_mask)
        mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
        erased = (image - mean) / std * known
        inputs = (value.to(self.dtype) for value in (erased, known, completion.modal_mask))
        painted: Tensor = self.network(*inputs).features
        return (painted.float() * std + mean).clamp(0, 1)
