"""Laws of every reader, for any input at all: it answers, or raises InputError with one sentence, and does no more.

`fuzz/readers.py` has the readers as one target each; here Hypothesis makes their inputs: bytes, broken valid files,
JSON of the right shape with wrong things in it, and arrays of every type.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzz import readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from miniatures import peak_megabytes
from PIL import Image

from deocclude.data.segmentations import decode_segmentation, encode_run_lengths, encode_segmentation
from deocclude.errors import InputError
from deocclude.images import MAX_PIXELS, as_image, as_mask, open_image, open_mask

few = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
"""`fuzz/` goes further."""
SEEDS = readers.seeds()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return readers.prepared_folder(tmp_path)


# --- bytes ---


@pytest.mark.parametrize("reader", readers.READERS)
@few
@given(content=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes(folder: Path, reader: Any, content: bytes) -> None:
    readers.attempt(reader, folder, content)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: readers.READERS[seed[0]].__name__)
@settings(few, max_examples=25)
@given(data=st.data())
def test_broken_valid_files(folder: Path, seed: bytes, data: st.DataObject) -> None:
    content = bytearray(seed[1:])
    place = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["end", "change", "leave out", "insert"])):
        case "end":
            del content[place:]
        case "change":
            content[place] = data.draw(st.integers(0, 255))
        case "leave out":
            del content[place : place + data.draw(st.integers(1, 20))]
        case _:
            content[place:place] = data.draw(st.binary(min_size=1, max_size=20))
    readers.attempt(readers.READERS[seed[0]], folder, bytes(content))


FOUND = {
    "a PNG whose first chunk is too short": (
        readers.person_map,
        "iVBORw0KGgoAAAAMSUhEUgAAABAAAAAYCAAAAADWyyLQAAAAHElEQVR4nITwWAAAAACtRSIKYiwKfQ==",
    ),
}
"""What coverage-guided fuzzing made before it was mended."""


@pytest.mark.parametrize("what", FOUND)
def test_what_fuzzing_found(folder: Path, what: str) -> None:
    reader, content = FOUND[what]
    readers.attempt(reader, folder, base64.b64decode(content))


# --- JSON ---

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, 10**400, -1])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["a.png", "../a.png", "/", "\0", "a\nb", "\x1b[31m", "\ud800", "x" * 300])
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@st.composite
def spoiled(draw: st.DrawFn, valid: list[Any]) -> bytes:
    """One of the valid documents with up to three values exchanged for anything."""
    document = json.loads(json.dumps(draw(st.sampled_from(valid))))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = document, None
        while isinstance(holder, dict | list) and len(holder):
            parent = holder
            key = draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
            holder = parent[key]
            if draw(st.booleans()):
                break
        if key is None:
            break
        if isinstance(parent, dict) and draw(st.booleans()):
            del parent[key]
        else:
            parent[key] = draw(anything)
    return json.dumps(document).encode()


def documents(reader: Any) -> list[Any]:
    return [json.loads(seed[1:]) for seed in SEEDS if readers.READERS[seed[0]] is reader]


@pytest.mark.parametrize("reader", [readers.segmentation, readers.coco, readers.amodal_json, readers.joints])
@settings(few, max_examples=150)
@given(data=st.data())
def test_spoiled_json(folder: Path, reader: Any, data: st.DataObject) -> None:
    content = data.draw(spoiled(documents(reader)) | anything.map(lambda value: json.dumps(value).encode()))
    readers.attempt(reader, folder, content)


@pytest.mark.parametrize("reader", [readers.coco, readers.amodal_json, readers.joints])
@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"\xef\xbb\xbf{}", b"\xff\xfe{"])
def test_json_that_breaks_parsers(folder: Path, reader: Any, content: bytes) -> None:
    readers.attempt(reader, folder, content)


# --- masks as COCO writes them ---


@few
@given(mask=arrays.arrays(bool, readers.SIZE_HW))
def test_what_is_encoded_is_decoded(mask: np.ndarray) -> None:
    for encode in (encode_segmentation, encode_run_lengths):
        written = json.loads(json.dumps(encode(mask)))
        assert np.array_equal(decode_segmentation(written, readers.SIZE_HW), mask)


@few
@given(lengths=st.lists(st.integers(0, 200), max_size=8))
def test_run_lengths_that_do_not_fill_the_picture_are_refused(lengths: list[int]) -> None:
    """pycocotools would leave the other pixels as they were in memory."""
    from pycocotools import mask as run_lengths

    height, width = readers.SIZE_HW
    compressed = run_lengths.frPyObjects({"size": [height, width], "counts": lengths}, height, width)["counts"].decode()
    for counts in (lengths, compressed):
        try:
            decode_segmentation({"size": [height, width], "counts": counts}, (height, width))
            refused = False
        except InputError:
            refused = True
        assert refused == (sum(lengths) != height * width)


@pytest.mark.parametrize("counts", ["", "1", "o", "o" * 12, "\0", "\x7f", "é", [1.5] * 256, [True] * 384, [[384]]])
def test_run_lengths_that_are_none(counts: Any) -> None:
    with pytest.raises(InputError):
        decode_segmentation({"size": list(readers.SIZE_HW), "counts": counts}, readers.SIZE_HW)


# --- arrays, tensors and opened pictures ---

shapes = arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)
dtypes = (
    arrays.scalar_dtypes()
    | st.just(np.dtype(object))
    | arrays.unicode_string_dtypes(max_len=2)
    | arrays.byte_string_dtypes(max_len=2)
    | st.just(np.dtype([("r", "u1"), ("g", "u1")]))
)


@few
@given(array=arrays.arrays(dtypes, shapes))
def test_any_array(array: np.ndarray) -> None:
    check_both(array)


@few
@given(array=arrays.arrays(st.sampled_from([np.dtype(kind) for kind in ("u1", "?", "i8", "f2", "f4", "f8")]), shapes))
def test_any_tensor(array: np.ndarray) -> None:
    check_both(torch.from_numpy(array))


def check_both(given: Any) -> None:
    shape = tuple(given.shape)
    size_hw = shape[-2:] if len(shape) >= 2 and 0 not in shape[-2:] else (3, 3)
    with np.errstate(all="ignore"):
        if (image := answer(as_image, given)) is not None:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        if (mask := answer(as_mask, given, size_hw)) is not None:
            assert mask.dtype == bool and mask.shape == size_hw and mask.any()
            assert not mask.all() or given.dtype in (np.bool_, torch.bool)  # what is bool may be full


def answer(reader: Any, *arguments: Any) -> Any:
    """What the reader says; None where it refuses in one sentence."""
    try:
        return reader(*arguments)
    except InputError as error:
        sentence = str(error)
    assert sentence.isprintable()
    return None


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 0, 4), (0, 5, 3), (5, 0), (0,), (0, 0)])
@pytest.mark.parametrize("kind", ["u1", "?", "f4"])
def test_nothing_at_all_is_no_mask(shape: tuple[int, ...], kind: str) -> None:
    with pytest.raises(InputError, match="a mask is"):
        as_mask(np.zeros(shape, kind), (3, 3))


@pytest.mark.parametrize("value", [None, 3, "a.png", b"", [[1]], Path("a.png"), {"a": 1}])
def test_what_is_no_picture(value: Any) -> None:
    with pytest.raises(InputError):
        as_image(value)
    with pytest.raises(InputError):
        as_mask(value, (3, 3))


def test_an_opened_file_may_be_broken() -> None:
    content = next(seed for seed in SEEDS if readers.READERS[seed[0]] is readers.image)[1:]
    for convert in (as_image, lambda opened: as_mask(opened, readers.SIZE_HW)):
        with pytest.raises(InputError, match="damaged"):
            convert(Image.open(io.BytesIO(content[: len(content) // 2])))


# --- sizes ---


def png_of(width: int, height: int) -> bytes:
    """A header that promises so many pixels, and a little of them."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def open_bombs(side: int) -> None:
    """Called in an interpreter of its own."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bomb.png")
        path.write_bytes(png_of(side, side))
        for read in (open_image, lambda name: open_mask(name, (side, side))):
            with pytest.raises(InputError, match="pixels"):
                read(path)


def test_a_bomb_takes_no_memory() -> None:
    assert MAX_PIXELS < 30_000**2
    assert peak_megabytes(open_bombs, 30_000) < 100


def test_a_callers_own_limit_holds_before_anything_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_of(3000, 3000))
    with pytest.raises(InputError, match="over the limit of 1,000,000 pixels"):
        open_image(path, max_pixels=1_000_000)


@pytest.mark.parametrize("size", [[10**6, 10**6], [2**40, 2**40], [-24, -16], [0, 0], [24], [24, 16, 1]])
def test_a_segmentation_of_another_size_is_refused_at_once(size: list[int]) -> None:
    with pytest.raises(InputError):
        decode_segmentation({"size": size, "counts": [24 * 16]}, readers.SIZE_HW)
