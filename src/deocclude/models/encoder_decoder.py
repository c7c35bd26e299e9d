"""EfficientNet-Lite0 and a light decoder with skips: what the embedded networks have in common."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.efficientnet import FEATURE_CHANNELS, EfficientNetLite0

HEAD_CHANNELS = 32


class EncoderDecoder(nn.Module):
    """Features at 1/2 and 1/4 of the input's size; height and width multiples of 32.

    decoder_channels: of the decoder at 1/16, 1/8 and 1/4.
    """

    def __init__(self, in_channels: int, decoder_channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0(in_channels)
        _, quarter, eighth, sixteenth, deepest = FEATURE_CHANNELS
        widths = decoder_channels
        self.context = nn.Sequential(nn.Conv2d(deepest, widths[0], 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        self.up16 = _fuse(widths[0] + sixteenth, widths[0])
        self.up8 = _fuse(widths[0] + eighth, widths[1])
        self.up4 = _fuse(widths[1] + quarter, widths[2])
        self._half_channels = widths[2] + FEATURE_CHANNELS[0]

    def full_size_head(self, maps: int) -> nn.Sequential:
        """A head from the features at 1/2 to maps (B, `maps`, H, W); each cell answers for its four pixels."""
        return nn.Sequential(
            nn.Conv2d(self._half_channels, HEAD_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(HEAD_CHANNELS, 4 * maps, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """inputs (B, C, H, W), the picture in [-1, 1] first, to features at 1/2 and at 1/4."""
        half, quarter, eighth, sixteenth, deepest = self.encoder(inputs)
        x = self.context(deepest)
        for level, skip in ((self.up16, sixteenth), (self.up8, eighth), (self.up4, quarter)):
            x = level(torch.cat([_double(x), skip], dim=1))
        return torch.cat([_double(x), half], dim=1), x

    def start_from(self, other: EncoderDecoder) -> None:
        """Take over every weight of a trained network that this one has in the same shape, and the encoder's.

        The encoders may differ in their inputs: of those that both have, picture first, the weights are kept; the
        others start at 0, so that the trained features are as they were.
        """
        stem = "encoder.stem.0.weight"
        ours, theirs = self.state_dict(), other.state_dict()
        shared = min(ours[stem].shape[1], theirs[stem].shape[1])
        merged = {
            key: theirs[key] if key in theirs and theirs[key].shape == ours[key].shape else ours[key] for key in ours
        }
        merged[stem] = F.pad(theirs[stem][:, :shared], (0, 0, 0, 0, 0, ours[stem].shape[1] - shared))
        self.load_state_dict(merged)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _fuse(in_channels: int, out_channels: int) -> nn.Sequential:
    """A cheap 3x3 block: 1x1 to the new width, then a full 3x3."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
