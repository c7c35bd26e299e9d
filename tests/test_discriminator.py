"""The patch discriminator: what one logit sees, and how steep it may be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deocclude.models.feedforward.discriminator import DiscriminatorConfig, PatchDiscriminator

TINY = DiscriminatorConfig(width=4)


def make_discriminator(config: DiscriminatorConfig = TINY) -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(config)


def test_paper_structure() -> None:
    discriminator = PatchDiscriminator()
    convolutions = [layer for layer in discriminator.layers if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 128, 256, 1]
    logits = discriminator(torch.rand(2, 3, 256, 256), torch.rand(2, 1, 256, 256))
    assert logits.shape == (2, 1, 31, 31)


def test_a_logit_sees_its_patch_only() -> None:
    discriminator = make_discriminator().eval()
    image, mask = torch.rand(1, 3, 128, 128), torch.rand(1, 1, 128, 128)
    changed = image.clone()
    changed[..., 64, 64] = 1 - changed[..., 64, 64]

    moved = (discriminator(image, mask) != discriminator(changed, mask))[0, 0]

    rows, columns = moved.nonzero(as_tuple=True)
    assert moved.any()
    # The receptive field is 4 + 3 * (2 + 4 + 8) = 46 pixels, so one pixel is seen by at most 6 x 6 logits.
    assert int(rows.max() - rows.min()) < 6
    assert int(columns.max() - columns.min()) < 6


def test_first_three_layers_stretch_nothing() -> None:
    discriminator = make_discriminator().train()
    for _ in range(50):  # each pass in training mode is a step of the power iteration
        discriminator(torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32))
    discriminator.eval()
    convolutions = [layer for layer in discriminator.layers if isinstance(layer, nn.Conv2d)]
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item() for layer in convolutions[:3]]
    assert norms == pytest.approx([1, 1, 1], abs=0.03)


def test_picture_and_mask_both_get_a_gradient() -> None:
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    masks = torch.rand(2, 2, 32, 32, requires_grad=True)

    make_discriminator(DiscriminatorConfig(width=4, num_masks=2))(image, masks).sum().backward()

    assert image.grad.abs().sum() > 0
    assert (masks.grad.abs().sum(dim=(0, 2, 3)) > 0).all()


def test_learns_to_tell_a_hole_from_a_body() -> None:
    discriminator = make_discriminator(DiscriminatorConfig(width=8)).train()
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=5e-3)
    image = torch.rand(8, 3, 32, 32)
    real = torch.ones(8, 1, 32, 32)
    fake = real.clone()
    fake[..., 12:24, 12:24] = 0
    for _ in range(40):
        optimiser.zero_grad()
        loss = nn.functional.softplus(-discriminator(image, real)) + nn.functional.softplus(discriminator(image, fake))
        loss.mean().backward()
        optimiser.step()
    assert discriminator(image, real).mean() > 0 > discriminator(image, fake).mean()


def test_configuration_refuses() -> None:
    with pytest.raises(ValueError, match="need width >= 1"):
        DiscriminatorConfig(width=0)
