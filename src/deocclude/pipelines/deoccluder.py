"""The whole method (paper A, Eq. 3): find the person, complete the mask, complete the picture, put it back.

Networks work on a square crop; everything that is returned has the photograph's own size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch

from deocclude.conditioning.pose_estimator import MISSING_BELOW, DetectedPerson, PoseEstimator
from deocclude.crops import Box, SquareCrop, crop_around, extract
from deocclude.devices import checked_device, checked_dtype, enough_memory
from deocclude.errors import InputError
from deocclude.images import as_image, as_mask, image_to_tensor
from deocclude.masks import invisible_mask, mask_box
from deocclude.pipelines.compositing import composite, own_picture
from deocclude.pipelines.photograph import (
    CompletedMask,
    better_crop,
    checked_box,
    in_photograph,
    mask_on_crop,
    resized,
    resized_labels,
)
from deocclude.presets import RgbOptions, preset
from deocclude.registry import (
    build_detector,
    build_joint_source,
    build_mask_stage,
    build_rgb_stage,
    check_memory,
    check_weights,
)
from deocclude.skeletons import NUM_JOINTS
from deocclude.types import Deocclusion, MaskCompleter, MaskCompletion, Person, RgbCompleter

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Detector = Callable[[np.ndarray], Sequence[DetectedPerson]]
NO_JOINTS = "no joints were found; the mask was completed without them"
FIRST_MARGIN = 2.2
"""Crop side over the visible part's longer side: half of the person may be hidden."""


class Segmenter(Protocol):
    """Finds people and their joints; `conditioning.segmenter.EmbeddedSegmenter` is one."""

    name: str

    def __call__(self, image: np.ndarray, box_xyxy: Box | None = None) -> Person: ...
    def locate_joints(self, image: np.ndarray, box_xyxy: Box) -> np.ndarray: ...


@runtime_checkable
class DescribesPeople(Protocol):
    """An RGB stage that reads words, and knows how to find them."""

    def describe(self, image: Tensor) -> list[str]: ...


