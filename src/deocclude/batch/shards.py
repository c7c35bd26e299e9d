"""Which of the pictures a job does, when several jobs share them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from deocclude.errors import InputError


@dataclass(frozen=True)
class Shard:
    """One of `count` equal parts, `index` from 0. A picture's id alone decides to which part it belongs."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InputError(f"a shard is i/N with i from 0 to N - 1; got {self.index}/{self.count}")

    @property
    def tag(self) -> str:
        """For file names: `1-of-4`; `all` where there is one part."""
        return "all" if self.count == 1 else f"{self.index}-of-{self.count}"

    def has(self, picture_id: str) -> bool:
        """Whether a picture belongs to this part: it belongs to exactly one."""
        digest = hashlib.sha256(os.fsencode(picture_id)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index

    def part(self, index: int, count: int) -> Shard:
        """One of `count` parts of this part."""
        if not 0 <= index < count:
            raise InputError(f"process {index} is none of {count}")
        return Shard(self.index * count + index, self.count * count)


def parse_shard(text: str) -> Shard:
    """'i/N' to a shard. Raises InputError."""
    index, slash, count = text.partition("/")
    if not (slash and _is_number(index) and _is_number(count)):
        raise InputError(f"a shard is i/N with i from 0 to N - 1; got '{text}'")
    return Shard(int(index), int(count))


@dataclass(frozen=True)
class Process:
    """Which of several processes this one is: `rank` of all `world_size`, and `local_rank` on its machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    def device(self, name: str) -> str:
        """The device of that name; `cuda` alone is this process's own GPU."""
        return f"cuda:{self.local_rank}" if name == "cuda" and self.world_size > 1 else name


def this_process(environment: Mapping[str, str] = os.environ) -> Process:
    """From what `accelerate launch` and torchrun set; a process started alone is the only one. Raises InputError."""
    values = {name: environment.get(name, default) for name, default in _ALONE.items()}
    if wrong := [name for name, value in values.items() if not _is_number(value)]:
        raise InputError(f"the environment variable {wrong[0]} is not a number: '{values[wrong[0]]}'")
    return Process(*(int(value) for value in values.values()))


_ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
