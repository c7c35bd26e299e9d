"""Pose templates: typical whole-body masks, weighted by how well the visible part fits each (paper B, section 3.2)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Weighting = Literal["inverse_l2", "softmax_l2", "inner_softmax"]

# Distances are counted in pixels of a 32x32 template, whatever the size the templates are stored at, so that one
# temperature fits all sizes; 2 gave the best weighted template IoU on real silhouettes (0.752 against 0.710 for 1/D).
REFERENCE_PIXELS = 32 * 32
TEMPERATURE = 2.0


def template_weights(modal_probability: Tensor, templates: Tensor, weighting: Weighting) -> Tensor:
    """Weight of each template, (B, K), rows adding to 1.

    modal_probability: soft refined modal mask (B, 1, H, W) in [0, 1]; templates: (K, h, w) in [0, 1].

    inverse_l2: 1 / D with D the L2 distance, paper B's section 3.2 (nearly uniform in practice).
    softmax_l2: softmax(-D² / 2), ours: as selective as the data warrant.
    inner_softmax: softmax of the inner products, what the authors' code does (a hard choice of a large template).
    """
    size = templates.shape[-2:]
    query = F.interpolate(modal_probability.float(), size, mode="area").flatten(1)
    # Differences of sums over a thousand pixels: bfloat16 has three digits.
    with torch.autocast(query.device.type, enabled=False):
        weights = _weights(query, templates.float().flatten(1), weighting)
    return weights.to(modal_probability.dtype)


def _weights(query: Tensor, keys: Tensor, weighting: Weighting) -> Tensor:
    unit = REFERENCE_PIXELS / keys.shape[1]
    if weighting == "inner_softmax":
        return (query @ keys.T).softmax(dim=1)
    squared = (query.square().sum(1, keepdim=True) - 2 * query @ keys.T + keys.square().sum(1)).clamp(min=0) * unit
    if weighting == "softmax_l2":
        return (-squared / TEMPERATURE).softmax(dim=1)
    return F.normalize(1 / (squared.sqrt() + 1e-6), p=1, dim=1)
