"""A finder from the model hub: EoMT sees all people of a photograph at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from deocclude.conditioning.people_finder import Sighting, people_of, sighting
from deocclude.conditioning.pretrained import load_pretrained
from deocclude.errors import InputError
from deocclude.types import Person

CONFIDENCE_THRESHOLD = 0.5
"""Below it nobody is believed in."""


class InstanceSegmenter:
    """`PeopleFinder` round transformers' EomtForUniversalSegmentation, trained on instances. It finds no joints.

    model: one whose labels name "person".
    processor: its EomtImageProcessor, which pads: the model sees a square with the photograph in its upper left.
    threshold: of a person's confidence, class probability times mean probability inside the mask.
    """

    name = "eomt"

    def __init__(self, model: Any, processor: Any, *, threshold: float = CONFIDENCE_THRESHOLD) -> None:
        self.person_labels = [label for label, name in model.config.id2label.items() if name.lower() == "person"]
        if not self.person_labels:
            raise ValueError("model must know the label 'person'")
        self.model = model.eval()
        self.processor = processor
        self.threshold = threshold

    def __call__(self, image: np.ndarray) -> list[Person]:
        """uint8 (H, W, 3) to its people, the largest first: empty if there are none."""
        height, width = image.shape[:2]
        if min(height, width) * self.processor.size["longest_edge"] < max(height, width):
            return []  # the model would see less than a row of it
        return people_of(self._sightings(image), (height, width))

    @torch.inference_mode()
    def _sightings(self, image: np.ndarray) -> Iterator[Sighting]:
        inputs = self.processor(images=image, input_data_format="channels_last", do_pad=True, return_tensors="pt")
        outputs = self.model(pixel_values=inputs.pixel_values.to(self.model.device, self.model.dtype))
        class_probability = outputs.class_queries_logits[0].float().softmax(dim=-1)
        person_probability = class_probability[:, self.person_labels].sum(dim=-1)
        for query in torch.nonzero(person_probability >= self.threshold).flatten().tolist():
            # One at a time: at the photograph's size each is as large as the photograph.
            probability = self._in_photograph(outputs.masks_queries_logits[:, query : query + 1], image.shape[:2])
            inside = probability >= 0.5
            confidence = float(person_probability[query]) * float(probability[inside].mean()) if inside.any() else 0.0
            seen = sighting(probability, confidence)
            if seen is not None and confidence >= self.threshold:
                yield seen

    def _in_photograph(self, mask_logits: torch.Tensor, image_hw: tuple[int, int]) -> np.ndarray:
        """Logits (1, 1, h, w) of the padded square to the photograph's probability, float32 (H, W)."""
        size = self.processor.size
        square = F.interpolate(mask_logits.float(), (size["shortest_edge"], size["longest_edge"]), mode="bilinear")
        (restored,) = self.processor.unpad_image(square, [image_hw], size)
        return restored[0].sigmoid().cpu().numpy()


def load_instance_segmenter(
    folder_or_repo: str | Path = "tue-mps/coco_instance_eomt_large_640",
    *,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    local_files_only: bool = True,
    revision: str | None = None,
) -> InstanceSegmenter:
    """EoMT (MIT) from a folder or the hub. local_files_only: download nothing.

    Raises InputError where the weights are not there whole, or know no people.
    """
    model, processor = load_pretrained(
        "EomtForUniversalSegmentation",
        "AutoImageProcessor",
        folder_or_repo,
        dtype=dtype,
        local_files_only=local_files_only,
        revision=revision,
    )
    try:
        return InstanceSegmenter(model.to(device), processor)
    except ValueError as error:
        raise InputError(f"{folder_or_repo}: {error}") from error
