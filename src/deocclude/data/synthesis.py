"""Paper B's synthesis: an object is pasted in front of a whole person until the wanted share of them is hidden.

Every function takes the generator it draws from, so a sample is a function of its seed and index alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from deocclude.crops import Box, SquareCrop, extract, paper_crop
from deocclude.data.occluders import Occluder, OccluderBank
from deocclude.data.occlusion_set import OcclusionSample
from deocclude.data.pasting import RatioBin, find_place, meeting, render_occluder
from deocclude.data.people import PersonSample
from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.parsing import FLIPPED_LABELS, IGNORE_LABEL

RATIO_BINS: dict[tuple[str, str], tuple[RatioBin, ...]] = {
    ("paper", "train"): ((0.0, 0.1), (0.1, 0.2), (0.3, 0.4)),
    ("paper", "val"): ((0.0, 0.1), (0.1, 0.2), (0.3, 0.4), (0.4, 0.5)),
    ("contiguous", "train"): ((0.0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4)),
    ("contiguous", "val"): ((0.0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5)),
}
"""Each bin of a preset is drawn equally often."""

FLIP_TABLE = np.array([*FLIPPED_LABELS, *range(len(FLIPPED_LABELS), 256)], np.uint8)
MIN_SIDE = 5
"""Pixels of the crop's side; a smaller person is refused."""


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """How occluded people are made."""

    bins: Literal["paper", "contiguous"] = "paper"
    """Occlusion ratios: `paper` as printed, without 0.2-0.3; `contiguous` without that gap."""
    split: Literal["train", "val"] = "train"
    """`val` goes on to a ratio of 0.5, as paper B's validation set does; `train` ends at 0.4."""
    crop: Literal["paper", "whole"] = "paper"
    """`paper`: a square round the person, as paper B's data reader cuts it; `whole`: the picture as it is."""
    size: int = 256
    """Side of the square in pixels; `whole` keeps the picture's own size."""
    overlap: tuple[float, float] = (0.4, 1.0)
    """How far the boxes overlap on each axis: 0 they touch, 1 their centres coincide."""
    occluder_scale: tuple[float, float] = (0.8, 1.2)
    """Size of the occluder; at 1 the crop rule gives it a square as large as the person's."""
    occluder_rotation: float = 15.0
    """The occluder is turned by up to so many degrees."""
    colour_jitter: float = 0.2
    """Brightness, contrast and saturation of the occluder change by up to this share."""
    max_tries: int = 100
    """Places tried with one occluder before another is drawn."""
    max_occluders: int = 50
    """Occluders drawn before the person is given up."""
    augment: bool = False
    """Shift, scale and flip the person's crop too."""

    def __post_init__(self) -> None:
        for name in ("size", "max_tries", "max_occluders"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.overlap[0] <= self.overlap[1] <= 1:
            raise ValueError(f"overlap must be two rising numbers in [0, 1], got {self.overlap}")
        if not 0 < self.occluder_scale[0] <= self.occluder_scale[1]:
            raise ValueError(f"occluder_scale must be two rising numbers above 0, got {self.occluder_scale}")
        if not 0 <= self.colour_jitter < 1:
            raise ValueError(f"colour_jitter must be in [0, 1), got {self.colour_jitter}")

    @property
    def ratio_bins(self) -> tuple[RatioBin, ...]:
        return RATIO_BINS[self.bins, self.split]


@dataclass(frozen=True, eq=False)
class Synthesis:
    """An occluded person, and where the occluder is, bool (H, W), beside the person too."""

    sample: OcclusionSample
    occluder_mask: np.ndarray


def synthesize(
    person: PersonSample,
    bank: OccluderBank,
    config: SynthesisConfig,
    rng: np.random.Generator,
    *,
    id: str,
    person_id: str = "",
    bin: RatioBin | None = None,
) -> Synthesis:
    """One occluded person, its occlusion ratio in `bin`, or in one drawn from `config.ratio_bins`.

    What is not scored (a carried bag) stays so whether or not it is hidden, and hiding it does not count. The
    occluder ends where the picture ends: no photograph shows an object on the black that pads its crop.

    person_id: the person's own id in the bank, where people are occluders too.
    Raises InputError for a person too small, or one whom no occluder hides by the wanted share.
    """
    person, frame = _view(person, config, rng)
    box = _box(person.person)
    bin = bin or config.ratio_bins[int(rng.integers(len(config.ratio_bins)))]
    for _ in range(config.max_occluders):
        index = int(rng.integers(len(bank)))
        if bank.sources[index].source_id == person_id:
            continue
        occluder = bank[index]
        rgba = render_occluder(
            occluder.rgba,
            box,
            rng,
            scale=config.occluder_scale,
            degrees=config.occluder_rotation,
            colour_jitter=config.colour_jitter,
        )
        corner = find_place(
            person.person, rgba[..., 3] > 0, bin, rng, overlap=config.overlap, max_tries=config.max_tries
        )
        if corner is not None:
            return _composed(person, frame, occluder, rgba, corner, id)
    raise InputError(f"none of {config.max_occluders} occluders hid {bin[0]:.0%} to {bin[1]:.0%} of the person")


def view_person(person: PersonSample, crop: SquareCrop, size: int) -> PersonSample:
    """The square crop of a photograph at `size`, black and background outside the picture."""
    return PersonSample(
        image=extract(person.image, crop, size, nearest=False),
        person=extract(person.person, crop, size, nearest=True),
        not_scored=extract(person.not_scored, crop, size, nearest=True),
        parsing=None if person.parsing is None else extract(person.parsing, crop, size, nearest=True),
    )


def flip_person(person: PersonSample) -> PersonSample:
    """Mirrored; the parsing's left and right parts change names."""
    return PersonSample(
        image=person.image[:, ::-1],
        person=person.person[:, ::-1],
        not_scored=person.not_scored[:, ::-1],
        parsing=None if person.parsing is None else FLIP_TABLE[person.parsing[:, ::-1]],
    )


def augment_crop(crop: SquareCrop, rng: np.random.Generator) -> SquareCrop:
    """Paper B's shift U(-0.2, 0.2) of the side on both axes, and the side divided by U(0.8, 1.2)."""
    centre = np.array([crop.left, crop.top]) + crop.side / 2 + rng.uniform(-0.2, 0.2, 2) * crop.side
    side = max(1, round(crop.side / rng.uniform(0.8, 1.2)))
    left, top = np.rint(centre - side / 2).astype(int)
    return SquareCrop(int(left), int(top), side)


def _view(person: PersonSample, config: SynthesisConfig, rng: np.random.Generator) -> tuple[PersonSample, np.ndarray]:
    """What a network will see of the person, and which pixels lie in the photograph, bool (H, W)."""
    frame = np.ones(person.person.shape, bool)
    if config.crop == "paper":
        crop = paper_crop(_box(person.person))
        if crop.side < MIN_SIDE:
            raise InputError(f"the person is smaller than {MIN_SIDE} pixels")
        crop = augment_crop(crop, rng) if config.augment else crop
        person, frame = (
            view_person(person, crop, config.size),
            extract(frame, crop, config.size, nearest=True),
        )
    if config.augment and rng.random() < 0.5:
        person, frame = flip_person(person), frame[:, ::-1]
    return person, frame


def _composed(
    person: PersonSample,
    frame: np.ndarray,
    occluder: Occluder,
    rgba: np.ndarray,
    corner: tuple[int, int],
    id: str,
) -> Synthesis:
    """Paste the occluder. Modal is amodal and not occluder, so what is invisible is amodal and occluder."""
    there, part = meeting(frame.shape, rgba.shape[:2], corner)
    occluder_mask = np.zeros(frame.shape, bool)
    occluder_mask[there] = rgba[..., 3][part] > 0
    occluder_mask &= frame
    occluded = person.image.copy()
    hidden = occluder_mask[there]
    occluded[there][hidden] = rgba[..., :3][part][hidden]
    sample = OcclusionSample(
        id=id,
        occluded=occluded,
        modal=person.person & ~occluder_mask,
        amodal=person.person,
        not_scored=person.not_scored,
        whole=person.image,
        row={"occluder": occluder.name, "occluder_id": occluder.source_id},
        parsing=person_parsing(person),
    )
    return Synthesis(sample, occluder_mask)


def person_parsing(person: PersonSample) -> np.ndarray | None:
    """Background outside the person, nothing said about what they carry."""
    if person.parsing is None:
        return None
    parsing = np.where(person.person, person.parsing, 0).astype(np.uint8)
    parsing[person.not_scored] = IGNORE_LABEL
    return parsing


def _box(mask: np.ndarray) -> Box:
    box = mask_box(mask)
    if box is None:
        raise InputError("nothing of the person is left in the crop")
    return box
