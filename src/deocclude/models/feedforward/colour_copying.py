"""Colours copied from the visible person: Eq. 6 of paper B applied to colours instead of features. Ours.

A small network trained for hours, not days, answers with the colours it saw most often. What a person wears is better
looked up than learned: each hidden place takes a mean of the person's visible colours, weighted by how near they are
and by how alike the places are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from deocclude.models.feedforward.parsing_attention import Guidance, attend_dense, take, true_first

KEY_CHANNELS = 16
REACHES = (0.02, 0.05, 0.12, 0.3)
"""How far the heads look at first, in sides of the picture: standard deviations of a Gaussian."""
MIN_SHARE = 0.25
"""Share of a cell that must be visible person for its colour to be copied."""


class ColourCopying(nn.Module):
    """Some proposals for the colour of each hidden pixel, every one a mean of the person's visible colours."""

    def __init__(self, channels: int, num_parts: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Conv2d(channels + num_parts, num_heads * KEY_CHANNELS, 1)
        self.key = nn.Conv2d(channels + num_parts, num_heads * KEY_CHANNELS, 1)
        reaches = torch.tensor([REACHES[head % len(REACHES)] for head in range(num_heads)])
        self.log_sharpness = nn.Parameter(-torch.log(2 * reaches.square()))

    def forward(
        self, features: Tensor, image: Tensor, modal_mask: Tensor, amodal_mask: Tensor, guidance: Guidance
    ) -> Tensor:
        """features (B, C, h, w) of any size to colours (B, num_heads, 3, H, W) in the range of the image's.

        image (B, 3, H, W); masks float (B, 1, H, W); guidance at the picture's size. Where nothing of the person is
        visible the colours are 0. What the picture shows outside the modal mask has no influence.
        """
        guidance = guidance.resize(*features.shape[-2:], dtype=features.dtype)
        keys = self.key(torch.cat([features, guidance.modal_parsing], dim=1))
        queries = self.query(torch.cat([features, guidance.amodal_parsing], dim=1)) * KEY_CHANNELS**-0.5
        # Positions and their squares need more than bfloat16's three digits.
        with torch.autocast(features.device.type, enabled=False):
            return self._copy(queries.float(), keys.float(), image.float(), modal_mask.float(), amodal_mask.float())

    def _copy(self, queries: Tensor, keys: Tensor, image: Tensor, modal_mask: Tensor, amodal_mask: Tensor) -> Tensor:
        height, width = queries.shape[-2:]
        share = F.adaptive_avg_pool2d(modal_mask, (height, width))
        colours = F.adaptive_avg_pool2d(image * modal_mask, (height, width)) / share.clamp(min=1e-3)
        hidden = F.adaptive_max_pool2d(amodal_mask * (1 - modal_mask), (height, width))
        wanted = F.max_pool2d(hidden, 3, 1, 1) > 0  # a cell more: the colours are enlarged bilinearly

        query_rows, key_rows = self._with_nearness(queries, keys)
        query_index, is_query = (self._per_head(rows) for rows in true_first(wanted.flatten(1)))
        key_index, is_key = (self._per_head(rows) for rows in true_first((share >= MIN_SHARE).flatten(1)))
        colour_rows = self._per_head(rearrange(colours, "b c h w -> b (h w) c"))
        copied = attend_dense(
            take(query_rows, query_index), take(key_rows, key_index), take(colour_rows, key_index), is_key, is_query
        )
        # Padded rows point at cells that nobody asked for: those keep their own colour.
        copied = torch.where(is_query[..., None], copied, take(colour_rows, query_index))
        cells = colour_rows.scatter(1, query_index[..., None].expand_as(copied), copied)
        cells = rearrange(cells, "(b n) (h w) c -> b (n c) h w", n=self.num_heads, h=height)
        full = F.interpolate(cells, image.shape[-2:], mode="bilinear", align_corners=False)
        return rearrange(full, "b (n c) h w -> b n c h w", n=self.num_heads)

    def _per_head(self, rows: Tensor) -> Tensor:
        """(B, …) to (B * num_heads, …), the heads of a sample one after another."""
        return rows.repeat_interleave(self.num_heads, dim=0)

    def _with_nearness(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B * num_heads, N, KEY_CHANNELS + 3) whose product is likeness minus sharpness times squared distance.

        |q - k|² = |q|² - 2 q·k + |k|², of which the first is the same for all keys of a query and drops out.
        """
        batch, _, height, width = queries.shape
        side = max(height, width)
        y = (torch.arange(height, device=queries.device) + 0.5) / side - 0.5
        x = (torch.arange(width, device=queries.device) + 0.5) / side - 0.5
        places = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)
        sharpness = self.log_sharpness.float().exp()[:, None, None]
        ones = places.new_ones(self.num_heads, len(places), 1)
        of_query = torch.cat([2 * sharpness * places, ones], dim=2)
        of_key = torch.cat([places.expand(self.num_heads, -1, -1), -sharpness * places.square().sum(1)[:, None]], dim=2)

        def joined(maps: Tensor, nearness: Tensor) -> Tensor:
            rows = rearrange(maps, "b (n d) h w -> (b n) (h w) d", n=self.num_heads)
            return torch.cat([rows, nearness.repeat(batch, 1, 1)], dim=2)

        return joined(queries, of_query), joined(keys, of_key)
