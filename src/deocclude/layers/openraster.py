"""OpenRaster (`.ora`): a ZIP of PNG layers and a `stack.xml` that says how they lie. GIMP, Krita and others open it.

The format is freedesktop.org's, version 0.0.5 of its draft. Beside what it demands, each layer carries its kind in a
namespace of ours, which other programs pass over, and layers with invented pixels carry their mark as PNG metadata.
"""

from __future__ import annotations

import contextlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from deocclude import __version__
from deocclude.errors import InputError
from deocclude.files import written_whole
from deocclude.images import MAX_PIXELS
from deocclude.layers.marking import NAMESPACE, GeneratedMark, generated_png_info, mark_of
from deocclude.layers.stacking import KINDS, Kind, Layer, LayerStack, flatten
from deocclude.layers.xml_safety import legal_text, parse_xml

if TYPE_CHECKING:
    from PIL import Image

MIMETYPE = b"image/openraster"
THUMBNAIL_SIDE = 256
MAX_LAYERS = 1000
MAX_STACK_BYTES = 4 * 2**20
LAYERS_PER_CANVAS = 4
"""All layers together may have so many times the pixels that the canvas may have."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first moment a ZIP can name: the same layers give the same bytes at any time."""
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


# --- writing ---


def write_openraster(
    path: str | Path, stack: LayerStack, *, icc_profile: bytes | None = None, overwrite: bool = False
) -> None:
    """Write layers as an OpenRaster file, whole or not at all; the same layers become the same bytes.

    icc_profile: the photograph's colour profile (`images.colour_profile`), which its pixels are to be shown in.

    Raises InputError for another suffix than .ora, an existing file without `overwrite`, and a place that cannot be
    written.
    """
    path = Path(path)
    if path.suffix.lower() != ".ora":
        raise InputError(f"{path}: an OpenRaster file ends in .ora")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another place or allow overwriting")
    try:
        with written_whole(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
            for name, content in _entries(stack, icc_profile):
                archive.writestr(_entry(name), content)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error})") from error


def _entries(stack: LayerStack, icc_profile: bytes | None) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file in the archive, `mimetype` first."""
    yield "mimetype", MIMETYPE
    yield "stack.xml", _stack_xml(stack)
    for number, layer in enumerate(stack.layers):
        yield _layer_file(number), _png(layer.rgba, icc_profile, layer.mark)
    merged = flatten(stack)
    yield "mergedimage.png", _png(merged, icc_profile, stack.mark)
    yield "Thumbnails/thumbnail.png", _png(_thumbnail(merged), icc_profile, stack.mark)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EARLIEST)
    entry.create_system = 3  # Unix, wherever it is written
    entry.external_attr = 0o644 << 16
    # `mimetype` must be stored, and PNG is compressed already.
    entry.compress_type = zipfile.ZIP_STORED
    return entry


def _layer_file(number: int) -> str:
    return f"data/layer{number:03}.png"


def _stack_xml(stack: LayerStack) -> bytes:
    height, width = stack.size_hw
    image = ElementTree.Element("image", version="0.0.5", w=str(width), h=str(height))
    image.set("xmlns:deocclude", NAMESPACE)
    image.set("deocclude:version", __version__)
    root = ElementTree.SubElement(image, "stack")
    for number, layer in reversed(list(enumerate(stack.layers))):  # the uppermost comes first
        x, y = layer.offset_xy
        element = ElementTree.SubElement(root, "layer", name=legal_text(layer.name), src=_layer_file(number))
        element.set("x", str(x))
        element.set("y", str(y))
        element.set("opacity", "1.0")
        element.set("visibility", "visible" if layer.is_visible else "hidden")
        element.set("composite-op", "svg:src-over")
        element.set("deocclude:kind", layer.kind)
    ElementTree.indent(image)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(image, "utf-8") + b"\n"


def _png(rgba: np.ndarray, icc_profile: bytes | None, mark: GeneratedMark | None = None) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    chunks = None if mark is None else generated_png_info(mark)
    # Photographs gain little from more effort than 1, as in `images.encode_image`.
    Image.fromarray(rgba).save(file, "PNG", compress_level=1, icc_profile=icc_profile, pnginfo=chunks)
    return file.getvalue()


def _thumbnail(merged: np.ndarray) -> np.ndarray:
    """The picture as large as fits the side, never enlarged: uint8 (h, w, 4)."""
    from PIL import Image

    image = Image.fromarray(merged)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return np.array(image)


# --- reading ---


def read_openraster(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> LayerStack:
    """The layers of an OpenRaster file, bottom to top; those of another program's file are of the kind "other".

    It reads plain stacks: layers of 8-bit PNG, opaque as they are, each over the next. Nothing is unpacked to disk.
    Raises InputError for a file that is damaged or none, for groups, blending and opacities, for paths that leave the
    archive, for a canvas of more than `max_pixels` (or than `MAX_PIXELS`), and for more layers or pixels in them than
    `MAX_LAYERS` and `LAYERS_PER_CANVAS` allow.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_stack(archive, min(max_pixels, MAX_PIXELS))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except Exception as error:  # zipfile and Pillow raise what they like on a broken file
        raise InputError(f"{path}: is damaged or no OpenRaster file ({error or type(error).__name__})") from error


