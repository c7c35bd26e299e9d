"""Occluded people made on the training device, a whole batch at a time.

The on-disk procedure, which follows paper B to the letter, is `deocclude.data.synthesis`. This one gives a network
more to learn from: besides paper B's, pictures cut by the frame, half-length views, several occluders, grey and dark
photographs. Placement is by choice instead of by retries: many candidate placements are measured at low resolution at
once and the one nearest to the wanted occlusion ratio is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deocclude.parsing import FLIPPED_LABELS, IGNORE_LABEL
from deocclude.skeletons import FLIPPED_JOINTS
from deocclude.training.store import NOT_SCORED, PERSON, PhotoStore

MEASURE_SIZE = 32
"""Side at which candidate placements are measured."""


@dataclass(frozen=True, kw_only=True)
class BatchSynthesisConfig:
    """How training pictures are made. Probabilities and ranges are of one sample."""

    max_ratio: float = 0.6
    """The wanted occlusion ratio is uniform between 0 and this."""
    nothing_hidden: float = 0.08
    """Probability that the person is left as photographed."""
    second_occluder: float = 0.3
    """Probability of a second occluder."""
    borrowed_surface: float = 0.4
    """Probability that an occluder has its shape alone, filled with a piece of some photograph: a bank of objects is
    small, and a network soon knows them by heart."""
    other_hue: float = 0.3
    """Probability that an occluder's hues are turned."""
    num_candidates: int = 16
    """Placements measured for one that is taken."""
    cut_by_frame: float = 0.25
    """Probability of a closer view: half-length, or some side cut by the frame."""
    far_view: float = 0.15
    """Probability of a view in which the person is small."""
    grey: float = 0.07
    """Probability of a grey photograph."""
    noise: float = 0.03
    """Largest standard deviation of the camera noise, of a range of 1."""


@dataclass(frozen=True)
class SynthesisBatch:
    """B occluded people at S x S, all on one device.

    occluded, whole: float32 (B, 3, S, S) in [0, 1], with and without the occluders.
    modal_mask, amodal_mask, occluder_mask, scored: bool (B, 1, S, S); modal is amodal and not occluder; carried bags
    are not scored. parsing: int64 (B, S, S), LIP-20 of the whole person, 255 ignored.
    joints: float32 (B, 25, 3): x, y in pixels of the crop, confidence of the label.
    """

    occluded: Tensor
    whole: Tensor
    modal_mask: Tensor
    amodal_mask: Tensor
    occluder_mask: Tensor
    scored: Tensor
    parsing: Tensor
    joints: Tensor


