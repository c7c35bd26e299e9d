from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from miniatures import photograph
from torch import Tensor

from deocclude.conditioning.pose_estimator import (
    MISSING_BELOW,
    PersonDetector,
    VitPoseEstimator,
    body_25_from_confident_coco,
    joints_from_file,
    load_person_detector,
    load_pose_estimator,
)
from deocclude.crops import Box
from deocclude.errors import InputError
from deocclude.skeletons import BODY_25, COCO_17

BOX = (40, 20, 90, 110)
FEET = slice(19, 25)


def tiny_vitpose(num_experts: int = 1, num_labels: int = 17) -> tuple[Any, Any]:
    """The real classes on 48 x 64 pixels, with seeded weights large enough for heatmaps with peaks."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    backbone = VitPoseBackboneConfig(
        image_size=[64, 48],
        patch_size=[16, 16],
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        num_experts=num_experts,
        part_features=8,
        out_indices=[2],
        initializer_range=0.1,
    )
    torch.manual_seed(0)
    model = VitPoseForPoseEstimation(
        VitPoseConfig(backbone_config=backbone, num_labels=num_labels, initializer_range=0.02)
    )
    return model, VitPoseImageProcessorPil(size={"height": 64, "width": 48})


class ScriptedPose:
    """In place of VitPoseForPoseEstimation: the same heatmaps, (17, h, w), whoever is shown."""

    config = SimpleNamespace(num_labels=17, backbone_config=SimpleNamespace(num_experts=1))
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, heatmaps: Tensor) -> None:
        self.heatmaps = heatmaps

    def eval(self) -> ScriptedPose:
        return self

    def __call__(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(heatmaps=self.heatmaps.expand(len(pixel_values), -1, -1, -1))


@pytest.fixture(scope="module")
def vitpose() -> VitPoseEstimator:
    return VitPoseEstimator(*tiny_vitpose())


def seen_by_vitpose(box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Upper left and lower right corner of what a 48 x 64 network sees: 1.25 times the box, three wide, four high."""
    x0, y0, x1, y1 = box
    half = 1.25 / 2 * max(x1 - x0, 0.75 * (y1 - y0)) * np.array([1, 4 / 3])
    centre = np.array([x0 + x1, y0 + y1]) / 2
    return centre - half, centre + half


def gaussians(cells_xy: np.ndarray, peaks: np.ndarray) -> Tensor:
    """Heatmaps (17, 16, 12) as ViTPose is trained to draw them."""
    y, x = np.mgrid[:16, :12]
    squared = (x - cells_xy[:, 0, None, None]) ** 2 + (y - cells_xy[:, 1, None, None]) ** 2
    return torch.from_numpy((peaks[:, None, None] * np.exp(-squared / (2 * 2**2))).astype(np.float32))


def test_vitpose_reads_heatmaps_into_the_photograph() -> None:
    rng = np.random.default_rng(0)
    cells = rng.uniform((3, 3), (8, 12), (17, 2))
    peaks = rng.uniform(0.02, 1.1, 17)
    _, processor = tiny_vitpose()
    joints = VitPoseEstimator(ScriptedPose(gaussians(cells, peaks)), processor).locate_joints(photograph(), BOX)
    low, high = seen_by_vitpose(BOX)
    expected = low + cells / (11, 15) * (high - low)
    for index, name in enumerate(COCO_17):
        joint = joints[BODY_25.index(name)]
        assert np.abs(joint[:2] - expected[index]).max() < 1.5, name  # a cell is 8 pixels
        assert peaks[index] * 0.9 <= joint[2] <= min(peaks[index], 1) or joint[2] == 1, name


def test_vitpose_joints(vitpose: VitPoseEstimator) -> None:
    joints = vitpose.locate_joints(photograph(120, 160), BOX)
    assert joints.shape == (25, 3) and joints.dtype == np.float32 and np.isfinite(joints).all()
    low, high = seen_by_vitpose(BOX)
    found = joints[: FEET.start]
    assert (found[:, :2] >= low - 1e-3).all() and (found[:, :2] <= high + 1e-3).all()
    assert ((joints[:, 2] >= 0) & (joints[:, 2] <= 1)).all() and len({*found[:, 2]}) > 5
    assert not joints[FEET].any()


