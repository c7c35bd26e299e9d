"""LaMa (Suvorov et al. 2022, "Resolution-robust Large Mask Inpainting with Fourier Convolutions"): its generator.

A residual network on two groups of channels: a local one of ordinary convolutions, and a global one that a convolution
of the Fourier transform lets see the whole picture at once (Chi et al. 2020, "Fast Fourier Convolution"). Written anew
after the papers; the layers' sizes, paddings and names in files were looked up in the authors' code (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from deocclude.models.foreign import Converted, needs

KIND = "LaMa"
PREFIXES = ("", "generator.", "model.generator.")
"""What the keys of published files begin with: files of the generator alone, checkpoints, traced models."""
GLOBAL_SHARE = 0.75
"""Of the residual blocks' channels."""


@dataclass(frozen=True, kw_only=True)
class LamaConfig:
    """The generator; the defaults are Big-LaMa's, 51 million parameters."""

    channels: int = 64
    """Of the first layer; every halving of the picture doubles them."""
    num_halvings: int = 3
    """Halvings before the residual blocks."""
    num_blocks: int = 18
    """Residual blocks."""

    def __post_init__(self) -> None:
        if min(self.channels, self.num_halvings, self.num_blocks) < 1:
            raise ValueError(f"need at least one channel, halving and block, got {self}")
        if self.global_channels % 2:
            raise ValueError(f"the global channels must be even, got {self.global_channels}")

    @property
    def widest(self) -> int:
        """Channels of the residual blocks, both groups together."""
        return int(self.channels * 2**self.num_halvings)

    @property
    def global_channels(self) -> int:
        return int(self.widest * GLOBAL_SHARE)


