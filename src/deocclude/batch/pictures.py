"""Opening pictures ahead of the device: read, hashed and decoded in threads, in their order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from deocclude.batch.inputs import Item
from deocclude.batch.manifest import Outcome, failure
from deocclude.errors import InputError
from deocclude.images import colour_profile, open_image
from deocclude.pipelines.scene_outputs import Source
from deocclude.weights import file_sha256

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Picture:
    """An opened picture.

    input_sha256: of its bytes and masks (`Item.input_sha256`). source: what results say of its file. image: uint8
    (H, W, 3). modal_masks: of the people who are meant, bool (H, W); None where people are to be found. seconds: that
    opening it took.
    """

    item: Item
    input_sha256: str
    source: Source
    image: np.ndarray
    modal_masks: tuple[np.ndarray, ...] | None
    seconds: float


def open_picture(item: Item, settled: str | None = None) -> Picture | Outcome | None:
    """The picture; a failure where it cannot be used; None where its input is `settled`, done from this hash before."""
    start, input_sha256 = time.perf_counter(), ""
    try:
        with item.as_file() as path:
            file_sha256 = _picture_sha256(path)
            input_sha256 = item.input_sha256(file_sha256)
            if input_sha256 == settled:
                return None
            image = open_image(path)
            source = Source(item.file_name, file_sha256, colour_profile(path))
            masks = item.modal_masks(image)
        return Picture(item, input_sha256, source, image, masks, time.perf_counter() - start)
    except Exception as error:  # one bad file never ends a run
        if input_sha256 == settled:
            return None
        return failure(item.id, input_sha256, error, time.perf_counter() - start)


def _picture_sha256(path: Path) -> str:
    if not path.is_file():  # a pipe would keep us waiting for ever
        raise InputError(f"{path}: not a file" if path.exists() else f"{path}: no such file")
    return file_sha256(path)


def ahead(work: Callable[[Given], Made], given: Iterable[Given], *, depth: int, threads: int = 2) -> Iterator[Made]:
    """`map(work, given)` in threads, at most `depth` results before they are asked for."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="open-picture") as pool:
        try:
            for one in given:
                waiting.append(pool.submit(work, one))
                if len(waiting) >= depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
