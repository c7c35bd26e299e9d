"""MoveNet on photographs: what it is shown, whose keypoints these are, and that it looks once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from miniatures import movenet_network, photograph
from torch import Tensor, nn

from deocclude.conditioning.movenet import MIN_FIT, MoveNetEstimator, PosedPeople, fit, load_movenet
from deocclude.models.perception.movenet import NUM_KEYPOINTS, MoveNetMaps
from deocclude.skeletons import BODY_25

PERSON = (30, 10, 60, 60)


class RedMoveNet(nn.Module):
    """In the network's place: one person, whose box is what is red and whose keypoints all lie in its middle."""

    def __init__(self) -> None:
        super().__init__()
        self.like = nn.Parameter(torch.zeros(()))
        self.inputs: list[Tensor] = []

    def forward(self, image: Tensor) -> MoveNetMaps:
        self.inputs.append(image)
        red = nn.functional.avg_pool2d(image[:, :1] - image[:, 1:2], 4)[0, 0] > 0.9
        height, width = red.shape
        maps = MoveNetMaps(
            center=torch.zeros(1, height, width),
            box_size=torch.zeros(1, height, width, 2),
            box_offset=torch.full((1, height, width, 2), 0.5),
            keypoint_heatmaps=torch.zeros(1, height, width, NUM_KEYPOINTS),
            keypoint_regression=torch.zeros(1, height, width, NUM_KEYPOINTS, 2),
            keypoint_offset=torch.full((1, height, width, NUM_KEYPOINTS, 2), 0.5),
        )
        if red.any():
            rows, columns = torch.nonzero(red).unbind(dim=1)
            y, x = (int((at.min() + at.max()) // 2) for at in (rows, columns))
            maps.center[0, y, x] = 0.9
            maps.keypoint_heatmaps[0, y, x] = 0.8
            maps.box_size[0, y, x] = torch.stack([at.max() - at.min() + 1 for at in (rows, columns)]).float()
        return maps


def estimator(long_side: int = 96) -> tuple[MoveNetEstimator, RedMoveNet]:
    network = RedMoveNet()
    return MoveNetEstimator(network, long_side=long_side), network  # type: ignore[arg-type]


def with_person(height: int = 64, width: int = 96) -> np.ndarray:
    image = photograph(height, width) // 8
    x0, y0, x1, y1 = (round(value * height / 64) for value in PERSON)
    image[y0:y1, x0:x1] = (255, 0, 0)
    return image


def masked(box: tuple[int, int, int, int], size_hw: tuple[int, int] = (64, 96)) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def test_the_photograph_is_padded_to_multiples_of_32_with_black() -> None:
    posed, network = estimator()
    posed.people(photograph(70, 96))
    (seen,) = network.inputs
    assert seen.shape == (1, 3, 96, 96) and seen.max() <= 1
    assert (seen[:, :, 70:] == 0).all() and (seen[:, :, :70] > 0).any()


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_people_are_in_the_photographs_pixels_whatever_its_size(scale: int) -> None:
    posed, network = estimator()
    people = posed.people(with_person(64 * scale, 96 * scale))
    assert network.inputs[0].shape == (1, 3, 64, 96)
    expected = np.array([28, 8, 60, 60]) * scale  # in cells of 4 pixels
    assert np.abs(people.boxes[0] - expected).max() <= 4 * scale
    assert np.abs(people.keypoints[0, :, :2] - np.array([44, 34]) * scale).max() <= 4 * scale
    assert people.scores[0] == pytest.approx(0.9 * 0.8)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 500), (500, 3), (4000, 6)])
def test_any_size_is_looked_at(size_hw: tuple[int, int]) -> None:
    posed, _ = estimator()
    people = posed.people(photograph(*size_hw))
    assert np.isfinite(people.keypoints).all() and (people.scores < 0.1).all()


def test_a_photograph_is_looked_at_once_and_another_one_is_looked_at() -> None:
    posed, network = estimator()
    image = with_person()
    first = posed.people(image)
    posed.locate_joints(image, PERSON)
    assert posed.people(image.copy()) is first and len(network.inputs) == 1
    image[:] = 0  # the same array, another picture
    assert (posed.people(image).scores < 0.1).all() and len(network.inputs) == 2


