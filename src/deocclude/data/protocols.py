"""Evaluation sets that others have described: how many people, how often each, how much of them is hidden."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deocclude.data.occluders import OccluderBank
from deocclude.data.pasting import RatioBin
from deocclude.data.synthesis import SynthesisConfig
from deocclude.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SetProtocol:
    """A fixed set that is made of any people and occluders."""

    max_people: int
    """So many people, drawn by the seed; all of them where there are fewer."""
    num_occluders: int
    """Different occluders of each person."""
    bins: Literal["paper", "contiguous"]
    split: Literal["train", "val"]
    """`bins` and `split` as in SynthesisConfig. The bins share the samples out evenly."""

    def configured(self, config: SynthesisConfig) -> SynthesisConfig:
        """The configuration with the protocol's ratios."""
        return replace(config, bins=self.bins, split=self.split)

    def banks(self, bank: OccluderBank) -> tuple[OccluderBank, ...]:
        """The bank dealt out in `num_occluders` parts, one for each time a person comes, so that none comes twice.

        Raises InputError for a bank too small.
        """
        if len(bank) < self.num_occluders:
            raise InputError(f"the protocol needs at least {self.num_occluders} occluders, got {len(bank)}")
        return tuple(
            OccluderBank(bank.sources[start :: self.num_occluders]) for start in range(self.num_occluders)
        )  # neighbours in the file, often of one picture, go to different parts


PROTOCOLS = {"ahp-val": SetProtocol(max_people=297, num_occluders=3, bins="paper", split="val")}
"""ahp-val: paper B's validation set, 891 pictures, which paper A tests on."""


def even_bins(config: SynthesisConfig, count: int, seed: int) -> list[RatioBin]:
    """The bin of each of `count` samples: every bin equally often, as nearly as `count` allows, in a drawn order."""
    bins = config.ratio_bins
    return [bins[number] for number in np.random.default_rng((seed, count)).permutation(np.arange(count) % len(bins))]
