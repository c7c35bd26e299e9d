"""Copied colours are means of the visible person's, nearer ones first."""

from __future__ import annotations

import torch
from torch import Tensor

from deocclude.models.feedforward.colour_copying import MIN_SHARE, REACHES, ColourCopying
from deocclude.models.feedforward.parsing_attention import Guidance

PARTS, CHANNELS, HEADS = 3, 6, 2


def make(batch: int = 2, size: int = 32) -> tuple[Tensor, Tensor, Tensor, Tensor, Guidance]:
    """Features at a quarter, image, modal mask, amodal mask, guidance: a block with a hidden band."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, CHANNELS, size // 4, size // 4, generator=generator)
    image = torch.rand(batch, 3, size, size, generator=generator) * 2 - 1
    amodal = torch.zeros(batch, 1, size, size)
    amodal[..., 4:-4, 8:-8] = 1
    modal = amodal.clone()
    modal[..., 12:20, :] = 0
    parsing = torch.rand(batch, PARTS, size, size, generator=generator)
    return features, image, modal, amodal, Guidance(modal > 0, parsing * modal, parsing * amodal)


def copying() -> ColourCopying:
    torch.manual_seed(0)
    return ColourCopying(CHANNELS, PARTS, num_heads=HEADS)


def test_a_person_of_one_colour_is_continued_in_it() -> None:
    features, image, modal, amodal, guidance = make()
    colour = torch.tensor([0.5, -0.25, 0.75]).view(1, 3, 1, 1)
    image = torch.where(modal > 0, colour, image)
    copied = copying()(features, image, modal, amodal, guidance)
    assert copied.shape == (2, HEADS, 3, 32, 32)
    hidden = ((amodal - modal) > 0)[:, None].expand_as(copied)
    torch.testing.assert_close(copied[hidden], colour[:, None].expand_as(copied)[hidden])


def test_nothing_but_the_visible_person_is_looked_at() -> None:
    features, image, modal, amodal, guidance = make()
    other = torch.where(modal > 0, image, -image)
    network = copying()
    assert torch.equal(
        network(features, image, modal, amodal, guidance), network(features, other, modal, amodal, guidance)
    )


def test_without_likeness_the_weights_are_gaussians_of_the_distance() -> None:
    features, image, modal, amodal, guidance = make(batch=1)
    network = copying()
    torch.nn.init.zeros_(network.query.weight), torch.nn.init.zeros_(network.query.bias)
    copied = network(features, image, modal, amodal, guidance)

    share = torch.nn.functional.avg_pool2d(modal, 4)[0, 0]
    cells = torch.nn.functional.avg_pool2d(image * modal, 4)[0] / share.clamp(min=1e-3)
    places = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"), -1) / 8
    is_key = share >= MIN_SHARE
    hidden = torch.nn.functional.max_pool2d(amodal * (1 - modal), 4)
    wanted = torch.nn.functional.max_pool2d(hidden, 3, 1, 1)[0, 0] > 0
    for head in range(HEADS):
        squared = (places[:, :, None] - places[is_key]).square().sum(-1)
        weights = (-squared / (2 * REACHES[head] ** 2)).softmax(dim=-1)
        mean = torch.einsum("ijk,ck->cij", weights, cells[:, is_key])
        expected = torch.nn.functional.interpolate(
            torch.where(wanted, mean, cells)[None], (32, 32), mode="bilinear", align_corners=False
        )
        torch.testing.assert_close(copied[:, head], expected, atol=1e-4, rtol=1e-4)


def test_nobody_visible_gives_no_colour() -> None:
    features, image, modal, amodal, guidance = make()
    copied = copying()(features, image, torch.zeros_like(modal), amodal, guidance)
    assert not copied.any()
