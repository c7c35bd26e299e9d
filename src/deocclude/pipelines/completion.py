"""The two stages on batches of people: from photographs to square crops, and what the networks said of them.

A batch holds several people only for a stage that is `batched`: one that draws nothing at random, so that
everybody comes out as alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from deocclude.conditioning.occlusion_evidence import OcclusionEstimator
from deocclude.crops import Box, SquareCrop, crop_around, extract
from deocclude.errors import InputError
from deocclude.images import as_image, image_to_tensor
from deocclude.masks import invisible_mask
from deocclude.pipelines.compositing import composite, own_picture
from deocclude.pipelines.control import Control, limited, with_joints
from deocclude.pipelines.detail import Detail
from deocclude.pipelines.hidden_ground import on_hidden_ground
from deocclude.pipelines.photograph import (
    SECOND_MARGIN,
    CompletedMask,
    better_crop,
    in_photograph,
    mask_on_crop,
    resized,
    resized_labels,
)
from deocclude.skeletons import NUM_JOINTS
from deocclude.types import Completer, Hints, MaskCompleter, MaskCompletion, Person, RgbCompleter

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")
FIRST_MARGIN = 2.2
"""Crop side over the visible part's longer side: half of the person may be hidden."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One person to complete.

    image: the photograph, uint8 (H, W, 3), or the canvas it lies on; photograph_box: where, None for all of it.
    person: who is meant, in its pixels. modal_mask_is_exact: the modal mask is the user's own and stays as it is.
    refine: stage 1 may correct the modal mask. amodal_mask: the whole person, bool (H, W), in stage 1's place.
    facts: how the person was found, for the JSON.
    """

    image: np.ndarray
    person: Person
    modal_mask_is_exact: bool = False
    refine: bool = False
    amodal_mask: np.ndarray | None = None
    photograph_box: Box | None = None
    control: Control = field(default_factory=Control)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def first_crop(self) -> SquareCrop:
        """The square that stage 1 looks at first."""
        box = self.control.box_xyxy
        around, margin = (self.person.box_xyxy, FIRST_MARGIN) if box is None else (box, SECOND_MARGIN)
        return crop_around(around, (self.image.shape[0], self.image.shape[1]), margin=margin)

    def frame_on(self, crop: SquareCrop, size: int) -> np.ndarray:
        """Where the photograph is on a resized crop, bool (size, size)."""
        x0, y0, x1, y1 = self.photograph_box or (0, 0, self.image.shape[1], self.image.shape[0])
        x, y = (crop_start + (np.arange(size) + 0.5) * crop.side / size for crop_start in (crop.left, crop.top))
        return ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))


@dataclass(frozen=True)
class Painted:
    """Stage 2 in the photograph: composites uint8 (H, W, 3), the best first; its own picture; the prompt it read."""

    composites: tuple[np.ndarray, ...]
    own_picture: np.ndarray
    words: str | None = None


def complete_masks(
    stage: MaskCompleter,
    subjects: Sequence[Subject],
    *,
    device: torch.device,
    batch_size: int,
    estimator: OcclusionEstimator | None = None,
) -> list[CompletedMask]:
    """Stage 1: the whole body of each person, on a crop; once more if what it found asks for another crop.

    estimator: says what may be hidden (`hidden_ground`); None believes the stage.
    """
    crops = [subject.first_crop for subject in subjects]
    completed = _on_crops(stage, subjects, crops, device, batch_size, estimator)
    others = [better_crop(one.amodal_mask, crop, stage.size) for one, crop in zip(completed, crops, strict=True)]
    again = {place: other for place, other in enumerate(others) if other is not None}
    closer = _on_crops(stage, [subjects[place] for place in again], list(again.values()), device, batch_size, estimator)
    for place, one in zip(again, closer, strict=True):
        completed[place] = one
    return completed


def _on_crops(
    stage: MaskCompleter,
    subjects: Sequence[Subject],
    crops: Sequence[SquareCrop],
    device: torch.device,
    batch_size: int,
    estimator: OcclusionEstimator | None,
) -> list[CompletedMask]:
    size, completed = stage.size, []
    for group in _batches(stage, list(zip(subjects, crops, strict=True)), batch_size):
        joints = _stacked([joints_on_crop(_joints(subject), crop, size) for subject, crop in group], device)
        image = to_tensor([extract(subject.image, crop, size, nearest=False) for subject, crop in group], device)
        given = [mask_on_crop(subject.person.modal_mask, crop, size) for subject, crop in group]
        modal_mask = to_tensor(given, device)
        frames = [subject.frame_on(crop, size) for subject, crop in group]
        evidence = None
        if estimator is not None:
            frame_mask = to_tensor(frames, device)
            evidence = estimator(image * frame_mask, modal_mask, frame_mask, joints)
        hints = Hints(
            keypoints=joints,
            prompt=_given_prompts([subject.control for subject, _ in group]),
            body_probability=None if evidence is None else evidence.amodal,
        )
        on_crops = stage(image, modal_mask, hints=hints.only(stage.accepts), refine_modal=group[0][0].refine)
        for row, (subject, crop) in enumerate(group):
            on_crop = on_crops.one(row)
            if evidence is not None:
                exact = subject.modal_mask_is_exact
                on_crop = on_hidden_ground(on_crop, evidence.one(row), frames[row], modal_is_exact=exact)
            mask = subject.person.modal_mask
            one = in_photograph(on_crop, crop, mask, given[row], refine=subject.refine)
            completed.append(_as_wished(subject, one))
    return completed


def _batches(
    stage: MaskCompleter, people: Sequence[tuple[Subject, SquareCrop]], batch_size: int
) -> Iterator[Sequence[tuple[Subject, SquareCrop]]]:
    """The people in their order, cut into batches of those who are to be refined and those who are not."""
    for _, alike in groupby(people, key=lambda one: one[0].refine):
        yield from _batches_of(stage, list(alike), batch_size)


def _batches_of(stage: Completer, items: Sequence[Item], batch_size: int) -> Iterator[Sequence[Item]]:
    size = batch_size if stage.batched else 1
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _as_wished(subject: Subject, completed: CompletedMask) -> CompletedMask:
    """Stage 1's answer within what the user allows, or the mask that was given in its place."""
    if subject.amodal_mask is not None:
        known = subject.amodal_mask
        return replace(completed, amodal_mask=known, amodal_probability=known.astype(np.float32))
    masks = completed.amodal_mask, completed.modal_mask, completed.amodal_probability
    amodal_mask, notes = limited(*masks, subject.control)
    return replace(completed, amodal_mask=amodal_mask, notes=tuple(notes))


