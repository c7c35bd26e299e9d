"""What a training picture tells for certain about one person: where they go on, and what is in front of them.

Of a person who is wholly visible in the photograph everything is known. Of others, only a part is: what is visible,
what was pasted in front or behind, where an annotator marked a hidden keypoint, and that no body reaches far beyond its
visible part. The rest, behind real objects that no annotation names, is left out of every loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deocclude.training.store import BACKGROUND, NOT_SCORED, PERSON, PhotoStore
from deocclude.training.views import shown, square_map

REACH = 0.6
"""No body goes on further than this beyond its visible box, as a fraction of the box's longer side, …"""
REACH_UP = 0.15
"""… and hardly above it: the head is seldom what is hidden."""
POINT_RADIUS = 0.04
"""Radius of the disc round a marked hidden keypoint that is body for certain, as a fraction of the same side."""


@dataclass(frozen=True)
class Known:
    """Bool masks (B, 1, S, S).

    body: the whole person as far as it is known, beyond the photograph's frame as well; body_scored: where it is known
    whether the person is there. front: something is in front of the person, or would be if they were there;
    front_scored: where that is known. points: discs round marked hidden keypoints, part of body and front: the only
    truth about real occluders, and little of it.
    """

    body: Tensor
    body_scored: Tensor
    front: Tensor
    front_scored: Tensor
    points: Tensor


def known_pixels(
    photos: PhotoStore, square: Tensor, in_frame: Tensor, labels: Tensor, occluder: Tensor, behind: Tensor
) -> Known:
    """What is known in the squares (B, 3) of the photographs.

    in_frame, occluder, behind: bool (B, 1, S, S); occluder is all that is known to be in front of the person, behind
    is the object pasted behind. labels: (B, 1, S, S) as of the store, background outside the frame.
    """
    size = in_frame.shape[-1]
    whole = photos.whole[:, None, None, None]
    longer = (photos.boxes[:, 2:] - photos.boxes[:, :2]).amax(1)
    near = shown(square, _reach(photos.boxes, longer), size)
    points = _hidden_points(photos, square, longer, size) & in_frame & ~behind & (labels != PERSON)
    visible = (labels == PERSON) & ~occluder
    # A whole person's photograph shows them beyond the frame that was cut out of it.
    beyond = _stored_person(photos, square, size) & ~in_frame & whole
    stored = shown(square, photos.frames, size)
    # Under what was pasted on a place without annotation, the person is where their polygon is. That is wrong where
    # something real hides them as well, which no annotation tells.
    pasted = occluder & ((labels == BACKGROUND) | (labels == PERSON)) & in_frame
    partly = (labels == PERSON) | pasted | behind | ~near | points
    body_scored = torch.where(whole, (labels != NOT_SCORED) & (in_frame | stored), partly & in_frame)
    front = (occluder & near) | points
    front_scored = torch.where(whole, labels != NOT_SCORED, front | visible | behind | ~near) & in_frame
    return Known(
        body=(labels == PERSON) | beyond | points,
        body_scored=body_scored,
        front=front,
        front_scored=front_scored & (near | ~occluder),
        points=points,
    )


def _reach(boxes: Tensor, longer: Tensor) -> Tensor:
    """The boxes (B, 4), grown to where the person might be."""
    aside = REACH * longer
    return boxes + torch.stack([-aside, -REACH_UP * longer, aside, aside], dim=1)


def _hidden_points(photos: PhotoStore, square: Tensor, longer: Tensor, size: int) -> Tensor:
    """Discs round the keypoints marked as hidden that lie outside the visible body, bool (B, 1, S, S)."""
    person, joint = photos.hidden.nonzero(as_tuple=True)  # few: one map a keypoint, not 25 a person
    places = (torch.arange(size, device=square.device) + 0.5) / size * 2 - 1
    x, y = (
        square[person, axis, None] + square[person, 2, None] * places - photos.joints[person, joint, axis, None]
        for axis in (0, 1)
    )
    near = x[:, None, :].square() + y[:, :, None].square() < (POINT_RADIUS * longer)[person, None, None].square()
    counts = torch.zeros((len(square), size, size), device=square.device).index_add(0, person, near.float())
    return counts[:, None] > 0


def _stored_person(photos: PhotoStore, square: Tensor, size: int) -> Tensor:
    """The person in the squares, whatever the frame: bool (B, 1, S, S)."""
    grid = F.affine_grid(square_map(square), [len(square), 1, size, size], align_corners=False)
    return F.grid_sample((photos.labels == PERSON).float(), grid, mode="nearest", align_corners=False) > 0.5
