"""The server of the page over miniatures: a red rectangle is a person, and grows downwards."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from miniatures import GrowDown, Noise, RedSegmenter, photograph, with_red_person
from PIL import Image
from scipy import ndimage

from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.pipelines.scene import SceneDeoccluder
from deocclude.types import Person
from deocclude.web.methods import Methods

ADDRESS = "http://127.0.0.1:7860"
BOX = (10, 20, 26, 40)


class RedFinder:
    """Every red piece is a person. `gate` holds the work up until it is set; `most` counts how many worked at once."""

    name = "red pieces"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.working = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> list[Person]:
        with self._lock:
            self.working += 1
            self.most = max(self.most, self.working)
        assert self.gate.wait(60)
        with self._lock:
            self.working -= 1
        labels, count = ndimage.label((image[..., 0] > 200) & (image[..., 1] < 50))
        masks = [labels == number for number in range(1, count + 1)]
        people = [Person(mask_box(mask) or (0, 0, 0, 0), mask) for mask in masks if mask.sum() > 4]
        return sorted(people, key=lambda person: -int(person.modal_mask.sum()))

    def person_at(self, image: np.ndarray, point_xy: tuple[float, float]) -> Person:
        x, y = (int(value) for value in point_xy)
        for person in self(image):
            if person.modal_mask[y, x]:
                return person
        raise InputError(f"nobody is at {x},{y}")


def red_methods(finder: RedFinder | None = None, *, running: int = 1) -> Methods:
    """Miniature stages under the name of the embedded preset; the invented part is noise, drawn by the seed."""

    def build(_preset: str) -> SceneDeoccluder:
        finds = finder or RedFinder()
        return SceneDeoccluder(Deoccluder(RedSegmenter(), GrowDown(), Noise()), finds, finds.person_at)

    return Methods(build=build, running=running)


def sample() -> tuple[np.ndarray, np.ndarray]:
    """A photograph uint8 (64, 96, 3) with one person, and the mask."""
    return with_red_person(photograph(), BOX)


def encoded(array: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array).save(file, kind, **options)
    return file.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content)))


def _gif() -> bytes:
    file = io.BytesIO()
    frames = [Image.fromarray(photograph(seed=seed)) for seed in (0, 1)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def _animated_png() -> bytes:
    file = io.BytesIO()
    frames = [Image.fromarray(photograph(seed=seed)) for seed in (0, 1)]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


def _of_size(width: int, height: int) -> bytes:
    """A PNG whose header says so; there is next to nothing in it."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


BAD_PHOTOGRAPHS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text called PNG": lambda: b"this is no picture\n" * 20,
    "truncated JPEG": lambda: encoded(photograph(), "JPEG")[:900],
    "animated GIF": _gif,
    "animated PNG": _animated_png,
    "0 x 0": lambda: _of_size(0, 0),
    "bomb of 60000 x 60000": lambda: _of_size(60_000, 60_000),
    "over our pixels": lambda: _of_size(6000, 6000),
    "SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "Postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
}


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
