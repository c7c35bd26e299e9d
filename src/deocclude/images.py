"""Pictures and masks at the border: files, PIL pictures, arrays and tensors become one thing each.

A picture is uint8 RGB (H, W, 3) and a mask bool (H, W). Every file is opened by `open_image` or `open_mask`,
so that all commands treat orientation, colour modes and broken files alike.
"""

from __future__ import annotations

import contextlib
import glob
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from deocclude.errors import InputError, printable
from deocclude.files import written_whole
from deocclude.mask_levels import checked_mask, checked_region, rgb_to_levels

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo
    from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
"""What a folder is searched for."""
MAX_PIXELS = 178_956_970
"""Pillow's own limit against decompression bombs: 13 times a 13-megapixel photograph."""


# --- reading ---


def open_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The picture in a file, upright, uint8 RGB (H, W, 3). 16 bits are rounded, transparency becomes white.

    Raises InputError for what cannot be read, is animated or has several pages, or is larger than
    `max_pixels` (or than `MAX_PIXELS`).
    """
    return _read(Path(path), max_pixels, _pil_to_rgb)


def open_mask(path: str | Path, size_hw: tuple[int, int], *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The mask in a file, bool (H, W): black is background and one other value the person.

    Takes 0/255, 0/1 and any other pair with 0, soft edges and JPEG noise, palettes, and the alpha channel of
    a cut-out. Raises InputError for a file that cannot be read, another size than `size_hw`, an empty, full
    or inverted mask, and one with real greys.
    """
    return checked_mask(_read(Path(path), max_pixels, _pil_to_levels), size_hw, str(path))


def open_region(path: str | Path, size_hw: tuple[int, int]) -> np.ndarray:
    """A part of the picture in a file, bool (H, W), read as in `open_mask`; it may be empty, and all of it."""
    return checked_region(_read(Path(path), MAX_PIXELS, _pil_to_levels), size_hw, str(path))


def colour_profile(file: str | Path | BinaryIO) -> bytes | None:
    """The colour profile (ICC) of an RGB picture, for its edited copies; None if there is none."""
    with contextlib.suppress(Exception), _opened(file) as image:
        profile = image.info.get("icc_profile")
        # Bytes 16-19 of an ICC header name the colour space. A CMYK or grey profile says nothing about our
        # RGB.
        return profile if profile and profile[16:20] == b"RGB " else None
    return None


def _read(path: Path, max_pixels: int, convert: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes)")
        with _opened(path) as image:
            if image.width * image.height > max_pixels:
                raise InputError(f"{path}: {image.width} x {image.height} is over the limit of {max_pixels:,} pixels")
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":  # MPO: a phone's JPEG, followed by its previews
                raise InputError(f"{path}: has {frames} frames or pages; save the one you want as a picture")
            return convert(image)
    except InputError as error:
        raise error if str(error).startswith(printable(str(path))) else InputError(f"{path}: {error}") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: more than {MAX_PIXELS:,} pixels; shrink it first") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not a picture that can be read; give {', '.join(FORMATS)}") from error
    except Exception as error:  # Pillow's decoders raise what they like on a broken file
        raise InputError(f"{path}: the file is damaged or cannot be read ({error})") from error


@contextlib.contextmanager
def _opened(file: str | Path | BinaryIO) -> Any:
    with warnings.catch_warnings():
        # About large pictures, where our cap decides, and about odd metadata, which we do not need.
        warnings.simplefilter("ignore")
        with Image.open(file, formats=FORMATS) as image:
            yield image


