"""The body prior in miniature: sizes, laws and independence of calls. Its numbers: `test_diffusion_golden.py`."""

from __future__ import annotations

import weakref

import pytest
import torch
from miniatures import standing_joints
from torch import Tensor

from deocclude.models.diffusion.body_prior import (
    BodyPrior,
    BodyPriorConfig,
    PriorFeatures,
    UNetTaps,
    dpmesh_joints,
)
from deocclude.models.diffusion.stable_diffusion import LATENT_SCALE, make_unet
from deocclude.skeletons import BODY_25, DPMESH_30
from deocclude.stages.completers.diffusion_tiny import NETWORKS, tiny_body_prior

SIZE = 64


def picture(batch: int = 1, size: int = SIZE, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def standing(batch: int = 1, size: int = SIZE) -> Tensor:
    return torch.from_numpy(standing_joints(size))[None].repeat(batch, 1, 1)


@pytest.fixture(scope="module")
def dpmesh() -> BodyPrior:
    return tiny_body_prior()


@pytest.fixture(scope="module")
def sd15() -> BodyPrior:
    torch.manual_seed(1)
    prior = BodyPrior(BodyPriorConfig(profile="sd15", networks=NETWORKS, num_tokens=77)).eval()
    prior.context.normal_()
    return prior


def exact(prior: BodyPrior) -> BodyPrior:
    """The same in float64: where a group of normalisation is two numbers, float32's rounding grows to per cents."""
    twin = BodyPrior(prior.config).double().eval()
    twin.load_state_dict(prior.state_dict())
    return twin


def tensors(features: PriorFeatures) -> list[Tensor]:
    return [*features.features, *features.attention]


def assert_same(first: PriorFeatures, second: PriorFeatures, tolerance: float = 1e-5) -> None:
    for one, other in zip(tensors(first), tensors(second), strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=1e-4)


def differ(first: PriorFeatures, second: PriorFeatures) -> bool:
    return all((one - other).abs().max() > 1e-3 for one, other in zip(first.features, second.features, strict=True))


@pytest.mark.parametrize(("profile", "num_tokens"), [("dpmesh", 30), ("sd15", 77)])
@pytest.mark.parametrize("size", [64, 256])
def test_sizes_and_shares(profile: str, num_tokens: int, size: int, request: pytest.FixtureRequest) -> None:
    prior: BodyPrior = request.getfixturevalue(profile)
    features = prior(picture(size=size), standing(size=size))
    sides = [size // 64, size // 32, size // 16, size // 8]
    assert sides == [4, 8, 16, 32] or size != 256
    assert [tuple(value.shape) for value in features.features] == [
        (1, channels, side, side) for channels, side in zip(prior.config.feature_channels, sides, strict=True)
    ]
    for value, side in zip(features.attention, sides[1:3], strict=True):
        assert value.shape == (1, num_tokens, side, side) and value.min() >= 0
        torch.testing.assert_close(value.sum(1), torch.ones(1, side, side))
    assert prior.config.num_tokens == num_tokens


def test_joints_are_sorted_by_name_and_the_rest_left_empty() -> None:
    joints = torch.arange(75.0).view(1, 25, 3) + 1
    sorted_joints = dpmesh_joints(joints)
    assert sorted_joints.shape == (1, 30, 3)
    for index, name in enumerate(DPMESH_30):
        expected = joints[:, BODY_25.index(name)] if name in BODY_25 else torch.zeros(1, 3)
        assert torch.equal(sorted_joints[:, index], expected)
    assert sorted_joints.any(-1).sum() == 19


def test_heatmaps_lie_where_the_joints_do(dpmesh: BodyPrior) -> None:
    """σ1 counts pixels of the latent, an eighth of the crop's."""
    joints = torch.zeros(1, 30, 3)
    joints[0, 4] = torch.tensor([40.0, 16.0, 0.8])
    joints[0, 5] = torch.tensor([40.0, 16.0, 0.02])
    heatmaps = dpmesh.heatmaps(joints, SIZE)
    assert heatmaps.shape == (1, 30, 8, 8)
    assert heatmaps[0, 4, 2, 5] == 1 and not heatmaps[0, [*range(4), *range(5, 30)]].any()
    assert heatmaps[0, 4, 2, 0].item() == pytest.approx(torch.tensor(-0.5 * (5 / 2.5) ** 2).exp().item())


def test_the_order_of_tokens_does_not_matter_but_that_of_heatmaps_does(dpmesh: BodyPrior) -> None:
    """Tokens are a set of places without names: only the heatmaps' channels say which joint is which."""
    prior, joints = exact(dpmesh), dpmesh_joints(standing())
    latent, heatmaps, tokens = (
        prior.latent(picture().double()),
        prior.heatmaps(joints, SIZE),
        prior.tokens(joints, SIZE),
    )
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))

    def features(heatmaps: Tensor, tokens: Tensor) -> PriorFeatures:
        return prior.taps.features(latent, 1, tokens, prior.control(latent, heatmaps, tokens))

    plain, reordered = features(heatmaps, tokens), features(heatmaps, tokens[:, order])
    renamed = features(heatmaps[:, order], tokens)
    attention = tuple(value[:, order] for value in plain.attention)
    assert_same(reordered, PriorFeatures(plain.features, attention))
    assert not torch.allclose(reordered.attention[0], plain.attention[0], atol=1e-4)
    assert differ(renamed, plain)


