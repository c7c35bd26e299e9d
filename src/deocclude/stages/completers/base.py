"""What every stage is made of: a subclass says what it reads and completes a batch.

The classes fill `types.MaskCompleter` and `types.RgbCompleter` with the values of a stage that is nothing special, and
refuse hints that the stage does not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deocclude.conditioning.describer import GENERIC_DESCRIPTION
from deocclude.stages.catalogue import check_hints
from deocclude.stages.spec import Kind
from deocclude.types import NO_HINTS, Hints, MaskCompletion

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Stage:
    """name: as in tables and JSON files. size: side of the square crop it works on.

    accepts: the fields of `Hints` that it reads. batched: whether several people may share a call, each as if
    alone. note: what a user has to know about every result. weights_sha256: what identifies its weights.
    """

    kind: Kind
    name: str
    size: int
    accepts: frozenset[str] = frozenset()
    batched: bool = False
    note: str | None = None
    weights_sha256: str | dict[str, str] | None = None

    @property
    def dtype(self) -> torch.dtype | None:
        """Of the networks' arithmetic; None without networks."""
        return None

    @property
    def settings(self) -> dict[str, Any] | None:
        """The configuration as plain values, for a JSON file; None without one."""
        return None

    def check(self, hints: Hints) -> None:
        """Raises InputError for hints it does not read, with the stages that do."""
        check_hints(self.kind, self.name, self.accepts, hints.given)


class MaskStage(Stage):
    """Stage 1. paints: whether its answer holds a picture too."""

    kind = "mask"
    paints: bool = False

    def __call__(
        self, image: Tensor, modal_mask: Tensor, *, hints: Hints = NO_HINTS, refine_modal: bool = False
    ) -> MaskCompletion:
        """image float (B, 3, S, S) in [0, 1], modal_mask bool (B, 1, S, S), to the completion (`types`).

        refine_modal: the mask is a detector's guess and may be corrected. Raises InputError for hints it does not read.
        """
        self.check(hints)
        return self.complete(image, modal_mask, hints, refine_modal=refine_modal)

    def complete(self, image: Tensor, modal_mask: Tensor, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
        """What a call does, once the hints are checked."""
        raise NotImplementedError


class RgbStage(Stage):
    """Stage 2. draws_candidates: whether `candidates` can be called.

    needs_painting_mask_stage: whether it shows the picture that a mask stage made.
    """

    kind = "RGB"
    draws_candidates: bool = False
    needs_painting_mask_stage: bool = False

    def describe(self, image: Tensor) -> list[str]:
        """A sentence about each person of image (B, 3, S, S), for a stage that reads prompts."""
        return [GENERIC_DESCRIPTION] * len(image)

    def __call__(self, image: Tensor, completion: MaskCompletion, *, hints: Hints = NO_HINTS) -> Tensor:
        """image float (B, 3, S, S) in [0, 1] to the stage's picture, float32 (B, 3, S, S) in [0, 1].

        Raises InputError for hints it does not read, and where the numbers overflow.
        """
        self.check(hints)
        return self.complete(image, completion, hints)

    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        """What a call does, once the hints are checked."""
        raise NotImplementedError

    def candidates(self, image: Tensor, completion: MaskCompletion, count: int, *, hints: Hints = NO_HINTS) -> Tensor:
        """`count` pictures of each person, the best first: float32 (B, count, 3, S, S) in [0, 1]."""
        raise NotImplementedError
