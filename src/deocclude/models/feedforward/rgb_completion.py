"""Stage 2 of paper B (section 3.3): a partial-convolution U-Net with parsing guided attention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.feedforward.colour_copying import ColourCopying
from deocclude.models.feedforward.parsing_attention import Guidance, Keys, ParsingGuidedAttention, Relation
from deocclude.models.layers import MaskedFeatures, PartialConv2d, clamp_keeping_gradient
from deocclude.parsing import NUM_LABELS, NUM_PARTS

_INPUT_CHANNELS = 5  # image, known mask, amodal mask
_KERNELS = (7, 5, 5)  # of the first encoder levels; 3 further down
_COPYING_LEVEL = 3  # decoder level whose feature, a quarter of the picture's side, says what to copy
_WIDTHS = (1, 2, 4, 8)  # channels of the encoder levels in units of the first; 8 further down


@dataclass(frozen=True, kw_only=True)
class RgbCompletionConfig:
    """RGB completion network (stage 2). The defaults are the paper's, or our reading where it is silent."""

    channels: int = 64
    """Channels of the first encoder level."""
    levels: int = 7
    """Levels of the U-Net, each halving the picture."""
    num_parts: int = 19
    """Body parts in the one-hot parsing, background not among them (LIP has 19)."""
    background_weight: float = 0.3
    """Contrast that the background keeps: w of table 5, where 0.3 beats 1."""
    renormalise: bool = True
    """Partial convolutions with Liu et al.'s constant; False is the variant of the authors' code."""
    attention: tuple[str, ...] = ("enc3", "enc5", "dec5", "dec3")
    """Levels after which a feature is enhanced; the paper says only "multiple scales"."""
    combine: Literal["fused", "cascaded", "body", "spatial", "none"] = "fused"
    """How the attention's two streams are joined: the rows of table 6. `none` is the plain U-Net."""
    keys: Keys = "known"
    """What an invisible pixel may look at: every `known` pixel, or only the visible `person`."""
    relation: Relation = "invisible"
    """How Eq. 6 is read; `dense` gives the same by the full matrix, `literal` is the equation as printed."""
    key_reduction: int = 8
    """Channels of a feature over channels of its keys."""
    copied_colours: int = 0
    """Proposals of `ColourCopying` that the network may choose from beside its own colour; the paper has none."""

    def __post_init__(self) -> None:
        # A configuration that was stored as JSON comes back with a list.
        object.__setattr__(self, "attention", tuple(self.attention))
        if self.levels < 2 or self.channels < 1 or self.num_parts < 1 or self.key_reduction < 1:
            raise ValueError(f"need levels >= 2 and channels, num_parts, key_reduction >= 1, got {self}")
        if self.copied_colours < 0 or (self.copied_colours and self.levels < _COPYING_LEVEL):
            raise ValueError(f"need copied_colours >= 0, and levels >= {_COPYING_LEVEL} to copy any, got {self}")
        if not 0 <= self.background_weight <= 1:
            raise ValueError(f"background_weight must be in [0, 1], got {self.background_weight}")
        places = [f"enc{level}" for level in range(1, self.levels + 1)]
        places += [f"dec{level}" for level in range(2, self.levels + 1)]
        if unknown := set(self.attention) - set(places):
            raise ValueError(f"no attention after {sorted(unknown)}; choose from {places}")
        for name, value, choices in (
            ("combine", self.combine, ("fused", "cascaded", "body", "spatial", "none")),
            ("keys", self.keys, ("known", "person")),
            ("relation", self.relation, ("invisible", "dense", "literal")),
        ):
            if value not in choices:
                raise ValueError(f"no {name} {value!r}; choose from {list(choices)}")

    def encoder_channels(self, level: int) -> int:
        """Channels after encoder level 1, 2, …; level 0 is the input."""
        if level == 0:
            return _INPUT_CHANNELS
        return self.channels * (_WIDTHS[level - 1] if level <= len(_WIDTHS) else _WIDTHS[-1])


