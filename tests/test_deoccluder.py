"""The laws a user relies on, whatever the stages are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from miniatures import (
    GrowDown,
    Noise,
    Paint,
    RedNetwork,
    RedSegmenter,
    mask_network,
    peak_megabytes,
    photograph,
    rgb_network,
    with_red_person,
    write_assets,
)
from PIL import Image

from deocclude import Deoccluder, InputError, weights
from deocclude.conditioning.pose_estimator import DetectedPerson
from deocclude.conditioning.segmenter import EmbeddedSegmenter
from deocclude.crops import SquareCrop
from deocclude.images import image_to_tensor
from deocclude.pipelines.photograph import better_crop
from deocclude.stages.catalogue import build_mask_stage
from deocclude.stages.completers.feedforward import FeedforwardMaskCompleter, FeedforwardRgbCompleter
from deocclude.types import Deocclusion, Person

BOX = (40, 10, 52, 24)


def with_fakes(**changes: Any) -> Deoccluder:
    parts = {"segmenter": RedSegmenter(), "mask_completer": GrowDown(), "rgb_completer": Paint()} | changes
    return Deoccluder(**parts)


def with_networks(size: int = 64) -> Deoccluder:
    return Deoccluder(
        RedSegmenter(),
        FeedforwardMaskCompleter(mask_network(), size=size),
        FeedforwardRgbCompleter(rgb_network(), size=size),
    )


def assert_laws(image: np.ndarray, result: Deocclusion) -> None:
    assert result.rgb.shape == image.shape and result.rgb.dtype == np.uint8
    assert result.modal_mask.shape == result.amodal_mask.shape == image.shape[:2]
    assert result.modal_mask.dtype == result.amodal_mask.dtype == bool
    assert result.amodal_probability.shape == image.shape[:2]
    assert result.amodal_probability.dtype == np.float32
    assert result.amodal_probability.min() >= 0 and result.amodal_probability.max() <= 1
    assert (result.amodal_mask | ~result.modal_mask).all()
    assert np.array_equal(result.rgb[~result.invisible_mask], image[~result.invisible_mask])
    assert 0 <= result.occlusion_ratio < 1


@pytest.mark.parametrize("size_hw", [(64, 64), (100, 60), (61, 333), (300, 200)])
@pytest.mark.parametrize("given", [True, False])
def test_laws_hold_with_networks(size_hw: tuple[int, int], given: bool) -> None:
    height, width = size_hw
    box = (width // 3, height // 5, width // 3 + width // 4, height // 5 + height // 3)
    image, mask = with_red_person(photograph(height, width), box)
    result = with_networks()(image, modal_mask=mask if given else None)
    assert_laws(image, result)
    assert np.array_equal(result.modal_mask, mask) or not given


def test_the_hidden_part_is_found_and_painted() -> None:
    image, mask = with_red_person(photograph(), BOX)
    result = with_fakes()(image, mask)
    assert_laws(image, result)
    expected = mask.copy()
    expected[24:38, 40:52] = True
    assert (result.amodal_mask ^ expected).sum() <= 0.15 * expected.sum()
    assert result.occlusion_ratio == pytest.approx(0.5, abs=0.07)
    deep_inside = result.rgb[34, 45]
    assert deep_inside[1] > 200 and deep_inside[0] < 60


def test_all_forms_of_input_give_the_same() -> None:
    image, mask = with_red_person(photograph(), BOX)
    deoccluder = with_networks()
    first = deoccluder(image, mask)
    for form, mask_form in (
        (Image.fromarray(image), Image.fromarray(mask)),
        (image_to_tensor(image), torch.from_numpy(mask)),
        (image.astype(np.float32) / 255, mask.astype(np.uint8) * 255),
    ):
        assert np.array_equal(deoccluder(form, mask_form).rgb, first.rgb)


def test_an_already_square_picture_is_not_resampled() -> None:
    """At the networks' own size the given modal mask reaches the stage pixel for pixel."""
    image, mask = with_red_person(photograph(32, 32), (8, 2, 24, 16))
    result = with_fakes()(image, mask)
    assert np.array_equal(result.amodal_mask[2:30, 8:24], np.ones((28, 16), bool))
    assert result.amodal_mask.sum() == 28 * 16


