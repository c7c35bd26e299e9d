"""Run a method over an occlusion set and write its predictions; a killed run goes on where it stopped."""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from deocclude.data.imperfect_masks import grow_boundary
from deocclude.data.keypoint_files import KEYPOINTS_JSON, read_joints
from deocclude.data.occlusion_set import MANIFEST, OcclusionSample, OcclusionSet
from deocclude.errors import InputError
from deocclude.evaluation import provenance
from deocclude.evaluation.predictions import PredictionFolder, Record
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.types import Deocclusion

logger = logging.getLogger(__name__)

Progress = Callable[[Iterable[str]], Iterable[str]]
Modal = Literal["given", "grown", "box", "predicted"]
FINDS_MODAL = ("box", "predicted")
"""Values of `Protocol.modal` with which the method finds the modal mask, which is then a part of its answer."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What the method is told about each person."""

    modal: Modal = "given"
    """`given`: the set's true modal mask; `grown`: the same, 5 to 30 % larger (paper A, Table L); `box`: the box of the
    manifest's columns x0, y0, x1, y1, as `run --box` takes it; `predicted`: the image alone."""
    amodal: Literal["predicted", "true"] = "predicted"
    """`true`: the RGB stage gets the set's true amodal mask, so that it is judged alone."""
    joints: Literal["found", "true"] = "found"
    """`true`: the labels' joints from the set's joints.json, found without the occluder: no method has them."""
    raw: bool = False
    """Keep the stages' own answers, as paper A scores them: the mask with the slivers along its contour, and the RGB
    stage's picture, visible pixels included."""

    def __post_init__(self) -> None:
        if self.amodal == "true" and self.modal != "given":
            raise InputError(f"the true amodal mask goes with the true modal one; leave '--modal {self.modal}' out")

    @property
    def finds_modal(self) -> bool:
        """Whether the modal mask is a part of the method's answer."""
        return self.modal in FINDS_MODAL