def _read_stack(archive: zipfile.ZipFile, max_pixels: int) -> LayerStack:
    entries = archive.infolist()
    if not entries or entries[0].filename != "mimetype" or _content(archive, entries[0], 64) != MIMETYPE:
        raise InputError("is no OpenRaster file: its first entry is not the mimetype")
    image = parse_xml(_content(archive, _found(archive, "stack.xml"), MAX_STACK_BYTES))
    width, height = _number(image, "w"), _number(image, "h")
    if min(width, height) < 1 or width * height > max_pixels:
        raise InputError(f"its canvas of {width} x {height} is empty or over the limit of {max_pixels:,} pixels")
    elements = _layer_elements(image)
    pixels_left = LAYERS_PER_CANVAS * max_pixels
    layers = []
    for element in reversed(elements):
        layers.append(_read_layer(archive, element, pixels_left))
        pixels_left -= layers[-1].rgba.size // 4
    return LayerStack((height, width), tuple(layers), _merged_mark(archive))


def _merged_mark(archive: zipfile.ZipFile) -> GeneratedMark | None:
    """What the flattened picture says; its pixels are not looked at."""
    with _opened_png(archive, "mergedimage.png") as image:
        return mark_of(image)


def _layer_elements(image: ElementTree.Element) -> list[ElementTree.Element]:
    """The layers of the one stack, the uppermost first."""
    stack = image.find("stack")
    if image.tag != "image" or stack is None:
        raise InputError("its stack.xml has no stack of layers")
    if others := {element.tag for element in stack} - {"layer"}:
        raise InputError(f"has more than plain layers ({', '.join(sorted(others))}); ungroup them and save it again")
    if len(stack) > MAX_LAYERS:
        raise InputError(f"has {len(stack)} layers, over the limit of {MAX_LAYERS}")
    return list(stack)


def _read_layer(archive: zipfile.ZipFile, element: ElementTree.Element, max_pixels: int) -> Layer:
    name, operation = element.get("name", ""), element.get("composite-op", "svg:src-over")
    if operation != "svg:src-over" or float(element.get("opacity", "1")) != 1:
        raise InputError(f"its layer '{name}' is blended or half transparent; only normal layers are read")
    with _opened_png(archive, element.get("src", "")) as image:
        if image.width * image.height > max_pixels:
            raise InputError(f"its layers have more pixels than are read at once; '{name}' is the first too many")
        if image.mode not in _MODES:
            raise InputError(f"its layer '{name}' has not 8 bits a channel")
        rgba, mark = np.array(image.convert("RGBA")), mark_of(image)
    is_visible = element.get("visibility", "visible") == "visible"
    return Layer(name, _kind(element), rgba, (_number(element, "x", 0), _number(element, "y", 0)), is_visible, mark)


@contextlib.contextmanager
def _opened_png(archive: zipfile.ZipFile, name: str) -> Iterator[Image.Image]:
    """A picture of the archive, of which no pixel is decoded yet."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings(), archive.open(_found(archive, name)) as file:
        warnings.simplefilter("ignore")  # about large pictures, where our own limit decides
        try:
            image = Image.open(file, formats=("PNG",))
        except UnidentifiedImageError as error:
            raise InputError(f"its '{name}' is no PNG that can be read") from error
        with image:
            yield image


def _kind(element: ElementTree.Element) -> Kind:
    said = element.get(f"{{{NAMESPACE}}}kind")
    return next((kind for kind in KINDS if kind == said), "other")


def _found(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """The entry of that name, of a kind that OpenRaster has."""
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        raise InputError(f"names a file outside itself ('{name}')")
    try:
        entry = archive.getinfo(name)
    except KeyError as error:
        raise InputError(f"has no '{name}', which it needs") from error
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"has '{name}' in a compression that OpenRaster does not know")
    return entry


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    """The bytes of an entry. Raises InputError where there are more than `limit`, whatever its header says."""
    with archive.open(entry) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InputError(f"has '{entry.filename}' of more than {limit:,} bytes")
    return content


def _number(element: ElementTree.Element, name: str, default: int | None = None) -> int:
    text = element.get(name, default)
    try:
        value: Any = int(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = None
    if value is None or abs(value) >= 2**31:
        raise InputError(f"has no usable '{name}' in stack.xml")
    return int(value)