def complete_pictures(
    stage: RgbCompleter,
    people: Sequence[tuple[Subject, CompletedMask]],
    seen: Sequence[np.ndarray],
    *,
    device: torch.device,
    batch_size: int,
    num_candidates: int = 1,
    seed: int = 0,
    detail: Detail = "texture",
) -> list[Painted]:
    """Stage 2: the picture of each person's invisible part, put into the photograph.

    seen: each person's photograph as the stage is to see it, uint8 (H, W, 3). seed: of each person's own draws. detail:
    as of `compositing.composite`.
    """
    painted = {
        place: Painted((one.image.copy(),), np.where(masks.painted_mask[..., None], one.image, np.uint8(255)))
        for place, (one, masks) in enumerate(people)
        if not invisible_mask(masks.modal_mask, masks.amodal_mask).any()
    }
    hidden = [place for place in range(len(people)) if place not in painted]
    for places in _batches_of(stage, hidden, batch_size):
        group = [people[place] for place in places]
        pictures, words = _generate(stage, group, [seen[place] for place in places], device, num_candidates, seed)
        for place, row, (one, masks), said in zip(places, pictures, group, words, strict=True):
            mask_pair = masks.modal_mask, masks.amodal_mask
            painted[place] = Painted(
                tuple(composite(one.image, picture, masks.crop, *mask_pair, detail=detail) for picture in row),
                own_picture(row[0], masks.crop, masks.painted_mask),
                said,
            )
    return [painted[place] for place in range(len(people))]