def test_unsure_joints_vanish_from_the_heatmaps_but_keep_their_tokens(dpmesh: BodyPrior) -> None:
    joints = dpmesh_joints(standing())
    unsure = joints.clone()
    unsure[..., 2] = 0.01
    assert dpmesh.heatmaps(joints, SIZE).any() and not dpmesh.heatmaps(unsure, SIZE).any()
    assert torch.equal(dpmesh.tokens(joints, SIZE), dpmesh.tokens(unsure, SIZE))


def test_joints_and_picture_both_count(dpmesh: BodyPrior) -> None:
    features = dpmesh(picture(), standing())
    assert differ(dpmesh(picture(), standing() * 0), features)
    assert differ(dpmesh(picture(seed=1), standing()), features)


def test_plain_stable_diffusion_reads_its_text_and_no_joints(sd15: BodyPrior) -> None:
    image = picture(2)
    features = sd15(image, standing(2))
    assert_same(sd15(image, standing(2) * 0), features, 0)
    mean = sd15.vae.encode(image * 2 - 1).latent_dist.mode()
    assert torch.equal(sd15.latent(image), mean * LATENT_SCALE)
    context = sd15.context.expand(2, -1, -1)
    assert_same(sd15.taps.features(mean * LATENT_SCALE, 0, context), features, 0)
    assert differ(sd15.taps.features(mean * LATENT_SCALE, 0, context.flip(0) * 2), features)
    assert not hasattr(sd15, "controlnet")


@pytest.mark.parametrize("profile", ["dpmesh", "sd15"])
def test_a_batch_equals_its_singles(profile: str, request: pytest.FixtureRequest) -> None:
    prior: BodyPrior = exact(request.getfixturevalue(profile))
    image, joints = picture(3).double(), standing(3)
    joints[1, :, 0] += 5
    joints[2, 4:, 2] = 0
    together = prior(image, joints)
    for index in range(3):
        alone = prior(image[index : index + 1], joints[index : index + 1])
        assert_same(alone, together.map(lambda value, index=index: value[index : index + 1]))


@pytest.mark.parametrize("profile", ["dpmesh", "sd15"])
def test_it_is_frozen(profile: str, request: pytest.FixtureRequest) -> None:
    prior: BodyPrior = request.getfixturevalue(profile)
    features = prior(picture().requires_grad_(True), standing())
    assert not any(parameter.requires_grad for parameter in prior.parameters())
    assert not any(value.requires_grad for value in tensors(features))


def test_nothing_is_kept_between_calls(dpmesh: BodyPrior) -> None:
    first = dpmesh(picture(), standing())
    other = dpmesh(picture(2, seed=1), standing(2))
    again = dpmesh(picture(), standing())
    assert all(torch.equal(one, two) for one, two in zip(tensors(first), tensors(again), strict=True))
    alive = [weakref.ref(value) for value in tensors(other)]
    del other
    assert not any(reference() is not None for reference in alive)


def test_a_call_that_fails_leaves_nothing_behind(dpmesh: BodyPrior) -> None:
    """The half of the attention maps that it had seen would shift the next call's mean."""
    first = dpmesh(picture(), standing())
    latent, tokens = dpmesh.latent(picture()), dpmesh.tokens(dpmesh_joints(standing()), SIZE)
    failing = dpmesh.unet.up_blocks[2].register_forward_pre_hook(lambda module, inputs: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            dpmesh.taps.features(latent, 1, tokens)
    finally:
        failing.remove()
    assert_same(dpmesh(picture(), standing()), first, 0)


def test_taps_leave_the_unets_output_as_it_was() -> None:
    torch.manual_seed(2)
    unet = make_unet(NETWORKS, in_channels=12).eval().requires_grad_(False).double()
    generator = torch.Generator().manual_seed(0)
    latent, context = (torch.randn(shape, generator=generator).double() for shape in ((2, 12, 8, 8), (2, 5, 64)))
    before = unet(latent, 7, context, return_dict=False)[0]
    outputs: list[Tensor] = []
    taps = UNetTaps(unet)
    unet.register_forward_hook(lambda module, inputs, output: outputs.append(output.sample))
    features = taps.features(latent, 7, context)
    torch.testing.assert_close(outputs[0], before)
    assert [value.shape[-1] for value in features.features] == [1, 2, 4, 8]
    assert [tuple(value.shape) for value in features.attention] == [(2, 5, 2, 2), (2, 5, 4, 4)]


def test_features_can_be_changed_all_at_once(dpmesh: BodyPrior) -> None:
    half = dpmesh(picture(), standing()).map(lambda value: value.half())
    assert isinstance(half, PriorFeatures) and all(value.dtype == torch.float16 for value in tensors(half))
