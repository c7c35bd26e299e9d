"""Sheets of pictures to look at while a network trains."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def sheet(columns: list[Tensor], *, rows: int = 8) -> np.ndarray:
    """Columns of pictures (B, 3, H, W) in [0, 1], the first `rows` of each: uint8 (rows * H, columns * W, 3)."""
    stacked = torch.cat([torch.cat(list(column[:rows].float().cpu()), dim=1) for column in columns], dim=2)
    return (stacked.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
