"""Which square a training picture shows: what a photographer framed, then the part of it that the pipeline looks at.

A network must be trained on what it will be shown. Inference sees a photograph with edges of its own, which may cut the
person anywhere, through squares that are centred on what is *visible* (`crops.crop_around`); a person whose legs are
hidden stands in the lower half of such a square, and the photograph may end inside it.

Frames are (B, 4) x0, y0, x1, y1 and squares (B, 3) centre x, centre y, half side, in a photograph that spans [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """What training pictures show. Probabilities are of one sample, margins the square's side over the box's longer."""

    cut_by_frame: float = 0.4
    """Probability that the frame cuts the person: half-length, head and shoulders, now and then the legs alone."""
    original_frame: float = 0.5
    """Probability that a photograph which shows the whole person is left as it was framed."""
    letterbox: float = 0.25
    """Probability of looking at the whole frame, as the segmenter does where no box is given."""
    around_visible: float = 0.45
    """Probability of looking at what is visible of the person, as stage 1 does first."""
    visible_margin: tuple[float, float] = (1.4, 2.6)
    """Margins of that look; the pipeline's is `FIRST_MARGIN`, a box's is smaller."""
    whole_margin: tuple[float, float] = (1.1, 1.6)
    """Margins of the remaining looks, at the whole person; the pipeline's is `SECOND_MARGIN`."""
    play: float = 0.1
    """Shift of a look's centre, at most this share of its half side."""


def draw_frames(
    person: Tensor, photograph: Tensor, elsewhere: Tensor, config: ViewConfig, generator: torch.Generator
) -> Tensor:
    """Frames (B, 4) round people with boxes `person` (B, 4), inside their photographs (B, 4).

    elsewhere: bool (B,), people put before another background, whose frame may be wider than their photograph.
    """
    draw = uniform(len(person), person.device, generator)
    x0, y0, x1, y1 = person.unbind(1)
    height = y1 - y0
    cut = draw(0, 1) < config.cut_by_frame
    legs = cut & (draw(0, 1) < 0.1)
    first = torch.where(legs, y0 + height * draw(0.25, 0.55), y0)
    last = torch.where(cut & ~legs, y0 + height * draw(0.2, 0.95), y1)
    last = torch.maximum(last, first + (x1 - x0) * 0.7)  # a frame is no slit
    height_shown = last - first
    top = first - torch.where(cut, height_shown * draw(-0.1, 0.4) * ~legs, height * draw(0.02, 0.8))
    bottom = last + torch.where(cut & ~legs, 0, height * draw(0.02, 0.4))
    left = x0 - height_shown * torch.where(cut, draw(-0.12, 0.6), draw(0.02, 1.2))
    right = x1 + height_shown * torch.where(cut, draw(-0.12, 0.6), draw(0.02, 1.2))
    frame = torch.stack([left, top, right, bottom], dim=1)
    within = torch.cat(
        [torch.maximum(frame[:, :2], photograph[:, :2]), torch.minimum(frame[:, 2:], photograph[:, 2:])], dim=1
    )
    original = ~cut & (draw(0, 1) < config.original_frame)
    within = torch.where(original[:, None], photograph, within)
    return torch.where(elsewhere[:, None], frame, within)