def _pil_to_rgb(image: Image.Image) -> np.ndarray:
    image = _upright(image)
    if image.mode == "F":
        raise InputError("floating-point pictures have no agreed range; save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        return np.repeat(_sixteen_bits_to_eight(np.asarray(image))[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _pil_to_levels(image: Image.Image) -> np.ndarray:
    """The one channel of a picture that says where the person is, any number type (H, W)."""
    image = _upright(image)
    if image.has_transparency_data:
        alpha = np.array(image.convert("RGBA").getchannel("A"))
        if alpha.min() < alpha.max():
            return alpha
    if image.mode in ("L", "F") or image.mode.startswith("I"):
        return np.array(image)
    return rgb_to_levels(np.array(image.convert("RGB")))


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block must not cost the picture
        return image


def _sixteen_bits_to_eight(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 65535:
        raise InputError("32-bit values have no agreed range; save it with 8 or 16 bits a channel")
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


# --- writing and finding ---


def save_image(path: str | Path, array: np.ndarray, *, overwrite: bool = False) -> None:
    """Write uint8 (H, W), (H, W, 3 or 4) or bool (H, W) as PNG or lossless WEBP, whole or not at all.

    Raises InputError for another suffix, an existing file without `overwrite`, and a place that cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another place or allow overwriting")
    try:
        with written_whole(path) as unfinished:
            encode_image(unfinished, array)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error})") from error


def encode_image(
    path: Path, array: np.ndarray, *, icc_profile: bytes | None = None, pnginfo: PngInfo | None = None
) -> None:
    """Write an array as PNG or lossless WEBP by its suffix, at once. pnginfo: chunks of a PNG.

    Raises OSError, InputError.
    """
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        raise ValueError(f"expected uint8 or bool, got {array.dtype}")
    image = Image.fromarray(array)
    match path.suffix.lower():
        case ".png":
            # Photographs gain little from more effort: a fifth of the time for a few per cent of the size.
            level = 6 if array.ndim == 2 else 1
            image.save(path, "PNG", compress_level=level, icc_profile=icc_profile, pnginfo=pnginfo)
        case ".webp":
            if pnginfo is not None:
                raise ValueError(f"{path}: text chunks are a PNG's")
            image.save(path, "WEBP", lossless=True, exact=True, quality=30, icc_profile=icc_profile)
        case other:
            raise InputError(f"{path}: cannot write '{other}' files; choose .png or .webp")


def find_images(inputs: Iterable[str | Path]) -> list[Path]:
    """The picture files that files, folders and globs (`**` too) name: sorted within each, each file once.

    A file is taken as it is; folders (not their subfolders) and globs are searched for `SUFFIXES`, hidden
    files left out. A missing file among several inputs is kept, to fail when it is opened and stop no other.
    Raises InputError for an input that yields nothing.
    """
    names = [str(given) for given in inputs]
    found: dict[Path, Path] = {}
    for given in names:
        for path in [Path(given)] if is_missing(given) and len(names) > 1 else _images_of(given):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def is_missing(given: str) -> bool:
    """Whether an input names one file or folder, and there is none."""
    return not (glob.has_magic(given) or Path(given).exists())


def _images_of(given: str) -> list[Path]:
    path = Path(given)
    if path.is_file():
        return [path]
    is_folder = path.is_dir()
    if is_missing(given):
        raise InputError(f"{given}: no such file or folder")
    candidates = path.iterdir() if is_folder else map(Path, glob.glob(given, recursive=True))
    images = sorted(
        p for p in candidates if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )
    if not images:
        raise InputError(f"{given}: no pictures there (looked for {' '.join(SUFFIXES)})")
    return images


# --- PIL, NumPy, tensors ---


def image_to_tensor(image: np.ndarray) -> Tensor:
    """uint8 RGB (H, W, 3) to float32 (1, 3, H, W) in [0, 1]."""
    import torch

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected uint8 (H, W, 3), got {image.dtype} {image.shape}")
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def as_image(image: Image.Image | np.ndarray | Tensor) -> np.ndarray:
    """Any usual form of a picture to uint8 RGB (H, W, 3).

    image: PIL (turned upright by its EXIF); array (H, W[, 1, 3 or 4]) uint8, uint16, or float in [0, 1];
        tensor ([1,] 1, 3 or 4, H, W) of the same. A fourth channel is alpha, over white.

    Raises InputError otherwise.
    """
    if isinstance(image, Image.Image):
        return _of_pil(image, _pil_to_rgb)
    _check_form(image, "picture")
    array = _channels_last(image) if _is_tensor(image) else np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(f"a picture is (H, W, 3), or (3, H, W) as a tensor; got {tuple(image.shape)}")
    array = _to_eight_bits(array)
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array) if array.shape[2] == 3 else _pil_to_rgb(Image.fromarray(array))


def as_mask(mask: Image.Image | np.ndarray | Tensor, size_hw: tuple[int, int], name: str = "modal_mask") -> np.ndarray:
    """Any usual form of a mask, ([1, [1,]] H, W) or (H, W, 1), to bool (H, W), checked as in `open_mask`.

    What is bool already need only be of that size and not empty. `name` is what an InputError calls it.
    """
    return checked_mask(_mask_levels(mask), size_hw, name)


def as_region(region: Image.Image | np.ndarray | Tensor, size_hw: tuple[int, int], name: str) -> np.ndarray:
    """The same for a part of the picture that is no person: it may be empty, and all of it."""
    return checked_region(_mask_levels(region), size_hw, name)


def _mask_levels(mask: Image.Image | np.ndarray | Tensor) -> np.ndarray:
    """Levels (H, W). Raises InputError for what is no mask."""
    if isinstance(mask, Image.Image):
        levels = _of_pil(mask, _pil_to_levels)
    else:
        _check_form(mask, "mask")
        levels = _as_array(mask) if _is_tensor(mask) else np.asarray(mask)
        if levels.ndim == 3 and levels.shape[2] in (3, 4) and levels.dtype == np.uint8 and levels.size:
            levels = _pil_to_levels(Image.fromarray(levels))
        if levels.ndim > 2:
            levels = levels.reshape([n for n in levels.shape if n != 1])
    if levels.ndim != 2 or levels.dtype.kind not in "buif" or not levels.size:
        raise InputError(f"a mask is (H, W) and holds numbers; got {levels.dtype} {levels.shape}")
    return levels


def _of_pil(image: Image.Image, convert: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    """A PIL picture converted; it may be a file that was opened and not read yet."""
    try:
        return convert(image)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like on a broken file
        raise InputError(f"the picture is damaged or cannot be read ({error})") from error


def _check_form(value: Any, kind: str) -> None:
    """Raise InputError for a path, a list or whatever else is neither an array nor a tensor."""
    if not (isinstance(value, np.ndarray) or _is_tensor(value)):
        raise InputError(
            f"a {kind} is a PIL picture, a NumPy array or a tensor; got {type(value).__name__} "
            f"(a file is read by deocclude.images.open_{'image' if kind == 'picture' else 'mask'})"
        )


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach")  # asks without importing torch


def _as_array(tensor: Any) -> np.ndarray:
    values = tensor.detach().cpu()
    return np.asarray(values.float() if values.is_floating_point() else values)  # NumPy has no bfloat16


def _channels_last(tensor: Any) -> np.ndarray:
    array = _as_array(tensor)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def _to_eight_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return _sixteen_bits_to_eight(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"a picture is uint8, uint16 or float in [0, 1]; got {array.dtype}")
    if not (array.min() >= 0 and array.max() <= 1):  # so that NaN fails too
        raise InputError(f"a float picture is in [0, 1]; got {array.min():g} to {array.max():g}")
    return (array * 255).round().astype(np.uint8)