def test_vitpose_locates_people_together_as_alone(vitpose: VitPoseEstimator) -> None:
    image, boxes = photograph(120, 160), [BOX, (5, 30, 60, 80), (100, 0, 160, 120), (0, 0, 160, 120)]
    together = vitpose.locate_people(image, boxes)
    assert together.shape == (4, 25, 3)
    alone = [vitpose.locate_joints(image, box) for box in boxes]
    np.testing.assert_allclose(together, alone, atol=1e-2)
    in_twos = VitPoseEstimator(vitpose.model, vitpose.processor, batch_size=2)
    np.testing.assert_allclose(together, in_twos.locate_people(image, boxes), atol=1e-2)
    assert vitpose.locate_people(image, []).shape == (0, 25, 3)


@pytest.mark.parametrize("shift", [(13, 7), (-25, 40)])
def test_joints_move_with_the_picture(vitpose: VitPoseEstimator, shift: tuple[int, int]) -> None:
    """On black, so that what lies round the picture does not tell where it was."""
    dx, dy = shift
    x0, y0, x1, y1 = BOX
    image, moved = np.zeros((200, 200, 3), np.uint8), np.zeros((200, 200, 3), np.uint8)
    image[y0:y1, x0:x1] = moved[y0 + dy : y1 + dy, x0 + dx : x1 + dx] = photograph(y1 - y0, x1 - x0)
    joints = vitpose.locate_joints(image, BOX)
    after = vitpose.locate_joints(moved, (x0 + dx, y0 + dy, x1 + dx, y1 + dy))
    np.testing.assert_allclose(after[: FEET.start, :2] - joints[: FEET.start, :2], [shift] * 19, atol=0.02)
    np.testing.assert_allclose(after[:, 2], joints[:, 2], atol=1e-4)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 50), (2, 200), (500, 3)])
def test_vitpose_on_odd_pictures(vitpose: VitPoseEstimator, size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    assert np.isfinite(vitpose.locate_joints(photograph(height, width), (0, 0, width, height))).all()


def test_vitpose_with_experts_takes_the_first() -> None:
    model, processor = tiny_vitpose(num_experts=2)
    joints = VitPoseEstimator(model, processor).locate_joints(photograph(), BOX)
    assert np.isfinite(joints).all() and joints[0].any()


def test_vitpose_from_a_folder(vitpose: VitPoseEstimator, tmp_path: Path) -> None:
    vitpose.model.save_pretrained(tmp_path)
    vitpose.processor.save_pretrained(tmp_path)
    loaded = load_pose_estimator(tmp_path, device="cpu")
    expected = vitpose.locate_joints(photograph(), BOX)
    np.testing.assert_allclose(loaded.locate_joints(photograph(), BOX), expected, atol=1e-3)
    half = load_pose_estimator(tmp_path, device="cpu", dtype=torch.bfloat16)
    assert half.locate_joints(photograph(), BOX).dtype == np.float32
    with pytest.raises(InputError, match="cannot load VitPoseForPoseEstimation from there"):
        load_pose_estimator(tmp_path / "nowhere", device="cpu")
    other, _ = tiny_vitpose(num_labels=133)
    other.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="model must find COCO's 17 joints, got one for 133"):
        load_pose_estimator(tmp_path, device="cpu")


def test_confidences_are_kept() -> None:
    keypoints = np.arange(51, dtype=np.float32).reshape(17, 3)
    keypoints[:, 2] = np.linspace(0, 0.96, 17)
    joints = body_25_from_confident_coco(keypoints)
    confidence = dict(zip(COCO_17, keypoints[:, 2], strict=True))
    for index, name in enumerate(COCO_17):
        assert joints[BODY_25.index(name)] == pytest.approx(keypoints[index])
    for middle, pair in (("neck", "shoulder"), ("mid-hip", "hip")):
        left, right = (keypoints[COCO_17.index(f"{side}-{pair}")] for side in ("left", "right"))
        joint = joints[BODY_25.index(middle)]
        assert joint[:2] == pytest.approx((left[:2] + right[:2]) / 2)
        assert joint[2] == pytest.approx(confidence[f"left-{pair}"] * confidence[f"right-{pair}"])
    assert not joints[FEET].any()


# The detector


def tiny_detector(labels: dict[int, str]) -> tuple[Any, Any]:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[8, 16, 16],
        encoder_hidden_dim=16,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_n_points=2,
        num_queries=10,
        num_denoising=0,
        id2label=labels,
        label2id={name: index for index, name in labels.items()},
    )
    torch.manual_seed(0)
    return RTDetrForObjectDetection(config), RTDetrImageProcessorPil(size={"height": 64, "width": 64})


