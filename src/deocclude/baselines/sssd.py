"""SSSD (Zhan et al. 2020) as two stages: PCNet-M completes the mask, PCNet-C the colours, each as it was trained.

PCNet-M says how a person goes on under what lies in front; without an order of the objects everything else may (the
paper's setting without one). Weights: converted by the user; their authors state no licence (code: Apache-2.0).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deocclude.baselines.loading import load_converted
from deocclude.baselines.occluders import OccludersOf, everything_else
from deocclude.baselines.windows import paper_windows
from deocclude.masks import invisible_mask
from deocclude.models.sssd import SssdContentNetwork, SssdMaskNetwork, amodal_probability
from deocclude.types import MaskCompletion

WINDOW_SIZE = 256
"""Side of the square that both networks are trained on, pixels."""
CROP_SIZE = 512
"""Side of the crop out of which PCNet-M's square is cut: about as many pixels of the photograph as the square has."""
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Stage:
    name = "sssd"

    def __init__(self, network: nn.Module, size: int, weights_sha256: str | None) -> None:
        self.network = network.eval()
        self.size, self.weights_sha256 = size, weights_sha256

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's arithmetic."""
        return next(self.network.parameters()).dtype


class SssdMaskCompleter(_Stage):
    """PCNet-M. A person is category 1, as in the training on COCOA."""

    def __init__(
        self,
        network: SssdMaskNetwork,
        *,
        occluders_of: OccludersOf = everything_else,
        size: int = CROP_SIZE,
        window_size: int = WINDOW_SIZE,
        weights_sha256: str | None = None,
    ) -> None:
        super().__init__(network, size, weights_sha256)
        self.occluders_of, self.window_size = occluders_of, window_size

    @torch.inference_mode()
    def __call__(
        self, image: Tensor, modal_mask: Tensor, *, joints: Tensor | None = None, refine_modal: bool = False
    ) -> MaskCompletion:
        """image float (B, 3, S, S) in [0, 1], modal_mask bool (B, 1, S, S); reads no joints, refines nothing."""
        occluders = self.occluders_of(image, modal_mask) & ~modal_mask
        windows = paper_windows(modal_mask)
        seen, in_front = (
            windows.cut(mask.to(self.dtype), self.window_size, "nearest") for mask in (modal_mask, occluders)
        )
        probability = amodal_probability(self.network(seen, in_front)).float()
        # Outside the occluders the network was taught nothing.
        probability = torch.where(occluders, windows.paste(probability, image.shape[-1]), modal_mask.float())
        return MaskCompletion(modal_mask, (probability > 0.5) | modal_mask, probability.clamp(0, 1))


class SssdRgbCompleter(_Stage):
    """PCNet-C: partial convolutions on the whole picture with the invisible region cut out."""

    def __init__(
        self, network: SssdContentNetwork, *, size: int = WINDOW_SIZE, weights_sha256: str | None = None
    ) -> None:
        super().__init__(network, size, weights_sha256)

    @torch.inference_mode()
    def __call__(
        self,
        image: Tensor,
        completion: MaskCompletion,
        *,
        words: list[str] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """image float (B, 3, S, S) in [0, 1] to the network's picture, float32 (B, 3, S, S) in [0, 1]."""
        known = ~invisible_mask(completion.modal_mask, completion.amodal_mask)
        mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
        erased = (image - mean) / std * known
        inputs = (value.to(self.dtype) for value in (erased, known, completion.modal_mask))
        painted: Tensor = self.network(*inputs).features
        return (painted.float() * std + mean).clamp(0, 1)


def load_mask_completer(*, device: torch.device, dtype: torch.dtype) -> SssdMaskCompleter:
    """PCNet-M with the weights that the user converted. Raises InputError, saying how to get them, without."""
    network, sha256 = load_converted("sssd-mask", "SssdMaskNetwork", device, dtype)
    return SssdMaskCompleter(network, weights_sha256=sha256)


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype) -> SssdRgbCompleter:
    """PCNet-C with the weights that the user converted. Raises InputError, saying how to get them, without."""
    network, sha256 = load_converted("sssd-content", "SssdContentNetwork", device, dtype)
    return SssdRgbCompleter(network, weights_sha256=sha256)
