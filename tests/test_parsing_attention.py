"""Parsing guided attention: the invisible pixels alone against the full matrix and against Eq. 6."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deocclude.models.feedforward.parsing_attention import (
    BodyPartStream,
    Combine,
    Guidance,
    Keys,
    ParsingGuidedAttention,
    Relation,
    SpatialStream,
)

PARTS, CHANNELS, SIZE = 4, 6, 8


def make_guidance(known: Tensor, *, seed: int = 0) -> Guidance:
    """The left half of the picture is a body of random parts."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(PARTS, known.shape[:1] + known.shape[2:], generator=generator)
    amodal = torch.nn.functional.one_hot(labels, PARTS).permute(0, 3, 1, 2).float()
    amodal[..., known.shape[-1] // 2 :] = 0
    return Guidance(known, amodal * known, amodal)


def ragged_case() -> tuple[Tensor, Guidance]:
    """Five samples: few and many invisible pixels, none, all, and a person of whom nothing is visible."""
    generator = torch.Generator().manual_seed(0)
    share = torch.tensor([0.05, 0.6, 0, 0, 0.3]).view(5, 1, 1, 1)
    known = torch.rand(5, 1, SIZE, SIZE, generator=generator) > share
    known[2], known[3] = True, False
    known[4, ..., : SIZE // 2] = False
    return torch.randn(5, CHANNELS, SIZE, SIZE, generator=generator), make_guidance(known)


def make_attention(relation: Relation, keys: Keys = "known", combine: Combine = "fused") -> ParsingGuidedAttention:
    torch.manual_seed(1)
    return ParsingGuidedAttention(CHANNELS, PARTS, key_channels=3, combine=combine, keys=keys, relation=relation)


def output_and_gradients(attention: ParsingGuidedAttention, features: Tensor, guidance: Guidance) -> list[Tensor]:
    features = features.clone().requires_grad_()
    output = attention(features, guidance)
    target = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
    (output * target).sum().backward()
    assert all(parameter.grad is not None for parameter in attention.parameters())
    return [output.detach(), features.grad, *(parameter.grad for parameter in attention.parameters())]


@pytest.mark.parametrize("keys", ["known", "person"])
@pytest.mark.parametrize("combine", ["fused", "cascaded", "spatial"])
def test_invisible_pixels_alone_equal_the_full_matrix(combine: Combine, keys: Keys) -> None:
    features, guidance = ragged_case()

    sparse = output_and_gradients(make_attention("invisible", keys, combine), features, guidance)
    dense = output_and_gradients(make_attention("dense", keys, combine), features, guidance)

    for ours, full in zip(sparse, dense, strict=True):
        assert ours.isfinite().all()
        torch.testing.assert_close(ours, full, atol=1e-5, rtol=1e-5)


def make_stream(keys: Keys = "known", relation: Relation = "invisible") -> SpatialStream:
    torch.manual_seed(3)
    return SpatialStream(CHANNELS, PARTS, key_channels=3, keys=keys, relation=relation)


def relation_by_hand(stream: SpatialStream, features: Tensor, guidance: Guidance) -> tuple[Tensor, Tensor]:
    """K_vis and K_amo of Eq. 6 for one sample, each (D, N), from the weights of the 1x1 convolutions."""
    visible, amodal = stream.visible_key, stream.amodal_key
    modal = torch.cat([features, guidance.modal_parsing], dim=1)[0].flatten(1)
    whole = torch.cat([features, guidance.amodal_parsing], dim=1)[0].flatten(1)
    return (
        visible.weight[..., 0, 0] @ modal + visible.bias[:, None],
        amodal.weight[..., 0, 0] @ whole + amodal.bias[:, None],
    )


@pytest.mark.parametrize("keys", ["known", "person"])
def test_each_invisible_pixel_takes_a_softmax_over_the_visible(keys: Keys) -> None:
    features, guidance = ragged_case()
    features, guidance = features[:1], make_guidance(guidance.known[:1])
    stream = make_stream(keys)

    attended = stream(features, guidance)[0].flatten(1)

    key, query = relation_by_hand(stream, features, guidance)
    known = guidance.known[0, 0].flatten()
    body = guidance.modal_parsing[0].sum(0).flatten() > 0
    visible = (known & body if keys == "person" else known).nonzero()[:, 0]
    assert 0 < len(visible) < SIZE * SIZE
    for pixel in range(SIZE * SIZE):
        expected = torch.zeros(CHANNELS)
        if not known[pixel]:
            logits = torch.stack([key[:, other] @ query[:, pixel] for other in visible])
            expected = features[0].flatten(1)[:, visible] @ (logits.exp() / logits.exp().sum())
        torch.testing.assert_close(attended[:, pixel], expected, atol=1e-5, rtol=1e-5)


def test_literal_reading_is_equation_6_as_printed() -> None:
    features, guidance = ragged_case()
    features, guidance = features[1:2], make_guidance(guidance.known[1:2])
    stream = make_stream(relation="literal")

    attended = stream(features, guidance)[0].flatten(1)

    key, query = relation_by_hand(stream, features, guidance)
    m_v = guidance.known[0].flatten(1).float()
    relation = torch.softmax((m_v * key).T @ ((1 - m_v) * query), dim=0)
    torch.testing.assert_close(attended, features[0].flatten(1) @ relation, atol=1e-5, rtol=1e-5)
    # Its oddity, and the reason why it is not the default: a known pixel gets the mean of the whole map.
    mean = features[0].flatten(1).mean(dim=1)
    torch.testing.assert_close(attended[:, m_v[0] > 0], mean[:, None].expand(-1, int(m_v.sum())))


@pytest.mark.parametrize("keys", ["known", "person"])
def test_one_invisible_pixel_tells_another_nothing(keys: Keys) -> None:
    features, guidance = ragged_case()
    features, guidance = features[1:2], make_guidance(guidance.known[1:2])
    row, column = (~guidance.known[0, 0]).nonzero()[0].tolist()
    changed = features.clone()
    changed[0, :, row, column] += 10

    before, after = make_stream(keys)(features, guidance), make_stream(keys)(changed, guidance)

    difference = (before - after).abs().sum(dim=1)[0]
    assert difference[row, column] > 1e-3, "its own query did change"
    difference[row, column] = 0
    assert difference.max() < 1e-6


def test_person_keys_see_no_background() -> None:
    features, guidance = ragged_case()
    changed = features.clone()
    changed[..., SIZE // 2 :] *= 3  # the right half is background
    invisible_body = (~guidance.known).expand_as(features)[..., : SIZE // 2]

    def attended(keys: Keys, maps: Tensor) -> Tensor:
        return make_stream(keys)(maps, guidance)[..., : SIZE // 2][invisible_body]

    torch.testing.assert_close(attended("person", features), attended("person", changed))
    assert not torch.allclose(attended("known", features), attended("known", changed))


def test_body_stream_keeps_parts_apart() -> None:
    """A part's channel is read where that part is, and nowhere else."""
    torch.manual_seed(0)
    stream = BodyPartStream(CHANNELS, PARTS)
    features, guidance = ragged_case()
    before = stream(features, guidance)
    with torch.no_grad():
        stream.reduce.weight[2] += 1

    changed = (stream(features, guidance) - before).abs().sum(dim=1) > 1e-6

    assert torch.equal(changed, guidance.amodal_parsing[:, 2] > 0)


@pytest.mark.parametrize(("channels", "count"), [(128, 61_459), (256, 229_395), (512, 884_755)])
def test_size_of_the_paper_form(channels: int, count: int) -> None:
    attention = ParsingGuidedAttention(channels, 19, key_channels=channels // 8)
    assert sum(parameter.numel() for parameter in attention.parameters()) == count


def test_guidance_shrinks_without_inventing_values() -> None:
    _, guidance = ragged_case()

    small = guidance.resize(3, 5, dtype=torch.float32)

    assert small.known.dtype == torch.bool
    assert small.known.shape == (5, 1, 3, 5)
    assert set(small.amodal_parsing.unique().tolist()) == {0.0, 1.0}
    assert (small.amodal_parsing.sum(dim=1) <= 1).all()
    assert torch.equal(small.modal_parsing, small.amodal_parsing * small.known)


def test_single_streams_have_no_weights_of_the_other() -> None:
    names = {
        combine: {name.split(".")[0] for name, _ in make_attention("invisible", combine=combine).named_parameters()}
        for combine in ("body", "spatial", "cascaded")
    }
    assert names == {
        "body": {"body", "fuse"},
        "spatial": {"spatial", "fuse"},
        "cascaded": {"body", "spatial", "fuse", "fuse_spatial"},
    }
