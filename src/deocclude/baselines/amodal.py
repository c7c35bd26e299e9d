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

from deocclude.baselines.loading import hub_folder, shared
from deocclude.baselines.mixed_context import MixedContextConfig, MixedContextInpainting
from deocclude.baselines.occluders import OccludersOf, everything_else
from deocclude.baselines.sd_inpaint import shared_pipeline
from deocclude.conditioning.describer import GENERIC_DESCRIPTION
from deocclude.masks import invisible_mask, mask_box
from deocclude.types import MaskCompletion

CROP_SIZE = 512
SEED = 0
"""Of the mask stage, which is told none."""
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
    """Of B people: picture float32 (B, 3, S, S) in [0, 1]; the person, and all that was painted, bool (B, 1, S, S)."""

    picture: Tensor
    person: Tensor
    painted: Tensor


class ProgressiveInpainting:
    """The painter that both stages share. `last` is what its rounds made last, and off which a mask was read."""

    def __init__(
        self,
        inpaint: MixedContextInpainting,
        config: ProgressConfig,
        *,
        occluders_of: OccludersOf = everything_else,
    ) -> None:
        self.inpaint, self.config, self.occluders_of = inpaint, config, occluders_of
        self.last: Rounds | None = None

    def complete(self, image: Tensor, modal_mask: Tensor, generator: torch.Generator) -> Rounds:
        """One person, all rounds. image: float (1, 3, S, S) in [0, 1], modal_mask bool (1, 1, S, S)."""
        picture, person, painted = image, modal_mask, modal_mask & ~modal_mask
        occluders = self.occluders_of(image, modal_mask) & ~modal_mask
        for _ in range(self.config.max_rounds):
            # What was painted over is person now, or what was behind.
            hole = occluders & ~painted & within_reach(person, self.config.reach)
            if not hole.any():
                break  # nothing is hidden any more
            inpainted = self.inpaint(picture, person, hole, GENERIC_DESCRIPTION, generator)
            joined = inpainted.person & hole
            picture = torch.where(hole, inpainted.picture, picture)
            painted, person = painted | hole, person | joined
            if joined.sum() < self.config.min_growth * person.sum():
                break
        return Rounds(picture, person, painted)


class _Stage:
    name = "amodal"

    def __init__(self, painter: ProgressiveInpainting, *, size: int = CROP_SIZE) -> None:
        self.painter, self.size = painter, size
        self.weights_sha256 = painter.inpaint.weights_sha256

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' arithmetic."""
        return self.painter.inpaint.dtype

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as plain values, for a JSON file."""
        return asdict(self.painter.config) | asdict(self.painter.inpaint.config)


class AmodalMaskCompleter(_Stage):
    """The person that the rounds painted."""

    paints = True

    @torch.inference_mode()
    def __call__(
        self, image: Tensor, modal_mask: Tensor, *, joints: Tensor | None = None, refine_modal: bool = False
    ) -> MaskCompletion:
        """image float (B, 3, S, S) in [0, 1], modal_mask bool (B, 1, S, S); reads no joints, refines nothing."""
        made = [
            self.painter.complete(*person, torch.Generator(image.device).manual_seed(SEED))
            for person in zip(image.split(1), modal_mask.split(1), strict=True)
        ]
        last = Rounds(*(torch.cat(parts) for parts in zip(*(vars(one).values() for one in made), strict=True)))
        self.painter.last = last
        return MaskCompletion(modal_mask, last.person, last.person.float(), rgb=last.picture)


class AmodalRgbCompleter(_Stage):
    """The rounds' own picture, where the mask is theirs; for another mask, its invisible region inpainted at once.

    The rounds read the generic sentence alone, so that a prompt asks for a picture of its own too.
    """

    reads_words = True

    def describe(self, image: Tensor) -> list[str]:
        """The same sentence about each person of (B, 3, S, S): no network is asked."""
        return [GENERIC_DESCRIPTION] * len(image)

    @torch.inference_mode()
    def __call__(
        self,
        image: Tensor,
        completion: MaskCompletion,
        *,
        words: list[str] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """image float (B, 3, S, S) in [0, 1] to the picture, float32 (B, 3, S, S) in [0, 1]."""
        hole = invisible_mask(completion.modal_mask, completion.amodal_mask)
        sentences = words or [GENERIC_DESCRIPTION] * len(image)
        last = self.painter.last
        is_mine = last is not None and completion.rgb is not None and torch.equal(last.picture, completion.rgb)
        is_generic = all(sentence == GENERIC_DESCRIPTION for sentence in sentences)
        if last is not None and is_mine and is_generic and (hole & ~last.painted).sum() <= MAY_LACK * hole.sum():
            return last.picture
        generator = generator or torch.Generator(image.device).manual_seed(SEED)
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


def load_mask_completer(*, device: torch.device, dtype: torch.dtype) -> AmodalMaskCompleter:
    """With the hub's weights. Raises InputError, saying how to get them, without."""
    return AmodalMaskCompleter(_load_painter(device, dtype))


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype) -> AmodalRgbCompleter:
    """With the hub's weights. Raises InputError, saying how to get them, without."""
    return AmodalRgbCompleter(_load_painter(device, dtype))


def _load_painter(device: torch.device, dtype: torch.dtype) -> ProgressiveInpainting:
    def load() -> ProgressiveInpainting:
        _, commit = hub_folder("sd15-inpaint")
        inpaint = MixedContextInpainting(shared_pipeline(device, dtype), MixedContextConfig(), weights_sha256=commit)
        return ProgressiveInpainting(inpaint, ProgressConfig())

    return shared("sd15-inpaint", device, dtype, load)
