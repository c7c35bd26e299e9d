"""Amodal completion by progressive inpainting (Xu et al. 2024), training-free: mask and picture grow together.

Round by round: what may hide the person, as far as a reach round what is known of it, is painted by
`mixed_context`; what of it came out as the person joins it; it ends when nothing within reach can hide more, or nothing
joined. Weights: Stable Diffusion 1.5's inpainting model, CreativeML OpenRAIL-M, use restrictions.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deocclude.conditioning.describer import GENERIC_DESCRIPTION
from deocclude.masks import invisible_mask, mask_box
from deocclude.stages.completers.base import MaskStage, RgbStage
from deocclude.stages.completers.mixed_context import MixedContextInpainting
from deocclude.types import Hints, MaskCompletion

CROP_SIZE = 512
SEED = 0
"""Of the mask stage, which gets none."""
MAY_LACK = 0.02
"""Share of the invisible pixels that the rounds need not have painted: masks come back resampled."""


@dataclass(frozen=True, kw_only=True)
class ProgressConfig:
    """How far a round looks, and when it ends."""

    max_rounds: int = 3
    """Rounds at most."""
    reach: float = 0.25
    """How far a round looks beyond the person, of the longer side of the person's box."""
    min_growth: float = 0.01
    """Pixels that must join the person, of those it has, for another round."""


@dataclass(frozen=True)
class Rounds:
    """Of B people: picture float32 (B, 3, S, S) in [0, 1]; the person, and all that was painted, bool (B, 1, S, S).

    sentences: the prompts that were read.
    """

    picture: Tensor
    person: Tensor
    painted: Tensor
    sentences: list[str]


class ProgressiveInpainting:
    """The painter that both stages share. `last` is what its rounds made last, and off which a mask was read."""

    def __init__(self, inpaint: MixedContextInpainting, config: ProgressConfig) -> None:
        self.inpaint, self.config = inpaint, config
        self.last: Rounds | None = None

    def complete(
        self, image: Tensor, modal_mask: Tensor, occluders: Tensor, sentence: str, generator: torch.Generator
    ) -> Rounds:
        """One person, all rounds. image: float (1, 3, S, S) in [0, 1]; modal_mask, occluders: bool (1, 1, S, S)."""
        picture, person, painted = image, modal_mask, modal_mask & ~modal_mask
        occluders = occluders & ~modal_mask
        for _ in range(self.config.max_rounds):
            # What was painted over is person now, or what was behind.
            hole = occluders & ~painted & within_reach(person, self.config.reach)
            if not hole.any():
                break  # nothing is hidden any more
            inpainted = self.inpaint(picture, person, hole, sentence, generator)
            joined = inpainted.person & hole
            picture = torch.where(hole, inpainted.picture, picture)
            painted, person = painted | hole, person | joined
            if joined.sum() < self.config.min_growth * person.sum():
                break
        return Rounds(picture, person, painted, [sentence])


class _Painting:
    """What both stages have: the painter."""

    name = "amodal"

    def __init__(self, painter: ProgressiveInpainting, *, size: int = CROP_SIZE) -> None:
        self.painter, self.size = painter, size
        self.weights_sha256: str | dict[str, str] | None = painter.inpaint.weights_sha256

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' arithmetic."""
        return self.painter.inpaint.dtype

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as plain values, for a JSON file."""
        return asdict(self.painter.config) | asdict(self.painter.inpaint.config)


class AmodalMaskCompleter(_Painting, MaskStage):
    """The person that the rounds painted."""

    accepts = frozenset({"prompt", "occluder_mask"})
    paints = True

    @torch.inference_mode()
    def complete(self, image: Tensor, modal_mask: Tensor, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
        """image float (B, 3, S, S) in [0, 1], modal_mask bool (B, 1, S, S); refines nothing."""
        # Without an order of the objects everything else may lie in front.
        occluders = ~modal_mask if hints.occluder_mask is None else hints.occluder_mask
        sentences = list(hints.prompt or [GENERIC_DESCRIPTION] * len(image))
        people = zip(image.split(1), modal_mask.split(1), occluders.split(1), sentences, strict=True)
        made = [self.painter.complete(*one, torch.Generator(image.device).manual_seed(SEED)) for one in people]
        last = Rounds(
            torch.cat([one.picture for one in made]),
            torch.cat([one.person for one in made]),
            torch.cat([one.painted for one in made]),
            sentences,
        )
        self.painter.last = last
        return MaskCompletion(modal_mask, last.person, last.person.float(), rgb=last.picture)


class AmodalRgbCompleter(_Painting, RgbStage):
    """The rounds' own picture, where mask and prompt are theirs; otherwise the invisible region inpainted at once."""

    accepts = frozenset({"prompt", "generator"})

    @torch.inference_mode()
    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        """image float (B, 3, S, S) in [0, 1] to the picture, float32 (B, 3, S, S) in [0, 1]."""
        hole = invisible_mask(completion.modal_mask, completion.amodal_mask)
        sentences = hints.prompt or [GENERIC_DESCRIPTION] * len(image)
        last = self.painter.last
        is_mine = last is not None and completion.rgb is not None and torch.equal(last.picture, completion.rgb)
        is_mine = is_mine and last is not None and list(sentences) == last.sentences
        if last is not None and is_mine and (hole & ~last.painted).sum() <= MAY_LACK * hole.sum():
            return last.picture
        generator = hints.generator or torch.Generator(image.device).manual_seed(SEED)
        people = zip(image.split(1), completion.modal_mask.split(1), hole.split(1), sentences, strict=True)
        return torch.cat([self.painter.inpaint(*person, generator).picture for person in people])


def within_reach(person: Tensor, reach: float) -> Tensor:
    """Pixels not farther from the person than `reach` times the longer side of its box, bool (1, 1, S, S).

    Farther in rows or in columns: a square window is fast. Nothing is within reach of nobody.
    """
    box = mask_box(person[0, 0].cpu().numpy())
    if box is None:
        return person
    x0, y0, x1, y1 = box
    radius = math.ceil(reach * max(x1 - x0, y1 - y0))
    return F.max_pool2d(person.float(), 2 * radius + 1, stride=1, padding=radius) > 0
