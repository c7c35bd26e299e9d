"""What importing has in hand: people of somebody's data set that have not been read yet, and samples of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from deocclude.data.occlusion_set import OcclusionSample
from deocclude.data.people import PersonRecord, PersonSample
from deocclude.data.synthesis import person_parsing
from deocclude.images import open_image

Record = TypeVar("Record")


class OcclusionRecord(Protocol):
    """One person of a data set. A stream of samples is `(record.load() for record in records)`."""

    @property
    def id(self) -> str: ...
    def load(self) -> OcclusionSample:
        """Read the picture and the masks. Raises InputError that names the file."""
        ...


@dataclass(frozen=True)
class WholePerson:
    """A photograph of one whole person (CCP's, say) as somebody of whom nothing is hidden."""

    record: PersonRecord

    @property
    def id(self) -> str:
        return self.record.id

    def load(self) -> OcclusionSample:
        """Read the pictures. Raises InputError that names the file."""
        return unoccluded(self.id, self.record.load(), {})


def drawn(records: Sequence[Record], count: int, *, seed: int) -> list[Record]:
    """At most `count` of the records, drawn without replacement, in their own order."""
    chosen = np.random.default_rng(seed).permutation(len(records))[:count]
    return [records[index] for index in sorted(chosen)]


@lru_cache(maxsize=4)
def shared_picture(path: Path) -> np.ndarray:
    """The picture of people who come one after another, uint8 (H, W, 3), not to be written to."""
    return open_image(path)


def unoccluded(id: str, person: PersonSample, row: dict[str, str]) -> OcclusionSample:
    """A whole person of whom nothing is hidden: the picture is the whole picture, modal is amodal."""
    return OcclusionSample(
        id=id,
        occluded=person.image,
        modal=person.person,
        amodal=person.person,
        not_scored=person.not_scored,
        whole=person.image,
        row=row,
        parsing=person_parsing(person),
    )


def modal_alone(
    id: str, image: np.ndarray, modal: np.ndarray, may_go_on: np.ndarray, row: dict[str, str]
) -> OcclusionSample:
    """A person of whom only the visible part is known.

    image: uint8 (H, W, 3). modal: bool (H, W). may_go_on: where the person may go on unseen, bool (H, W).
    """
    return OcclusionSample(
        id=id,
        occluded=image,
        modal=modal,
        amodal=modal,
        not_scored=may_go_on & ~modal,
        row=row,
        is_amodal_known=False,
    )