class ScriptedDetector:
    """In place of RTDetrForObjectDetection: boxes as (centre x, centre y, width, height) shares of the picture."""

    config = SimpleNamespace(id2label={0: "person", 1: "dog"})
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, *found: tuple[str, float, tuple[float, float, float, float]]) -> None:
        self.found = found

    def eval(self) -> ScriptedDetector:
        return self

    def __call__(self, pixel_values: Tensor) -> SimpleNamespace:
        logits = torch.full((1, len(self.found), 2), -20.0)
        for query, (name, probability, _) in enumerate(self.found):
            logits[0, query, 0 if name == "person" else 1] = torch.logit(torch.tensor(probability))
        return SimpleNamespace(logits=logits, pred_boxes=torch.tensor([[box for _, _, box in self.found]]))


def test_people_largest_first() -> None:
    _, processor = tiny_detector({0: "person"})
    model = ScriptedDetector(
        ("person", 0.95, (0.25, 0.5, 0.1, 0.2)),
        ("dog", 0.99, (0.5, 0.5, 0.9, 0.9)),
        ("person", 0.6, (0.75, 0.5, 0.3, 0.8)),
        ("person", 0.4, (0.5, 0.5, 0.9, 0.9)),
        ("person", 0.9, (1.0, 1.0, 0.2, 0.1)),  # half outside
    )
    people = PersonDetector(model, processor)(photograph(100, 200))
    assert [person.box_xyxy for person in people] == [(120, 10, 180, 90), (40, 40, 60, 60), (180, 95, 200, 100)]
    assert [person.confidence for person in people] == pytest.approx([0.6, 0.95, 0.9])
    assert len(PersonDetector(model, processor, threshold=0.3)(photograph(100, 200))) == 4


def test_real_detector(tmp_path: Path) -> None:
    people = PersonDetector(*tiny_detector({0: "person"}), threshold=0.0)(photograph(90, 140))
    boxes = [person.box_xyxy for person in people]
    assert boxes and all(0 <= x0 < x1 <= 140 and 0 <= y0 < y1 <= 90 for x0, y0, x1, y1 in boxes)
    model, processor = tiny_detector({0: "dog", 1: "Person"})
    assert PersonDetector(model, processor, threshold=0.99)(photograph(90, 140)) == []
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = load_person_detector(tmp_path, device="cpu")
    assert loaded.threshold == 0.5 and loaded.person_labels == [1]


def test_a_detector_without_people_is_refused(tmp_path: Path) -> None:
    model, processor = tiny_detector({0: "dog", 1: "cat"})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="model must know the label 'person'"):
        load_person_detector(tmp_path, device="cpu")


# Files


def some_joints(left: float = 10, top: float = 20, size: float = 50, confidence: float = 0.8) -> np.ndarray:
    joints = np.random.default_rng(0).uniform(0, size, (25, 3)) + np.array([left, top, 0])
    joints[:, 2] = confidence
    return joints.astype(np.float32)


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def openpose(*people: np.ndarray) -> dict[str, Any]:
    return {"version": 1.3, "people": [{"pose_keypoints_2d": person.ravel().tolist()} for person in people]}


def named(joints: np.ndarray) -> dict[str, list[float]]:
    return dict(zip(BODY_25, joints.tolist(), strict=True))


@pytest.mark.parametrize(
    "form",
    [
        openpose,
        lambda joints: joints.tolist(),
        lambda joints: {"joints": joints.tolist()},
        lambda joints: {"joints": named(joints), "occlusion_ratio": 0.3},
    ],
    ids=["openpose", "list", "joints", "result"],
)
def test_files_of_each_form(form: Any, tmp_path: Path) -> None:
    joints = some_joints()
    joints[3, 2] = MISSING_BELOW / 2  # counts as missing, and is kept
    read = joints_from_file(written(tmp_path / "joints.json", form(joints)))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, joints)


def test_unnamed_joints_are_missing_and_confidences_end_at_one(tmp_path: Path) -> None:
    path = written(tmp_path / "joints.json", {"joints": {"nose": [3, 4, 2], "left-hip": [5, 6, 0.5]}})
    read = joints_from_file(path)
    assert read[0].tolist() == [3, 4, 1] and read[12].tolist() == [5, 6, 0.5]
    assert np.delete(read, [0, 12], axis=0).any() == False  # noqa: E712