def test_nothing_hidden_gives_the_photograph_back() -> None:
    image, mask = with_red_person(photograph(), BOX)
    result = with_fakes(mask_completer=build_mask_stage("copy-input"))(image, mask)
    assert_laws(image, result)
    assert np.array_equal(result.rgb, image) and result.occlusion_ratio == 0


def test_contours_that_disagree_by_a_pixel_are_not_invented() -> None:
    """A stage that draws the outline a pixel wider has found nothing hidden, in a large photograph either."""

    class Wider(GrowDown):
        def __call__(self, image: torch.Tensor, modal_mask: torch.Tensor, **kwargs: Any) -> Any:
            completion = super().__call__(image, modal_mask, **kwargs)
            wider = torch.nn.functional.max_pool2d(modal_mask.float(), 3, 1, 1)
            return type(completion)(modal_mask, wider > 0, wider)

    for scale in (1, 8):
        image, mask = with_red_person(photograph(64 * scale, 64 * scale), tuple(v * scale for v in (20, 16, 40, 50)))
        result = with_fakes(mask_completer=Wider(64))(image, mask)
        assert np.array_equal(result.amodal_mask, mask)


def test_a_known_amodal_mask_takes_the_place_of_stage_one() -> None:
    image, mask = with_red_person(photograph(), BOX)
    amodal = mask.copy()
    amodal[5:30, 52:60] = True
    result = with_networks()(image, mask, amodal_mask=amodal & ~mask)
    assert_laws(image, result)
    assert np.array_equal(result.amodal_mask, amodal)
    assert (result.rgb != image).any(axis=2)[amodal & ~mask].mean() > 0.9
    with pytest.raises(InputError, match="give both"):
        with_networks()(image, amodal_mask=amodal)
    with pytest.raises(InputError, match="amodal_mask"):
        with_networks()(image, mask, amodal_mask=amodal[1:])


