"""Stage 1 of paper B: the refined mask completion network (its section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.feedforward.hourglass import Hourglass
from deocclude.models.feedforward.templates import Weighting, template_weights
from deocclude.parsing import FLIPPED_LABELS, NUM_LABELS

PART_CHANNELS = 32
"""Channels of the parsing feature, and of the template feature, that join the mask features (supplement, Fig. 1)."""


@dataclass(frozen=True, kw_only=True)
class MaskCompletionConfig:
    """Refined mask completion network. The defaults are paper B's, where it is silent docs/method.md says why."""

    base_channels: int = 64
    """Channels of the first hourglass level; the deepest has eight times as many."""
    stride: int = 1
    """Side of the pixel block that the stem turns into one cell; 1 is the paper, which works at full resolution."""
    modal_branch: bool = True
    """Predict the modal mask (Table 4). The baseline without it has both hourglasses too (section 5.3): the second one
    reads the first one's features, and the initial mask in place of the refined one."""
    parsing: bool = True
    """Parsing heads on both branches (Table 4)."""
    num_templates: int = 64
    """Pose templates offered to the amodal head; 0 leaves them out (Table 4)."""
    template_size: int = 64
    """Side of the stored templates, pixels."""
    template_weighting: Weighting = "softmax_l2"
    """How templates are weighted; `inverse_l2` is the paper to the letter."""
    amodal_sees_modal: bool = True
    """The second hourglass reads the refined modal mask (Eq. 2)."""
    amodal_sees_image: bool = True
    """The second hourglass reads the picture again (the authors' code)."""

    def __post_init__(self) -> None:
        if self.base_channels < 1 or self.stride < 1 or self.num_templates < 0:
            raise ValueError("base_channels and stride must be at least 1, num_templates at least 0")


_SIZES = {
    "paper": MaskCompletionConfig(),
    "compact": replace(MaskCompletionConfig(), base_channels=32, stride=4),
}
_ROWS: dict[str, dict[str, Any]] = {
    "baseline": {"modal_branch": False, "parsing": False, "num_templates": 0},
    "modal": {"parsing": False, "num_templates": 0},
    "parsing": {"num_templates": 0},
    "templates": {"parsing": False},
    "inverse-l2": {"template_weighting": "inverse_l2"},
    "templates-inverse-l2": {"parsing": False, "template_weighting": "inverse_l2"},
    "inner-softmax": {"template_weighting": "inner_softmax"},
}
MASK_COMPLETION_PRESETS = {
    **_SIZES,
    **{
        f"{size}-{row}": replace(config, **changes) for size, config in _SIZES.items() for row, changes in _ROWS.items()
    },
}
"""By size, and by size and row: Table 4's networks without all parts (its discriminator is a loss), and the other
weightings of the templates."""


@dataclass(frozen=True)
class MaskLogits:
    """What the network returns. Parsing is None where the config leaves it out.

    modal, amodal: foreground minus background logit, (B, 1, H, W). Without the modal branch, `modal` is None.
    modal_parsing, amodal_parsing: LIP-20 logits, (B, 20, H / stride, W / stride).
    """

    modal: Tensor | None
    amodal: Tensor
    modal_parsing: Tensor | None
    amodal_parsing: Tensor | None


def mirrored(logits: MaskLogits) -> MaskLogits:
    """The logits of the mirrored picture: every map flipped, left and right parts exchanged."""
    swap = list(FLIPPED_LABELS)

    def flip(maps: Tensor | None, *, parts: bool = False) -> Tensor | None:
        return None if maps is None else (maps[:, swap] if parts else maps).flip(-1)

    return MaskLogits(
        flip(logits.modal),
        logits.amodal.flip(-1),
        flip(logits.modal_parsing, parts=True),
        flip(logits.amodal_parsing, parts=True),
    )