def _generate(
    stage: RgbCompleter,
    group: Sequence[tuple[Subject, CompletedMask]],
    seen: Sequence[np.ndarray],
    device: torch.device,
    num_candidates: int,
    seed: int,
) -> tuple[np.ndarray, list[str | None]]:
    """The stage's own pictures of the crops, the best first, float32 (B, N, S, S, 3) in [0, 1], and what it read."""
    crops = [masks.crop for _, masks in group]
    picture = to_tensor(
        [extract(image, crop, stage.size, nearest=False) for image, crop in zip(seen, crops, strict=True)], device
    )
    completion = _joined([on_rgb_crop(masks, stage.size, device) for _, masks in group])
    words = _words(stage, picture, [one.control for one, _ in group])
    reference = group[0][0].control.reference  # only stages without batches look at one
    hints = Hints(
        prompt=words,
        generator=torch.Generator(device).manual_seed(seed),
        reference=None if reference is None else image_to_tensor(as_image(reference)).to(device),
    ).only(stage.accepts)
    if num_candidates > 1:
        pictures = stage.candidates(picture, completion, num_candidates, hints=hints)
    else:
        pictures = stage(picture, completion, hints=hints)[:, None]
    said: list[str | None] = [None] * len(group) if words is None else list(words)
    return pictures.permute(0, 1, 3, 4, 2).float().cpu().numpy(), said


def _given_prompts(controls: Sequence[Control]) -> list[str] | None:
    """What the user says of each person, for a mask stage that reads it; None if of somebody nothing is said."""
    said = [_sentence(control, control.words) for control in controls if control.words is not None]
    return said if len(said) == len(controls) else None


def _sentence(control: Control, said: str) -> str:
    """A prompt with what the user adds to it."""
    return f"{said}, {control.more_words}" if control.more_words else said


def _words(stage: RgbCompleter, picture: Tensor, controls: Sequence[Control]) -> list[str] | None:
    """A sentence about each person: the user's or the stage's own, and what the user adds; None if it is not read."""
    if "prompt" not in stage.accepts:
        return None
    all_said = all(control.words for control in controls)  # then no describer has to be asked
    found = [""] * len(controls) if all_said else stage.describe(picture)
    return [_sentence(control, control.words or said) for control, said in zip(controls, found, strict=True)]


def on_rgb_crop(completed: CompletedMask, size: int, device: torch.device) -> MaskCompletion:
    """Stage 1's answer for stage 2, which gets the masks that are returned, at its own size."""
    crop, on_crop = completed.crop, completed.on_crop
    modal_mask = to_tensor([mask_on_crop(completed.modal_mask, crop, size)], device)
    amodal_mask = to_tensor([mask_on_crop(completed.amodal_mask, crop, size)], device) | modal_mask
    return MaskCompletion(
        modal_mask,
        amodal_mask,
        resized(on_crop.amodal_probability, size),
        resized_labels(on_crop.modal_parsing, modal_mask),
        resized_labels(on_crop.amodal_parsing, amodal_mask),
        None if on_crop.rgb is None else resized(on_crop.rgb, size),
    )


def _joined(people: Sequence[MaskCompletion]) -> MaskCompletion:
    """Batches of one as one batch."""
    columns = zip(*(vars(one).values() for one in people), strict=True)
    joined: list[Any] = [None if column[0] is None else torch.cat(column) for column in columns]
    return MaskCompletion(*joined)


def to_tensor(arrays: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Pictures uint8 (S, S, 3) or masks bool (S, S) as the stages want them, (B, 3 or 1, S, S)."""
    tensors = [
        image_to_tensor(array) if array.ndim == 3 else torch.from_numpy(array.copy())[None, None] for array in arrays
    ]
    return torch.cat(tensors).to(device)


def joints_on_crop(joints: np.ndarray | None, crop: SquareCrop, size: int) -> np.ndarray | None:
    """Joints (25, 3) of the photograph in the pixels of the resized crop."""
    if joints is None:
        return None
    on_crop = joints.copy()
    on_crop[:, :2] = (joints[:, :2] - (crop.left, crop.top)) * (size / crop.side)
    return on_crop


def _joints(subject: Subject) -> np.ndarray | None:
    return with_joints(subject.person.joints, subject.control.joints)


def _stacked(joints: Sequence[np.ndarray | None], device: torch.device) -> Tensor | None:
    """(B, 25, 3), zeros for whoever has none; None if nobody has any."""
    if all(one is None for one in joints):
        return None
    missing = np.zeros((NUM_JOINTS, 3), np.float32)
    return torch.from_numpy(np.stack([missing if one is None else one for one in joints])).to(device)


def checked_joints(joints: np.ndarray) -> np.ndarray:
    """Joints that somebody gave, as float32 (25, 3). Raises InputError for another form."""
    joints = np.asarray(joints, np.float32)
    if joints.shape != (NUM_JOINTS, 3) or not np.isfinite(joints).all():
        raise InputError(f"joints are {NUM_JOINTS} rows of x, y, confidence; got the shape {joints.shape}")
    return joints
