"""Parsing guided attention (PGA): paper B, section 3.3 and figure 3, right.

The paper's own form, in which every convolution is 1x1; its authors' code uses 3x3 (15 times the weights).
"""

# B batch, C channels, D key channels, P body parts, H W feature map, N = H*W, K keys, Q queries

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Combine = Literal["fused", "cascaded", "body", "spatial"]
Keys = Literal["known", "person"]
Relation = Literal["invisible", "dense", "literal"]


@dataclass(frozen=True)
class Guidance:
    """What the first stage knows about the person, at the size of the picture or of a feature map.

    known: paper B's M_v, bool (B, 1, H, W), False in the invisible region.
    modal_parsing, amodal_parsing: one-hot body parts without background, float (B, P, H, W).
    """

    known: Tensor
    modal_parsing: Tensor
    amodal_parsing: Tensor

    def resize(self, height: int, width: int, *, dtype: torch.dtype) -> Guidance:
        """Nearest neighbour, the middle of each cell, so that a mask stays a mask; the parsing in `dtype`."""

        rows = _middles(self.known.shape[2], height, self.known.device)[:, None]
        columns = _middles(self.known.shape[3], width, self.known.device)

        def nearest(maps: Tensor) -> Tensor:
            # Picking reads the few pixels wanted; `F.interpolate` first copies the whole map.
            return maps[..., rows, columns]

        return Guidance(
            known=nearest(self.known),
            modal_parsing=nearest(self.modal_parsing).to(dtype),
            amodal_parsing=nearest(self.amodal_parsing).to(dtype),
        )


def _middles(pixels: int, cells: int, device: torch.device) -> Tensor:
    """The pixel in the middle of each cell, int64 (cells,)."""
    return ((torch.arange(cells, device=device) + 0.5) * (pixels / cells)).long()


class BodyPartStream(nn.Module):
    """Distributes the feature over the body parts, visible and whole, and takes what is useful of each."""

    def __init__(self, channels: int, num_parts: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, num_parts, 1)
        self.expand = nn.Conv2d(2 * num_parts, channels, 1)

    def forward(self, features: Tensor, guidance: Guidance) -> Tensor:
        """(B, C, H, W) to (B, C, H, W); `guidance` at the same size."""
        parts = self.reduce(features)
        distributed = [parts * guidance.modal_parsing, parts * guidance.amodal_parsing]
        return self.expand(torch.cat(distributed, dim=1))


class SpatialStream(nn.Module):
    """Brings to each invisible pixel the features of the visible pixels it resembles (paper B, Eq. 6).

    keys: `known` attends to every pixel with M_v = 1, background included, as the paper is written; `person`
        only to visible pixels of the body.
    relation: `invisible` masks what is not visible out of the softmax and evaluates the invisible pixels
        alone; `dense` is the same by the full N x N matrix; `literal` multiplies keys and queries by the
        masks *before* the softmax, as Eq. 6 is printed, so that what is not visible keeps the weight exp(0)
        and what is not invisible gets the mean of the map.
    """

    def __init__(
        self,
        channels: int,
        num_parts: int,
        *,
        key_channels: int,
        keys: Keys = "known",
        relation: Relation = "invisible",
    ) -> None:
        super().__init__()
        self.visible_key = nn.Conv2d(channels + num_parts, key_channels, 1)
        self.amodal_key = nn.Conv2d(channels + num_parts, key_channels, 1)
        self.keys = keys
        self.relation = relation

    def forward(self, features: Tensor, guidance: Guidance) -> Tensor:
        """(B, C, H, W) to (B, C, H, W); `guidance` at the same size.

        Unless `literal`, 0 at the known pixels and where a sample has no key.
        """
        height, width = features.shape[-2:]
        keys_BND = _rows(self.visible_key(torch.cat([features, guidance.modal_parsing], dim=1)))
        queries_BND = _rows(self.amodal_key(torch.cat([features, guidance.amodal_parsing], dim=1)))
        values_BNC = _rows(features)
        known_BN = guidance.known.flatten(1)
        if self.relation == "literal":
            attended_BNC = _attend_literal(queries_BND, keys_BND, values_BNC, known_BN)
        else:
            visible_BN = known_BN
            if self.keys == "person":
                visible_BN = known_BN & (guidance.modal_parsing.sum(1).flatten(1) > 0.5)
            attend = attend_dense if self.relation == "dense" else _attend_invisible
            attended_BNC = attend(queries_BND, keys_BND, values_BNC, visible_BN, ~known_BN)
        return rearrange(attended_BNC, "b (h w) c -> b c h w", h=height, w=width).to(features.dtype)


