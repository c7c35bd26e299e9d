"""NanoDet-g: the numbers of the published graph, its conversion, and what boxes mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from deocclude.models.perception import nanodet
from deocclude.models.perception.nanodet import (
    NanoDet,
    NanoDetConfig,
    cell_centers,
    decode_boxes,
    nanodet_from_tfjs,
)
from deocclude.weights import asset_path, load_network, read_header

TOLERANCE = 2e-3
CELLS = (52, 26, 13)
TINY = NanoDetConfig(stem_channels=4, stage_blocks=(1, 1, 1, 1), neck_channels=8, num_classes=3, num_bins=5)


def normalized(image: Tensor) -> Tensor:
    """uint8 RGB (H, W, 3) to the network's input."""
    mean, std = torch.tensor(nanodet.MEAN_BGR), torch.tensor(nanodet.STD_BGR)
    return ((image.flip(2).float() - mean) / std).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def shipped() -> NanoDet:
    network, _ = load_network(asset_path("nanodet"), expected="NanoDet")
    assert isinstance(network, NanoDet)
    return network


@pytest.mark.parametrize("picture", range(4))
def test_the_shipped_weights_give_the_published_numbers(recorded: Path, shipped: NanoDet, picture: int) -> None:
    io = load_file(recorded / "nanodet_g" / "io.safetensors")
    with torch.inference_mode():
        output = shipped(normalized(io[f"in.image_{picture}"]))
    levels = [cells**2 for cells in CELLS]
    scores, sides = output.scores[0].split(levels), output.side_logits[0].flatten(1).split(levels)
    for level, cells in enumerate(CELLS):
        expected = io[f"out.scores_{picture}_{cells}"]
        torch.testing.assert_close(scores[level][:, : expected.shape[1]], expected, atol=TOLERANCE, rtol=0)
        if (name := f"out.sides_{picture}_{cells}") in io:
            torch.testing.assert_close(sides[level], io[name], atol=TOLERANCE, rtol=0)


def published(network: NanoDet) -> dict[str, Tensor]:
    """A network's weights under the published graph's names, and one of the graph's own constants."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    tensors = {"unknown_63": torch.zeros(3)}
    for number, convolution in enumerate(convolutions):
        weight, bias = nanodet._published_names(number)
        assert convolution.bias is not None
        tensors |= {weight: convolution.weight.detach().permute(2, 3, 1, 0), bias: convolution.bias.detach()}
    return tensors


def test_conversion_puts_every_weight_where_it_was() -> None:
    original = NanoDet(NanoDetConfig()).eval()
    converted = nanodet_from_tfjs(published(original))
    assert converted.unused == ("unknown_63",)
    ours, theirs = converted.network.state_dict(), original.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_what_is_not_nanodets_is_refused() -> None:
    tensors = published(NanoDet(NanoDetConfig()))
    with pytest.raises(ValueError, match="not a checkpoint of NanoDet-g: it has no 'unknown_72'"):
        nanodet_from_tfjs({name: value for name, value in tensors.items() if name != "unknown_72"})
    with pytest.raises(ValueError, match=r"'unknown_72' has the shape \(3,\) instead of \(124,\)"):
        nanodet_from_tfjs(tensors | {"unknown_72": torch.zeros(3)})


def test_the_file_says_whose_weights_it_holds() -> None:
    assert "Copyright 2020-2021 RangiLyu, Apache-2.0" in read_header(asset_path("nanodet"))["__metadata__"]["notice"]


@pytest.mark.parametrize("size_hw", [(32, 32), (64, 96)])
def test_there_is_an_answer_for_every_cell(size_hw: tuple[int, int]) -> None:
    output = NanoDet(TINY).eval()(torch.zeros(2, 3, *size_hw))
    centers, strides = cell_centers(size_hw)
    assert output.scores.shape == (2, len(centers), 3)
    assert output.side_logits.shape == (2, len(centers), 4, 5)
    assert len(strides) == len(centers) == sum(size_hw[0] * size_hw[1] // stride**2 for stride in (8, 16, 32))


def test_a_box_is_as_far_from_its_cell_as_the_bins_say() -> None:
    """All weight on one bin a side: left 0, top 1, right 2, bottom 3 cells."""
    centers, strides = cell_centers((64, 96))
    bins = torch.tensor([0, 1, 2, 3])
    logits = torch.full((4, 5), -1e4).scatter(1, bins[:, None], 1e4).expand(len(centers), 4, 5)
    boxes = decode_boxes(logits, (64, 96))
    distances = (boxes - centers.repeat(1, 2)).abs() / strides[:, None]
    assert torch.equal(distances, bins.float().expand_as(distances))
    assert (boxes[:, 2:] >= boxes[:, :2]).all()


def test_the_expectation_lies_between_bins() -> None:
    logits = torch.full((84, 4, 11), -1e4)
    logits[..., 4] = logits[..., 5] = 0
    boxes = decode_boxes(logits, (64, 64))
    widths = boxes[:, 2] - boxes[:, 0]
    assert torch.allclose(widths, 9 * cell_centers((64, 64))[1])