class BatchSynthesis:
    """`photos` and `occluders` (uint8 (M, 4, P, P)) to endless batches; every draw comes from the generator."""

    def __init__(self, photos: PhotoStore, occluders: Tensor, config: BatchSynthesisConfig) -> None:
        self.photos, self.occluders, self.config = photos, occluders, config
        alpha = occluders[:, 3:].float() / 255
        self.small_alpha = F.interpolate(alpha, (MEASURE_SIZE, MEASURE_SIZE), mode="area")
        self.flipped_labels = torch.tensor([*FLIPPED_LABELS, *range(20, 256)], device=occluders.device)
        self.flipped_joints = torch.tensor(FLIPPED_JOINTS, device=occluders.device)

    @property
    def device(self) -> torch.device:
        """Where the pictures lie, and so where the networks go."""
        return self.photos.images.device

    def __call__(self, indices: Tensor, size: int, generator: torch.Generator) -> SynthesisBatch:
        """Photographs `indices` (B,) as occluded people at `size`."""
        photos = self.photos.select(indices)
        view, flipped = self._draw_views(photos.boxes, generator)
        whole, labels, parsing = self._render_views(photos, view, flipped, size)
        amodal = labels == PERSON
        occluded, occluder = whole, torch.zeros_like(amodal)
        ratio = self._draw_ratios(len(indices), whole.device, generator)
        for share, wanted in ((1.0, torch.ones_like(ratio)), (0.5, self._draw_second(ratio, generator))):
            occluded, occluder = self._paste(occluded, occluder, amodal, ratio * share, wanted, generator)
        occluded, whole = self._photograph(occluded, whole, generator)
        return SynthesisBatch(
            occluded=occluded,
            whole=whole,
            modal_mask=amodal & ~occluder,
            amodal_mask=amodal,
            occluder_mask=occluder,
            scored=labels != NOT_SCORED,
            parsing=parsing,
            joints=self._view_joints(photos.joints, view, flipped, size),
        )

    def _draw_views(self, boxes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Views (B, 3), centre x, centre y and half side where the photograph spans [-1, 1]; flips (B,)."""
        draw = _uniform(len(boxes), boxes.device, generator)
        kind = draw(0, 1)
        near = kind < self.config.cut_by_frame
        far = kind > 1 - self.config.far_view
        half = torch.where(near, draw(0.35, 0.8), torch.where(far, draw(1.2, 2.0), draw(0.85, 1.15)))
        person_x, person_y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        height = boxes[:, 3] - boxes[:, 1]
        x = torch.where(near, person_x + draw(-0.2, 0.2), person_x * draw(0, 1) + draw(-0.08, 0.08))
        # Closer views look at the upper body more often than at the feet, as people's photographs do.
        y = torch.where(near, boxes[:, 1] + height * draw(0.15, 0.7), person_y + draw(-0.08, 0.08))
        x = torch.where(far, person_x + draw(-0.5, 0.5), x)
        y = torch.where(far, person_y + draw(-0.5, 0.5), y)
        return torch.stack([x, y, half], dim=1), draw(0, 1) < 0.5

    def _render_views(
        self, photos: PhotoStore, view: Tensor, flipped: Tensor, size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (B, 3, S, S) in [0, 1], labels (B, 1, S, S), parsing (B, S, S)."""
        mirror = torch.where(flipped, -1.0, 1.0)
        zero = torch.zeros_like(mirror)
        theta = torch.stack(
            [
                torch.stack([view[:, 2] * mirror, zero, view[:, 0]], 1),
                torch.stack([zero, view[:, 2], view[:, 1]], 1),
            ],
            dim=1,
        )
        grid = F.affine_grid(theta, [len(view), 1, size, size], align_corners=False)
        whole = F.grid_sample(photos.images.float() / 255, grid, align_corners=False)
        maps = torch.cat([photos.labels, photos.parsing], dim=1).float()
        maps = F.grid_sample(maps, grid, mode="nearest", align_corners=False).long()
        parsing = maps[:, 1]
        parsing = torch.where(flipped[:, None, None], self.flipped_labels[parsing], parsing)
        return whole, maps[:, :1], parsing

    def _view_joints(self, joints: Tensor, view: Tensor, flipped: Tensor, size: int) -> Tensor:
        """Joints in pixels of the crop; a flip also swaps left and right."""
        xy = (joints[..., :2] - view[:, None, :2]) / view[:, None, 2:]
        xy[..., 0] *= torch.where(flipped, -1.0, 1.0)[:, None]
        moved = torch.cat([(xy + 1) / 2 * size, joints[..., 2:]], dim=-1)
        return torch.where(flipped[:, None, None], moved[:, self.flipped_joints], moved)

    def _draw_ratios(self, batch: int, device: torch.device, generator: torch.Generator) -> Tensor:
        draw = _uniform(batch, device, generator)
        return torch.where(draw(0, 1) < self.config.nothing_hidden, -1.0, draw(0, self.config.max_ratio))

    def _draw_second(self, ratio: Tensor, generator: torch.Generator) -> Tensor:
        draw = _uniform(len(ratio), ratio.device, generator)
        return (draw(0, 1) < self.config.second_occluder).float()

    def _paste(
        self,
        picture: Tensor,
        occluder: Tensor,
        amodal: Tensor,
        ratio: Tensor,
        wanted: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """One occluder more on each picture that wants one: the picture and everything pasted so far."""
        chosen, theta = self._place(amodal, ratio, generator)
        size = picture.shape[-1]
        grid = F.affine_grid(theta, [len(chosen), 4, size, size], align_corners=False)
        patches = F.grid_sample(self.occluders[chosen].float() / 255, grid, align_corners=False)
        colour = self._lend_surfaces(patches[:, :3], generator)
        colour = _jitter_colour(_turn_hue(colour, self.config.other_hue, generator), generator)
        present = ((ratio >= 0) & (wanted > 0)).float()[:, None, None, None]
        alpha = patches[:, 3:] * present
        return picture * (1 - alpha) + colour * alpha, occluder | (alpha > 0.5)

    def _lend_surfaces(self, colour: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures (B, 3, S, S), some of them exchanged for a piece of a random photograph."""
        draw = _uniform(len(colour), colour.device, generator)
        source = (draw(0, 1) * len(self.photos)).long().clamp(max=len(self.photos) - 1)
        centre = torch.stack([draw(-0.6, 0.6), draw(-0.6, 0.6)], 1)
        zoom = _patch_map(centre, draw(1, 3), draw(-math.pi, math.pi), draw(0, 1) < 0.5)
        zoom[..., 2] = centre
        grid = F.affine_grid(zoom, list(colour.shape), align_corners=False)
        surface = F.grid_sample(
            self.photos.images[source].float() / 255, grid, padding_mode="reflection", align_corners=False
        )
        lent = draw(0, 1) < self.config.borrowed_surface
        return torch.where(lent[:, None, None, None], surface, colour)

    def _place(self, amodal: Tensor, ratio: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The candidate whose occlusion ratio is nearest to `ratio`: occluder index (B,) and affine map (B, 2, 3)."""
        batch, count = len(amodal), self.config.num_candidates
        person = F.interpolate(amodal.float(), (MEASURE_SIZE, MEASURE_SIZE), mode="area")
        centre, extent = _centre_and_extent(person)
        draw = _uniform(batch * count, amodal.device, generator)
        chosen = (draw(0, 1) * len(self.occluders)).long().clamp(max=len(self.occluders) - 1)
        repeated_extent = extent.repeat_interleave(count, 0)
        half = (draw(math.log(0.2), math.log(1.3)).exp() * repeated_extent.amax(1) * 0.6).clamp(0.05, 1.5)
        offset = torch.stack([draw(-1.1, 1.1), draw(-1.0, 1.0)], 1) * repeated_extent
        theta = _patch_map(centre.repeat_interleave(count, 0) + offset, half, draw(-0.5, 0.5), draw(0, 1) < 0.5)
        grid = F.affine_grid(theta, [batch * count, 1, MEASURE_SIZE, MEASURE_SIZE], align_corners=False)
        alpha = F.grid_sample(self.small_alpha[chosen], grid, align_corners=False).view(batch, count, -1)
        covered = (alpha * person.flatten(2)).sum(2) / person.flatten(1).sum(1, keepdim=True).clamp(min=1e-3)
        best = (covered - ratio[:, None]).abs().argmin(dim=1)
        rows = torch.arange(batch, device=amodal.device) * count + best
        return chosen[rows], theta[rows]

    def _photograph(self, occluded: Tensor, whole: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The same light, contrast and greyness on both pictures; camera noise on the occluded one."""
        draw = _uniform(len(occluded), occluded.device, generator, trailing=3)
        gamma, gain = draw(-0.5, 0.5).exp(), draw(0.6, 1.25)
        grey = draw(0, 1) < self.config.grey
        warmth = torch.cat([draw(0.93, 1.07), draw(0.97, 1.03), draw(0.93, 1.07)], dim=1)

        def develop(picture: Tensor) -> Tensor:
            picture = (picture.clamp(1e-4, 1) ** gamma * gain * warmth).clamp(0, 1)
            return torch.where(grey, picture.mean(1, keepdim=True).expand_as(picture), picture)

        whole, occluded = develop(whole), develop(occluded)
        sigma = draw(0, self.config.noise) * (draw(0, 1) < 0.3)
        noise = torch.randn(occluded.shape, generator=generator, device=occluded.device)
        return (occluded + sigma * noise).clamp(0, 1), whole


def modal_parsing(parsing: Tensor, modal_mask: Tensor) -> Tensor:
    """The visible part of a parsing (B, S, S): background outside the modal mask, ignored pixels stay ignored."""
    return torch.where(modal_mask[:, 0] | (parsing == IGNORE_LABEL), parsing, 0)


def _uniform(
    count: int, device: torch.device, generator: torch.Generator, trailing: int = 0
) -> Callable[[float, float], Tensor]:
    """A function that draws `count` numbers between two bounds, shaped (count, 1, …)."""
    shape = (count, *(1,) * trailing)
    return lambda low, high: torch.rand(shape, generator=generator, device=device) * (high - low) + low


def _centre_and_extent(person: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and half size of each mask's box in [-1, 1], both (B, 2) as x, y; the whole square for an empty mask."""
    size = person.shape[-1]
    sides = []
    for axis in (2, 3):
        profile = (person.amax(dim=axis) > 0.3).squeeze(1).float()
        first = profile.argmax(dim=1)
        last = size - profile.flip(1).argmax(dim=1)
        sides.append(torch.stack([first, last], 1) / size * 2 - 1)
    x, y = sides
    return torch.stack([x.mean(1), y.mean(1)], 1), torch.stack([x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]], 1) / 2


def _patch_map(centre: Tensor, half: Tensor, angle: Tensor, flipped: Tensor) -> Tensor:
    """Affine maps (B, 2, 3) from the picture to a patch at `centre` of half side `half`, turned by `angle` radians."""
    mirror = torch.where(flipped, -1.0, 1.0)
    cosine, sine = angle.cos() / half, angle.sin() / half
    rows = torch.stack([torch.stack([cosine * mirror, sine * mirror], 1), torch.stack([-sine, cosine], 1)], 1)
    return torch.cat([rows, -(rows @ centre[:, :, None])], dim=2)


def _turn_hue(rgb: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """(B, 3, H, W) with the colours of some turned about the grey axis by any angle."""
    draw = _uniform(len(rgb), rgb.device, generator, trailing=3)
    angle = torch.where(draw(0, 1) < probability, draw(-math.pi, math.pi), 0)
    grey = rgb.mean(1, keepdim=True)
    chroma = rgb - grey
    turned = chroma * angle.cos() + (chroma.roll(1, dims=1) - chroma.roll(-1, dims=1)) / 3**0.5 * angle.sin()
    return (grey + turned).clamp(0, 1)


def _jitter_colour(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation of (B, 3, H, W), drawn for each picture."""
    draw = _uniform(len(rgb), rgb.device, generator, trailing=3)
    grey = rgb.mean(1, keepdim=True)
    rgb = grey + (rgb - grey) * draw(0.5, 1.4)
    return ((rgb - 0.5) * draw(0.7, 1.3) + 0.5 + draw(-0.15, 0.15)).clamp(0, 1)
