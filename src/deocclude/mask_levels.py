"""From the values in somebody's mask to True and False: what is clear is taken, the rest is refused."""

from __future__ import annotations

import numpy as np

from deocclude.errors import InputError


def rgb_to_levels(rgb: np.ndarray) -> np.ndarray:
    """The levels of a mask stored in colour, uint8 (H, W, 3): its grey, or its one colour beside black.

    Raises InputError for a picture of several colours.
    """
    if (rgb.max(axis=2) - rgb.min(axis=2)).max() <= 16:  # grey, up to JPEG's colour noise
        return rgb[..., 0]
    colours = np.unique(rgb.reshape(-1, 3), axis=0)
    if len(colours) == 2 and not colours[0].any():
        return np.asarray(rgb.any(axis=2))
    raise InputError("a coloured picture is not a mask; paint the person white on black")


def checked_region(levels: np.ndarray, size_hw: tuple[int, int], name: str) -> np.ndarray:
    """Levels (H, W) of any number type to bool (H, W), any part of the picture, none and all of it included.

    Raises InputError for another size, and for greys.
    """
    if levels.shape != tuple(size_hw):
        raise InputError(
            f"{name}: the mask is {levels.shape[1]} x {levels.shape[0]} and its picture, upright, "
            f"{size_hw[1]} x {size_hw[0]}; give a mask of the same size"
        )
    return _levels_to_mask(levels, name)


def checked_mask(levels: np.ndarray, size_hw: tuple[int, int], name: str) -> np.ndarray:
    """The same for a person. Raises InputError for an empty mask too, and for one that looks like a mistake.

    What is bool was made by a program, which knows true from false: somebody close up may fill the border.
    """
    mask = checked_region(levels, size_hw, name)
    if not mask.any():
        raise InputError(f"{name}: the mask is empty; paint the visible part of the person white on black")
    if levels.dtype == bool:
        return mask
    if mask.all():
        raise InputError(f"{name}: the mask is full; paint only the visible part of the person white")
    if _looks_inverted(mask):
        raise InputError(f"{name}: the mask looks inverted (white runs along the border); swap black and white")
    return mask


def _levels_to_mask(levels: np.ndarray, name: str) -> np.ndarray:
    """Split grey values at the middle, where there is no doubt what belongs to which side."""
    if levels.dtype == bool:
        return levels
    darkest, brightest = levels.min(), levels.max()
    if not np.isfinite(brightest - darkest):
        raise InputError(f"{name}: the mask holds values that are not numbers")
    if darkest == brightest:
        return np.full(levels.shape, darkest != 0)
    if darkest == 0 and ((levels == 0) | (levels == brightest)).all():
        return levels != 0
    full = _full_scale(levels.dtype, brightest)
    mask = levels >= full / 2
    if _is_grey(levels, mask, full):
        raise InputError(
            f"{name}: the mask holds greys ({darkest:g} to {brightest:g}); paint one person white on black"
        )
    return mask


def _full_scale(dtype: np.dtype, brightest: float) -> float:
    """The value of white."""
    if np.issubdtype(dtype, np.floating) and brightest <= 1:
        return 1.0
    return 65535.0 if brightest > 255 else 255.0


def _is_grey(levels: np.ndarray, mask: np.ndarray, full: float) -> bool:
    """Whether values between black and white are more than soft edges: many, or in flat patches."""
    grey = (levels > full / 4) & (levels < full * 3 / 4)
    if not grey.any():
        return not mask.any()  # everything is dark, but not black
    flat = grey[:-1, :-1].copy()
    for neighbour in (levels[:-1, 1:], levels[1:, :-1]):
        step = np.maximum(neighbour, levels[:-1, :-1]) - np.minimum(neighbour, levels[:-1, :-1])
        flat &= step <= full / 80
    return bool(grey.sum() > mask.sum() / 4 or flat.sum() > mask.sum() / 50)


def _looks_inverted(mask: np.ndarray) -> bool:
    """A person may fill a picture, but does not cover its upper corners and most of its border.

    Inverted, a person shown from the waist up leaves only half of the border white. So does somebody close up
    behind a table or a pole; but of these neither stands out like a head, below white and between white.
    """
    share = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]).mean()
    between_white = mask[:, 0] & mask[:, -1] & ~mask.all(axis=1)
    has_head = mask[0].all() and between_white.mean() > 0.15
    return bool(mask[0, 0] and mask[0, -1] and share > (0.5 if has_head else 0.65))
