"""Fuzz target: whatever bytes a reader of ours is given, it answers, or raises InputError with one sentence.

The first byte of an input chooses the reader, the rest is the content of its file. `guided.py` lets atheris call it,
`test_fuzz_readers.py` a seeded mutator.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deocclude.conditioning.pose_estimator import joints_from_file
from deocclude.data.coco_people import read_coco_people
from deocclude.data.cocoa import anything, read_amodal_json
from deocclude.data.label_maps import read_person_map
from deocclude.data.occlusion_set import OcclusionSet
from deocclude.data.segmentations import decode_segmentation, encode_run_lengths
from deocclude.errors import InputError
from deocclude.images import as_image, as_mask, open_image, open_mask
from deocclude.skeletons import BODY_25

SIZE_HW = (24, 16)
"""Of every picture and mask here."""
FEW = 5
"""Records of a file that are loaded."""


# --- readers: each takes the folder of `prepared_folder`, in which it writes one file, and that file's content ---


def image(folder: Path, content: bytes) -> None:
    picture = open_image(_written(folder / "given.png", content), max_pixels=1_000_000)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3


def mask(folder: Path, content: bytes) -> None:
    given = open_mask(_written(folder / "given.png", content), SIZE_HW, max_pixels=1_000_000)
    assert given.dtype == bool and given.shape == SIZE_HW


def opened_picture(folder: Path, content: bytes) -> None:
    """A PIL picture whose pixels nobody has read yet."""
    for convert in (as_image, lambda opened: as_mask(opened, SIZE_HW)):
        try:
            opened = Image.open(io.BytesIO(content))
            if opened.width * opened.height > 1_000_000:
                return
        except Exception:  # not ours: the caller opened it
            return
        try:
            convert(opened)
        except InputError as error:
            _check(error)


def person_map(folder: Path, content: bytes) -> None:
    labels = read_person_map(_written(folder / "given.png", content), SIZE_HW)
    assert labels.dtype == np.uint8 and labels.shape == SIZE_HW


def run_lengths(folder: Path, content: bytes) -> None:
    """Compressed, as they stand in a string."""
    segmentation = {"size": list(SIZE_HW), "counts": content.decode("latin-1")}
    _check_decoded(segmentation)


def segmentation(folder: Path, content: bytes) -> None:
    """Any JSON in the place of a segmentation."""
    try:
        given = json.loads(content)
    except (ValueError, RecursionError):
        return
    _check_decoded(given)


def coco(folder: Path, content: bytes) -> None:
    _load(read_coco_people(_written(folder / "given.json", content), folder))


def amodal_json(folder: Path, content: bytes) -> None:
    _load(read_amodal_json(_written(folder / "given.json", content), is_wanted=anything))


def manifest(folder: Path, content: bytes) -> None:
    _written(folder / "manifest.csv", content)
    people = OcclusionSet(folder)
    for index in range(min(len(people), FEW)):
        try:
            _ = people[index]
        except InputError as error:
            _check(error)


def joints(folder: Path, content: bytes) -> None:
    path, inside = _written(folder / "given.json", content), np.ones(SIZE_HW, bool)
    for where in ({}, {"modal_mask": inside}, {"box_xyxy": (0, 0, 16, 24)}):
        try:
            found = joints_from_file(path, **where)
            assert found.shape == (25, 3) and found.dtype == np.float32 and np.isfinite(found).all()
        except InputError as error:
            _check(error)


READERS: tuple[Callable[[Path, bytes], None], ...] = (
    image,
    mask,
    opened_picture,
    person_map,
    run_lengths,
    segmentation,
    coco,
    amodal_json,
    manifest,
    joints,
)
INPUTS = ("given.png", "given.json", "manifest.csv")
"""The files that readers are given."""


def test_one_input(data: bytes) -> None:
    """Raise for anything but an answer or an InputError of one sentence, and for a file that was touched."""
    if data:
        attempt(READERS[data[0] % len(READERS)], _folder(), data[1:])


def attempt(reader: Callable[[Path, bytes], None], folder: Path, content: bytes) -> None:
    """One reader on one content. Raises what should not have been raised, and AssertionError."""
    before = _files(folder)
    try:
        reader(folder, content)
    except InputError as error:
        _check(error)
    assert _files(folder) == before, "a reader wrote a file"
    for name in INPUTS:
        path = folder / name
        assert not path.exists() or path.read_bytes() == content, "a reader changed its input"
        path.unlink(missing_ok=True)


def prepared_folder(folder: Path) -> Path:
    """A folder with the pictures that annotation files and manifests of `seeds` name."""
    for place in ("occluded/a", "modal/a", "amodal/a", "a"):
        path = folder / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_encoded(_person() if "modal" in place else _picture(), "PNG"))
    return folder


def seeds() -> list[bytes]:
    """A valid input for every reader and every form it reads."""
    contents: list[tuple[Callable[[Path, bytes], None], list[bytes]]] = [
        (image, [_encoded(_picture(), kind) for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP")] + [_strange_picture()]),
        (mask, [_encoded(_person(), "PNG"), _encoded(_person(), "TIFF"), _encoded(_person() // 255, "BMP")]),
        (opened_picture, [_encoded(_picture(), "PNG"), _encoded(_person(), "PNG"), _encoded(_picture(), "GIF")]),
        (person_map, [_encoded(_person(), "PNG")]),
        (run_lengths, [encode_run_lengths(_person() > 0)["counts"].encode()]),
        (segmentation, [_json(one) for one in _segmentations()]),
        (coco, [_json(_coco(one)) for one in _segmentations()]),
        (amodal_json, [_json(one) for one in (_coco(_segmentations()[0]), *_cocoa())]),
        (manifest, [b"id,occlusion_ratio,truth\na,0.5,truth\n", b'id,occluder\na,"a ""cup"""\nb,\n']),
        (joints, [_json(one) for one in _joints()]),
    ]
    return [bytes([READERS.index(reader)]) + content for reader, given in contents for content in given]


