"""The whole method (paper A, Eq. 3): find the person, complete the mask, complete the picture, put it back.

Networks work on a square crop; everything that is returned has the photograph's own size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from deocclude.conditioning.occlusion_evidence import OcclusionEstimator
from deocclude.conditioning.people_finder import prominence
from deocclude.conditioning.pose_estimator import MISSING_BELOW, DetectedPerson, Detector, PoseEstimator
from deocclude.conditioning.sources import build_detector, build_joint_source
from deocclude.crops import Box
from deocclude.devices import checked_device, checked_dtype, enough_memory
from deocclude.errors import InputError
from deocclude.images import as_image, as_mask
from deocclude.masks import mask_box
from deocclude.metrics.seam import seam_score
from deocclude.pipelines.completion import (
    Painted,
    Subject,
    checked_joints,
    complete_masks,
    complete_pictures,
)
from deocclude.pipelines.control import Control, with_joints
from deocclude.pipelines.detail import Detail
from deocclude.pipelines.photograph import CompletedMask, checked_box
from deocclude.pipelines.plausibility import judge
from deocclude.stages.catalogue import build_mask_stage, build_rgb_stage, check_weights
from deocclude.stages.memory import Choice, check_memory
from deocclude.stages.presets import preset
from deocclude.types import Deocclusion, MaskCompleter, Person, RgbCompleter

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

NO_PERSON = "no person found in the picture; say where with a box, or give the mask of the visible part"
NO_JOINTS = "no joints were found; the mask was completed without them"
BATCH_SIZE = 8
"""People at once on an accelerator. A CPU gains nothing from batches, and one by one everybody's bytes are as alone."""


class Segmenter(Protocol):
    """Finds people and their joints; `conditioning.segmenter.EmbeddedSegmenter` is one."""

    name: str

    def __call__(self, image: np.ndarray, box_xyxy: Box | None = None) -> Person: ...
    def locate_joints(self, image: np.ndarray, box_xyxy: Box) -> np.ndarray: ...


