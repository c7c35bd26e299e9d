"""People's boxes offline: NanoDet-g and MoveNet MultiPose together, for each misses and invents other people."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deocclude.conditioning.boxes import ScoredBoxes, kept_rows, matched
from deocclude.conditioning.movenet import MoveNetEstimator, load_movenet
from deocclude.conditioning.pose_estimator import DetectedPerson, body_25_from_confident_coco, whole_pixels
from deocclude.models.perception import nanodet
from deocclude.models.perception.nanodet import NanoDet, decode_boxes
from deocclude.weights import asset_path, load_network

SIZE = 416
"""The photograph is stretched to this square for NanoDet, as in its training."""
FAINT = 0.05
"""Scores below it are left out before anything is compared."""
SAME_BOX = 0.5
"""IoU above which a box of one network and one of the other are one person."""
MAX_IOU = 0.5
"""Of two boxes of one network, or of two people, of a higher IoU the surer one is kept."""
MAX_PART = 0.8
"""A box of which more lies in that of a surer person is a part of that person."""
NANODET_ALONE = 0.7
"""Factor of a score of NanoDet's that MoveNet does not confirm."""
MOVENET_ALONE = 0.6
"""The same the other way round."""
MOVENET_SCALE = 1.5
"""MoveNet's scores are products of two; so many times, at most 1, they are comparable with NanoDet's."""
THRESHOLD = 0.35
"""Below it no person is reported."""


class EmbeddedDetector:
    """Finds people's boxes with the networks that are shipped, and the keypoints of those whom MoveNet saw.

    threshold: of a person's score in [0, 1].
    """

    name = "embedded"

    def __init__(self, network: NanoDet, movenet: MoveNetEstimator, *, threshold: float = THRESHOLD) -> None:
        self.network = network.eval()
        self.movenet = movenet
        self.threshold = threshold

    def __call__(self, image: np.ndarray) -> list[DetectedPerson]:
        """The people of a photograph, uint8 (H, W, 3), the surest first: empty if there are none."""
        posed = self.movenet.people(image)
        people, rows = joined(self._boxes(image), ScoredBoxes(posed.boxes, posed.scores))
        return [
            DetectedPerson(
                whole_pixels(box.tolist(), image.shape[1], image.shape[0]),
                float(score),
                *((body_25_from_confident_coco(posed.keypoints[row]), self.movenet.name) if row >= 0 else ()),
            )
            for box, score, row in zip(people.boxes, people.scores, rows, strict=True)
            if score >= self.threshold
        ]

    @torch.inference_mode()
    def _boxes(self, image: np.ndarray) -> ScoredBoxes:
        """NanoDet's people, in the photograph's pixels, faint ones left out."""
        like = next(self.network.parameters())
        output = self.network(_normalized(image).to(like))
        scores_KN = output.scores[0].float().T
        scores = scores_KN[nanodet.PERSON]
        boxes = decode_boxes(output.side_logits[0].float(), (SIZE, SIZE))
        kept = (scores >= FAINT) & (scores_KN.argmax(dim=0) == nanodet.PERSON)
        scale = np.array([image.shape[1], image.shape[0]] * 2) / SIZE
        return ScoredBoxes(boxes[kept].clamp(0, SIZE).cpu().numpy() * scale, scores[kept].cpu().numpy())


def _normalized(image: np.ndarray) -> torch.Tensor:
    """uint8 RGB (H, W, 3) to NanoDet's input, float32 (1, 3, SIZE, SIZE) in BGR."""
    stretched = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    mean, std = torch.tensor(nanodet.MEAN_BGR), torch.tensor(nanodet.STD_BGR)
    pixels = (torch.from_numpy(np.array(stretched)).flip(2).float() - mean) / std
    return pixels.permute(2, 0, 1)[None]


def joined(of_nanodet: ScoredBoxes, of_movenet: ScoredBoxes) -> tuple[ScoredBoxes, np.ndarray]:
    """The people of two networks as one list, the surest first, and the row of each in MoveNet's, int (N); -1: none.

    Boxes of both that are one person become their mean, and the person is missed only if both are wrong: with scores n
    and m, 1 - (1 - n) (1 - m). Whom one network alone sees has a lower score.
    """
    n = of_nanodet[kept_rows(of_nanodet, max_iou=MAX_IOU)]
    rescaled = ScoredBoxes(of_movenet.boxes, np.minimum(MOVENET_SCALE * of_movenet.scores, 1))
    rows = kept_rows(rescaled, max_iou=MAX_IOU)
    rows = rows[rescaled.scores[rows] >= FAINT]
    m = rescaled[rows]
    pairs = matched(n.boxes, m.boxes, SAME_BOX)
    n_paired, m_paired = (np.array([pair[side] for pair in pairs], int) for side in (0, 1))
    n_alone, m_alone = np.delete(np.arange(len(n)), n_paired), np.delete(np.arange(len(m)), m_paired)
    both = 1 - (1 - n.scores[n_paired]) * (1 - m.scores[m_paired])
    people = ScoredBoxes(
        np.concatenate([(n.boxes[n_paired] + m.boxes[m_paired]) / 2, n.boxes[n_alone], m.boxes[m_alone]]),
        np.concatenate([both, NANODET_ALONE * n.scores[n_alone], MOVENET_ALONE * m.scores[m_alone]]),
    )
    of_people = np.concatenate([rows[m_paired], np.full(len(n_alone), -1), rows[m_alone]])
    kept = kept_rows(people, max_iou=MAX_IOU, max_part=MAX_PART)
    return people[kept], of_people[kept]


def load_embedded_detector(*, device: torch.device, dtype: torch.dtype = torch.float32) -> EmbeddedDetector:
    """Both networks with the package's weights, loaded once for a device. Raises InputError where they are missing."""
    return EmbeddedDetector(_loaded(asset_path("nanodet"), device, dtype), load_movenet(device=device, dtype=dtype))


@cache
def _loaded(path: Path, device: torch.device, dtype: torch.dtype) -> NanoDet:
    network, _ = load_network(path, expected="NanoDet")
    loaded: NanoDet = network.to(device, dtype, memory_format=torch.channels_last)
    return loaded