PAPER = RgbCompletionConfig()
COMPACT = replace(PAPER, channels=28, levels=6, key_reduction=7, copied_colours=4)
_WITHOUT_COPYING = {"paper": PAPER, "compact": replace(COMPACT, copied_colours=0)}
_ROWS: dict[str, dict[str, Any]] = {
    **{f"w-{w:g}": {"combine": "none", "background_weight": w} for w in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)},
    **{stream: {"combine": stream, "background_weight": 1.0} for stream in ("body", "spatial")},
    **{both: {"combine": both} for both in ("cascaded", "fused")},
}
RGB_COMPLETION_PRESETS = {
    "paper": PAPER,
    "compact": COMPACT,
    **{
        f"{size}-{row}": replace(config, **changes)
        for size, config in _WITHOUT_COPYING.items()
        for row, changes in _ROWS.items()
    },
}
"""By size, and by size and row: Table 5's weights of the background, without attention, and Table 6's attention, whose
two streams alone see all of the background. The rows copy no colours, as the paper does not."""


def dim_background(image: Tensor, amodal_mask: Tensor, weight: float) -> Tensor:
    """Fade the background to mid-grey: I' = I M_a + w I (1 - M_a) of paper B (ablation), with I in [-1, 1].

    image: float (B, 3, H, W) in [0, 1], as is the result. amodal_mask: float (B, 1, H, W).
    The network sees this picture and answers in its terms, and so must a loss outside the amodal mask.
    """
    return 0.5 + (image - 0.5) * (weight + (1 - weight) * amodal_mask)


def one_hot_parts(labels: Tensor | None, mask: Tensor) -> Tensor:
    """Labels (B, H, W) to a map of each body part, bool (B, 19, H, W); all False without any labels.

    mask: bool (B, 1, H, W), outside which there are no parts. Background is no part.
    """
    if labels is None:
        return mask.new_zeros(len(mask), NUM_PARTS, *mask.shape[-2:])
    parts = torch.arange(1, NUM_LABELS, device=labels.device).view(1, -1, 1, 1)
    return (labels[:, None] == parts) & mask


class EncoderLevel(nn.Module):
    """Partial convolution of stride 2, batch normalisation (not at the first level), ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, norm: bool, renormalise: bool) -> None:
        super().__init__()
        self.conv = PartialConv2d(in_channels, out_channels, kernel_size, stride=2, renormalise=renormalise)
        self.norm = nn.BatchNorm2d(out_channels) if norm else nn.Identity()

    def forward(self, inputs: MaskedFeatures) -> MaskedFeatures:
        features, mask = self.conv(inputs)
        return MaskedFeatures(F.relu(self.norm(features), inplace=True), mask)


class DecoderLevel(nn.Module):
    """Doubles the size, joins the skip, 3x3 partial convolution, batch normalisation, LeakyReLU."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, *, renormalise: bool) -> None:
        super().__init__()
        self.conv = PartialConv2d(in_channels + skip_channels, out_channels, 3, renormalise=renormalise)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, inputs: MaskedFeatures, skip: MaskedFeatures) -> MaskedFeatures:
        features, mask = self.conv(_double(inputs, skip), skip)
        return MaskedFeatures(F.leaky_relu(self.norm(features), 0.2, inplace=True), mask)