class ParsingGuidedAttention(nn.Module):
    """Enhances a deep feature by both streams; the output has the size and the channels of the input.

    combine (table 6 of paper B): `fused` joins both streams and the feature by one 1x1 convolution,
    `cascaded` applies the spatial stream to the result of the body stream, `body` and `spatial` are one
    stream alone.
    """

    def __init__(
        self,
        channels: int,
        num_parts: int,
        *,
        key_channels: int,
        combine: Combine = "fused",
        keys: Keys = "known",
        relation: Relation = "invisible",
    ) -> None:
        super().__init__()
        self.combine = combine
        if combine != "spatial":
            self.body = BodyPartStream(channels, num_parts)
        if combine != "body":
            self.spatial = SpatialStream(channels, num_parts, key_channels=key_channels, keys=keys, relation=relation)
        self.fuse = nn.Conv2d((3 if combine == "fused" else 2) * channels, channels, 1)
        if combine == "cascaded":
            self.fuse_spatial = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, features: Tensor, guidance: Guidance) -> Tensor:
        """features (B, C, H, W); `guidance` at any size, at best the picture's."""
        guidance = guidance.resize(*features.shape[-2:], dtype=features.dtype)
        if self.combine == "fused":
            streams = [self.body(features, guidance), self.spatial(features, guidance), features]
            return self.fuse(torch.cat(streams, dim=1))
        first = self.spatial if self.combine == "spatial" else self.body
        fused = self.fuse(torch.cat([first(features, guidance), features], dim=1))
        if self.combine == "cascaded":
            fused = self.fuse_spatial(torch.cat([self.spatial(fused, guidance), fused], dim=1))
        return fused


def _rows(maps_BCHW: Tensor) -> Tensor:
    return rearrange(maps_BCHW, "b c h w -> b (h w) c")


def _attend_invisible(
    queries_BND: Tensor, keys_BND: Tensor, values_BNC: Tensor, visible_BN: Tensor, invisible_BN: Tensor
) -> Tensor:
    """`attend_dense` over the rows that count: the work falls from N*N to Q*K."""
    query_index_BQ, is_query_BQ = true_first(invisible_BN)
    key_index_BK, is_key_BK = true_first(visible_BN)
    attended_BQC = attend_dense(
        take(queries_BND, query_index_BQ),
        take(keys_BND, key_index_BK),
        take(values_BNC, key_index_BK),
        is_key_BK,
        is_query_BQ,
    )
    index_BQC = query_index_BQ[..., None].expand_as(attended_BQC)
    return torch.zeros_like(values_BNC, dtype=attended_BQC.dtype).scatter(1, index_BQC, attended_BQC)


def attend_dense(
    queries_BQD: Tensor, keys_BKD: Tensor, values_BKC: Tensor, is_key_BK: Tensor, is_query_BQ: Tensor
) -> Tensor:
    """Eq. 6 with a softmax over the keys only, (B, Q, C); 0 in rows that are no query or have no key."""
    # A softmax over nothing would be NaN: let a sample without keys see everything and drop the answer.
    has_key_B1 = is_key_BK.any(dim=1, keepdim=True)
    mask_B1K = (is_key_BK | ~has_key_B1)[:, None]
    attended_BQC = F.scaled_dot_product_attention(queries_BQD, keys_BKD, values_BKC, attn_mask=mask_B1K, scale=1.0)
    return attended_BQC * (is_query_BQ & has_key_B1)[..., None].to(attended_BQC.dtype)


def _attend_literal(queries_BND: Tensor, keys_BND: Tensor, values_BNC: Tensor, known_BN: Tensor) -> Tensor:
    """Eq. 6 as printed, (B, N, C)."""
    known_BN1 = known_BN[..., None]
    visible_keys, invisible_queries = keys_BND * known_BN1, queries_BND * ~known_BN1
    return F.scaled_dot_product_attention(invisible_queries, visible_keys, values_BNC, scale=1.0)


def true_first(mask_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of each row's True entries, padded by others to the longest row, and which of them are True."""
    longest = max(int(mask_BN.sum(dim=1).max()), 1)
    index = mask_BN.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]
    return index, mask_BN.gather(1, index)


def take(rows_BNC: Tensor, index_BM: Tensor) -> Tensor:
    """Rows (B, M, C) of (B, N, C), each sample by its own indices."""
    return rows_BNC.gather(1, index_BM[..., None].expand(-1, -1, rows_BNC.shape[2]))
