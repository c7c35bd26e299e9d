"""MoveNet MultiPose: the numbers of the published graph, its conversion, and how maps become people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from deocclude.models.perception import movenet
from deocclude.models.perception.movenet import (
    NUM_KEYPOINTS,
    MoveNet,
    MoveNetConfig,
    MoveNetMaps,
    decode_people,
    movenet_from_tfjs,
)
from deocclude.weights import asset_path, load_network, read_header

TOLERANCE = 2e-3
TINY = MoveNetConfig(last_channels=8, pyramid_channels=(8, 8, 8), head_channels=8)


@pytest.fixture(scope="module")
def shipped() -> MoveNet:
    network, _ = load_network(asset_path("movenet"), expected="MoveNet")
    assert isinstance(network, MoveNet)
    return network


@pytest.mark.parametrize("picture", range(4))
def test_the_shipped_weights_give_the_published_people(recorded: Path, shipped: MoveNet, picture: int) -> None:
    io = load_file(recorded / "movenet_multipose" / "io.safetensors")
    image = io[f"in.image_{picture}"]
    with torch.inference_mode():
        people = decode_people(shipped(image.permute(2, 0, 1)[None].float() / 255))
    expected, size_xy = io[f"out.people_{picture}"], torch.tensor([image.shape[1], image.shape[0]])
    keypoints = people.keypoints.clone()
    keypoints[..., :2] /= size_xy
    published = expected[:, :51].unflatten(1, (NUM_KEYPOINTS, 3))[..., [1, 0, 2]]
    torch.testing.assert_close(keypoints, published, atol=TOLERANCE, rtol=0)
    boxes = people.boxes / size_xy.repeat(2)
    torch.testing.assert_close(boxes, expected[:, [52, 51, 54, 53]], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(people.scores, expected[:, 55], atol=TOLERANCE, rtol=0)


def published(network: MoveNet) -> dict[str, Tensor]:
    """A network's weights under the published graph's names, and one of the graph's own constants."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    tensors = {"StatefulPartitionedCall/truediv": torch.zeros(1, 1, 1, 3)}
    for convolution, (weight, bias) in zip(convolutions, movenet._published_names(), strict=True):
        order = (2, 3, 0, 1) if convolution.groups > 1 else (2, 3, 1, 0)
        tensors[movenet.PREFIX + weight] = convolution.weight.detach().permute(order)
        assert (convolution.bias is not None) == bool(bias)
        if convolution.bias is not None:
            tensors[movenet.PREFIX + bias] = convolution.bias.detach()
    return tensors


def test_conversion_puts_every_weight_where_it_was() -> None:
    original = MoveNet(MoveNetConfig()).eval()
    converted = movenet_from_tfjs(published(original))
    assert converted.unused == ("StatefulPartitionedCall/truediv",)
    ours, theirs = converted.network.state_dict(), original.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_what_is_not_movenets_is_refused() -> None:
    tensors = published(MoveNet(MoveNetConfig()))
    name = "StatefulPartitionedCall/center_0/conv2d_4/BiasAdd/ReadVariableOp"
    with pytest.raises(ValueError, match="not a checkpoint of MoveNet MultiPose: it has no 'Stateful"):
        movenet_from_tfjs({key: value for key, value in tensors.items() if key != name})
    with pytest.raises(ValueError, match=r"has the shape \(3,\) instead of \(1,\)"):
        movenet_from_tfjs(tensors | {name: torch.zeros(3)})


def test_the_file_says_whose_weights_it_holds() -> None:
    assert "Google, Apache-2.0" in read_header(asset_path("movenet"))["__metadata__"]["notice"]


def test_maps_are_a_quarter_of_the_image() -> None:
    maps = MoveNet(TINY).eval()(torch.zeros(2, 3, 64, 96))
    assert maps.center.shape == (2, 16, 24)
    assert maps.keypoint_heatmaps.shape == (2, 16, 24, NUM_KEYPOINTS)
    assert maps.keypoint_regression.shape == maps.keypoint_offset.shape == (2, 16, 24, NUM_KEYPOINTS, 2)