def test_same_seed_same_bytes() -> None:
    image, mask = with_red_person(photograph(), BOX)
    first, again, other = (with_fakes(rgb_completer=Noise(), seed=seed)(image, mask).rgb for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(with_networks()(image, mask).rgb, with_networks()(image, mask).rgb)


def test_only_a_guessed_mask_may_be_refined() -> None:
    image, mask = with_red_person(photograph(), BOX)
    stage = GrowDown()
    for refine_modal, given, refined in ((True, mask, False), (False, None, False), (True, None, True)):
        result = with_fakes(mask_completer=stage, refine_modal=refine_modal)(image, given)
        assert stage.refine_modal is refined
        source = "given" if given is not None else "stage 1" if refined else "segmenter"
        assert result.facts["modal_mask_from"] == source


def test_stage_one_gets_the_joints_in_its_own_pixels() -> None:
    image, mask = with_red_person(photograph(32, 32), (8, 2, 24, 16))
    stage = GrowDown(size=16)
    stage.accepts = frozenset({"keypoints"})
    result = with_fakes(mask_completer=stage)(image, mask)
    assert stage.joints is not None and stage.joints.shape == (1, 25, 3)
    assert stage.joints[0, 0].tolist() == pytest.approx([8, 4.5, 0.5])
    assert result.joints is not None and result.joints[0].tolist() == [16, 9, 0.5]
    assert with_fakes(segmenter=None)(image, mask).joints is None


def test_a_small_or_cut_off_person_is_completed_on_another_crop() -> None:
    for box, calls in (((80, 0, 110, 50), 1), ((80, 40, 110, 100), 2)):  # the second runs out of the first crop
        stage = GrowDown()
        image, mask = with_red_person(photograph(200, 200), box)
        result = with_fakes(mask_completer=stage)(image, mask)
        assert stage.calls == calls
        assert result.amodal_mask.sum() == pytest.approx(2 * mask.sum(), rel=0.15)
    image, mask = with_red_person(photograph(200, 200), (90, 150, 100, 200))  # nowhere to grow: small in the crop
    stage = GrowDown()
    result = with_fakes(mask_completer=stage)(image, mask)
    assert stage.calls == 2
    left, _, right, _ = result.facts["crop_xyxy"]
    assert right - left == 65  # 1.3 times its height


def box_mask(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((400, 600), bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize(
    ("box", "crop", "wants"),
    [
        ((150, 120, 200, 280), SquareCrop(100, 100, 200), False),
        ((150, 180, 170, 220), SquareCrop(100, 100, 200), True),  # small
        (
            (150, 120, 200, 300),
            SquareCrop(100, 100, 200),
            True,
        ),  # touches the lower side, the picture goes on
        ((150, 220, 200, 400), SquareCrop(100, 200, 200), False),  # touches the picture's own end
        ((0, 20, 600, 380), SquareCrop(0, -100, 600), False),  # all there is
    ],
)
def test_when_another_crop_is_better(box: Any, crop: SquareCrop, wants: bool) -> None:
    other = better_crop(box_mask(*box), crop, 64)
    assert (other is not None) == wants
    if other is not None:
        left, top, right, bottom = other.box_xyxy
        assert left < box[0] and top < box[1] and right > box[2] and bottom > min(box[3], 399)
        assert better_crop(box_mask(*box), other, 64) is None


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        ((0, 0, 97, 70), "outside the picture, which is 96 x 64"),
        ((200, 200, 300, 300), "outside"),
        ((-20, 0, 30, 30), "outside"),
        ((30, 30, 30, 50), "empty"),
        ((-2, 0, 0, 50), "empty"),
        ((0, 64, 50, 66), "empty"),
        ((50, 30, 30, 50), "empty"),
        ((1, 2, 3), "X0,Y0,X1,Y1"),
        ((0, 0, float("nan"), 30), "X0,Y0,X1,Y1"),
    ],
)
def test_bad_boxes(box: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        with_fakes()(with_red_person(photograph(), BOX)[0], box=box)


def test_a_box_may_round_over_the_border() -> None:
    image, mask = with_red_person(photograph(), BOX)
    assert np.array_equal(with_fakes()(image, box=(-0.6, 0, 96.4, 64.9)).modal_mask, mask)


def test_calls_that_cannot_work() -> None:
    image, mask = with_red_person(photograph(), BOX)
    with pytest.raises(InputError, match="not both"):
        with_fakes()(image, mask, box=(0, 0, 20, 20))
    with pytest.raises(InputError, match="give a modal mask"):
        with_fakes(segmenter=None)(image)
    with pytest.raises(InputError, match="no person found"):
        with_fakes()(photograph())
    for wrong, sentence in (
        (mask[:-1], "96 x 63"),
        ((~mask).astype(np.uint8), "inverted"),
        (mask & False, "empty"),
        (np.ones(mask.shape, np.uint8), "full"),
    ):
        with pytest.raises(InputError, match=sentence):
            with_fakes()(image, wrong)


@pytest.mark.parametrize("size_hw", [(1, 3), (2, 2), (3, 400)])
def test_tiny_pictures(size_hw: tuple[int, int]) -> None:
    image, mask = photograph(*size_hw), np.zeros(size_hw, bool)
    mask[-1, -1] = True
    assert_laws(image, with_networks()(image, mask))


def test_a_person_thinner_than_a_pixel_of_the_crop() -> None:
    image, mask = photograph(300, 300), np.zeros((300, 300), bool)
    mask[::60, 150] = True
    assert_laws(image, with_networks()(image, mask))


def complete_in_large_picture(height: int, width: int) -> None:
    image, mask = with_red_person(np.full((height, width, 3), 90, np.uint8), (1500, 200, 2100, 700))
    start = time.process_time()
    segmenter = EmbeddedSegmenter(RedNetwork(), mirror=False)  # type: ignore[arg-type]
    deoccluder = Deoccluder(segmenter, GrowDown(256), FeedforwardRgbCompleter(rgb_network(), size=256))
    for given in (mask, None):  # without a mask, the segmenter looks at the whole picture first
        result = deoccluder(image, given)
        assert result.invisible_mask.any()
        assert np.array_equal(result.rgb[~result.invisible_mask], image[~result.invisible_mask])
    assert time.process_time() - start < 30


@pytest.mark.parametrize(("height", "width"), [(4000, 6000), (1200, 20000)])
def test_24_megapixels(height: int, width: int) -> None:
    """The work is on the crop: seconds, and little memory beside the pictures that are returned."""
    assert peak_megabytes(complete_in_large_picture, height, width) < 1200


def test_facts_say_how_it_was_made() -> None:
    image, mask = with_red_person(photograph(), BOX)
    facts = with_fakes(seed=7)(image, mask).facts
    assert facts["method"] == {
        "detector": None,
        "conditioning": "red",
        "joints": "red",
        "mask_completion": "grow-down",
        "occlusion": None,
        "rgb_completion": "paint",
    }
    assert facts["weights_sha256"]["rgb_completion"] == "0" * 64
    assert facts["seed"] == 7 and facts["device"] == "cpu" and facts["modal_mask_from"] == "given"
    assert set(facts["seconds"]) == {"find_person", "mask_completion", "rgb_completion"}


def test_from_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask = with_red_person(photograph(), BOX)
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    with pytest.raises(InputError, match=r"segmenter\.safetensors"):
        Deoccluder.from_preset("feedforward")
    write_assets(tmp_path)
    result = Deoccluder.from_preset("feedforward")(image, modal_mask=mask)
    assert_laws(image, result)
    hashes = result.facts["weights_sha256"]
    assert hashes.pop("detector") is None, "with a mask no one is looked for"
    assert all(len(sha256) == 64 for sha256 in hashes.values())
    mixed = Deoccluder.from_preset("feedforward", mask_stage="convex-hull", rgb_stage="mean-colour")
    assert mixed(image, mask).facts["method"]["mask_completion"] == "convex-hull"
    for wrong in ({"device": "warp-drive"}, {"device": "cuda:99"}, {"dtype": "int3"}, {"mask_stage": "no"}):
        with pytest.raises(InputError):
            Deoccluder.from_preset("feedforward", **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="choose from feedforward"):
        Deoccluder.from_preset("diffusions")


class KnownBoxes:
    """A detector of the boxes that it is made with, alike sure of all."""

    name = "known boxes"

    def __init__(self, *boxes: tuple[int, int, int, int]) -> None:
        self.boxes = boxes

    def __call__(self, image: np.ndarray) -> list[DetectedPerson]:
        return [DetectedPerson(box, 0.8) for box in self.boxes]


CORNER, MIDDLE = (0, 0, 12, 14), (30, 8, 66, 60)


def two_red_people() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, corner = with_red_person(photograph(), CORNER)
    image, middle = with_red_person(image, MIDDLE)
    return image, corner, middle


def test_without_mask_and_box_the_most_prominent_person_is_completed_and_the_others_are_counted() -> None:
    image, _, middle = two_red_people()
    segmenter = EmbeddedSegmenter(RedNetwork(), size=64, mirror=False, larger_size=None)  # type: ignore[arg-type]
    result = with_fakes(segmenter=segmenter, detector=KnownBoxes(CORNER, MIDDLE))(image)
    assert (result.modal_mask & middle).sum() / (result.modal_mask | middle).sum() > 0.9
    assert result.facts["other_people_found"] == 1 and result.facts["method"]["detector"] == "known boxes"
    assert "other_people_found" not in with_fakes(detector=KnownBoxes(CORNER))(image, box=CORNER).facts


def test_a_box_in_which_the_segmenter_sees_no_one_gives_way_to_the_next() -> None:
    image, corner = with_red_person(photograph(), CORNER)
    result = with_fakes(detector=KnownBoxes(CORNER, MIDDLE))(image)
    assert np.array_equal(result.modal_mask, corner)


def test_where_the_detector_sees_no_one_the_segmenter_is_not_asked() -> None:
    class Forbidden(RedSegmenter):
        def __call__(self, image: np.ndarray, box_xyxy: Any = None) -> Person:
            raise AssertionError("the segmenter was asked")

    with pytest.raises(InputError, match="no person found in the picture"):
        with_fakes(segmenter=Forbidden(), detector=KnownBoxes())(two_red_people()[0])


class KnowsOne:
    """A pose estimator that knows the joints of the person whose mask holds a point."""

    name = "knows one"

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def locate_joints(self, image: np.ndarray, box_xyxy: Any, modal_mask: Any = None) -> np.ndarray | None:
        return np.full((25, 3), 0.5, np.float32) if modal_mask[self.y, self.x] else None


def test_joints_are_those_of_the_joint_source_and_where_it_sees_no_one_the_segmenters() -> None:
    image, corner, middle = two_red_people()
    deoccluder = with_fakes(joint_source=KnowsOne(50, 30))
    known, unknown = deoccluder(image, middle), deoccluder(image, corner)
    assert known.joints is not None and (known.joints == 0.5).all()
    assert known.facts["joints_from"] == "knows one"
    assert unknown.joints is not None and unknown.facts["joints_from"] == "red"
    given = deoccluder(image, middle, joints=np.ones((25, 3), np.float32))
    assert given.facts["joints_from"] == "given"
