"""The embedded segmenter's network."""

from __future__ import annotations

import torch

from deocclude.imagenet import imagenet_state_dict
from deocclude.models.efficientnet import FEATURE_CHANNELS, EfficientNetLite0
from deocclude.models.segmenter import SegmenterConfig, SegmenterNetwork


def test_imagenet_weights_fit_and_a_fourth_channel_starts_unheard() -> None:
    three, four = EfficientNetLite0().eval(), EfficientNetLite0(in_channels=4).eval()
    weights = imagenet_state_dict()
    three.load_imagenet(weights)
    four.load_imagenet(weights)
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    maps = three(picture)
    assert [features.shape[1] for features in maps] == list(FEATURE_CHANNELS)
    assert [features.shape[2] for features in maps] == [32, 16, 8, 4, 2]
    with_box = four(torch.cat([picture, torch.ones(1, 1, 64, 64)], dim=1))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(maps, with_box, strict=True))


def test_features_are_those_of_the_published_network() -> None:
    """Mean absolute value of each map for a fixed ramp, computed with efficientnet_lite_pytorch 0.1.0."""
    network = EfficientNetLite0().eval()
    network.load_imagenet(imagenet_state_dict())
    ramp = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    means = [features.abs().mean().item() for features in network(ramp)]
    assert [round(mean, 4) for mean in means] == PUBLISHED


PUBLISHED = [4.7906, 6.0602, 5.345, 4.7325, 1.2067]


def test_mask_at_full_size_and_joints_at_a_quarter() -> None:
    torch.manual_seed(0)
    output = SegmenterNetwork(SegmenterConfig(decoder_channels=(8, 8, 8))).eval()(
        torch.rand(2, 3, 64, 96), torch.ones(2, 1, 64, 96)
    )
    assert output.modal_logits.shape == (2, 1, 64, 96)
    assert output.joint_heatmap_logits.shape == (2, 25, 16, 24)
