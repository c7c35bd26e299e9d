"""Frozen feature extractors for the perceptual and style losses."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from deocclude.errors import InputError
from deocclude.imagenet import imagenet_network

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VGG16_CONVOLUTIONS = (
    # index among torchvision's layers, input and output channels
    (0, 3, 64),
    (2, 64, 64),
    (5, 64, 128),
    (7, 128, 128),
    (10, 128, 256),
    (12, 256, 256),
    (14, 256, 256),
)
VGG16_POOLS = (2, 4, 7)
"""Convolutions before each of the first three pools, after which paper B reads the features."""
_VGG16_WAY_OUT = (
    "save torchvision's with safetensors.torch.save_file(torchvision.models.vgg16(weights='DEFAULT').state_dict(), "
    "'vgg16.safetensors'), or leave --vgg16 out for the features of EfficientNet-Lite0"
)


class EfficientNetFeatures(nn.Module):
    """The first three feature maps of EfficientNet-Lite0 with ImageNet weights: needs no model hub."""

    def __init__(self) -> None:
        super().__init__()
        self.network = imagenet_network()
        self.eval()

    def forward(self, picture: Tensor) -> list[Tensor]:
        x, features = self.network.stem(picture * 2 - 1), []
        for stage in self.network.stages[:3]:
            x = stage(x)
            features.append(x)
        return features

    def train(self, mode: bool = True) -> EfficientNetFeatures:
        """Stay frozen: the batch statistics of a loss network must not move."""
        return super().train(False)


class Vgg16Features(nn.Module):
    """VGG16 after its first three pools, paper B's choice.

    weights: torchvision's VGG16 as a safetensors file. Raises InputError for a file that is missing, or another.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for _, a, b in VGG16_CONVOLUTIONS)
        self.convolutions.load_state_dict(_vgg16_state_dict(weights, self.convolutions))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, picture: Tensor) -> list[Tensor]:
        x, features = (picture - self.mean) / self.std, []
        for index, layer in enumerate(self.convolutions, start=1):
            x = F.relu(layer(x))
            if index in VGG16_POOLS:
                x = F.max_pool2d(x, 2)
                features.append(x)
        return features


def _vgg16_state_dict(path: Path, convolutions: nn.ModuleList) -> dict[str, Tensor]:
    """Torchvision's tensors under our names. Raises InputError for a file without them."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {_VGG16_WAY_OUT}")
    try:
        theirs = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: no safetensors file that can be read; {_VGG16_WAY_OUT}") from error
    state = {}
    for ours, expected in convolutions.state_dict().items():
        number, _, kind = ours.partition(".")
        key = f"features.{VGG16_CONVOLUTIONS[int(number)][0]}.{kind}"
        if key not in theirs:
            raise InputError(f"{path}: not the weights of VGG16: it has no '{key}'; {_VGG16_WAY_OUT}")
        if theirs[key].shape != expected.shape:
            found, wanted = tuple(theirs[key].shape), tuple(expected.shape)
            raise InputError(f"{path}: not the weights of VGG16: '{key}' is {found}, not {wanted}; {_VGG16_WAY_OUT}")
        state[ours] = theirs[key]
    return state
