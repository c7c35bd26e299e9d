"""Partial convolution against its definition, window by window, and the clamp that keeps its gradient."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deocclude.models.layers import MaskedFeatures, PartialConv2d, clamp_keeping_gradient


def random_maps(channels: int, height: int, width: int, *, seed: int, known: float = 0.5) -> MaskedFeatures:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, channels, height, width, generator=generator)
    return MaskedFeatures(features, (torch.rand(2, 1, height, width, generator=generator) < known).float())


def make_layer(channels: int, size: int, *, stride: int, renormalise: bool = True) -> PartialConv2d:
    torch.manual_seed(0)
    layer = PartialConv2d(channels, 4, size, stride=stride, bias=True, renormalise=renormalise)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.5, -1.0, 2.0, 0.25]))
    return layer


def window_by_window(layer: PartialConv2d, groups: tuple[MaskedFeatures, ...], stride: int) -> tuple[Tensor, Tensor]:
    """The definition: a sum over the known values of each window, divided by their share of it."""
    weight, half = layer.conv.weight, layer.conv.weight.shape[-1] // 2
    values = F.pad(torch.cat([x for x, _ in groups], dim=1), [half] * 4)
    masks = F.pad(torch.cat([m.expand_as(x) for x, m in groups], dim=1), [half] * 4)
    size, (batch, _, padded_height, padded_width) = weight.shape[-1], values.shape
    rows, columns = range(0, padded_height - size + 1, stride), range(0, padded_width - size + 1, stride)
    output = torch.zeros(batch, len(weight), len(rows), len(columns))
    known = torch.zeros(batch, 1, len(rows), len(columns))
    for sample, (i, top), (j, left) in itertools.product(range(batch), enumerate(rows), enumerate(columns)):
        window = (sample, slice(None), slice(top, top + size), slice(left, left + size))
        share = masks[window].sum() if not layer.renormalise else masks[window].mean()
        if share > 0:
            total = (weight * (values[window] * masks[window])).sum(dim=(1, 2, 3))
            output[sample, :, i, j] = total / share + layer.bias
            known[sample, :, i, j] = 1
    return output, known


@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 2), (7, 2)])
def test_equals_the_definition_for_groups_with_masks_of_their_own(size: int, stride: int, renormalise: bool) -> None:
    layer = make_layer(5, size, stride=stride, renormalise=renormalise)
    groups = (random_maps(2, 9, 6, seed=1, known=0.1), random_maps(3, 9, 6, seed=2, known=0.05))

    features, mask = layer(*groups)

    expected, known = window_by_window(layer, groups, stride)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(mask, known)
    if size == 3:
        assert 0 < known.mean() < 1, "a test of both cases needs both"


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (7, 2)])
def test_box_filter_counts_what_a_convolution_with_ones_counts(size: int, stride: int) -> None:
    layer = make_layer(5 + 64, size, stride=stride)
    groups = (random_maps(64, 33, 20, seed=1), random_maps(5, 33, 20, seed=2, known=0.8))

    counts = layer._window_counts(groups)

    masks = torch.cat([mask.expand_as(features) for features, mask in groups], dim=1)
    assert torch.equal(counts, F.conv2d(masks, torch.ones(1, 69, size, size), stride=stride, padding=size // 2))


def test_full_mask_is_a_plain_convolution_but_for_the_border() -> None:
    layer = make_layer(3, 3, stride=1)
    features = random_maps(3, 8, 8, seed=0).features

    partial, mask = layer(MaskedFeatures(features, torch.ones(2, 1, 8, 8)))

    plain = F.conv2d(features, layer.conv.weight, layer.bias, padding=1)
    bias = layer.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(partial[..., 1:-1, 1:-1], plain[..., 1:-1, 1:-1])
    # A corner window sees 4 of its 9 pixels.
    torch.testing.assert_close((partial - bias)[..., 0, 0], (plain - bias)[..., 0, 0] * 9 / 4)
    assert mask.all()


def test_unknown_values_never_matter() -> None:
    layer = make_layer(3, 5, stride=2)
    maps = random_maps(3, 12, 12, seed=3)
    others = MaskedFeatures(maps.features + 100 * (1 - maps.mask), maps.mask)

    assert torch.equal(layer(maps).features, layer(others).features)


def test_nothing_known_gives_nothing() -> None:
    layer = make_layer(3, 3, stride=1)

    features, mask = layer(MaskedFeatures(torch.ones(1, 3, 6, 6), torch.zeros(1, 1, 6, 6)))

    assert not features.any(), "the bias is left out too"
    assert not mask.any()


def test_scale_of_the_known_values_survives_a_hole() -> None:
    """The point of the renormalisation: a constant picture stays constant, however little of it is known."""
    layer = PartialConv2d(1, 1, 3)
    with torch.no_grad():
        layer.conv.weight.fill_(1 / 9)
    mask = random_maps(1, 10, 10, seed=5, known=0.3).mask

    features, known = layer(MaskedFeatures(torch.full((2, 1, 10, 10), 0.7), mask))

    torch.testing.assert_close(features, 0.7 * known)


def test_clamp_leads_back_into_the_range() -> None:
    values = torch.tensor([-2.0, -2.0, -1.0, 0.3, 1.0, 2.0, 2.0], requires_grad=True)
    gradient = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0])

    clamped = clamp_keeping_gradient(values, -1, 1)
    clamped.backward(gradient)

    assert torch.equal(clamped, values.clamp(-1, 1))
    # Against the gradient lies the range for all but the first (further down) and the last (further up).
    assert torch.equal(values.grad, torch.tensor([0.0, -1.0, 1.0, -1.0, 1.0, 1.0, 0.0]))
