"""The table of bad inputs, and of odd ones that are good: what a user may hand in, whichever door it comes through.

`test_safety_inputs.py` sends all of it through the command and through Python. A door of another kind (the page, the
HTTP API) takes `REFUSED` and `TAKEN` too: `case.write(folder)` gives the photograph and its mask, on disk.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from miniatures import photograph, with_red_person
from PIL import Image

BOX = (40, 10, 60, 40)
"""The person of every picture here, 96 x 64."""
Write = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """A photograph and its mask.

    photo, mask: write the file, or whatever is to be at its place. sentence: a part of what the user is told; empty
    where the case is to be taken. photo_name: the photograph's name.
    """

    name: str
    photo: Write
    mask: Write
    sentence: str = ""
    photo_name: str = "photo.png"

    def write(self, folder: Path) -> tuple[Path, Path]:
        """The paths of photograph and mask in an empty folder."""
        photo, mask = folder / self.photo_name, folder / "mask.png"
        self.photo(photo)
        self.mask(mask)
        return photo, mask


# --- what is at a path ---


def picture() -> np.ndarray:
    return with_red_person(photograph(), BOX)[0]


def person() -> np.ndarray:
    return with_red_person(photograph(), BOX)[1].astype(np.uint8) * 255


def content(array: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def frames(kind: str) -> bytes:
    buffer = io.BytesIO()
    first, second = Image.fromarray(picture()), Image.fromarray(255 - picture())
    first.save(buffer, kind, save_all=True, append_images=[second])
    return buffer.getvalue()


def converted(mode: str, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture()).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def turned() -> bytes:
    """The picture stored on its side, with the EXIF that says so: upright it has the mask's size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return content(np.rot90(picture()).copy(), "PNG", exif=exif)


def sixteen_bits() -> bytes:
    return content(picture()[..., 0].astype(np.uint16) * 257)


def bomb() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def holding(data: bytes) -> Write:
    return lambda path: write_bytes(path, data)


def write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def nothing(path: Path) -> None:
    """No file there."""


def a_folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("no pictures here", "utf-8")


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("gone.png"))


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def a_link(path: Path) -> None:
    target = path.with_name("elsewhere") / "original.png"
    target.parent.mkdir()
    target.write_bytes(content(picture()))
    path.symlink_to(target)


def a_pipe(path: Path) -> None:
    """Whoever opened it to read would wait for ever."""
    os.mkfifo(path)


good_photo, good_mask = holding(content(picture())), holding(content(person()))
PNG, JPEG = content(picture()), content(picture(), "JPEG", quality=95)


def _photo(name: str, write: Write, sentence: str, photo_name: str = "photo.png") -> Case:
    return Case(f"photo: {name}", write, good_mask, sentence, photo_name)


def _mask(name: str, write: Write, sentence: str) -> Case:
    return Case(f"mask: {name}", good_photo, write, sentence)


REFUSED = (
    _photo("empty", holding(b""), "the file is empty"),
    _photo("text", holding(b"no picture, whatever the name says\n"), "not a picture that can be read"),
    _photo("web page", holding(b"<!doctype html><title>Log in</title>"), "not a picture that can be read"),
    _photo("vector drawing", holding(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), "not a picture that can be read"),
    _photo("PostScript", holding(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not a picture"),
    _photo("GIF", holding(converted("P", "GIF")), "not a picture that can be read"),
    _photo("PNG cut off", holding(PNG[: len(PNG) // 2]), "damaged or cannot be read"),
    _photo("JPEG cut off", holding(JPEG[: len(JPEG) // 2]), "damaged or cannot be read"),
    _photo("header alone", holding(PNG[:40]), "photo.png"),
    _photo("animated PNG", holding(frames("PNG")), "has 2 frames or pages"),
    _photo("animated WEBP", holding(frames("WEBP")), "has 2 frames or pages", "photo.webp"),
    _photo("TIFF with two pages", holding(frames("TIFF")), "has 2 frames or pages", "photo.tif"),
    _photo("floating point", holding(converted("F", "TIFF")), "floating-point pictures", "photo.tif"),
    _photo("bomb", holding(bomb()), "pixels"),
    _photo("missing", nothing, "no such file"),
    _photo("missing, with a line break in its name", nothing, "no such file", "two\nlines\x1b.png"),
    _photo("damaged, with a line break in its name", holding(b"x"), "not a picture", "two\nlines\x1b.png"),
    _photo("folder without pictures", a_folder, "photo.png"),
    _photo("link to nothing", a_link_to_nothing, "no such file"),
    _photo("link to itself", a_link_to_itself, "photo.png"),
    _photo("pipe", a_pipe, "photo.png"),
    _mask("missing", nothing, "no such file"),
    _mask("empty", holding(b""), "the file is empty"),
    _mask("text", holding(b"person"), "not a picture that can be read"),
    _mask("cut off", holding(content(person())[:60]), "mask.png"),
    _mask("wrong size", holding(content(person()[:-1])), "give a mask of the same size"),
    _mask("turned", holding(content(person().T.copy())), "give a mask of the same size"),
    _mask("inverted", holding(content(255 - person())), "looks inverted"),
    _mask("all black", holding(content(np.zeros_like(person()))), "the mask is empty"),
    _mask("all white", holding(content(np.full_like(person(), 255))), "the mask is full"),
    _mask("a photograph", good_photo, "a coloured picture is not a mask"),
    _mask("grey", holding(content(photograph()[..., 1])), "the mask holds greys"),
    _mask("bomb", holding(bomb()), "pixels"),
    _mask("link to nothing", a_link_to_nothing, "no such file"),
    _mask("pipe", a_pipe, "mask.png"),
)


def _odd(name: str, data: bytes = PNG, photo_name: str = "photo.png") -> Case:
    return Case(name, holding(data), good_mask, photo_name=photo_name)


TAKEN = (
    _odd("ordinary"),
    _odd("16 bits", sixteen_bits()),
    _odd("grey", converted("L", "PNG")),
    _odd("black and white", converted("1", "PNG")),
    _odd("palette", converted("P", "PNG")),
    _odd("alpha", converted("RGBA", "PNG")),
    _odd("grey with alpha", converted("LA", "PNG")),
    _odd("CMYK", converted("CMYK", "JPEG"), "photo.jpg"),
    _odd("turned by EXIF", turned()),
    _odd("another format than its name says", JPEG),
    _odd("upper-case suffix", JPEG, "PHOTO.JPG"),
    _odd("line break in the name", photo_name="two\nlines.png"),
    _odd("quotes in the name", photo_name='it\'s "me".png'),
    _odd("blanks and signs in the name", photo_name=" $(touch x); & [a] *.png"),
    _odd("other scripts in the name", photo_name="фото 写真 🙂.png"),
    _odd("composed and decomposed letters in the name", photo_name="e\u0301é.png"),
    _odd("bytes that are no UTF-8 in the name", photo_name="\udcff\udcfe.png"),
    _odd("dots in the name", photo_name="...png"),
    _odd("percent and colon in the name", photo_name="%2e%2e:a.png"),
    Case("link", a_link, good_mask),
)