class NamedDetector:
    """A detector of `sources.DETECTORS`, loaded when it is first asked: with a mask or a box it never is."""

    def __init__(self, name: str, *, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self.name = name
        self._placed = device, dtype

    def __call__(self, image: np.ndarray) -> Sequence[DetectedPerson]:
        """The people of uint8 (H, W, 3). Raises InputError where the detector's weights are missing."""
        return self._detector(image)

    @cached_property
    def _detector(self) -> Detector:
        device, dtype = self._placed
        return build_detector(self.name, device=device, dtype=dtype)


class Deoccluder:
    """De-occludes one person of a photograph.

    segmenter: finds the person's mask where none is given, and the joints; None if a mask always is.
    mask_completer, rgb_completer: the two stages, already on `device`.
    refine_modal: take stage 1's modal mask instead of the segmenter's, as paper B does (Eq. 1); a given mask is kept.
    joint_source: finds the joints; where it sees no such person, the segmenter does.
    detector: finds people's boxes where neither mask nor box says where the person is; without one the segmenter looks
        at the whole photograph.
    num_candidates: pictures of each person, of an RGB stage that draws at random; the best one is the result.
    batch_size: people at once, of a stage that takes batches; by default 1 on a CPU and `BATCH_SIZE` elsewhere.
    detail: what is painted in a crop of a large photograph gets the texture of what is visible (`pipelines.detail`), or
        is enlarged plainly.
    seed: of whatever a stage draws at random. The same seed gives the same bytes on a CPU.
    estimator: says where something may hide a person, and keeps every mask stage to it (law 2); None believes the
        stage.
    """

    def __init__(
        self,
        segmenter: Segmenter | None,
        mask_completer: MaskCompleter,
        rgb_completer: RgbCompleter,
        *,
        refine_modal: bool = False,
        joint_source: PoseEstimator | None = None,
        detector: Detector | None = None,
        num_candidates: int = 1,
        batch_size: int | None = None,
        detail: Detail = "texture",
        device: str | torch.device = "cpu",
        seed: int = 0,
        estimator: OcclusionEstimator | None = None,
    ) -> None:
        if rgb_completer.needs_painting_mask_stage and not mask_completer.paints:
            raise InputError(f"the RGB stage '{rgb_completer.name}' goes with the mask stage 'one-stage' alone")
        if num_candidates > 1 and not rgb_completer.draws_candidates:
            raise InputError(f"the RGB stage '{rgb_completer.name}' has one answer; leave the candidates out")
        self.segmenter = segmenter
        self.mask_completer = mask_completer
        self.rgb_completer = rgb_completer
        self.refine_modal = refine_modal
        self.joint_source = joint_source
        self.detector = detector
        self.num_candidates = num_candidates
        self.detail = detail
        self.device = torch.device(device)
        self.batch_size = batch_size or (1 if self.device.type == "cpu" else BATCH_SIZE)
        self.seed = seed
        self.estimator = estimator

    @classmethod
    def from_preset(
        cls,
        name: str,
        *,
        mask_stage: str | None = None,
        rgb_stage: str | None = None,
        rgb_options: Mapping[str, Any] | None = None,
        joints: str | None = None,
        refine_modal: bool = False,
        num_candidates: int = 1,
        detail: Detail = "texture",
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
        seed: int = 0,
    ) -> Deoccluder:
        """A preset (`stages.presets`), with stages and joint source exchanged by name if wanted.

        rgb_options: settings of the RGB stage in place of its own, by name, as the command line's options are called.
        dtype: of the networks' arithmetic; without one, float32, and bfloat16 for diffusion stages where the device
            computes in it.
        Raises InputError for an unknown name, a device this machine lacks, missing weights and too little memory.
        """
        from deocclude.conditioning.occlusion_evidence import load_occlusion_estimator
        from deocclude.conditioning.segmenter import load_segmenter

        chosen = preset(name)
        device, dtype = checked_device(device), checked_dtype(dtype)
        stages = mask_stage or chosen.mask_stage, rgb_stage or chosen.rgb_stage
        joints = joints or chosen.joints
        check_weights(*stages, joints, rgb_options)  # before gigabytes are loaded
        check_memory(Choice(*stages, device, dtype, rgb_options or {}))
        with enough_memory(device):
            return cls(
                load_segmenter(device=device, dtype=dtype or torch.float32),
                build_mask_stage(stages[0], device=device, dtype=dtype),
                build_rgb_stage(stages[1], device=device, dtype=dtype, options=rgb_options),
                refine_modal=refine_modal,
                joint_source=build_joint_source(joints, device=device, dtype=dtype),
                detector=NamedDetector(chosen.detector, device=device, dtype=dtype),
                num_candidates=num_candidates,
                detail=detail,
                device=device,
                seed=seed,
                estimator=load_occlusion_estimator(device=device, dtype=dtype or torch.float32),
            )

    def __call__(
        self,
        image: Image | np.ndarray | Tensor,
        modal_mask: Image | np.ndarray | Tensor | None = None,
        box: tuple[float, float, float, float] | None = None,
        *,
        amodal_mask: Image | np.ndarray | Tensor | None = None,
        joints: np.ndarray | None = None,
        control: Control | None = None,
    ) -> Deocclusion:
        """Complete one person.

        image: a PIL picture, uint8 (H, W, 3) or float in [0, 1], or a tensor ([1,] 3, H, W) (`images.as_image`).
        modal_mask: the visible part of the person, of the same size; it is taken as exact.
        box: x0, y0, x1, y1 in pixels, where to look for the person; without mask and box, the most prominent one: sure,
            large and near the middle.
        amodal_mask: with `modal_mask`, the whole person in stage 1's place, to judge stage 2 alone.
        joints: BODY_25, float (25, 3) of x, y in pixels and confidence, instead of finding them.
        control: what else the user wishes.

        Raises InputError for input that cannot be used and where nobody is found.
        """
        clock = _Clock()
        with enough_memory(self.device), clock.step("find_person"):
            image, facts = as_image(image), {}
            if modal_mask is None and box is None:
                person, others = self.find_prominent(image)
                person = self.with_found_joints(image, person, joints)
                facts["other_people_found"] = others
            else:
                person = self.find(image, modal_mask, box, joints=joints)
            subject = self.subject(
                image,
                person,
                modal_mask_is_exact=modal_mask is not None,
                amodal_mask=_known_amodal(amodal_mask, modal_mask, person),
                control=control,
                facts=facts,
            )
        result = self.complete([subject])[0]
        return replace(result, facts={**result.facts, "seconds": {**clock.seconds, **result.facts["seconds"]}})

    @torch.inference_mode()
    def find(
        self, image: np.ndarray, modal_mask: Any = None, box: Any = None, *, joints: np.ndarray | None = None
    ) -> Person:
        """The person meant, with its joints; arguments as of a call, but image uint8 (H, W, 3). Raises InputError."""
        return self.with_found_joints(image, self._find_person(image, modal_mask, box), joints)

    @torch.inference_mode()
    def find_prominent(self, image: np.ndarray) -> tuple[Person, int | None]:
        """The most prominent person of uint8 (H, W, 3), and how many others the detector saw; None without a detector.

        A photograph in which the detector sees no one is not shown to the segmenter. Raises InputError where no one is
        found.
        """
        if self.segmenter is None:
            raise InputError("there is no segmenter here to find the person; give a modal mask")
        if self.detector is None:
            return self.segmenter(image, None), None
        people = list(self.detector(image))
        image_hw = (image.shape[0], image.shape[1])
        people.sort(key=lambda one: prominence(one.box_xyxy, one.confidence, image_hw), reverse=True)
        for detected in people:
            with suppress(InputError):  # the segmenter sees no one there: then the next one
                return self.segmenter(image, detected.box_xyxy), len(people) - 1
        raise InputError(NO_PERSON)

    def subject(
        self,
        image: np.ndarray,
        person: Person,
        *,
        modal_mask_is_exact: bool = False,
        amodal_mask: np.ndarray | None = None,
        control: Control | None = None,
        facts: dict[str, Any] | None = None,
        photograph_box: Box | None = None,
    ) -> Subject:
        """A person of a photograph uint8 (H, W, 3) for `complete`. Raises InputError for wishes no stage can fulfil.

        photograph_box: where the photograph lies, if the image is a canvas larger than it.
        """
        control = (control or Control()).checked((image.shape[0], image.shape[1]))
        control.check(self.mask_completer, self.rgb_completer)
        refine = self.refine_modal and not modal_mask_is_exact
        found = "given" if modal_mask_is_exact else "stage 1" if refine else "segmenter"
        return Subject(
            image=image,
            person=person,
            modal_mask_is_exact=modal_mask_is_exact,
            refine=refine,
            photograph_box=photograph_box,
            amodal_mask=amodal_mask,
            control=control,
            facts={"modal_mask_from": found, "joints_from": person.joints_from, **(facts or {})},
        )

    def complete(self, subjects: Sequence[Subject]) -> list[Deocclusion]:
        """Complete people of one or of many photographs, each as it would come out alone: on a CPU to the byte."""
        return self.complete_pictures(subjects, self.complete_masks(subjects))

    @torch.inference_mode()
    def complete_masks(self, subjects: Sequence[Subject]) -> list[CompletedMask]:
        """Stage 1: the whole body of each person."""
        with enough_memory(self.device):
            start = time.perf_counter()
            completed = complete_masks(
                self.mask_completer,
                subjects,
                device=self.device,
                batch_size=self.batch_size,
                estimator=self.estimator,
            )
            return [replace(one, seconds=_share(start, subjects)) for one in completed]

    @torch.inference_mode()
    def complete_pictures(
        self,
        subjects: Sequence[Subject],
        completed: Sequence[CompletedMask],
        seen: Sequence[np.ndarray] | None = None,
    ) -> list[Deocclusion]:
        """Stage 2: the picture of each person's invisible part, back in the photograph.

        completed: what `complete_masks` said of these people. seen: the photographs as the stage is to see them, uint8
        (H, W, 3); the subjects' own by default.
        """
        images = [subject.image for subject in subjects] if seen is None else seen
        with enough_memory(self.device):
            start = time.perf_counter()
            painted = complete_pictures(
                self.rgb_completer,
                list(zip(subjects, completed, strict=True)),
                seen=images,
                device=self.device,
                batch_size=self.batch_size,
                num_candidates=self.num_candidates,
                seed=self.seed,
                detail=self.detail,
            )
            seconds = _share(start, subjects)
        return [
            self._result(subject, one, picture, {"mask_completion": one.seconds, "rgb_completion": seconds})
            for subject, one, picture in zip(subjects, completed, painted, strict=True)
        ]

    def _result(
        self, subject: Subject, completed: CompletedMask, painted: Painted, seconds: dict[str, float]
    ) -> Deocclusion:
        person = subject.person
        joints = with_joints(person.joints, subject.control.joints)
        masks = completed.modal_mask, completed.amodal_mask
        judged = judge(*masks, completed.amodal_probability)
        seam = seam_score(painted.composites[0], *masks)
        return Deocclusion(
            rgb=painted.composites[0],
            modal_mask=completed.modal_mask,
            amodal_mask=completed.amodal_mask,
            amodal_probability=completed.amodal_probability,
            joints=joints,
            candidates=painted.composites,
            own_picture=painted.own_picture,
            occluder_mask=completed.occluder_mask,
            facts={
                **self.facts,
                "notes": [*self._notes(joints), *completed.notes],
                "plausible": judged.plausible,
                "doubts": list(judged.reasons),
                "doubt_figures": judged.figures,
                "seam_score": None if seam is None else round(seam, 3),
                "words": painted.words,
                "control": subject.control.facts,
                **subject.facts,
                "crop_xyxy": list(completed.crop.box_xyxy),
                "seconds": seconds,
            },
        )

    @property
    def parts(self) -> dict[str, Part]:
        """What each of its parts says of itself, by the step it does."""
        return {
            "detector": _perception(self.detector),
            "conditioning": _perception(self.segmenter),
            "joints": _perception(self.joint_source or self.segmenter),
            "mask_completion": _stage(self.mask_completer),
            "occlusion": _perception(self.estimator),
            "rgb_completion": _stage(self.rgb_completer),
        }

    @property
    def facts(self) -> dict[str, Any]:
        """What is the same for every picture: the method, its weights, seed, device. For a JSON file."""
        from deocclude import __version__

        parts = self.parts
        return {
            "deocclude_version": __version__,
            "method": {step: part.name for step, part in parts.items()},
            "weights_sha256": {step: part.weights_sha256 for step, part in parts.items()},
            "dtype": {step: part.dtype.removeprefix("torch.") for step, part in parts.items()},
            "rgb_settings": self.rgb_completer.settings,
            "detail": self.detail,
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
            return Person(mask_xyxy, mask)
        if box is None:
            return self.find_prominent(image)[0]
        if self.segmenter is None:
            raise InputError("there is no segmenter here to find the person; give a modal mask")
        return self.segmenter(image, checked_box(box, (image.shape[0], image.shape[1])))

    def with_found_joints(self, image: np.ndarray, person: Person, joints: np.ndarray | None = None) -> Person:
        """The person with the joints given, else those of the joint source, their own, or the segmenter's."""
        if joints is not None:
            return replace(person, joints=checked_joints(joints), joints_from="given")
        if self.joint_source is not None:
            found = self.joint_source.locate_joints(image, person.box_xyxy, person.modal_mask)
            if found is not None:
                return replace(person, joints=found, joints_from=self.joint_source.name)
        if person.joints is not None or self.segmenter is None:
            return person
        found = self.segmenter.locate_joints(image, person.box_xyxy)
        return replace(person, joints=found, joints_from=self.segmenter.name)

    def _notes(self, joints: np.ndarray | None) -> list[str]:
        """What a user must be told of this result."""
        notes = [self.mask_completer.note, self.rgb_completer.note]
        found = joints is not None and bool((joints[:, 2] > MISSING_BELOW).any())
        if "keypoints" in self.mask_completer.accepts and not found:
            notes.append(NO_JOINTS)
        return [note for note in dict.fromkeys(notes) if note]


@dataclass(frozen=True)
class Part:
    """A part of a method: its name, what identifies its weights, and its arithmetic ("" without networks)."""

    name: str | None
    weights_sha256: str | dict[str, str] | None
    dtype: str


def _stage(stage: MaskCompleter | RgbCompleter) -> Part:
    return Part(stage.name, stage.weights_sha256, "" if stage.dtype is None else str(stage.dtype))


def _perception(part: Any) -> Part:
    """Of what finds people, keypoints or occluders, which has a network or not; None where there is none."""
    dtype = getattr(part, "dtype", "")
    return Part(getattr(part, "name", None), getattr(part, "weights_sha256", None), str(dtype))


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 4)


def _share(start: float, subjects: Sequence[Subject]) -> float:
    """Seconds since then for each of these people."""
    return round((time.perf_counter() - start) / max(len(subjects), 1), 4)


def _known_amodal(amodal_mask: Any, modal_mask: Any, person: Person) -> np.ndarray | None:
    if amodal_mask is None:
        return None
    if modal_mask is None:
        raise InputError("an amodal mask goes with a modal mask: give both")
    height, width = person.modal_mask.shape
    return as_mask(amodal_mask, (height, width), "amodal_mask") | person.modal_mask