def mean_logits(one: MaskLogits, other: MaskLogits) -> MaskLogits:
    """The average of two answers of one network."""

    def mean(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return None if a is None or b is None else (a + b) / 2

    return MaskLogits(
        mean(one.modal, other.modal),
        (one.amodal + other.amodal) / 2,
        mean(one.modal_parsing, other.modal_parsing),
        mean(one.amodal_parsing, other.amodal_parsing),
    )


class MaskHead(nn.Module):
    """Parsing, then the mask from features and parsing together (supplement, Fig. 1).

    Takes features (B, C, h, w) and, for the amodal mask, template features (B, 32, h, w).
    Returns the mask logit (B, 1, h * stride, w * stride) and the parsing logits (B, 20, h, w) or None.
    """

    def __init__(self, channels: int, hidden: int, *, parsing: bool, templates: bool, stride: int) -> None:
        super().__init__()
        self.parsing: nn.ModuleDict | None = None
        if parsing:
            self.parsing = nn.ModuleDict(
                {
                    "residual": nn.Sequential(
                        nn.ReLU(),
                        nn.Conv2d(channels, PART_CHANNELS, 3, padding=1),
                        nn.ReLU(),
                        nn.Conv2d(PART_CHANNELS, PART_CHANNELS, 3, padding=1),
                    ),
                    "shortcut": nn.Conv2d(channels, PART_CHANNELS, 3, padding=1),
                    "logits": nn.Sequential(
                        nn.Conv2d(PART_CHANNELS, PART_CHANNELS, 3, padding=1),
                        nn.ReLU(),
                        nn.Conv2d(PART_CHANNELS, NUM_LABELS, 3, padding=1),
                    ),
                }
            )
        joined = channels + PART_CHANNELS * (parsing + templates)
        # Two logits a pixel, as in the paper; a stem of stride s gets them for each of the s x s pixels of its block.
        self.mask = nn.Sequential(
            nn.Conv2d(joined, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, 2 * stride**2, 3, padding=1),
            nn.PixelShuffle(stride),
        )

    def forward(self, features: Tensor, template_features: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        joined, parsing_logits = [features], None
        if self.parsing is not None:
            parts = F.relu(self.parsing["residual"](features) + self.parsing["shortcut"](features))
            parsing_logits = self.parsing["logits"](parts)
            joined.append(parts)
        if template_features is not None:
            joined.append(template_features)
        background, foreground = self.mask(torch.cat(joined, dim=1)).chunk(2, dim=1)
        return foreground - background, parsing_logits


class MaskCompletionNetwork(nn.Module):
    """Modal branch, pose templates, amodal branch: paper B, section 3.2 with Eqs. 1 and 2."""

    templates: Tensor

    def __init__(self, config: MaskCompletionConfig) -> None:
        super().__init__()
        self.config = config
        channels, stride = config.base_channels, config.stride
        in_channels = 4
        self.stem: nn.Module = nn.Identity()
        if stride > 1:
            self.stem = nn.Conv2d(4, channels, 2 * stride, stride=stride, padding=stride // 2)
            in_channels = channels
        self.modal_hourglass = Hourglass(in_channels, channels)
        if config.modal_branch:
            self.modal_head = MaskHead(channels, 16, parsing=config.parsing, templates=False, stride=stride)
        image_channels = 3 if stride == 1 else channels
        amodal_channels = channels + config.amodal_sees_modal * stride**2 + config.amodal_sees_image * image_channels
        self.amodal_hourglass = Hourglass(amodal_channels, channels)
        has_templates = config.num_templates > 0
        self.amodal_head = MaskHead(channels, 32, parsing=config.parsing, templates=has_templates, stride=stride)
        if has_templates:
            side = config.template_size
            self.register_buffer("templates", torch.zeros(config.num_templates, side, side))
            self.template_conv = nn.Conv2d(config.num_templates, PART_CHANNELS, 3, padding=1)

    def forward(self, image: Tensor, initial_modal_mask: Tensor) -> MaskLogits:
        """image (B, 3, H, W) in [0, 1]; initial_modal_mask (B, 1, H, W) in [0, 1]; H and W multiples of 16 strides."""
        signed_image = image * 2 - 1
        picture = self.stem(torch.cat([signed_image, initial_modal_mask], dim=1))
        features = self.modal_hourglass(picture)
        modal = modal_parsing = None
        modal_probability = initial_modal_mask
        if self.config.modal_branch:
            modal, modal_parsing = self.modal_head(features)
            modal_probability = modal.sigmoid()
        amodal_input = self._amodal_input(features, modal_probability, signed_image, picture)
        amodal_features = self.amodal_hourglass(amodal_input)
        amodal, amodal_parsing = self.amodal_head(
            amodal_features, self._template_features(modal_probability, amodal_features)
        )
        return MaskLogits(modal, amodal, modal_parsing, amodal_parsing)

    def _amodal_input(self, features: Tensor, modal: Tensor, signed_image: Tensor, picture: Tensor) -> Tensor:
        """F_m, the soft modal mask (Eq. 2) and the picture, at the resolution of the features."""
        joined = [features]
        if self.config.amodal_sees_modal:
            joined.append(F.pixel_unshuffle(modal, self.config.stride))
        if self.config.amodal_sees_image:
            joined.append(signed_image if self.config.stride == 1 else picture)
        return torch.cat(joined, dim=1)

    def _template_features(self, modal_probability: Tensor, features: Tensor) -> Tensor | None:
        """Re-weighted templates through one convolution, at the resolution of the features."""
        if not self.config.num_templates:
            return None
        # Detached: the weights choose a pose, they should not bend the modal mask towards a template.
        weights = template_weights(modal_probability.detach(), self.templates, self.config.template_weighting)
        # Scalar weights commute with upsampling, so the convolution runs at the templates' small size.
        weighted = self.template_conv(weights[:, :, None, None] * self.templates)
        return F.interpolate(weighted, features.shape[-2:], mode="bilinear", align_corners=False)


def parsing_labels(logits: Tensor | None, mask: Tensor) -> Tensor | None:
    """Parsing logits (B, 20, h, w) to labels int64 (B, H, W), background outside `mask`, bool (B, 1, H, W)."""
    if logits is None:
        return None
    logits = F.interpolate(logits.float(), mask.shape[-2:], mode="bilinear", align_corners=False)
    return logits.argmax(dim=1) * mask[:, 0]
