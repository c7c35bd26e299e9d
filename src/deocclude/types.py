"""What the stages take and return: shapes, dtypes and ranges are said here once.

Inside the package a picture is float32 (B, 3, H, W) in [0, 1] and a mask bool (B, 1, H, W), on a square crop round the
person. At the border, one person is a `Deocclusion`: NumPy arrays at the photograph's own size.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from deocclude import masks

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Person:
    """One person found in a photograph, in its pixels.

    box_xyxy: (x0, y0, x1, y1), x1 and y1 exclusive.
    modal_mask: the visible part, bool (H, W).
    joints: BODY_25 order, float32 (25, 3) of x, y, confidence in [0, 1]; None if unknown.
    joints_from: who found them, by name, or "given"; None if unknown.
    """

    box_xyxy: tuple[int, int, int, int]
    modal_mask: np.ndarray
    joints: np.ndarray | None = None
    joints_from: str | None = None


@dataclass(frozen=True)
class MaskCompletion:
    """What a mask stage returns, on the crop it was given.

    modal_mask: the visible part, as given or as the stage refined it, bool (B, 1, H, W).
    amodal_mask: the whole person, a superset of `modal_mask`, bool (B, 1, H, W).
    amodal_probability: before thresholding, float32 (B, 1, H, W) in [0, 1].
    modal_parsing, amodal_parsing: LIP-20 label of each pixel, int64 (B, H, W), 0 outside the mask; None where the stage
        has no parsing.
    rgb: the picture of the person, float32 (B, 3, H, W) in [0, 1], of a stage that predicts both at once; else None.
    occluder_mask: what is in front of the person, or would be if they were there, bool (B, 1, H, W); None where it was
        not looked for.
    """

    modal_mask: Tensor
    amodal_mask: Tensor
    amodal_probability: Tensor
    modal_parsing: Tensor | None = None
    amodal_parsing: Tensor | None = None
    rgb: Tensor | None = None
    occluder_mask: Tensor | None = None

    def one(self, index: int) -> MaskCompletion:
        """One person of the batch, as a batch of one."""
        rows: list[Any] = [None if value is None else value[index : index + 1] for value in vars(self).values()]
        return MaskCompletion(*rows)


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What a stage may read besides images and masks; None where unknown. `accepts` of a stage says which it reads.

    keypoints: BODY_25 in pixels of the crop, float32 (B, 25, 3) of x, y, confidence; all 0 for a person without any.
    prompt: a sentence about each person, B of them.
    reference: another photograph of the person, float32 (1, 3, H, W) in [0, 1].
    occluder_mask: what may lie in front of each person, bool (B, 1, S, S).
    body_probability: another estimate of each whole body, float32 (B, 1, S, S) in [0, 1].
    generator: of whatever the stage draws at random.
    """

    keypoints: Tensor | None = None
    prompt: Sequence[str] | None = None
    reference: Tensor | None = None
    occluder_mask: Tensor | None = None
    body_probability: Tensor | None = None
    generator: torch.Generator | None = None

    @property
    def given(self) -> frozenset[str]:
        """The fields that are not None."""
        return frozenset(name for name, value in vars(self).items() if value is not None)

    def only(self, accepts: Collection[str]) -> Hints:
        """The same without what is not in `accepts`."""
        return Hints(**{name: value for name, value in vars(self).items() if name in accepts})


NO_HINTS = Hints()
HINTS = tuple(one.name for one in fields(Hints))


class Completer(Protocol):
    """What both kinds of stage say of themselves; `stages.completers.base` has a class to start from.

    name: as in tables and JSON files. size: side of the square crop it works on, pixels. accepts: the fields of `Hints`
    that it reads. batched: whether several people may share a call and come out as alone. note: what a user has to know
    about every result. weights_sha256: what identifies its weights. dtype: of its arithmetic. settings: its
    configuration as plain values.
    """

    name: str
    size: int
    accepts: frozenset[str]
    batched: bool
    note: str | None
    weights_sha256: str | dict[str, str] | None

    @property
    def dtype(self) -> torch.dtype | None: ...
    @property
    def settings(self) -> dict[str, Any] | None: ...


