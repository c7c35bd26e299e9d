"""Label pictures: masks and parsing maps, where each grey value is a class and none may be averaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from deocclude.errors import InputError

PERSON = 255
NOT_SCORED = 128
"""A carried bag: neither person nor background, never a target and never scored."""


def read_label_map(path: Path, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    """One byte a pixel, uint8 (H, W), of a grey or palette PNG.

    Raises InputError for a missing or broken file, a picture with colours, or a size other than `size_hw`.
    """
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.mode not in ("L", "P", "1"):
                raise InputError(f"{path}: a label map has one byte a pixel, this one's mode is {picture.mode}")
            labels = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: is not a PNG") from None
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like on a broken file
        raise InputError(f"{path}: cannot be read as a PNG ({error})") from error
    if size_hw is not None and labels.shape != size_hw:
        raise InputError(
            f"{path}: is {labels.shape[1]}x{labels.shape[0]} pixels, its picture {size_hw[1]}x{size_hw[0]}"
        )
    return labels


def read_person_map(path: Path, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    """A label map of 255 person, 128 not scored, 0 background; InputError for any other value."""
    labels = read_label_map(path, size_hw)
    strange = np.setdiff1d(np.unique(labels), (0, NOT_SCORED, PERSON))
    if len(strange):
        raise InputError(f"{path}: values must be 0, 128 (not scored) or 255 (person), found {strange[0]}")
    return labels
