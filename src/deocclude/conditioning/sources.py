"""Who finds people, their boxes and their keypoints, by name, and the weights that each of them loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from deocclude.errors import InputError
from deocclude.weight_specs import WeightSpec, from_hub, require, require_all, shipped

if TYPE_CHECKING:
    import numpy as np
    import torch

    from deocclude.conditioning.people_finder import PeopleFinder
    from deocclude.conditioning.pose_estimator import DetectedPerson, PoseEstimator

Builder = TypeVar("Builder", bound=Callable[..., Any])

SEGMENTER = shipped("segmenter", "person's mask and joints", size=7_100_000, parameters=3_470_000)
# Hub page tree/main at a93ac0c ("License: apache-2.0"); full revision and sha256 together in a public pin. Parameters
# of these three: a quarter of their bytes.
VITPOSE = from_hub(
    "vitpose",
    "ViTPose-B, joints",
    "usyd-community/vitpose-base-simple",
    "a93ac0c67e0b7e2c55287d21d4c460c8f3c54d45",
    text="config.json preprocessor_config.json",
    weights={"model.safetensors": "85375373893ddd3641f3912821073e53f5435f9e966e1dca59d004454bfe4fdf"},
    size=344_000_000,
    parameters=86_000_000,
    licence="Apache-2.0",
)
# Hub page tree/457857cec8ac… ("License: apache-2.0"), the same full revision in public pins. No sha256: the one that
# was found belongs to the branch main, and nothing says that it is this commit's.
DETECTOR = from_hub(
    "detector",
    "RT-DETR R50, people's boxes",
    "PekingU/rtdetr_r50vd_coco_o365",
    "457857cec8ac28ddede40ecee9eed2beca321af8",
    text="config.json preprocessor_config.json",
    weights={"model.safetensors": None},
    size=172_000_000,
    parameters=43_000_000,
    licence="Apache-2.0",
)
# Neither its card nor a listing was seen: the licence and the size are those of copies elsewhere that say to hold these
# very weights (LibreEoMTl-seg), so that no revision and no sha256 is pinned.
EOMT = from_hub(
    "eomt",
    "EoMT-L, all people's masks",
    "tue-mps/coco_instance_eomt_large_640",
    None,
    text="config.json preprocessor_config.json",
    weights={"model.safetensors": None},
    size=1_260_000_000,
    parameters=315_000_000,
    licence="MIT",
)
WEIGHTS = (SEGMENTER, VITPOSE, DETECTOR, EOMT)

_WEIGHTS_OF: Mapping[str, tuple[WeightSpec, ...]] = {"vitpose": (VITPOSE,), "rt-detr": (DETECTOR,), "eomt": (EOMT,)}
"""What is loaded besides the segmenter, by the name of a finder, a detector or a joint source."""

JOINT_SOURCES: dict[str, Callable[[torch.device, torch.dtype], PoseEstimator | None]] = {
    "embedded": lambda device, dtype: None,
    "vitpose": lambda device, dtype: import_module("deocclude.conditioning.pose_estimator").load_pose_estimator(
        require(VITPOSE), device=device, dtype=dtype
    ),
}
"""Who finds the joints: the embedded segmenter, which needs nothing more, or ViTPose."""

DETECTORS: dict[str, Callable[[torch.device, torch.dtype], Callable[[np.ndarray], Sequence[DetectedPerson]]]] = {
    "rt-detr": lambda device, dtype: import_module("deocclude.conditioning.pose_estimator").load_person_detector(
        require(DETECTOR), device=device, dtype=dtype
    ),
}
"""Who finds people's boxes in a photograph, the largest person first."""


def _embedded_finder(segmenter: Any, device: torch.device, dtype: torch.dtype) -> PeopleFinder:
    return cast("PeopleFinder", import_module("deocclude.conditioning.embedded_people").EmbeddedPeopleFinder(segmenter))


def _detector_finder(segmenter: Any, device: torch.device, dtype: torch.dtype) -> PeopleFinder:
    detector = DETECTORS["rt-detr"](device, dtype)
    module = import_module("deocclude.conditioning.embedded_people")
    return cast("PeopleFinder", module.DetectedPeopleFinder(detector, segmenter))


def _eomt_finder(segmenter: Any, device: torch.device, dtype: torch.dtype) -> PeopleFinder:
    module = import_module("deocclude.conditioning.instance_segmenter")
    return cast("PeopleFinder", module.load_instance_segmenter(require(EOMT), device=device, dtype=dtype))


FINDERS: dict[str, Callable[[Any, torch.device, torch.dtype], PeopleFinder]] = {
    "embedded": _embedded_finder,
    "rt-detr": _detector_finder,
    "eomt": _eomt_finder,
}
"""Who finds all people in a photograph: the embedded segmenter through windows, in a detector's boxes, or EoMT."""


def check_finder_name(name: str) -> None:
    """Raises InputError for an unknown finder."""
    _found(name, FINDERS, "finder")


def weights_of(name: str | None) -> tuple[WeightSpec, ...]:
    """What the finder, detector or joint source `name` loads besides the segmenter."""
    return _WEIGHTS_OF.get(name or "", ())


def build_finder(
    name: str, segmenter: Any, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> PeopleFinder:
    """The finder `name`, with the embedded segmenter where it needs one.

    Raises InputError for an unknown name, and where its weights are not on this machine.
    """
    finder = _found(name, FINDERS, "finder")
    require_all(weights_of(name))
    return finder(segmenter, *_placed(device, dtype))


def build_detector(
    name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> Callable[[np.ndarray], Sequence[DetectedPerson]]:
    """The detector `name`. Raises InputError for an unknown name."""
    return _found(name, DETECTORS, "detector")(*_placed(device, dtype))


def build_joint_source(
    name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> PoseEstimator | None:
    """The joint source `name`; None for the segmenter itself. Raises InputError for an unknown name."""
    return _found(name, JOINT_SOURCES, "joint source")(*_placed(device, dtype))


def _found(name: str, builders: Mapping[str, Builder], kind: str) -> Builder:
    if name not in builders:
        raise InputError(f"no {kind} '{name}'; choose from {', '.join(builders)}")
    return builders[name]


def _placed(device: str | torch.device, dtype: torch.dtype | None) -> tuple[torch.device, torch.dtype]:
    import torch

    return torch.device(device), dtype or torch.float32