class MaskCompleter(Completer, Protocol):
    """Stage 1: image, modal mask, hints to amodal mask. paints: whether its answer holds a picture too."""

    paints: bool

    def __call__(
        self, image: Tensor, modal_mask: Tensor, *, hints: Hints = NO_HINTS, refine_modal: bool = False
    ) -> MaskCompletion:
        """Complete a batch. `refine_modal`: the given mask is a detector's guess and may be corrected."""
        ...


class RgbCompleter(Completer, Protocol):
    """Stage 2: image, modal mask, amodal mask, hints to the picture of the person.

    Returns float32 (B, 3, H, W) in [0, 1]. Only the invisible region of it is used: `pipelines.compositing` keeps
    every known pixel. draws_candidates: whether `candidates` can be called. needs_painting_mask_stage: whether it shows
    the picture that the mask stage made.
    """

    draws_candidates: bool
    needs_painting_mask_stage: bool

    def __call__(self, image: Tensor, completion: MaskCompletion, *, hints: Hints = NO_HINTS) -> Tensor: ...
    def candidates(self, image: Tensor, completion: MaskCompletion, count: int, *, hints: Hints = NO_HINTS) -> Tensor:
        """Several pictures of each person, the best first: (B, count, 3, H, W)."""
        ...

    def describe(self, image: Tensor) -> list[str]:
        """The stage's own sentence about each person, for one that reads prompts."""
        ...


@dataclass(frozen=True)
class Deocclusion:
    """One de-occluded person, in the pixel grid of the photograph.

    rgb: the completed photograph, uint8 (H, W, 3); equal to the input bit for bit outside the invisible mask.
    modal_mask, amodal_mask: bool (H, W), modal inside amodal.
    amodal_probability: float32 (H, W) in [0, 1].
    joints: BODY_25, float32 (25, 3) of x, y, confidence; None where nobody looked for them.
    facts: how it was made (method, weights' hash, seed, seconds): what the JSON says beside the masks.
    candidates: every picture a stage drew, like `rgb`, which is the first of them.
    own_picture: the RGB stage's own picture of the whole person (amodal and own mask) on white, visible pixels
        included, uint8 (H, W, 3), as paper A scores it.
    occluder_mask: what is in front of the person, or would be if they were there, bool (H, W), as far as it was looked
        for (the square round the person); None where it was not.
    """

    rgb: np.ndarray
    modal_mask: np.ndarray
    amodal_mask: np.ndarray
    amodal_probability: np.ndarray
    joints: np.ndarray | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    candidates: tuple[np.ndarray, ...] = ()
    own_picture: np.ndarray | None = None
    occluder_mask: np.ndarray | None = None

    @property
    def invisible_mask(self) -> np.ndarray:
        """The invented pixels, bool (H, W)."""
        return masks.invisible_mask(self.modal_mask, self.amodal_mask)

    @property
    def own_mask(self) -> np.ndarray:
        """The mask stage's own amodal mask, bool (H, W), slivers along the contour included. What is visible belongs to
        it, as in the code of paper B's authors; paper A does not say.
        """
        return (self.amodal_probability >= 0.5) | self.modal_mask

    @property
    def occlusion_ratio(self) -> float:
        """Share of the person that was hidden, in [0, 1]."""
        return masks.occlusion_ratio(self.modal_mask, self.amodal_mask)

    @property
    def box_xyxy(self) -> tuple[int, int, int, int]:
        """Tight box of the amodal mask."""
        box = masks.mask_box(self.amodal_mask)
        assert box is not None, "a de-occluded person is never empty"
        return box

    @property
    def cutout(self) -> np.ndarray:
        """The whole person alone, uint8 (H, W, 4): transparent, and black, outside the amodal mask."""
        alpha = self.amodal_mask[..., None].astype(np.uint8)
        return np.concatenate([self.rgb * alpha, alpha * 255], axis=-1)