@dataclass
class Outcome:
    """What became of each person.

    done, skipped: ids of those done now and before. failed, unreadable: sentences by id, for those the method
    could not do and those whose files cannot be read.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


def predict(
    deoccluder: Deoccluder,
    people: OcclusionSet,
    folder: PredictionFolder,
    protocol: Protocol,
    *,
    limit: int | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> Outcome:
    """De-occlude the set's first `limit` people (all by default), except those the folder has.

    A person who fails stops nobody else. Raises InputError for a folder made with other settings or weights, for the
    set's own, and for several candidates of a stage's own picture, of which it keeps one.
    """
    folder.check_apart(people.root)
    if protocol.modal == "box":
        people.check_boxes()
    if protocol.raw and deoccluder.num_candidates > 1:
        raise InputError("of the RGB stage's own picture (--raw) there is one; leave --candidates out")
    settings = _settings(deoccluder, people, protocol)
    record = _opened_record(folder, people.ids, settings, overwrite)
    outcome, with_modal = Outcome(), protocol.finds_modal
    ids = people.ids[:limit]
    joints = read_joints(people.root / KEYPOINTS_JSON) if protocol.joints == "true" else {}
    try:
        for index, person_id in enumerate(progress(ids)):
            if folder.has(person_id, with_modal=with_modal):
                outcome.skipped.append(person_id)
            elif protocol.joints == "true" and person_id not in joints:
                outcome.unreadable[person_id] = f"{people.root / 'joints.json'}: has no joints of {person_id}"
            elif (sample := _readable(people, index, outcome)) is not None:
                _predict_one(deoccluder, sample, joints.get(person_id), folder, protocol, record, outcome)
    finally:  # also when interrupted: the seconds of the people done are only here
        folder.write_record(record)
    return outcome


def _predict_one(
    deoccluder: Deoccluder,
    sample: OcclusionSample,
    joints: np.ndarray | None,
    folder: PredictionFolder,
    protocol: Protocol,
    record: Record,
    outcome: Outcome,
) -> None:
    try:
        result = deocclude_sample(deoccluder, sample, protocol, joints=joints)
    except InputError as error:
        logger.info("%s: %s", sample.id, error)
        record.failed[sample.id] = outcome.failed[sample.id] = str(error)
        return
    folder.write(sample.id, result, with_modal=protocol.finds_modal, raw=protocol.raw)
    record.facts = {key: value for key, value in result.facts.items() if key not in ("seconds", "crop_xyxy")}
    record.seconds[sample.id] = round(sum(result.facts.get("seconds", {}).values()), 4)
    record.failed.pop(sample.id, None)
    outcome.done.append(sample.id)


def deocclude_sample(
    deoccluder: Deoccluder, sample: OcclusionSample, protocol: Protocol, *, joints: np.ndarray | None = None
) -> Deocclusion:
    """One person of a set, by the protocol. joints: BODY_25 (25, 3), in place of those the method finds.

    Raises InputError where the method gives no answer.
    """
    if protocol.modal == "predicted":
        return deoccluder(sample.occluded, joints=joints)
    if protocol.modal == "box":
        return deoccluder(sample.occluded, box=sample.box_xyxy, joints=joints)
    if protocol.amodal == "true":
        return deoccluder(sample.occluded, modal_mask=sample.modal, amodal_mask=sample.amodal, joints=joints)
    modal_mask = sample.modal
    if protocol.modal == "grown":
        # By the person's id: the same mask for every method, whoever else is in the set.
        rng = np.random.default_rng(zlib.crc32(sample.id.encode()))
        modal_mask = grow_boundary(modal_mask, rng, probability=1.0)
    return deoccluder(sample.occluded, modal_mask=modal_mask, joints=joints)


def _readable(people: OcclusionSet, index: int, outcome: Outcome) -> OcclusionSample | None:
    try:
        return people[index]
    except InputError as error:
        outcome.unreadable[people.ids[index]] = str(error)
        return None


def _settings(deoccluder: Deoccluder, people: OcclusionSet, protocol: Protocol) -> dict[str, Any]:
    """What must not change while a folder fills up: half of the figures would be another method's."""
    names = {"mask_completion": "mask_stage", "rgb_completion": "rgb_stage"}
    parts = {names.get(step, step): part for step, part in deoccluder.parts.items()}
    if protocol.modal != "predicted":
        del parts["detector"]  # no one is looked for
    return {
        "set": people.root.resolve().name,
        "manifest_sha256": hashlib.sha256((people.root / MANIFEST).read_bytes()).hexdigest(),
        "modal": protocol.modal,
        "amodal": protocol.amodal,
        "true_joints": protocol.joints == "true",
        "raw": protocol.raw,
        "refine_modal": deoccluder.refine_modal,
        "candidates": deoccluder.num_candidates,
        "detail": deoccluder.detail,
        "seed": deoccluder.seed,
        "device": deoccluder.device.type,
        **{name: part.name for name, part in parts.items()},
        "rgb_settings": deoccluder.rgb_completer.settings,
        "dtype": {name: part.dtype for name, part in parts.items()},
        "weights_sha256": {name: part.weights_sha256 for name, part in parts.items()},
    }


def _opened_record(folder: PredictionFolder, ids: list[str], settings: dict[str, Any], overwrite: bool) -> Record:
    """The record to go on with; written before the first person, so that a killed run is recognised too."""
    if overwrite:
        folder.forget(ids)
        record = Record()
    else:
        record = folder.read_record()
    is_started = bool(record.settings) or any(folder.has(person_id, with_modal=False) for person_id in ids)
    if is_started and record.settings != settings:
        changed = [key for key, value in settings.items() if record.settings.get(key) != value]
        raise InputError(
            f"{folder.root}: holds predictions made otherwise (other {', '.join(changed)}); "
            "choose another folder or say --overwrite"
        )
    # What was begun at one commit and goes on at another was made by both.
    commits = [*((record.commit or "").split(" and ") if is_started else []), provenance.commit()]
    record.settings, record.machine = settings, provenance.machine()
    record.commit = " and ".join(dict.fromkeys(filter(None, commits))) or None
    folder.write_record(record)
    return record