def test_the_person_meant_is_chosen(tmp_path: Path) -> None:
    """Somebody small stands inside the box of somebody large; a third is far away, a fourth was not seen."""
    large, small, far, unseen = some_joints(0, 0, 200), some_joints(80, 80, 20), some_joints(500, 0), some_joints()
    unseen[:, 2] = 0
    path = written(tmp_path / "people.json", openpose(small, unseen, large, far))
    for box, expected in (((0, 0, 200, 200), large), ((75, 75, 105, 105), small), ((490, 10, 560, 80), far)):
        np.testing.assert_array_equal(joints_from_file(path, box_xyxy=box), expected)
    mask = np.zeros((300, 520), bool)
    mask[80:100, 80:100] = True
    np.testing.assert_array_equal(joints_from_file(path, modal_mask=mask), small)
    np.testing.assert_array_equal(joints_from_file(path, modal_mask=~mask, box_xyxy=(75, 75, 105, 105)), large)
    for where in ({"box_xyxy": (300, 300, 310, 310)}, {"modal_mask": np.zeros((9, 9), bool)}):
        with pytest.raises(InputError, match="holds 4 people, none of them where the box or the mask is"):
            joints_from_file(path, **where)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"people.json: holds 4 people; say with a box or a mask which one is meant"):
        joints_from_file(path)


def test_one_person_needs_no_choice(tmp_path: Path) -> None:
    path = written(tmp_path / "joints.json", openpose(some_joints()))
    np.testing.assert_array_equal(joints_from_file(path, box_xyxy=(900, 900, 950, 950)), some_joints())


BAD_FILES = [
    ({}, "holds no joints; give OpenPose's JSON, a list of 25"),
    ([], "holds no joints"),
    (None, "holds no joints"),
    ("nose", "holds no joints"),
    ({"joints": None}, "holds no joints"),
    ({"nose": [1, 2, 3]}, "holds no joints"),
    (some_joints()[:18].tolist(), "holds no joints"),
    ({"joints": {}}, "names no joint"),
    ({"joints": {"tail": [1, 2, 3]}}, "there is no joint 'tail'; choose from nose, neck"),
    ({"joints": {"nose": [1, 2]}}, r"the nose is not \[x, y, confidence\] in finite numbers"),
    ({"joints": {"neck": [1, 2, "high"]}}, "the neck is not"),
    ({"joints": {"neck": [1, True, 1]}}, "the neck is not"),
    ({"joints": {"neck": [1, float("nan"), 1]}}, "the neck is not"),
    ({"joints": {"neck": [10**400, 1, 1]}}, "the neck is not"),
    (some_joints()[:, :2].tolist(), "the nose is not"),
    ([1] * 25, "the nose is not"),
    ({"people": []}, "holds no person"),
    ({"people": {}}, '"people" is not a list'),
    ({"people": [1]}, "are not 75 numbers"),
    ({"people": [{"pose_keypoints_2d": [1.0] * 54}]}, "are not 75 numbers, as BODY_25 has"),
    ({"people": [{"pose_keypoints_2d": ["a"] * 75}]}, "the nose is not"),
]


@pytest.mark.parametrize(("content", "message"), BAD_FILES)
def test_bad_files(content: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "joints.json", content)
    with pytest.raises(InputError, match=message) as raised:
        joints_from_file(path)
    assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)


def test_files_that_are_no_json(tmp_path: Path) -> None:
    path = tmp_path / "joints.json"
    with pytest.raises(InputError, match=r"joints.json: cannot be read \(No such file"):
        joints_from_file(path)
    with pytest.raises(InputError, match="cannot be read"):
        joints_from_file(tmp_path)
    for content in (b"", b"{", b"\xff\xfe\x00", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"joints.json: is not JSON"):
            joints_from_file(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=25)
        | st.dictionaries(st.sampled_from(["people", "joints", "pose_keypoints_2d", "nose", "neck", "x"]), inner)
    ),
    max_leaves=30,
)


@given(content=JSON)
def test_any_file_gives_joints_or_a_sentence(content: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = written(tmp_path_factory.getbasetemp() / "any.json", content)
    with contextlib.suppress(InputError):
        joints = joints_from_file(path)
        assert joints.shape == (25, 3) and joints.dtype == np.float32 and np.isfinite(joints).all()
