"""Sentences to CLIP's text features (paper A, Eq. 12): one pass, three readings of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deocclude.conditioning.pretrained import load_pretrained

if TYPE_CHECKING:
    from transformers import CLIPTextModelWithProjection

MAX_TOKENS = 77
"""CLIP's context, begin and end of the sentence included."""


@dataclass(frozen=True)
class SentenceFeatures:
    """CLIP's features of B sentences.

    hidden: the last layer's tokens after its norm, (B, 77, C): what Stable Diffusion and its ControlNets read.
    pooled: the projected embedding of the whole sentence, not normalised, (B, C), in one space with CLIP's of pictures.
    projected: every token through the same projection, (B, 77, C).
    """

    hidden: Tensor
    pooled: Tensor
    projected: Tensor


class SentenceEncoder:
    """CLIP ViT-L/14's text tower and its tokenizer."""

    def __init__(self, model: CLIPTextModelWithProjection, tokenizer: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def __call__(self, sentences: Sequence[str]) -> SentenceFeatures:
        """Features of the sentences; what goes beyond 77 tokens is cut."""
        ids = self.tokenizer(
            list(sentences), padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
        ).input_ids.to(self.model.device)
        output = self.model(ids)
        hidden = output.last_hidden_state
        return SentenceFeatures(hidden, output.text_embeds, self.model.text_projection(hidden))

    def count_tokens(self, sentence: str) -> int:
        """Tokens of a sentence, begin and end included."""
        return len(self.tokenizer(sentence).input_ids)


def load_sentence_encoder(folder: Path, *, device: torch.device, dtype: torch.dtype) -> SentenceEncoder:
    """From a local copy of `openai/clip-vit-large-patch14`; nothing is downloaded. Raises InputError for another."""
    model, tokenizer = load_pretrained("CLIPTextModelWithProjection", "CLIPTokenizer", folder, dtype=dtype)
    return SentenceEncoder(model.to(device), tokenizer)
