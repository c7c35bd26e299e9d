"""CLIP's text tower in miniature: three readings of a sentence, whatever it shares the batch with."""

from __future__ import annotations

import pytest
import torch

from deocclude.conditioning.sentence_encoder import MAX_TOKENS, SentenceEncoder
from deocclude.stages.completers.diffusion_tiny import NETWORKS, tiny_sentence_encoder

SENTENCES = ["a man in a red jacket", "", "a woman with long hair and white shoes sits", "word " * 100]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return tiny_sentence_encoder(torch.device("cpu"), torch.float32)


def test_shapes(encoder: SentenceEncoder) -> None:
    features = encoder(SENTENCES)
    channels = NETWORKS.context_dim
    assert features.hidden.shape == features.projected.shape == (4, 77, channels)
    assert features.pooled.shape == (4, channels)
    assert not any(value.requires_grad for value in vars(features).values())
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())


def test_a_batch_equals_its_singles(encoder: SentenceEncoder) -> None:
    """Long and short sentences are brought to one length, which changes none of them."""
    together = encoder(SENTENCES)
    for index, sentence in enumerate(SENTENCES):
        for name, alone in vars(encoder([sentence])).items():
            torch.testing.assert_close(alone[0], getattr(together, name)[index], atol=1e-5, rtol=1e-5)


def test_the_pooled_embedding_is_the_projected_end_of_the_sentence(encoder: SentenceEncoder) -> None:
    features = encoder(SENTENCES)
    for index, sentence in enumerate(SENTENCES):
        end = min(encoder.count_tokens(sentence), MAX_TOKENS) - 1
        torch.testing.assert_close(features.pooled[index], features.projected[index, end])
        assert not torch.allclose(features.pooled[index], features.projected[index, end - 1], atol=1e-3)


def test_projected_tokens_are_the_hidden_ones_in_the_pictures_space(encoder: SentenceEncoder) -> None:
    features = encoder(SENTENCES)
    assert torch.equal(features.projected, features.hidden @ encoder.model.text_projection.weight.T)
    assert not torch.allclose(features.projected, features.hidden, atol=1e-2)
    lengths = features.pooled.norm(dim=-1)
    assert (lengths - 1).abs().min() > 0.01  # not normalised


def test_what_goes_beyond_77_tokens_is_cut(encoder: SentenceEncoder) -> None:
    words = [f"word{number}" for number in range(100)]
    whole, cut, shorter = (encoder([" ".join(words[:count])]) for count in (100, 75, 74))
    assert torch.equal(whole.hidden, cut.hidden) and torch.equal(whole.pooled, cut.pooled)
    assert not torch.allclose(cut.pooled, shorter.pooled, atol=1e-3)


def test_tokens_are_counted_with_begin_and_end(encoder: SentenceEncoder) -> None:
    assert encoder.count_tokens("") == 2
    assert encoder.count_tokens("a man in a red jacket") == 8
    assert encoder.count_tokens("word " * 100) == 102  # uncut, to say how much is too much


def test_words_and_their_order_count(encoder: SentenceEncoder) -> None:
    pooled = encoder(["red shoes", "shoes red", "red boots"]).pooled
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (pooled[first] - pooled[second]).abs().max() > 1e-3


def test_half_precision(encoder: SentenceEncoder) -> None:
    half = tiny_sentence_encoder(torch.device("cpu"), torch.bfloat16)(SENTENCES)
    assert half.pooled.dtype == half.hidden.dtype == half.projected.dtype == torch.bfloat16
    torch.testing.assert_close(half.pooled.float(), encoder(SENTENCES).pooled, atol=0.1, rtol=0.1)