# --- what is written ---


def _picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), np.uint8)


def _person() -> np.ndarray:
    person = np.zeros(SIZE_HW, np.uint8)
    person[4:20, 5:11] = 255
    return person


def _encoded(array: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def _strange_picture() -> bytes:
    """16 bits, transparent, with EXIF, a colour profile and text."""
    from PIL.PngImagePlugin import PngInfo

    exif, text, buffer = Image.Exif(), PngInfo(), io.BytesIO()
    exif[0x0112] = 6
    text.add_text("comment", "x" * 40, zip=True)
    levels = Image.fromarray(np.arange(24 * 16, dtype=np.uint16).reshape(SIZE_HW))
    levels.save(buffer, "PNG", exif=exif, pnginfo=text, transparency=3, icc_profile=bytes(128))
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _segmentations() -> list[Any]:
    return [
        [[5, 4, 11, 4, 11, 20, 5, 20]],
        [5, 4, 11, 4, 11, 20, 5, 20],
        {"size": list(SIZE_HW), "counts": [124, 16, 8, 16, 220]},
        encode_run_lengths(_person() > 0),
    ]


def _coco(segmentation: Any) -> dict[str, Any]:
    annotation = {"id": 7, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [5, 4, 6, 16], "area": 96}
    keypoints = [value for index in range(17) for value in (index, index, 2)]
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": SIZE_HW[0], "width": SIZE_HW[1]}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{**annotation, "segmentation": segmentation, "keypoints": keypoints}],
    }


def _cocoa() -> list[dict[str, Any]]:
    polygon = _segmentations()[1]
    regions = [
        {"name": "man", "order": 2, "isStuff": 0, "segmentation": polygon, "visible_mask": _segmentations()[3]},
        {"name": "cup", "order": 1, "isStuff": 0, "segmentation": polygon, "invisible_mask": _segmentations()[2]},
    ]
    images = _coco(polygon)["images"]
    return [
        {"url": "http://example.org/a.png", "regions": regions},
        {"images": images, "annotations": [{"id": 1, "image_id": 1, "regions": regions}]},
    ]


def _joints() -> list[Any]:
    rows = [[4.0 + index / 4, 5.0 + index / 2, 0.9] for index in range(25)]
    numbers = [value for row in rows for value in row]
    return [
        rows,
        {"joints": rows},
        {"joints": {BODY_25[0]: [1, 2, 1.0], BODY_25[8]: [3, 4.5, 0.5]}},
        {"people": [{"pose_keypoints_2d": numbers}, {"pose_keypoints_2d": numbers[::-1]}]},
    ]


# --- the inside of an attempt ---

_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


def _folder() -> Path:
    """One folder for the whole run, gone with the process."""
    if not _FOLDERS:
        _FOLDERS.append(tempfile.TemporaryDirectory())
        prepared_folder(Path(_FOLDERS[0].name))
    return Path(_FOLDERS[0].name)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} - set(INPUTS)


def _load(records: list[Any]) -> None:
    for record in records[:FEW]:
        try:
            sample = record.load()
            assert sample.modal.shape == sample.amodal.shape == sample.occluded.shape[:2] == SIZE_HW
            assert not (sample.modal & ~sample.amodal).any()
        except InputError as error:
            _check(error)


def _check_decoded(given: Any) -> None:
    """Decoded twice, with other memory about, a segmentation is the same mask."""
    masks = list(_decoded(given))
    assert all(one.dtype == bool and one.shape == SIZE_HW for one in masks)
    assert np.array_equal(*masks)


def _decoded(given: Any) -> Iterator[np.ndarray]:
    for filling in (0, 255):
        memory = [np.full(SIZE_HW, filling, np.uint8) for _ in range(20)]
        del memory
        yield decode_segmentation(given, SIZE_HW)


def _check(error: InputError) -> None:
    sentence = str(error)
    assert sentence.strip() and sentence.isprintable(), f"not one line: {sentence!r}"
