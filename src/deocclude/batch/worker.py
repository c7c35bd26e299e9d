"""The core of a batch: pictures in, results written, outcomes out, whatever may happen to one of them.

The local runner and the Ray actors both run it.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from deocclude.batch.inputs import result_name
from deocclude.batch.manifest import Outcome, failure
from deocclude.batch.pictures import Picture
from deocclude.errors import InputError
from deocclude.pipelines.scene import FoundPeople, Scene, SceneDeoccluder
from deocclude.pipelines.scene_outputs import Source
from deocclude.pipelines.scene_people import SceneRequest
from deocclude.weights import file_sha256

MAX_PIXELS = 100_000_000
"""Of pictures times people that share a batch: each person holds masks and pictures of the photograph's size."""

logger = logging.getLogger(__name__)


class Scenes(Protocol):
    """`MethodInBatches`, or what stands for it. batch_size: people at once on the device."""

    batch_size: int

    def find(self, image: np.ndarray, request: SceneRequest) -> FoundPeople: ...
    def complete(self, found: Sequence[FoundPeople]) -> list[Scene]: ...


class MethodInBatches:
    """`SceneDeoccluder` with the size of its batches at hand, so that it can be turned down."""

    def __init__(self, scenes: SceneDeoccluder) -> None:
        self.find, self.complete = scenes.find, scenes.complete
        self._deoccluder = scenes.deoccluder

    @property
    def batch_size(self) -> int:
        """People at once on the device."""
        return self._deoccluder.batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self._deoccluder.batch_size = size


class Writer(Protocol):
    """Writes all files of a scene into a new folder `name` and returns it; the same scene gives the same bytes."""

    def __call__(self, folder: Path, name: str, scene: Scene, source: Source) -> Path: ...


@dataclass(frozen=True, eq=False)
class _Found:
    """A picture whose people are known; seconds: that it took so far."""

    picture: Picture
    people: FoundPeople
    seconds: float

    @property
    def size(self) -> int:
        """Pixels of the picture for each of its people."""
        return int(np.prod(self.people.canvas.image.shape[:2])) * len(self.people.subjects)


def _people(group: Sequence[_Found]) -> int:
    return sum(len(one.people.subjects) for one in group)


class BatchWorker:
    """Completes pictures, several at once, and writes their results.

    scenes, write: the method and its files. output: where results go, a folder a picture.
    staging: a folder of its own beside them, on the same disk, for what is being written.
    request: which people are meant, but for pictures that bring their masks.

    The outcomes of a group come together, and a group depends on the pictures from its first one on alone: whoever
    records them together can stop anywhere, and what is left falls into the same groups.
    """

    def __init__(
        self,
        scenes: Scenes,
        write: Writer,
        output: Path,
        staging: Path,
        *,
        request: SceneRequest | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.scenes, self.write, self.output, self.staging = scenes, write, output, staging
        self.request = request or SceneRequest()
        self.max_pixels = max_pixels

    def __call__(self, pictures: Iterable[Picture | Outcome]) -> Iterator[list[Outcome]]:
        """The outcomes of pictures, group by group; those that failed before pass through.

        Raises InputError where nothing can be written any more.
        """
        shutil.rmtree(self.staging, ignore_errors=True)  # of one that was killed
        group: list[_Found] = []
        for picture in pictures:
            found = picture if isinstance(picture, Outcome) else self._find(picture)
            if isinstance(found, Outcome):
                yield [found]
                continue
            if group and not self._fits(group, found):
                yield self._complete(group)
                group = []
            group.append(found)
            if _people(group) >= self.scenes.batch_size:
                yield self._complete(group)
                group = []
        if group:
            yield self._complete(group)

    def _fits(self, group: Sequence[_Found], found: _Found) -> bool:
        together = [*group, found]
        return _people(together) <= self.scenes.batch_size and sum(one.size for one in together) <= self.max_pixels

    def _find(self, picture: Picture) -> _Found | Outcome:
        start = time.perf_counter()
        request = self.request
        if picture.modal_masks is not None:
            request = replace(request, modal_masks=picture.modal_masks)
        try:
            nobody = picture.modal_masks == ()
            found = None if nobody else self.scenes.find(picture.image, request)
        except Exception as error:
            return self._failed(picture, error, time.perf_counter() - start)
        seconds = picture.seconds + time.perf_counter() - start
        if found is None or not found.subjects:
            return Outcome(id=picture.item.id, input_sha256=picture.input_sha256, status="no-person", seconds=seconds)
        return _Found(picture, found, seconds)

    def _complete(self, group: Sequence[_Found]) -> list[Outcome]:
        start = time.perf_counter()
        try:
            scenes = self._scenes_of(group)
        except Exception as error:
            if len(group) == 1:
                return [self._failed(group[0].picture, error, group[0].seconds + time.perf_counter() - start)]
            scenes = None
        if scenes is None:  # one of them cannot be done: each for itself
            return [outcome for one in group for outcome in self._complete([one])]
        share = (time.perf_counter() - start) / len(group)
        return [self._written(one, scene, one.seconds + share) for one, scene in zip(group, scenes, strict=True)]

    def _scenes_of(self, group: Sequence[_Found]) -> list[Scene]:
        """Of a group, in halves of halves where memory runs out; batches stay as small afterwards."""
        try:
            return self.scenes.complete([one.people for one in group])
        except Exception as error:
            if not ran_out_of_memory(error) or len(group) == self.scenes.batch_size == 1:
                raise
            logger.info("%d pictures at once: %s", len(group), error)
        # Only here, when the exception and all that it held are gone, there is memory again.
        _free_memory()
        self.scenes.batch_size = max(1, self.scenes.batch_size // 2)
        middle = len(group) // 2
        halves = [group[:middle], group[middle:]] if middle else [group]
        return [scene for half in halves for scene in self._scenes_of(half)]

    def _written(self, found: _Found, scene: Scene, seconds: float) -> Outcome:
        start, picture = time.perf_counter(), found.picture
        try:
            files = self._write(picture, scene)
        except Exception as error:
            if is_full(error):
                raise InputError(f"{self.output}: nothing can be written there any more ({error})") from error
            return self._failed(picture, error, seconds + time.perf_counter() - start)
        return Outcome(
            id=picture.item.id,
            input_sha256=picture.input_sha256,
            status="done",
            people=len(scene.people),
            seconds=seconds + time.perf_counter() - start,
            files=files,
        )

    def _write(self, picture: Picture, scene: Scene) -> dict[str, str]:
        """The files of a scene, first written, then put into their place at once; their hashes."""
        name = result_name(picture.item.id)
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir()
        try:
            written = self.write(self.staging, name, scene, picture.source)
            files = {path.name: file_sha256(path) for path in sorted(written.iterdir())}
            shutil.rmtree(self.output / name, ignore_errors=True)
            os.replace(written, self.output / name)
            return files
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)

    def _failed(self, picture: Picture, error: Exception, seconds: float) -> Outcome:
        logger.info("%s failed", picture.item.id, exc_info=error)
        return failure(picture.item.id, picture.input_sha256, error, seconds)


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory was lacking, the machine's or a device's, in whatever clothes it arrives."""
    from deocclude.devices import is_out_of_memory

    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, Exception) and is_out_of_memory(error)):
            return True
        error = error.__cause__
    return False


def is_full(error: BaseException | None) -> bool:
    """Whether the place for results is full or was locked: no picture's own fault."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return True
        error = error.__cause__
    return False


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
