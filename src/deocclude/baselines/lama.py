"""LaMa (Suvorov et al. 2022) as an RGB stage: a hole in the whole picture is filled, whoever it belongs to.

Weights: Big-LaMa, trained on Places, Apache-2.0, as safetensors from the hub.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from deocclude.baselines.loading import hub_folder
from deocclude.errors import InputError
from deocclude.masks import invisible_mask
from deocclude.models.lama import LamaNetwork, lama_from_published
from deocclude.types import MaskCompletion

CROP_SIZE = 512
"""Trained at 256 px and made to work above."""
FILE = "big-lama.safetensors"


class LamaRgbCompleter:
    """One pass of the generator; it draws nothing at random and reads no words."""

    name = "lama"

    def __init__(self, network: LamaNetwork, *, size: int = CROP_SIZE, weights_sha256: str | None = None) -> None:
        self.network = network.eval()
        self.size, self.weights_sha256 = size, weights_sha256

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's arithmetic."""
        return next(self.network.parameters()).dtype

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
        hole = invisible_mask(completion.modal_mask, completion.amodal_mask)
        painted: Tensor = self.network(image.to(self.dtype), hole.to(self.dtype))
        return painted.float()


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype) -> LamaRgbCompleter:
    """With the hub's weights. Raises InputError, saying how to get them, without."""
    folder, commit = hub_folder("lama")
    network = load_network(folder / FILE).to(device, dtype)
    return LamaRgbCompleter(network, weights_sha256=commit)


def load_network(path: Path) -> LamaNetwork:
    """The generator from a safetensors file, float32, on the CPU. Raises InputError for a file of another kind."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network = lama_from_published(load_file(path)).network
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: no weights of LaMa ({error})") from error
    assert isinstance(network, LamaNetwork)
    return network.float().requires_grad_(False)
