"""Occluded people made on the training device, a whole batch at a time.

The on-disk procedure, which follows paper B to the letter, is `deocclude.data.synthesis`. This one gives a network
more to learn from: besides paper B's, people cut by the frame or before another background, the squares that inference
looks at (`training.views`), several occluders, grey and dark photographs. Placement is by choice instead of by retries:
many candidate placements are measured at low resolution at once and the one nearest to the wanted occlusion ratio is
taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from deocclude.parsing import FLIPPED_LABELS, IGNORE_LABEL
from deocclude.skeletons import FLIPPED_JOINTS
from deocclude.training.store import BACKGROUND, NOT_SCORED, PERSON, PhotoStore
from deocclude.training.views import (
    ViewConfig,
    centre_and_extent,
    chained,
    draw_frames,
    draw_looks,
    enclosing,
    inside,
    mask_boxes,
    resample,
    shown,
    square_map,
    uniform,
)

PLACE_SIZE = 32
"""Side at which candidate placements are measured."""
MEASURE_SIZE = 96
"""Side at which the visible part's box is measured."""


@dataclass(frozen=True, kw_only=True)
class BatchSynthesisConfig:
    """How training pictures are made. Probabilities and ranges are of one sample."""

    max_ratio: float = 0.6
    """The wanted occlusion ratio is uniform between 0 and this."""
    ratio_mean: float | None = None
    """Mean of a normal distribution of the wanted ratio instead (paper A, A.5, which gives no numbers)."""
    ratio_deviation: float = 0.15
    """Its standard deviation."""
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
    other_background: float = 0.25
    """Probability that the person is put before another background, where there are any."""
    views: ViewConfig = field(default_factory=ViewConfig)
    """What the pictures show."""
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
    sample_ids: int64 (B,), of samples that always look the same (`training.fixed_samples`); None where none does.
    """

    occluded: Tensor
    whole: Tensor
    modal_mask: Tensor
    amodal_mask: Tensor
    occluder_mask: Tensor
    scored: Tensor
    parsing: Tensor
    joints: Tensor
    sample_ids: Tensor | None = None


class BatchSynthesis:
    """Endless batches of people; every draw comes from the generator.

    occluders: uint8 (M, 4, P, P). backgrounds: uint8 (K, 3, P, P), pictures without people; K may be 0.
    """

    def __init__(
        self, photos: PhotoStore, occluders: Tensor, backgrounds: Tensor, config: BatchSynthesisConfig
    ) -> None:
        self.photos, self.occluders, self.backgrounds, self.config = photos, occluders, backgrounds, config
        alpha = occluders[:, 3:].float() / 255
        self.small_alpha = F.interpolate(alpha, (PLACE_SIZE, PLACE_SIZE), mode="area")
        self.flipped_labels = torch.tensor([*FLIPPED_LABELS, *range(20, 256)], device=occluders.device)
        self.flipped_joints = torch.tensor(FLIPPED_JOINTS, device=occluders.device)

    @property
    def device(self) -> torch.device:
        """Where the pictures lie, and so where the networks go."""
        return self.photos.images.device

    def __call__(self, indices: Tensor, size: int, generator: torch.Generator) -> SynthesisBatch:
        """Photographs `indices` (B,) as occluded people at `size`."""
        photos = self.photos.select(indices)
        # 1. The photograph: its edges, its background, and where the occluders lie in it.
        draw = uniform(len(indices), photos.boxes.device, generator)
        elsewhere = (draw(0, 1) < self.config.other_background) & (len(self.backgrounds) > 0)
        frame = draw_frames(photos.boxes, photos.frames, elsewhere, self.config.views, generator)
        scene = _around(photos.boxes, frame)
        occluders, visible, whole_box = self._place_occluders(photos, frame, scene, generator)
        # 2. What is looked at, and the picture of it.
        square = draw_looks(visible, whole_box, frame, self.config.views, generator)
        in_frame = shown(square, frame, size)
        labels, parsing = _labels(photos, square, in_frame)
        whole = self._picture(photos, square, frame, elsewhere, size, generator)
        occluded, occluder = whole, torch.zeros_like(in_frame)
        for chosen, theta, present in occluders:
            seen = chained(square_map(inside(square, scene)), theta)
            occluded, occluder = self._paste(occluded, occluder, chosen, seen, present, generator)
        occluded, whole = (picture * in_frame for picture in self._photograph(occluded, whole, generator))
        amodal, occluder = labels == PERSON, occluder & in_frame
        batch = SynthesisBatch(
            occluded=occluded,
            whole=whole,
            modal_mask=amodal & ~occluder,
            amodal_mask=amodal,
            occluder_mask=occluder,
            scored=labels != NOT_SCORED,
            parsing=parsing,
            joints=_joints_in(photos.joints, square, size),
        )
        return self._flip(batch, draw(0, 1) < 0.5)

    def _place_occluders(
        self, photos: PhotoStore, frame: Tensor, scene: Tensor, generator: torch.Generator
    ) -> tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor, Tensor]:
        """Two occluders for each person, and the boxes (B, 4) of what they leave visible and of the whole person.

        scene: square (B, 3) round the person. An occluder is an index (B,), an affine map (B, 2, 3) from the scene to
        its patch, and whether it is there (B,).
        """
        labels, _ = _labels(photos, scene, shown(scene, frame, MEASURE_SIZE))
        person = (labels == PERSON).float()
        ratio = self._draw_ratios(len(scene), scene.device, generator)
        occluders, modal = [], person
        for share, wanted in ((1.0, ratio >= 0), (0.5, (ratio >= 0) & self._draw_second(ratio, generator))):
            chosen, theta = self._place(person, ratio * share, generator)
            occluders.append((chosen, theta, wanted))
            alpha = resample(self.occluders[chosen, 3:].float() / 255, theta, MEASURE_SIZE)
            modal = modal * ((alpha < 0.5) | ~wanted[:, None, None, None])
        whole_box = mask_boxes(person, scene, photos.boxes)
        return occluders, mask_boxes(modal, scene, whole_box), whole_box

    def _picture(
        self,
        photos: PhotoStore,
        square: Tensor,
        frame: Tensor,
        elsewhere: Tensor,
        size: int,
        generator: torch.Generator,
    ) -> Tensor:
        """What the squares show of the people, before their own or another background: (B, 3, S, S) in [0, 1]."""
        view = square_map(square)
        picture = resample(photos.images.float() / 255, view, size)
        draw = uniform(len(square), square.device, generator)
        # The frame lies somewhere in the background picture, at most as large as that.
        zoom, source = draw(0.4, 1), (draw(0, 1) * len(self.backgrounds)).long()
        corner = torch.stack([draw(-1, 1), draw(-1, 1)], dim=1) * (1 - zoom[:, None])
        in_background = torch.cat([corner, zoom[:, None]], dim=1)
        theta = chained(square_map(inside(square, enclosing(frame))), square_map(in_background))
        background = resample(self.backgrounds[source[elsewhere]].float() / 255, theta[elsewhere], size)
        person = resample((photos.labels[elsewhere] != BACKGROUND).float(), view[elsewhere], size)
        # A little inside the contour, where the old background does not shine through.
        alpha = ((person - 0.4) / 0.5).clamp(0, 1)
        picture[elsewhere] = background + alpha * (picture[elsewhere] - background)
        return picture

    def _flip(self, batch: SynthesisBatch, flipped: Tensor) -> SynthesisBatch:
        """Some pictures of a batch mirrored, which exchanges left and right in parsing and joints."""
        pixels = {
            name: torch.where(flipped[:, None, None, None], value.flip(-1), value)
            for name, value in vars(batch).items()
            if name not in ("parsing", "joints", "sample_ids")
        }
        mirrored = batch.joints.clone()
        mirrored[..., 0] = batch.occluded.shape[-1] - mirrored[..., 0]
        return SynthesisBatch(
            **pixels,
            parsing=torch.where(flipped[:, None, None], self.flipped_labels[batch.parsing].flip(-1), batch.parsing),
            joints=torch.where(flipped[:, None, None], mirrored[:, self.flipped_joints], batch.joints),
        )

    def _draw_ratios(self, batch: int, device: torch.device, generator: torch.Generator) -> Tensor:
        config, draw = self.config, uniform(batch, device, generator)
        is_whole, ratio = draw(0, 1) < config.nothing_hidden, draw(0, config.max_ratio)
        if config.ratio_mean is not None:
            normal = torch.randn(batch, generator=generator, device=device)
            ratio = (config.ratio_mean + config.ratio_deviation * normal).clamp(0, config.max_ratio)
        return torch.where(is_whole, -1.0, ratio)

    def _draw_second(self, ratio: Tensor, generator: torch.Generator) -> Tensor:
        draw = uniform(len(ratio), ratio.device, generator)
        return draw(0, 1) < self.config.second_occluder

    def _paste(
        self,
        picture: Tensor,
        occluder: Tensor,
        chosen: Tensor,
        theta: Tensor,
        present: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """One occluder more on each picture that has it: the picture and everything pasted so far."""
        patches = resample(self.occluders[chosen].float() / 255, theta, picture.shape[-1])
        colour = self._lend_surfaces(patches[:, :3], generator)
        colour = _jitter_colour(_turn_hue(colour, self.config.other_hue, generator), generator)
        alpha = patches[:, 3:] * present[:, None, None, None]
        return picture * (1 - alpha) + colour * alpha, occluder | (alpha > 0.5)

    def _lend_surfaces(self, colour: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures (B, 3, S, S), some of them exchanged for a piece of a random photograph."""
        draw = uniform(len(colour), colour.device, generator)
        lent = draw(0, 1) < self.config.borrowed_surface
        source = (draw(0, 1) * len(self.photos)).long().clamp(max=len(self.photos) - 1)[lent]
        centre = torch.stack([draw(-0.6, 0.6), draw(-0.6, 0.6)], 1)
        zoom = _patch_map(centre, draw(1, 3), draw(-math.pi, math.pi), draw(0, 1) < 0.5)
        zoom[..., 2] = centre
        if not lent.any():
            return colour
        grid = F.affine_grid(zoom[lent], [len(source), *colour.shape[1:]], align_corners=False)
        surface = self.photos.images[source].float() / 255
        surfaces = colour.clone()
        surfaces[lent] = F.grid_sample(surface, grid, padding_mode="reflection", align_corners=False)
        return surfaces

    def _place(self, person: Tensor, ratio: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The candidate whose occlusion ratio is nearest to `ratio`: occluder index (B,) and affine map (B, 2, 3).

        person: masks (B, 1, S, S), 0 or 1.
        """
        batch, count = len(person), self.config.num_candidates
        person = F.interpolate(person, (PLACE_SIZE, PLACE_SIZE), mode="area")
        centre, extent = centre_and_extent(person)
        draw = uniform(batch * count, person.device, generator)
        chosen = (draw(0, 1) * len(self.occluders)).long().clamp(max=len(self.occluders) - 1)
        repeated_extent = extent.repeat_interleave(count, 0)
        half = (draw(math.log(0.2), math.log(1.3)).exp() * repeated_extent.amax(1) * 0.6).clamp(0.05, 1.5)
        offset = torch.stack([draw(-1.1, 1.1), draw(-1.0, 1.0)], 1) * repeated_extent
        theta = _patch_map(centre.repeat_interleave(count, 0) + offset, half, draw(-0.5, 0.5), draw(0, 1) < 0.5)
        grid = F.affine_grid(theta, [batch * count, 1, PLACE_SIZE, PLACE_SIZE], align_corners=False)
        alpha = F.grid_sample(self.small_alpha[chosen], grid, align_corners=False).view(batch, count, -1)
        covered = (alpha * person.flatten(2)).sum(2) / person.flatten(1).sum(1, keepdim=True).clamp(min=1e-3)
        best = (covered - ratio[:, None]).abs().argmin(dim=1)
        rows = torch.arange(batch, device=person.device) * count + best
        return chosen[rows], theta[rows]

    def _photograph(self, occluded: Tensor, whole: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The same light, contrast and greyness on both pictures; camera noise on the occluded one."""
        draw = uniform(len(occluded), occluded.device, generator, trailing=3)
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


def _around(person: Tensor, frame: Tensor) -> Tensor:
    """Squares (B, 3) round what a frame shows of a person, with some room for an occluder's offset; both (B, 4)."""
    seen = torch.cat([torch.maximum(person[:, :2], frame[:, :2]), torch.minimum(person[:, 2:], frame[:, 2:])], dim=1)
    square = enclosing(seen)
    return torch.cat([square[:, :2], square[:, 2:] * 1.2], dim=1)


def _labels(photos: PhotoStore, square: Tensor, in_frame: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (B, 1, S, S) and parsing (B, S, S) of what the squares show; background outside the frame."""
    size = in_frame.shape[-1]
    grid = F.affine_grid(square_map(square), [len(square), 1, size, size], align_corners=False)
    maps = torch.cat([photos.labels, photos.parsing], dim=1).float()
    maps = F.grid_sample(maps, grid, mode="nearest", align_corners=False).long() * in_frame
    return maps[:, :1], maps[:, 1]


def _joints_in(joints: Tensor, square: Tensor, size: int) -> Tensor:
    """Joints (B, 25, 3) of the photograph in pixels of the squares."""
    xy = (joints[..., :2] - square[:, None, :2]) / square[:, None, 2:]
    return torch.cat([(xy + 1) / 2 * size, joints[..., 2:]], dim=-1)


def _patch_map(centre: Tensor, half: Tensor, angle: Tensor, flipped: Tensor) -> Tensor:
    """Affine maps (B, 2, 3) from the picture to a patch at `centre` of half side `half`, turned by `angle` radians."""
    mirror = torch.where(flipped, -1.0, 1.0)
    cosine, sine = angle.cos() / half, angle.sin() / half
    rows = torch.stack([torch.stack([cosine * mirror, sine * mirror], 1), torch.stack([-sine, cosine], 1)], 1)
    return torch.cat([rows, -(rows @ centre[:, :, None])], dim=2)


def _turn_hue(rgb: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """(B, 3, H, W) with the colours of some turned about the grey axis by any angle."""
    draw = uniform(len(rgb), rgb.device, generator, trailing=3)
    angle = torch.where(draw(0, 1) < probability, draw(-math.pi, math.pi), 0)
    grey = rgb.mean(1, keepdim=True)
    chroma = rgb - grey
    turned = chroma * angle.cos() + (chroma.roll(1, dims=1) - chroma.roll(-1, dims=1)) / 3**0.5 * angle.sin()
    return (grey + turned).clamp(0, 1)


def _jitter_colour(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation of (B, 3, H, W), drawn for each picture."""
    draw = uniform(len(rgb), rgb.device, generator, trailing=3)
    grey = rgb.mean(1, keepdim=True)
    rgb = grey + (rgb - grey) * draw(0.5, 1.4)
    return ((rgb - 0.5) * draw(0.7, 1.3) + 0.5 + draw(-0.15, 0.15)).clamp(0, 1)
