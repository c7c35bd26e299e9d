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
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deocclude.parsing import FLIPPED_LABELS, IGNORE_LABEL
from deocclude.skeletons import FLIPPED_JOINTS
from deocclude.training.knowledge import Known, known_pixels
from deocclude.training.store import BACKGROUND, IN_FRONT, NOT_SCORED, PERSON, Occluders, PhotoStore, Scenes
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
    """Probability that a whole person is put into another scene, where there are any."""
    scene_in_front: float = 0.5
    """Probability that objects of that scene stand in front of the person: occluders where they belong."""
    something_behind: float = 0.35
    """Probability that an object is put behind the person: not everything at a body's contour hides a part of it."""
    ccp_repeats: int = 1
    """How often a CCP photograph is drawn for one partly visible person of COCO."""
    whole_repeats: int = 4
    """How often a whole person of COCO is drawn for one partly visible one."""
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
    are not scored. The amodal mask is what the photograph without the occluders shows of the person: of people whom
    something hid already it is a part, and `known` says where more can be said.
    frame_mask: bool (B, 1, S, S), the photograph; outside it the square is black.
    parsing: int64 (B, S, S), LIP-20 of the whole person, 255 ignored.
    joints: float32 (B, 25, 3): x, y in pixels of the crop, confidence of the label. hidden_joints: bool (B, 25), those
    that something hid already in the photograph.
    sample_ids: int64 (B,), of samples that always look the same (`training.fixed_samples`); None where none does.
    """

    occluded: Tensor
    whole: Tensor
    modal_mask: Tensor
    amodal_mask: Tensor
    occluder_mask: Tensor
    scored: Tensor
    frame_mask: Tensor
    known: Known
    parsing: Tensor
    joints: Tensor
    hidden_joints: Tensor
    sample_ids: Tensor | None = None


class Placed(NamedTuple):
    """An object for each person: index of its patch (B,), affine map (B, 2, 3) to it, whether it is there (B,)."""

    chosen: Tensor
    theta: Tensor
    present: Tensor


class BatchSynthesis:
    """Endless batches of people; every draw comes from the generator."""

    def __init__(self, photos: PhotoStore, occluders: Occluders, scenes: Scenes, config: BatchSynthesisConfig) -> None:
        self.photos, self.occluders, self.scenes, self.config = photos, occluders, scenes, config
        alpha = occluders.patches[:, 3:].float() / 255
        self.small_alpha = F.interpolate(alpha, (PLACE_SIZE, PLACE_SIZE), mode="area")
        self.flipped_labels = torch.tensor([*FLIPPED_LABELS, *range(20, 256)], device=self.device)
        self.flipped_joints = torch.tensor(FLIPPED_JOINTS, device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the pictures lie, and so where the networks go."""
        return self.photos.images.device

    @property
    def repeats(self) -> Tensor:
        """How often each photograph is to be drawn for one partly visible person of COCO, int64 (N,)."""
        is_coco = (self.photos.parsing == IGNORE_LABEL).flatten(1).all(1)
        repeats = torch.where(self.photos.whole, self.config.whole_repeats, 1)
        return torch.where(is_coco, repeats, self.config.ccp_repeats)

    def __call__(self, indices: Tensor, size: int, generator: torch.Generator) -> SynthesisBatch:
        """Photographs `indices` (B,) as occluded people at `size`."""
        photos = self.photos.select(indices)
        # 1. The photograph: its edges, its background, and where the occluders lie in it.
        draw = uniform(len(indices), photos.boxes.device, generator)
        elsewhere = (draw(0, 1) < self.config.other_background) & (len(self.scenes) > 0) & photos.whole
        frame = draw_frames(photos.boxes, photos.frames, elsewhere, self.config.views, generator)
        area = _around(photos.boxes, frame)
        (behind, *in_front), visible, whole_box = self._place_occluders(photos, frame, area, generator)
        # 2. What is looked at, and the picture of it.
        square = draw_looks(visible, whole_box, frame, self.config.views, generator)
        in_frame = shown(square, frame, size)
        labels, parsing = _labels(photos, square, in_frame)
        whole, scene, occluder = self._picture(photos, square, frame, elsewhere, size, generator)
        whole, behind_mask = self._paste_behind(whole, photos, square, area, elsewhere, behind, generator)
        occluded = torch.where(occluder, scene, whole)
        for placed in in_front:
            seen = chained(square_map(inside(square, area)), placed.theta)
            colour, alpha = self._patches(placed, seen, size, generator)
            occluded, occluder = torch.lerp(occluded, colour, alpha), occluder | (alpha > 0.5)
        occluded, whole = (picture * in_frame for picture in self._photograph(occluded, whole, generator))
        amodal = labels == PERSON
        occluder = (occluder & in_frame) | (labels == IN_FRONT)
        batch = SynthesisBatch(
            occluded=occluded,
            whole=whole,
            modal_mask=amodal & ~occluder,
            amodal_mask=amodal,
            occluder_mask=occluder,
            scored=labels != NOT_SCORED,
            frame_mask=in_frame,
            known=known_pixels(photos, square, in_frame, labels, occluder, behind_mask),
            parsing=parsing,
            joints=_joints_in(photos.joints, square, size),
            hidden_joints=photos.hidden,
        )
        return self._flip(batch, draw(0, 1) < 0.5)

    def _place_occluders(
        self, photos: PhotoStore, frame: Tensor, area: Tensor, generator: torch.Generator
    ) -> tuple[list[Placed], Tensor, Tensor]:
        """What stands behind each person, two occluders, and the boxes (B, 4) of what they leave and of the person.

        area: square (B, 3) round the person.
        """
        labels, _ = _labels(photos, area, shown(area, frame, MEASURE_SIZE))
        person = (labels == PERSON).float()
        ratio = self._draw_ratios(len(area), area.device, generator)
        draw = uniform(len(area), area.device, generator)
        behind = self._place(person, draw(0.1, 0.5), generator), draw(0, 1) < self.config.something_behind
        placed, modal = [Placed(*behind[0], behind[1])], person
        for fraction, wanted in ((1.0, ratio >= 0), (0.5, (ratio >= 0) & self._draw_second(ratio, generator))):
            placed.append(Placed(*self._place(person, ratio * fraction, generator), wanted))
            alpha = resample(
                self.occluders.patches[placed[-1].chosen, 3:].float() / 255, placed[-1].theta, MEASURE_SIZE
            )
            modal = modal * ((alpha < 0.5) | ~wanted[:, None, None, None])
        whole_box = mask_boxes(person, area, photos.boxes)
        return placed, mask_boxes(modal, area, whole_box), whole_box

    def _picture(
        self,
        photos: PhotoStore,
        square: Tensor,
        frame: Tensor,
        elsewhere: Tensor,
        size: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the squares show of the people, in their own or in another scene.

        Returns pictures (B, 3, S, S) in [0, 1] without occluders; the scenes alone; and which of their pixels, bool
        (B, 1, S, S), belong to objects that stand in front of the person.
        """
        view = square_map(square)
        picture = resample(photos.images.float() / 255, view, size)
        scene, in_front = torch.zeros_like(picture), torch.zeros_like(picture[:, :1], dtype=torch.bool)
        if not elsewhere.any():
            return picture, scene, in_front
        draw = uniform(len(square), square.device, generator)
        # The frame lies somewhere in the scene, at most as large as that.
        zoom, source = draw(0.4, 1), (draw(0, 1) * len(self.scenes)).long()
        corner = torch.stack([draw(-1, 1), draw(-1, 1)], dim=1) * (1 - zoom[:, None])
        in_scene = torch.cat([corner, zoom[:, None]], dim=1)
        theta = chained(square_map(inside(square, enclosing(frame))), square_map(in_scene))[elsewhere]
        scene[elsewhere] = resample(self.scenes.images[source[elsewhere]].float() / 255, theta, size)
        person = _cut_out(photos.labels[elsewhere], view[elsewhere], size)
        picture[elsewhere] = torch.lerp(scene[elsewhere], picture[elsewhere], person)
        grid = F.affine_grid(theta, [len(theta), 1, size, size], align_corners=False)
        objects = self.scenes.objects[source[elsewhere]].float()
        numbers = F.grid_sample(objects, grid, mode="nearest", align_corners=False).long()
        in_front[elsewhere] = self._draw_in_front(numbers, person > 0.5, generator)
        return picture, scene, in_front

    def _draw_in_front(self, numbers: Tensor, person: Tensor, generator: torch.Generator) -> Tensor:
        """Pixels (B, 1, S, S) of some of the objects, whose numbers are given, unless they hide most of the person."""
        draw = uniform(len(numbers), numbers.device, generator)
        chance = torch.where(draw(0, 1) < self.config.scene_in_front, 0.5, 0.0)
        chosen = torch.rand((len(numbers), 256), generator=generator, device=numbers.device) < chance[:, None]
        chosen[:, 0] = False
        in_front = chosen.gather(1, numbers.flatten(1)).view(numbers.shape)
        hidden = (in_front & person).flatten(1).sum(1) / person.flatten(1).sum(1).clamp(min=1)
        return in_front & (hidden < 0.7)[:, None, None, None]

    def _paste_behind(
        self,
        picture: Tensor,
        photos: PhotoStore,
        square: Tensor,
        area: Tensor,
        elsewhere: Tensor,
        placed: Placed,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """The pictures with an object between person and background, and its visible pixels, bool (B, 1, S, S).

        Of the person's own scene only what is not annotated is covered: what may be in front of the person stays.
        """
        size, view = picture.shape[-1], square_map(square)
        background = resample((photos.labels == BACKGROUND).float(), view, size)
        background = torch.where(elsewhere[:, None, None, None], 1 - _cut_out(photos.labels, view, size), background)
        theta = chained(square_map(inside(square, area)), placed.theta)
        colour, alpha = self._patches(placed, theta, size, generator)
        alpha = alpha * background
        return torch.lerp(picture, colour, alpha), alpha > 0.5

    def _flip(self, batch: SynthesisBatch, flipped: Tensor) -> SynthesisBatch:
        """Some pictures of a batch mirrored, which exchanges left and right in parsing and joints."""

        def turned(masks: Any) -> dict[str, Any]:
            return {
                name: torch.where(flipped[:, None, None, None], value.flip(-1), value)
                for name, value in vars(masks).items()
                if isinstance(value, torch.Tensor) and value.ndim == 4
            }

        mirrored = batch.joints.clone()
        mirrored[..., 0] = batch.occluded.shape[-1] - mirrored[..., 0]
        return SynthesisBatch(
            **turned(batch),
            known=Known(**turned(batch.known)),
            parsing=torch.where(flipped[:, None, None], self.flipped_labels[batch.parsing].flip(-1), batch.parsing),
            joints=torch.where(flipped[:, None, None], mirrored[:, self.flipped_joints], batch.joints),
            hidden_joints=torch.where(
                flipped[:, None], batch.hidden_joints[:, self.flipped_joints], batch.hidden_joints
            ),
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

    def _patches(self, placed: Placed, theta: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Colours (B, 3, S, S) and alpha (B, 1, S, S) of what is there; theta: maps (B, 2, 3) to the patches."""
        present = placed.present
        chosen = placed.chosen[present]
        patches = resample(self.occluders.patches[chosen].float() / 255, theta[present], size)
        colour = theta.new_zeros(len(theta), 3, size, size)
        alpha = theta.new_zeros(len(theta), 1, size, size)
        surfaces = self._swap_textures(patches[:, :3], ~self.occluders.is_person[chosen], generator)
        colour[present] = _jitter_colour(_turn_hue(surfaces, self.config.other_hue, generator), generator)
        alpha[present] = patches[:, 3:]
        return colour, alpha

    def _swap_textures(self, colour: Tensor, allowed: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures (B, 3, S, S), some of those allowed (B,) exchanged for a piece of a random photograph."""
        draw = uniform(len(colour), colour.device, generator)
        lent = (draw(0, 1) < self.config.borrowed_surface) & allowed
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
        # People are about as large as the one they hide, upright, and nearer: their feet are lower in the picture.
        is_person = self.occluders.is_person[chosen]
        size = torch.where(is_person, draw(math.log(0.7), math.log(1.4)), draw(math.log(0.12), math.log(0.8))).exp()
        half = (size * repeated_extent.amax(1)).clamp(0.05, 1.5)
        down = torch.where(is_person, draw(-0.2, 0.6), draw(-1, 1))
        offset = torch.stack([draw(-1.1, 1.1), down], 1) * repeated_extent
        angle = draw(-0.5, 0.5) * torch.where(is_person, 0.2, 1.0)
        theta = _patch_map(centre.repeat_interleave(count, 0) + offset, half, angle, draw(0, 1) < 0.5)
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


def _cut_out(labels: Tensor, view: Tensor, size: int) -> Tensor:
    """How much of each pixel is the person and what they carry, (B, 1, S, S) in [0, 1].

    A little inside the contour, where the photograph's own background does not shine through.
    """
    own = resample(((labels == PERSON) | (labels == NOT_SCORED)).float(), view, size)
    return ((own - 0.4) / 0.5).clamp(0, 1)


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