class RgbCompletionNetwork(nn.Module):
    """Recovers the colours of the invisible region (paper B, Eq. 5).

    Nothing that the picture shows inside the invisible region (the occluder) can reach the output. The whole
    picture is predicted; keeping the known pixels is the pipeline's affair.
    """

    def __init__(self, config: RgbCompletionConfig) -> None:
        super().__init__()
        self.config = config
        channels, renormalise = config.encoder_channels, config.renormalise
        self.encoder = nn.ModuleList(
            EncoderLevel(
                channels(level - 1),
                channels(level),
                _KERNELS[level - 1] if level <= len(_KERNELS) else 3,
                norm=level > 1,
                renormalise=renormalise,
            )
            for level in range(1, config.levels + 1)
        )
        self.decoder = nn.ModuleList(
            DecoderLevel(channels(level), channels(level - 1), channels(level - 1), renormalise=renormalise)
            for level in range(config.levels, 1, -1)
        )
        choices = 1 + config.copied_colours if config.copied_colours else 0
        self.output = PartialConv2d(channels(1) + _INPUT_CHANNELS, 3 + choices, 3, bias=True, renormalise=renormalise)
        if renormalise:
            # No batch normalisation follows: a full-size start would lie mostly outside the range.
            nn.init.xavier_normal_(self.output.conv.weight, gain=0.5)
        self.attention = nn.ModuleDict()
        if config.combine != "none":
            self.attention.update({place: self._attention(place, config) for place in config.attention})

        if config.copied_colours:
            self.copying = ColourCopying(
                channels(_COPYING_LEVEL - 1), config.num_parts, num_heads=config.copied_colours
            )

    @staticmethod
    def _attention(place: str, config: RgbCompletionConfig) -> ParsingGuidedAttention:
        assert config.combine != "none"
        # Decoder level n undoes encoder level n, so it ends with the channels of encoder level n - 1.
        channels = config.encoder_channels(int(place[3:]) - place.startswith("dec"))
        return ParsingGuidedAttention(
            channels,
            config.num_parts,
            key_channels=max(channels // config.key_reduction, 1),
            combine=config.combine,
            keys=config.keys,
            relation=config.relation,
        )

    def forward(
        self,
        image: Tensor,
        modal_mask: Tensor,
        amodal_mask: Tensor,
        modal_parsing: Tensor,
        amodal_parsing: Tensor,
    ) -> Tensor:
        """The network's own picture, float (B, 3, H, W) in [0, 1], not composited.

        image: float (B, 3, H, W) in [0, 1].
        modal_mask, amodal_mask: float (B, 1, H, W) of 0 and 1.
        modal_parsing, amodal_parsing: one-hot float (B, num_parts, H, W), all 0 where there is no part.

        Inside the amodal mask the colours are the photograph's; outside they are those of `dim_background`.
        """
        known = 1 - (amodal_mask - modal_mask).clamp(0, 1)
        guidance = Guidance(known > 0.5, modal_parsing, amodal_parsing)
        dimmed = dim_background(image, amodal_mask, self.config.background_weight) * 2 - 1
        inputs = torch.cat([dimmed, known, amodal_mask], dim=1).contiguous(memory_format=torch.channels_last)

        maps = MaskedFeatures(inputs, known)
        skips = []
        for level, encode in enumerate(self.encoder, start=1):
            skips.append(maps)
            maps = self._enhance(f"enc{level}", encode(maps), guidance)
        for level, decode in zip(range(self.config.levels, 1, -1), self.decoder, strict=True):
            maps = self._enhance(f"dec{level}", decode(maps, skips.pop()), guidance)
            if level == _COPYING_LEVEL and self.config.copied_colours:
                copied = self.copying(maps.features, dimmed, modal_mask, amodal_mask, guidance)
        colours, _ = self.output(_double(maps, skips[0]), skips[0])
        if self.config.copied_colours:
            # Each pixel's mixture of the network's own colour and the copied ones.
            shares = colours[:, 3:].softmax(dim=1)[:, :, None]
            colours = (shares * torch.cat([colours[:, None, :3], copied.to(colours.dtype)], dim=1)).sum(dim=1)
        return clamp_keeping_gradient(colours, -1, 1) / 2 + 0.5

    def _enhance(self, place: str, maps: MaskedFeatures, guidance: Guidance) -> MaskedFeatures:
        """Attention after `place`, if the configuration has one there. It changes no mask."""
        if place not in self.attention:
            return maps
        return maps._replace(features=self.attention[place](maps.features, guidance))


def _double(maps: MaskedFeatures, like: MaskedFeatures) -> MaskedFeatures:
    """Nearest-neighbour doubling, cut to the size of `like` (an odd size was rounded up when halved)."""
    height, width = like.mask.shape[-2:]
    features, mask = (F.interpolate(x, scale_factor=2.0, mode="nearest") for x in maps)
    return MaskedFeatures(features[..., :height, :width], mask[..., :height, :width])
