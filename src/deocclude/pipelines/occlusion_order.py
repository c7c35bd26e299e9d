"""Who is in front of whom: each person's completed mask is a witness about the people it runs under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

MIN_SHARE = 0.005
"""Of the smaller of two people's visible area: a smaller claim is the noise of two contours, not an overlap."""
MIN_SCORE = 0.2
"""Below this the two claims are about as large as each other, and nobody is in front."""


@dataclass(frozen=True)
class OcclusionOrder:
    """Who is in front of whom among N people.

    scores: float (N, N) in [-1, 1], antisymmetric: positive where the row's person is in front of the column's, by how
        much more of the other's claim it covers; 0 where two people do not meet or where nothing can be said.
    """

    scores: np.ndarray

    def is_behind(self, one: int, other: int) -> bool:
        """Whether `other` stands in front of `one`."""
        return bool(self.scores[other, one] >= MIN_SCORE)

    @cached_property
    def cycles(self) -> tuple[tuple[int, ...], ...]:
        """Groups of people each of whom is, round the group, in front of another: no order is true of them."""
        return tuple(group for group in self._groups if len(group) > 1)

    @cached_property
    def depth(self) -> tuple[int, ...]:
        """Of each person: 0 for whoever has nobody behind, else one more than the deepest of those behind.

        The people of a cycle have one depth. Whoever has the same depth can be completed at the same time.
        """
        depth = [0] * len(self.scores)
        for group in self._groups:  # those behind come first
            behind = [depth[other] for one in group for other in self._behind(one) if other not in group]
            for one in group:
                depth[one] = 1 + max(behind) if behind else 0
        return tuple(depth)

    @cached_property
    def back_to_front(self) -> tuple[int, ...]:
        """Everybody, those behind before those in front of them; people of one depth in the order they were given."""
        return tuple(sorted(range(len(self.scores)), key=lambda one: self.depth[one]))

    def _behind(self, one: int) -> list[int]:
        return [other for other in range(len(self.scores)) if self.is_behind(other, one)]

    @cached_property
    def _groups(self) -> list[tuple[int, ...]]:
        """Strongly connected components, those behind first."""
        from scipy.sparse.csgraph import connected_components

        if not len(self.scores):
            return []
        _, labels = connected_components(self.scores >= MIN_SCORE, connection="strong")
        groups = [tuple(np.flatnonzero(labels == label).tolist()) for label in range(labels.max() + 1)]
        done: list[tuple[int, ...]] = []
        while groups:
            placed = {one for group in done for one in group}
            ready = next(
                group for group in groups if all(set(self._behind(one)) <= placed | set(group) for one in group)
            )
            groups.remove(ready)
            done.append(ready)
        return done


def occlusion_order(modal_masks: Sequence[np.ndarray], amodal_masks: Sequence[np.ndarray]) -> OcclusionOrder:
    """The order of people by mutual evidence: bool (H, W) masks, each modal inside its amodal mask.

    A person whose completed mask runs under another's visible part claims to be behind it; the larger of the two
    claims, in pixels, wins, by its share of both (as in SSSD, CVPR 2020, which orders by the larger claim).
    """
    count = len(modal_masks)
    claims = np.zeros((count, count))
    for one, amodal in enumerate(amodal_masks):
        for other, modal in enumerate(modal_masks):
            if one != other:
                claims[one, other] = (amodal & modal & ~modal_masks[one]).sum()
    areas = np.array([mask.sum() for mask in modal_masks], float)
    both = claims + claims.T
    meets = both > MIN_SHARE * np.minimum.outer(areas, areas) if count else both > 0
    scores = np.divide(claims.T - claims, both, out=np.zeros_like(both), where=meets)
    return OcclusionOrder(scores)
