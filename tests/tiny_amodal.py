"""Masks drawn from a seed, and small amodal data sets made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import binary_fill_holes, gaussian_filter

from deocclude.data.segmentations import encode_run_lengths


def random_mask(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Blobs: several parts, often with holes, often cut by the edge of the picture; now and then none."""
    mask = gaussian_filter(rng.standard_normal(size_hw), rng.uniform(0, 3)) > rng.choice([0, 0.2, 9], p=[0.6, 0.3, 0.1])
    return binary_fill_holes(mask) if rng.random() < 0.4 else mask


def random_person(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Modal and amodal mask and what is not scored; the amodal mask is not empty."""
    amodal = random_mask(rng, size_hw)
    amodal[rng.integers(size_hw[0]), rng.integers(size_hw[1])] = True
    modal = amodal & random_mask(rng, size_hw) if rng.random() < 0.7 else amodal
    return modal, amodal, ~amodal & random_mask(rng, size_hw)


def rectangle(size_hw: tuple[int, int], box_xyxy: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    x0, y0, x1, y1 = box_xyxy
    mask[y0:y1, x0:x1] = True
    return mask


SIZE_HW = (40, 60)
MAN, BEHIND = (10, 5, 30, 38), (25, 10, 50, 35)
"""Boxes: a man in front of a woman, of whom 5 of 25 columns are hidden."""


def cocoa_regions() -> list[dict]:
    """A man, a woman behind him, a cup, a crowd and the sky."""
    man, woman = (rectangle(SIZE_HW, box) for box in (MAN, BEHIND))
    return [
        {"name": "man ", "order": 1, "isStuff": 0, "occlude_rate": 0, "segmentation": polygon(MAN)},
        {
            "name": "Woman in red",
            "order": 2,
            "isStuff": 0,
            "occlude_rate": 0.2,
            "segmentation": polygon(BEHIND),
            "visible_mask": encode_run_lengths(woman & ~man),
            "invisible_mask": encode_run_lengths(woman & man),
        },
        {"name": "cup", "order": 3, "isStuff": 0, "occlude_rate": 0, "segmentation": polygon((0, 0, 9, 9))},
        {"name": "people", "order": 4, "isStuff": 0, "occlude_rate": 0, "segmentation": polygon((0, 20, 9, 29))},
        {"name": "person", "order": 5, "isStuff": 1, "occlude_rate": 0, "segmentation": polygon((0, 0, 60, 9))},
    ]


def polygon(box_xyxy: tuple[int, int, int, int]) -> list[int]:
    x0, y0, x1, y1 = box_xyxy
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def write_picture(path: Path, size_hw: tuple[int, int] = SIZE_HW, *, seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    Image.fromarray(picture).save(path)
    return picture