@runtime_checkable
class DrawsCandidates(Protocol):
    """An RGB stage that can paint the same person several times: (B, N, 3, S, S), the best first."""

    def candidates(
        self,
        image: Tensor,
        completion: MaskCompletion,
        count: int,
        *,
        words: list[str] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor: ...


class Deoccluder:
    """De-occludes one person of a photograph.

    segmenter: finds the person where no mask is given, and the joints; None if a mask always is.
    mask_completer, rgb_completer: the two stages, already on `device`.
    refine_modal: take stage 1's modal mask instead of the segmenter's, as paper B does (Eq. 1); a given mask is kept.
    joint_source: finds the joints in the segmenter's place.
    load_detector: gives what finds people's boxes, the largest person first; asked for once neither mask nor box says
        where the person is.
    num_candidates: pictures of each person, of an RGB stage that draws at random; the best one is the result.
    seed: of whatever a stage draws at random. The same seed gives the same bytes on a CPU.
    """

    def __init__(
        self,
        segmenter: Segmenter | None,
        mask_completer: MaskCompleter,
        rgb_completer: RgbCompleter,
        *,
        refine_modal: bool = False,
        joint_source: PoseEstimator | None = None,
        load_detector: Callable[[], Detector] | None = None,
        num_candidates: int = 1,
        device: str | torch.device = "cpu",
        seed: int = 0,
    ) -> None:
        if getattr(rgb_completer, "needs_rgb_of_mask_stage", False) and not getattr(mask_completer, "paints", False):
            raise InputError(f"the RGB stage '{rgb_completer.name}' goes with the mask stage 'one-stage' alone")
        if num_candidates > 1 and not isinstance(rgb_completer, DrawsCandidates):
            raise InputError(f"the RGB stage '{rgb_completer.name}' has one answer; leave the candidates out")
        self.segmenter = segmenter
        self.mask_completer = mask_completer
        self.rgb_completer = rgb_completer
        self.refine_modal = refine_modal
        self.joint_source = joint_source
        self._load_detector = load_detector
        self.num_candidates = num_candidates
        self.device = torch.device(device)
        self.seed = seed

    @classmethod
    def from_preset(
        cls,
        name: str,
        *,
        mask_stage: str | None = None,
        rgb_stage: str | None = None,
        rgb_options: RgbOptions | None = None,
        joints: str | None = None,
        refine_modal: bool = False,
        num_candidates: int = 1,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
        seed: int = 0,
    ) -> Deoccluder:
        """A preset (`presets.PRESETS`), with stages and joint source exchanged by name if wanted (`registry`).

        dtype: of the networks' arithmetic; without one, float32, and bfloat16 for diffusion stages where the device
            computes in it.
        Raises InputError for an unknown name, a device this machine lacks, missing weights and too little memory.
        """
        from deocclude.conditioning.segmenter import load_segmenter

        chosen = preset(name)
        device, dtype = checked_device(device), checked_dtype(dtype)
        stages = mask_stage or chosen.mask_stage, rgb_stage or chosen.rgb_stage
        joints = joints or chosen.joints
        check_weights(*stages, joints)  # before gigabytes are loaded
        check_memory(*stages, device=device, dtype=dtype, options=rgb_options)
        load_detector = None
        if chosen.detector is not None:
            load_detector = partial(build_detector, chosen.detector, device=device, dtype=dtype)
        with enough_memory(device):
            return cls(
                load_segmenter(device=device, dtype=dtype or torch.float32),
                build_mask_stage(stages[0], device=device, dtype=dtype),
                build_rgb_stage(stages[1], device=device, dtype=dtype, options=rgb_options),
                refine_modal=refine_modal,
                joint_source=build_joint_source(joints, device=device, dtype=dtype),
                load_detector=load_detector,
                num_candidates=num_candidates,
                device=device,
                seed=seed,
            )

    @torch.inference_mode()
    def __call__(
        self,
        image: Image | np.ndarray | Tensor,
        modal_mask: Image | np.ndarray | Tensor | None = None,
        box: tuple[float, float, float, float] | None = None,
        *,
        amodal_mask: Image | np.ndarray | Tensor | None = None,
        joints: np.ndarray | None = None,
    ) -> Deocclusion:
        """Complete one person.

        image: a PIL picture, uint8 (H, W, 3) or float in [0, 1], or a tensor ([1,] 3, H, W) (`images.as_image`).
        modal_mask: the visible part of the person, of the same size; it is taken as exact.
        box: x0, y0, x1, y1 in pixels, where to look for the person; without mask and box, the most prominent one.
        amodal_mask: with `modal_mask`, the whole person in stage 1's place, to judge stage 2 alone.
        joints: BODY_25, float (25, 3) of x, y in pixels and confidence, instead of finding them.

        Raises InputError for input that cannot be used and where nobody is found.
        """
        with enough_memory(self.device):
            return self._deocclude(image, modal_mask, box, amodal_mask, joints)

    def _deocclude(self, image: Any, modal_mask: Any, box: Any, amodal_mask: Any, joints: Any) -> Deocclusion:
        clock = _Clock()
        # 1. The person: from the mask given, or from the segmenter.
        with clock.step("find_person"):
            image = as_image(image)
            person = self._with_joints(image, self._find_person(image, modal_mask, box), joints)
            known_amodal = _known_amodal(amodal_mask, modal_mask, person)
        # 2. The whole body (stage 1), on a crop; once more if what it found asks for another crop.
        with clock.step("mask_completion"):
            refine = self.refine_modal and modal_mask is None
            crop = crop_around(person.box_xyxy, image.shape[:2], margin=FIRST_MARGIN)
            completed = self._complete_mask(image, person, crop, refine, known_amodal)
            if other := better_crop(completed.amodal_mask, crop, self.mask_completer.size):
                completed = self._complete_mask(image, person, other, refine, known_amodal)
        # 3. Its picture (stage 2), and back into the photograph.
        with clock.step("rgb_completion"):
            painted = self._complete_rgb(image, completed)
        return Deocclusion(
            rgb=painted.composites[0],
            modal_mask=completed.modal_mask,
            amodal_mask=completed.amodal_mask,
            amodal_probability=completed.amodal_probability,
            joints=person.joints,
            candidates=painted.composites,
            own_picture=painted.own_picture,
            facts={
                **self.facts,
                "notes": self._notes(person),
                "words": painted.words,
                "joints_from": "given" if joints is not None else "found",
                "modal_mask_from": "given" if modal_mask is not None else "stage 1" if refine else "segmenter",
                "crop_xyxy": list(completed.crop.box_xyxy),
                "seconds": clock.seconds,
            },
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What is the same for every picture: the method, its weights, seed, device. For a JSON file."""
        from deocclude import __version__

        parts = {
            "conditioning": self.segmenter,
            "joints": self.joint_source or self.segmenter,
            "mask_completion": self.mask_completer,
            "rgb_completion": self.rgb_completer,
        }
        return {
            "deocclude_version": __version__,
            "method": {step: getattr(part, "name", None) for step, part in parts.items()},
            "weights_sha256": {step: getattr(part, "weights_sha256", None) for step, part in parts.items()},
            "dtype": {step: str(getattr(part, "dtype", "")).removeprefix("torch.") for step, part in parts.items()},
            "rgb_settings": getattr(self.rgb_completer, "settings", None),
            "seed": self.seed,
            "device": str(self.device),
        }

    def _find_person(self, image: np.ndarray, modal_mask: Any, box: Any) -> Person:
        if modal_mask is not None and box is not None:
            raise InputError("give a modal mask or a box, not both: the mask says where the person is")
        if modal_mask is not None:
            mask = as_mask(modal_mask, (image.shape[0], image.shape[1]))
            mask_xyxy = mask_box(mask)
            assert mask_xyxy is not None, "as_mask refuses empty masks"
            joints = self.segmenter.locate_joints(image, mask_xyxy) if self.segmenter else None
            return Person(mask_xyxy, mask, joints)
        if self.segmenter is None:
            raise InputError("there is no segmenter here to find the person; give a modal mask")
        if box is None and self._detector is not None:
            people = self._detector(image)
            if not people:
                raise InputError("no person found in the picture; say where with a box, or give the mask")
            return self.segmenter(image, people[0].box_xyxy)
        return self.segmenter(image, None if box is None else checked_box(box, (image.shape[0], image.shape[1])))

    def _complete_mask(
        self,
        image: np.ndarray,
        person: Person,
        crop: SquareCrop,
        refine: bool,
        known_amodal: np.ndarray | None,
    ) -> CompletedMask:
        size = self.mask_completer.size
        on_crop = self.mask_completer(
            self._tensor(extract(image, crop, size, nearest=False)),
            self._tensor(mask_on_crop(person.modal_mask, crop, size)),
            joints=self._joints_on_crop(person.joints, crop, size),
            refine_modal=refine,
        )
        completed = in_photograph(on_crop, crop, person.modal_mask, refine)
        if known_amodal is None:
            return completed
        return replace(completed, amodal_mask=known_amodal, amodal_probability=known_amodal.astype(np.float32))

    @cached_property
    def _detector(self) -> Detector | None:
        return None if self._load_detector is None else self._load_detector()

    def _with_joints(self, image: np.ndarray, person: Person, joints: np.ndarray | None) -> Person:
        """The person with the joints given, or with those of the joint source if there is one."""
        if joints is None:
            if self.joint_source is None:
                return person
            return replace(person, joints=self.joint_source.locate_joints(image, person.box_xyxy))
        joints = np.asarray(joints, np.float32)
        if joints.shape != (NUM_JOINTS, 3) or not np.isfinite(joints).all():
            raise InputError(f"joints are {NUM_JOINTS} rows of x, y, confidence; got the shape {joints.shape}")
        return replace(person, joints=joints)

    def _notes(self, person: Person) -> list[str]:
        """What a user must be told of this result."""
        notes = [getattr(part, "note", None) for part in (self.mask_completer, self.rgb_completer)]
        found = person.joints is not None and bool((person.joints[:, 2] > MISSING_BELOW).any())
        if getattr(self.mask_completer, "uses_joints", False) and not found:
            notes.append(NO_JOINTS)
        return [note for note in dict.fromkeys(notes) if note]

    def _complete_rgb(self, image: np.ndarray, completed: CompletedMask) -> _Painted:
        crop, size = completed.crop, self.rgb_completer.size
        masks = completed.modal_mask, completed.amodal_mask
        if not invisible_mask(*masks).any():
            return _Painted((image.copy(),), np.where(completed.amodal_mask[..., None], image, np.uint8(255)), None)
        picture = self._tensor(extract(image, crop, size, nearest=False))
        words = self.rgb_completer.describe(picture) if isinstance(self.rgb_completer, DescribesPeople) else None
        generated = self._generate(picture, self._on_rgb_crop(completed), words)
        return _Painted(
            tuple(composite(image, one, crop, *masks) for one in generated),
            own_picture(generated[0], crop, completed.amodal_mask),
            words[0] if words else None,
        )

    def _generate(self, picture: Tensor, completion: MaskCompletion, words: list[str] | None) -> np.ndarray:
        """The stage's own pictures of the crop, the best first: float32 (N, S, S, 3) in [0, 1]."""
        generator = torch.Generator(self.device).manual_seed(self.seed)
        if self.num_candidates > 1 and isinstance(self.rgb_completer, DrawsCandidates):
            count = self.num_candidates
            pictures = self.rgb_completer.candidates(picture, completion, count, words=words, generator=generator)[0]
        else:
            pictures = self.rgb_completer(picture, completion, words=words, generator=generator)
        return pictures.permute(0, 2, 3, 1).float().cpu().numpy()

    def _on_rgb_crop(self, completed: CompletedMask) -> MaskCompletion:
        """Stage 1's answer for stage 2, which gets the masks that are returned, at its own size."""
        crop, size, on_crop = completed.crop, self.rgb_completer.size, completed.on_crop
        modal_mask = self._tensor(mask_on_crop(completed.modal_mask, crop, size))
        amodal_mask = self._tensor(mask_on_crop(completed.amodal_mask, crop, size)) | modal_mask
        return MaskCompletion(
            modal_mask,
            amodal_mask,
            resized(on_crop.amodal_probability, size),
            resized_labels(on_crop.modal_parsing, modal_mask),
            resized_labels(on_crop.amodal_parsing, amodal_mask),
            None if on_crop.rgb is None else resized(on_crop.rgb, size),
        )

    def _tensor(self, array: np.ndarray) -> Tensor:
        """A picture uint8 (S, S, 3) or a mask bool (S, S) as the stages want it."""
        tensor = image_to_tensor(array) if array.ndim == 3 else torch.from_numpy(array.copy())[None, None]
        return tensor.to(self.device)

    def _joints_on_crop(self, joints: np.ndarray | None, crop: SquareCrop, size: int) -> Tensor | None:
        """Joints (25, 3) of the photograph to (1, 25, 3) in the pixels of the resized crop."""
        if joints is None:
            return None
        on_crop = joints.copy()
        on_crop[:, :2] = (joints[:, :2] - (crop.left, crop.top)) * (size / crop.side)
        return torch.from_numpy(on_crop)[None].to(self.device)


@dataclass(frozen=True)
class _Painted:
    """Stage 2 in the photograph: composites uint8 (H, W, 3), the best first; its own picture; the words it read."""

    composites: tuple[np.ndarray, ...]
    own_picture: np.ndarray
    words: str | None


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 4)


def _known_amodal(amodal_mask: Any, modal_mask: Any, person: Person) -> np.ndarray | None:
    if amodal_mask is None:
        return None
    if modal_mask is None:
        raise InputError("an amodal mask goes with a modal mask: give both")
    height, width = person.modal_mask.shape
    return as_mask(amodal_mask, (height, width), "amodal_mask") | person.modal_mask