def draw_looks(visible: Tensor, whole: Tensor, frame: Tensor, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """Squares (B, 3): the whole frame, round the visible part's box, or round the whole person's (both (B, 4))."""
    draw = uniform(len(frame), frame.device, generator)
    kind = draw(0, 1)
    at_visible = (kind >= config.letterbox) & (kind < config.letterbox + config.around_visible)
    box = torch.where(at_visible[:, None], visible, whole)
    margin = torch.where(at_visible, draw(*config.visible_margin), draw(*config.whole_margin))
    play = torch.stack([draw(-1, 1), draw(-1, 1)], dim=1) * config.play
    return torch.where((kind < config.letterbox)[:, None], enclosing(frame), look_at(box, frame, margin, play))


def look_at(box: Tensor, frame: Tensor, margin: Tensor, play: Tensor) -> Tensor:
    """`crops.crop_around` for a batch: squares (B, 3) of `margin` times the box's longer side, shifted into the frame.

    play: (B, 2), shift of the centre as a share of the half side.
    """
    half = torch.minimum(margin * _half_sides(box).amax(1), _half_sides(frame).amax(1))
    centre = _centre(box) + play * half[:, None]
    room = _half_sides(frame) - half[:, None]
    middle = _centre(frame)
    shifted = middle + (centre - middle).clamp(-room.clamp(min=0), room.clamp(min=0))
    return torch.cat([shifted, half[:, None]], dim=1)


def enclosing(box: Tensor) -> Tensor:
    """The squares (B, 3) of the longer side, with the boxes (B, 4) in their middle."""
    return torch.cat([_centre(box), _half_sides(box).amax(1, keepdim=True)], dim=1)


def mask_boxes(mask: Tensor, square: Tensor, otherwise: Tensor) -> Tensor:
    """Boxes (B, 4) of masks (B, 1, S, S) that show the squares (B, 3); `otherwise` (B, 4) where a mask is empty."""
    centre, half = centre_and_extent(mask)
    middle = square[:, :2] + centre * square[:, 2:]
    box = torch.cat([middle - half * square[:, 2:], middle + half * square[:, 2:]], dim=1)
    return torch.where((mask > 0.3).flatten(1).any(1)[:, None], box, otherwise)


def centre_and_extent(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and half size of each mask's box in [-1, 1], both (B, 2) as x, y; the whole square for an empty mask."""
    size = mask.shape[-1]
    sides = []
    for axis in (2, 3):
        profile = (mask.amax(dim=axis) > 0.3).squeeze(1).float()
        first = profile.argmax(dim=1)
        last = size - profile.flip(1).argmax(dim=1)
        sides.append(torch.stack([first, last], 1) / size * 2 - 1)
    x, y = sides
    return torch.stack([x.mean(1), y.mean(1)], 1), torch.stack([x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]], 1) / 2


def shown(square: Tensor, box: Tensor, size: int) -> Tensor:
    """Which pixels (B, 1, S, S) of the squares (B, 3) lie inside the boxes (B, 4), bool."""
    places = (torch.arange(size, device=square.device) + 0.5) / size * 2 - 1
    x, y = (square[:, axis, None] + square[:, 2, None] * places for axis in (0, 1))
    columns = (x >= box[:, 0, None]) & (x < box[:, 2, None])
    rows = (y >= box[:, 1, None]) & (y < box[:, 3, None])
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def square_map(square: Tensor) -> Tensor:
    """Affine maps (B, 2, 3) from the picture of a square (B, 3) to what the square is a part of."""
    linear = torch.eye(2, device=square.device) * square[:, 2, None, None]
    return torch.cat([linear, square[:, :2, None]], dim=2)


def chained(first: Tensor, then: Tensor) -> Tensor:
    """The affine maps (B, 2, 3) that apply `first` and `then`."""
    moved = then[:, :, :2] @ first
    return torch.cat([moved[:, :, :2], moved[:, :, 2:] + then[:, :, 2:]], dim=2)


def inside(square: Tensor, of: Tensor) -> Tensor:
    """Squares (B, 3) in the coordinates of others, `of` (B, 3), which span [-1, 1] there."""
    return torch.cat([square[:, :2] - of[:, :2], square[:, 2:]], dim=1) / of[:, 2:]


def resample(pictures: Tensor, theta: Tensor, size: int) -> Tensor:
    """Pictures float32 (B, C, P, P) seen through affine maps (B, 2, 3), at S x S; 0 outside them.

    What is shrunk is averaged first, as `crops.extract` does, so that nothing glitters that inference would blur.
    """
    if not len(theta):
        return pictures.new_empty(0, pictures.shape[1], size, size)
    grid = F.affine_grid(theta, [len(theta), pictures.shape[1], size, size], align_corners=False)
    shrunk = theta[:, :, :2].det().abs().sqrt() * pictures.shape[-1] / size
    level = (shrunk.log2() + 0.3).floor().clamp(0, 3)
    result = pictures.new_empty(len(theta), pictures.shape[1], size, size)
    for exponent in range(4):
        rows = level == exponent
        if not rows.any():
            continue
        averaged = F.avg_pool2d(pictures[rows], 2**exponent) if exponent else pictures[rows]
        result[rows] = F.grid_sample(averaged, grid[rows], align_corners=False)
    return result


def uniform(
    count: int, device: torch.device, generator: torch.Generator, trailing: int = 0
) -> Callable[[float, float], Tensor]:
    """A function that draws `count` numbers between two bounds, shaped (count, 1, …)."""
    shape = (count, *(1,) * trailing)
    return lambda low, high: torch.rand(shape, generator=generator, device=device) * (high - low) + low


def _centre(box: Tensor) -> Tensor:
    return (box[:, :2] + box[:, 2:]) / 2


def _half_sides(box: Tensor) -> Tensor:
    return (box[:, 2:] - box[:, :2]) / 2