def test_joints_are_those_of_the_person_who_is_meant() -> None:
    posed, network = estimator()
    joints = posed.locate_joints(with_person(), PERSON, masked(PERSON))
    assert joints is not None and joints.shape == (25, 3) and joints.dtype == np.float32
    assert joints[BODY_25.index("nose"), 2] == pytest.approx(0.8)
    assert joints[BODY_25.index("neck"), 2] == pytest.approx(0.64)
    assert joints[BODY_25.index("left-heel"), 2] == 0
    assert len(network.inputs) == 1


def test_where_no_one_fits_a_crop_is_looked_at_and_then_there_are_no_joints() -> None:
    posed, network = estimator()
    elsewhere = (70, 0, 96, 20)
    assert posed.locate_joints(with_person(), elsewhere, masked(elsewhere)) is None
    assert [tuple(seen.shape[2:]) for seen in network.inputs] == [(64, 96), (256, 256)]


def test_a_person_too_small_for_the_whole_photograph_is_found_in_the_crop() -> None:
    image = photograph(600, 900) // 8
    small = (700, 400, 703, 404)
    image[400:404, 700:703] = (255, 0, 0)
    posed, network = estimator()
    joints = posed.locate_joints(image, small)
    assert joints is not None and len(network.inputs) == 2
    assert np.abs(joints[BODY_25.index("nose"), :2] - (701.5, 402)).max() < 1


def some_people(*boxes: tuple[int, int, int, int]) -> PosedPeople:
    """People whose 17 keypoints lie on the diagonal of their box."""
    corners = np.array(boxes, float)
    along = np.linspace(0.05, 0.95, NUM_KEYPOINTS)[None, :, None]
    points = corners[:, None, :2] * (1 - along) + corners[:, None, 2:] * along
    scores = np.full((len(boxes), NUM_KEYPOINTS, 1), 0.5)
    return PosedPeople(corners, np.full(len(boxes), 0.5), np.concatenate([points, scores], axis=2))


def test_the_same_box_and_all_keypoints_on_the_mask_fit_best() -> None:
    people = some_people(PERSON, (40, 0, 90, 60), (0, 0, 5, 5))
    fits = fit(people, PERSON, masked(PERSON))
    assert fits[0] == pytest.approx(2) and fits.argmax() == 0 and fits[2] == 0
    assert (fits >= 0).all() and (fits <= 2).all()


def test_of_two_people_with_one_box_the_mask_says_which() -> None:
    people = some_people((0, 0, 60, 60), (0, 0, 60, 60))
    people.keypoints[0, :, 0], people.keypoints[1, :, 0] = 10, 50
    left, right = masked((0, 0, 30, 60)), masked((30, 0, 60, 60))
    assert fit(people, (0, 0, 60, 60), left).argmax() == 0
    assert fit(people, (0, 0, 60, 60), right).argmax() == 1
    assert fit(people, (0, 0, 60, 60), None) == pytest.approx(2)


def test_hidden_keypoints_do_not_lose_their_person() -> None:
    """Half of the body is hidden: the box of the visible part is half as high, half of the keypoints lie on it."""
    person = (30, 0, 50, 60)
    upper = (30, 0, 50, 30)
    assert fit(some_people(person), upper, masked(upper))[0] > MIN_FIT


def test_the_shipped_network_is_loaded_once() -> None:
    device = torch.device("cpu")
    assert load_movenet(device=device) is load_movenet(device=device)


def test_the_real_class_sees_its_one_person_or_no_one() -> None:
    image = photograph(48, 64)
    sees = MoveNetEstimator(movenet_network(finds=True), long_side=64).people(image)
    assert sees.boxes[0].tolist() == [0, 0, 64, 48] and sees.scores[0] > 0.9
    assert (MoveNetEstimator(movenet_network(finds=False), long_side=64).people(image).scores < 0.01).all()
