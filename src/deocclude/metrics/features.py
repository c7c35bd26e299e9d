"""How alike pictures look to a network: formulas on its features, whichever network they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_SUBSET = 1000
"""Pictures in one of KID's subsets, where there are enough: the size its authors and most papers use."""


@dataclass(frozen=True)
class Kid:
    """Kernel inception distance: mean and standard deviation over subsets of `subset_size` pictures."""

    mean: float
    std: float
    subset_size: int


def kid(features: np.ndarray, targets: np.ndarray, *, rng: np.random.Generator, num_subsets: int = 100) -> Kid:
    """Squared maximum mean discrepancy of two sets of pictures, unbiased, over random subsets of half of them.

    features (N, D), targets (M, D): one row a picture. The kernel is (x . y / D + 1)^3. It may be a little below zero
    for sets that are alike. NaN for fewer than four pictures in either set.
    """
    size = min(MAX_SUBSET, len(features) // 2, len(targets) // 2)
    if size < 2:
        return Kid(float("nan"), float("nan"), size)
    draws = [
        _squared_mmd(
            features[rng.choice(len(features), size, replace=False)],
            targets[rng.choice(len(targets), size, replace=False)],
        )
        for _ in range(num_subsets)
    ]
    return Kid(float(np.mean(draws)), float(np.std(draws)), size)


def _squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Both (S, D). A picture is not compared with itself: that makes it unbiased."""
    size = len(x)
    own = (_kernel(one, one) for one in (x, y))
    within = sum((values.sum() - np.trace(values)) / (size * (size - 1)) for values in own)
    return float(within - 2 * _kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    values: np.ndarray = (x.astype(np.float64) @ y.T.astype(np.float64) / x.shape[1] + 1) ** 3
    return values


def feature_distance(maps: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
    """Distance of two pictures in [0, 4]: LPIPS' formula with all its learned weights equal to one.

    maps, targets: a network's feature maps, each (C, h, w). At every place the channels are brought to unit length;
    the squared distances of those vectors are averaged over the places of a map, then over the maps.
    """
    distances = [
        ((_unit(one) - _unit(other)) ** 2).sum(axis=0).mean() for one, other in zip(maps, targets, strict=True)
    ]
    return float(np.mean(distances))


def _unit(features: np.ndarray) -> np.ndarray:
    length = np.sqrt((features**2).sum(axis=0, keepdims=True))
    return features / np.maximum(length, 1e-10)