class FourierConv(nn.Module):
    """A 1x1 convolution of a map's spectrum, (B, C, H, W) to the same; in float32 whatever the map is.

    Real and imaginary part of each frequency are two channels, next to each other.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.view_as_real(torch.fft.rfft2(x.float(), norm="ortho"))
        values = rearrange(spectrum, "b c h w part -> b (c part) h w", part=2).to(x.dtype)
        values = F.relu(self.norm(self.conv(values))).float()
        spectrum = rearrange(values, "b (c part) h w -> b c h w part", part=2).contiguous()
        return torch.fft.irfft2(torch.view_as_complex(spectrum), s=x.shape[-2:], norm="ortho").to(x.dtype)


class SpectralTransform(nn.Module):
    """The global group onto itself: at half the channels, the map plus its `FourierConv`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.shrink = nn.Conv2d(channels, half, 1, bias=False)
        self.norm = nn.BatchNorm2d(half)
        self.fourier = FourierConv(half)
        self.expand = nn.Conv2d(half, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        x = F.relu(self.norm(self.shrink(x)))
        expanded: Tensor = self.expand(x + self.fourier(x))
        return expanded


class TwoGroupConv(nn.Module):
    """A convolution between groups of channels, (local, global) before to (local, global) after, then norm and ReLU.

    Without global channels before, the global group after is made of the local one; without any after, it is None.
    """

    def __init__(self, before: tuple[int, int], after: tuple[int, int], kernel: int, stride: int = 1) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int) -> nn.Conv2d | None:
            if not inputs or not outputs:
                return None
            return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode="reflect", bias=False)

        self.local_to_local = conv(before[0], after[0])
        self.local_to_global = conv(before[0], after[1])
        self.global_to_local = conv(before[1], after[0])
        self.global_to_global = SpectralTransform(after[1]) if before[1] and after[1] else None
        self.local_norm = nn.BatchNorm2d(after[0])
        self.global_norm = nn.BatchNorm2d(after[1]) if after[1] else None

    def forward(self, local: Tensor, wide: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Maps (B, C, H, W) of each group, of one size; `wide` is the global one."""
        assert self.local_to_local is not None
        local_after = self.local_to_local(local)
        if self.global_to_local is not None:
            local_after = local_after + self.global_to_local(wide)
        local_after = F.relu(self.local_norm(local_after))
        if self.local_to_global is None or self.global_norm is None:
            return local_after, None
        wide_after = self.local_to_global(local)
        if self.global_to_global is not None:
            wide_after = wide_after + self.global_to_global(wide)
        return local_after, F.relu(self.global_norm(wide_after))


class ResidualBlock(nn.Module):
    """Two `TwoGroupConv`s, added to what goes in."""

    def __init__(self, channels: tuple[int, int]) -> None:
        super().__init__()
        self.first = TwoGroupConv(channels, channels, 3)
        self.second = TwoGroupConv(channels, channels, 3)

    def forward(self, local: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
        local_change, wide_change = self.second(*self.first(local, wide))
        assert wide_change is not None
        return local + local_change, wide + wide_change


class LamaNetwork(nn.Module):
    """A picture with a hole to one without."""

    def __init__(self, config: LamaConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * 2**level for level in range(config.num_halvings + 1)]
        groups = config.widest - config.global_channels, config.global_channels
        self.stem = TwoGroupConv((4, 0), (config.channels, 0), 7)
        self.down = nn.ModuleList(TwoGroupConv((a, 0), (b, 0), 3, stride=2) for a, b in pairwise(widths[:-1]))
        self.down.append(TwoGroupConv((widths[-2], 0), groups, 3, stride=2))
        self.blocks = nn.ModuleList(ResidualBlock(groups) for _ in range(config.num_blocks))
        up = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 3, 2, padding=1, output_padding=1) for a, b in up)
        self.up_norm = nn.ModuleList(nn.BatchNorm2d(b) for _, b in up)
        self.head = nn.Conv2d(config.channels, 3, 7, padding=3, padding_mode="reflect")

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        """The picture that the network paints everywhere, float (B, 3, H, W) in [0, 1].

        image: float (B, 3, H, W) in [0, 1]; what it shows in the hole is not looked at. hole: float (B, 1, H, W) of 0
        and 1. H and W multiples of 2 to the number of halvings.
        """
        local, wide = self.stem(torch.cat([image * (1 - hole), hole], dim=1), None)
        for down in self.down:
            local, wide = down(local, wide)
        for block in self.blocks:
            local, wide = block(local, wide)
        x = torch.cat([local, wide], dim=1)
        for up, norm in zip(self.up, self.up_norm, strict=True):
            x = F.relu(norm(up(x)))
        painted: Tensor = self.head(x).sigmoid()
        return painted


_CONV = {
    "local_to_local": "ffc.convl2l",
    "local_to_global": "ffc.convl2g",
    "global_to_local": "ffc.convg2l",
    "global_to_global.shrink": "ffc.convg2g.conv1.0",
    "global_to_global.norm": "ffc.convg2g.conv1.1",
    "global_to_global.fourier.conv": "ffc.convg2g.fu.conv_layer",
    "global_to_global.fourier.norm": "ffc.convg2g.fu.bn",
    "global_to_global.expand": "ffc.convg2g.conv2",
    "local_norm": "bn_l",
    "global_norm": "bn_g",
}
"""Our name of each part of a `TwoGroupConv` → the published one."""


def published_names(config: LamaConfig) -> dict[str, str]:
    """Our name of each layer → the published one, the prefix left out: a list of layers, counted through."""
    first_block = 2 + config.num_halvings  # after a padding, the stem and the halvings
    first_up = first_block + config.num_blocks + 1  # after the joining of the groups
    convs = {"stem": "model.1"}
    for level in range(config.num_halvings):
        convs[f"down.{level}"] = f"model.{2 + level}"
    for index in range(config.num_blocks):
        convs[f"blocks.{index}.first"] = f"model.{first_block + index}.conv1"
        convs[f"blocks.{index}.second"] = f"model.{first_block + index}.conv2"
    names = {f"{ours}.{part}": f"{theirs}.{name}" for ours, theirs in convs.items() for part, name in _CONV.items()}
    for level in range(config.num_halvings):  # each with a normalisation and an activation
        names[f"up.{level}"] = f"model.{first_up + 3 * level}"
        names[f"up_norm.{level}"] = f"model.{first_up + 3 * level + 1}"
    return names | {"head": f"model.{first_up + 3 * config.num_halvings + 1}"}  # after a padding


def lama_from_published(state_dict: Mapping[str, Tensor]) -> Converted:
    """`LamaNetwork` from the published generator's weights, or from a checkpoint that holds them among others.

    The width is read off the shapes, the number of blocks off the names; three halvings, as all that were published.
    Raises ValueError for a file of another kind or a damaged one.
    """
    prefix = next((prefix for prefix in PREFIXES if f"{prefix}model.1.ffc.convl2l.weight" in state_dict), None)
    if prefix is None:
        raise ValueError(f"not a checkpoint of {KIND}: it has no 'model.1.ffc.convl2l.weight'")
    config = LamaConfig(
        channels=state_dict[f"{prefix}model.1.ffc.convl2l.weight"].shape[0],
        num_blocks=_count_blocks(state_dict, prefix),
    )
    network = LamaNetwork(config)
    names = published_names(config)
    keys = {}
    for ours in network.state_dict():
        layer, _, kind = ours.rpartition(".")
        keys[ours] = f"{prefix}{names[layer]}.{kind}"
    needs(state_dict, keys.values(), KIND)
    try:
        network.load_state_dict({ours: state_dict[theirs] for ours, theirs in keys.items()}, strict=True)
    except RuntimeError as error:
        raise ValueError(f"not a checkpoint of {KIND}: {' '.join(str(error).split())[:300]}") from error
    left = set(state_dict) - set(keys.values())
    if surplus := sorted(key for key in left if key.startswith(f"{prefix}model.")):
        raise ValueError(f"not a checkpoint of {KIND}: it has a '{surplus[0]}', for which the network has no place")
    return Converted(network.eval(), config, tuple(key for key in state_dict if key in left))


def _count_blocks(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    return max(1, sum(key.startswith(prefix) and key.endswith(".conv1.bn_l.weight") for key in state_dict))
