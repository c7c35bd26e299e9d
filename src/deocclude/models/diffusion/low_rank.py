"""Low-rank weights in the format most projects publish (kohya's), added to a U-Net for good."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

PREFIX = "lora_unet_"


@torch.no_grad()
def add_low_rank(unet: nn.Module, tensors: Mapping[str, Tensor]) -> int:
    """weight += alpha / rank · up · down for every layer named; returns how many.

    tensors: `lora_unet_<layer, dots as underscores>.lora_down.weight`, `….lora_up.weight` and `….alpha`. A first
    convolution with more input channels than the weights know (pix2gestalt's twelve) is changed in its first ones, the
    noisy latent's. Raises ValueError where a layer does not exist or does not fit, and where nothing is for a U-Net.
    """
    layers = {name.replace(".", "_"): module for name, module in unet.named_modules()}
    names = sorted({key.split(".")[0] for key in tensors if key.startswith(PREFIX)})
    if not names:
        raise ValueError(f"no key begins with '{PREFIX}'")
    for name in names:
        layer = layers.get(name.removeprefix(PREFIX))
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            raise ValueError(f"the U-Net has no layer for '{name}'")
        down, up = (tensors[f"{name}.lora_{side}.weight"].float() for side in ("down", "up"))
        alpha = tensors.get(f"{name}.alpha")
        scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
        change = (scale * up.flatten(1) @ down.flatten(1)).view(up.shape[0], *down.shape[1:])
        target = layer.weight[:, : change.shape[1]] if name == f"{PREFIX}conv_in" else layer.weight
        if target.dim() != change.dim():
            change = change.flatten(1) if target.dim() == 2 else change[..., None, None]
        if target.shape != change.shape:
            raise ValueError(f"'{name}' changes {tuple(change.shape)}, the layer has {tuple(layer.weight.shape)}")
        target += change.to(target)
    return len(names)
