"""An inpainting pipeline of `diffusers` as an RGB stage: the invisible region is its hole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deocclude.conditioning.describer import GENERIC_DESCRIPTION
from deocclude.errors import InputError
from deocclude.masks import invisible_mask
from deocclude.stages.completers.base import RgbStage
from deocclude.types import Hints, MaskCompletion


class InpaintingRgbCompleter(RgbStage):
    """pipeline: takes prompt, image, mask_image, height, width, generator and output_type, as all of them do.

    call: what else it is called with, as steps and guidance. instruction: the prompt, with {} for the sentence about
    the person. hole_colour: grey value that the hole is filled with first, for a pipeline that sees what is in it.
    """

    accepts = frozenset({"prompt", "generator"})

    def __init__(
        self,
        pipeline: Any,
        call: dict[str, Any],
        *,
        name: str,
        size: int,
        dtype: torch.dtype,
        instruction: str = "{}",
        hole_colour: float | None = None,
        weights_sha256: str | None = None,
    ) -> None:
        self.pipeline, self.call = pipeline, call
        self.instruction, self.hole_colour = instruction, hole_colour
        self.name, self.size, self._dtype = name, size, dtype
        self.weights_sha256 = weights_sha256
        pipeline.set_progress_bar_config(disable=True)

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' arithmetic."""
        return self._dtype

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as plain values, for a JSON file."""
        return {**self.call, "instruction": self.instruction, "hole_colour": self.hole_colour}

    @torch.inference_mode()
    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        """image float (B, 3, S, S) in [0, 1] to the pipeline's picture, float32 (B, 3, S, S) in [0, 1].

        The people are painted one after the other, so that a person's noise is drawn in one piece. Raises InputError
        where the numbers overflow.
        """
        hole = invisible_mask(completion.modal_mask, completion.amodal_mask).to(image)
        sentences = hints.prompt or [GENERIC_DESCRIPTION] * len(image)
        people = zip(sentences, image.split(1), hole.split(1), strict=True)
        painted = torch.cat([self._paint(*person, hints.generator) for person in people])
        if not torch.isfinite(painted).all():
            raise InputError(f"the RGB stage gave numbers that are not finite in {self.dtype}; try --dtype float32")
        return painted.clamp(0, 1)

    def _paint(self, sentence: str, image: Tensor, hole: Tensor, generator: torch.Generator | None) -> Tensor:
        height, width = image.shape[-2:]
        if self.hole_colour is not None:
            image = torch.where(hole > 0, self.hole_colour, image)
        pictures: Tensor = self.pipeline(
            prompt=self.instruction.format(sentence),
            image=image,
            mask_image=hole,
            height=height,
            width=width,
            generator=generator,
            output_type="pt",
            **self.call,
        ).images
        return pictures.to(image)