def empty_maps(height: int = 24, width: int = 32) -> MoveNetMaps:
    return MoveNetMaps(
        center=torch.zeros(1, height, width),
        box_size=torch.zeros(1, height, width, 2),
        box_offset=torch.zeros(1, height, width, 2),
        keypoint_heatmaps=torch.zeros(1, height, width, NUM_KEYPOINTS),
        keypoint_regression=torch.zeros(1, height, width, NUM_KEYPOINTS, 2),
        keypoint_offset=torch.zeros(1, height, width, NUM_KEYPOINTS, 2),
    )


def add_person(maps: MoveNetMaps, y: int, x: int, *, center: float, keypoint: float = 0.9) -> None:
    """A person of 12 x 6 cells at a cell, whose every keypoint lies 2 cells below and 1 left of it."""
    maps.center[0, y, x] = center
    maps.box_size[0, y, x] = torch.tensor([12.0, 6.0])
    maps.box_offset[0, y, x] = torch.tensor([0.5, 0.25])
    maps.keypoint_regression[0, y, x] = torch.tensor([2.0, -1.0])
    maps.keypoint_heatmaps[0, y + 2, x - 1] = keypoint
    maps.keypoint_offset[0, y + 2, x - 1] = torch.tensor([0.125, 0.75])


def test_people_are_read_at_their_centers_in_the_inputs_pixels() -> None:
    maps = empty_maps()
    add_person(maps, 10, 20, center=0.5)
    add_person(maps, 12, 8, center=0.75)
    people = decode_people(maps)
    assert torch.equal(people.boxes[:2], torch.tensor([[21.0, 26, 45, 74], [69.0, 18, 93, 66]]))
    expected = torch.tensor([[[7.75, 14.125], [19.75, 12.125]]]).transpose(0, 1) * 4
    assert torch.allclose(people.keypoints[:2, :, :2], expected.expand(2, NUM_KEYPOINTS, 2))
    assert torch.allclose(people.keypoints[:2, :, 2], torch.tensor(0.9))
    assert torch.allclose(people.scores, torch.tensor([0.75, 0.5, 0, 0, 0, 0]) * torch.tensor(0.9))


def test_neighbours_of_a_peak_are_nobody() -> None:
    maps = empty_maps()
    add_person(maps, 10, 20, center=0.5)
    maps.center[0, 9:12, 19:22] = 0.4
    maps.center[0, 10, 20] = 0.5
    assert (decode_people(maps).scores > 0).sum() == 1


def test_a_keypoint_is_of_the_person_in_whose_box_it_lies_and_the_nearer_counts_more() -> None:
    maps = empty_maps()
    add_person(maps, 10, 20, center=0.5)
    maps.keypoint_heatmaps[0, 12, 3] = 1.0  # clearer, far outside
    maps.keypoint_heatmaps[0, 8, 21] = 0.95  # inside, but further from where the person says
    keypoints = decode_people(maps).keypoints[0]
    assert torch.allclose(keypoints[:, :2], torch.tensor([19.75, 12.125]) * 4)


def test_faint_keypoints_do_not_count_in_a_persons_score() -> None:
    maps = empty_maps()
    add_person(maps, 10, 20, center=0.5)
    maps.keypoint_heatmaps[0, 12, 19, 5:] = 0.1
    people = decode_people(maps)
    assert people.scores[0] == pytest.approx(0.5 * 0.9)
    assert people.keypoints[0, 5:, 2] == pytest.approx(torch.full((12,), 0.1))
    assert decode_people(replace(maps, keypoint_heatmaps=maps.keypoint_heatmaps * 0)).scores[0] == 0


def test_boxes_end_at_the_edge() -> None:
    maps = empty_maps()
    add_person(maps, 2, 1, center=0.5)
    x0, y0, x1, y1 = decode_people(maps).boxes[0].tolist()
    assert (x0, y0) == (0, 0) and x1 <= 32 * 4 and y1 == 34


def test_more_people_can_be_asked_for() -> None:
    maps = empty_maps()
    for place in range(8):
        add_person(maps, 6 if place % 2 else 16, 3 + 3 * place, center=0.9 - place / 20)
    assert len(decode_people(maps).scores) == 6
    assert (decode_people(maps, num_people=10).scores > 0).sum() == 8
