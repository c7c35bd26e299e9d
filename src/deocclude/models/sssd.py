"""SSSD (Xiaohang Zhan et al. 2020, "Self-Supervised Scene De-occlusion"): its two networks and its checkpoints.

PCNet-M completes masks, PCNet-C colours. Both are written anew after the paper and a description of the checkpoints;
with the same weights they give the numbers that the authors' code gives (tests/test_sssd.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.feedforward.hourglass import double_conv
from deocclude.models.feedforward.rgb_completion import DecoderLevel, EncoderLevel
from deocclude.models.foreign import Converted, needs
from deocclude.models.layers import MaskedFeatures, PartialConv2d

PREFIX = "module."
"""What every key of a checkpoint begins with: the wrapper that the authors trained their networks in."""
MASK_KIND = "SSSD's PCNet-M"
CONTENT_KIND = "SSSD's PCNet-C"
_KERNELS = (7, 5, 5)  # of PCNet-C's first encoder levels; 3 further down


def check_widths(encoder_channels: Sequence[int], decoder_channels: Sequence[int]) -> None:
    """Raises ValueError unless a U-Net can have these channels: a decoder level for each encoder level but the last."""
    if not 0 < len(decoder_channels) == len(encoder_channels) - 1 or min(*encoder_channels, *decoder_channels) < 1:
        raise ValueError(
            "need two encoder levels or more, a decoder level fewer, and positive channels, "
            f"got {tuple(encoder_channels)} and {tuple(decoder_channels)}"
        )


@dataclass(frozen=True, kw_only=True)
class SssdMaskConfig:
    """PCNet-M. The authors scale (16, 32, 64, 128, 128) and (64, 32, 16, 16) by a w; the default is w = 2, released."""

    encoder_channels: tuple[int, ...] = (32, 64, 128, 256, 256)
    """Channels of each level, the first at full size, every other at half the size of the one before."""
    decoder_channels: tuple[int, ...] = (128, 64, 32, 32)
    """Channels on the way back up, the deepest first."""

    def __post_init__(self) -> None:
        check_widths(self.encoder_channels, self.decoder_channels)


@dataclass(frozen=True, kw_only=True)
class SssdContentConfig:
    """PCNet-C; the defaults are the released widths."""

    encoder_channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)
    """Channels of each encoder level, every one at half the size of the one before, the first of the picture."""
    decoder_channels: tuple[int, ...] = (512, 512, 512, 256, 128, 64)
    """Channels on the way back up, the deepest first; the last layer's three colours are not among them."""

    def __post_init__(self) -> None:
        check_widths(self.encoder_channels, self.decoder_channels)


class MaskUNet(nn.Module):
    """A U-Net of double convolutions. SDAmodal's code grew from SSSD's, and so it has the same one, a level deeper.

    joined_channels: channels that the caller joins to each encoder level between `encode` and `decode`.
    """

    def __init__(
        self,
        in_channels: int,
        encoder_channels: Sequence[int],
        decoder_channels: Sequence[int],
        joined_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        joined_channels = joined_channels or [0] * len(encoder_channels)
        *skips, deepest = [own + joined for own, joined in zip(encoder_channels, joined_channels, strict=True)]
        self.down = nn.ModuleList(double_conv(*channels) for channels in pairwise((in_channels, *encoder_channels)))
        self.up = nn.ModuleList(
            double_conv(before + skip, after)
            for skip, (before, after) in zip(reversed(skips), pairwise((deepest, *decoder_channels)), strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, decoder_channels[-1], H, W)."""
        return self.decode(self.encode(x))

    def encode(self, x: Tensor) -> list[Tensor]:
        """The map of every level, at H x W first, then at H/2 x W/2 and so on, rounded down."""
        levels = [self.down[0](x)]
        for down in self.down[1:]:
            levels.append(down(F.max_pool2d(levels[-1], 2)))
        return levels

    def decode(self, levels: Sequence[Tensor]) -> Tensor:
        """What `encode` returned, with the joined channels after its own, to (B, decoder_channels[-1], H, W)."""
        *skips, x = levels
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(torch.cat([skip, _upsample_to(x, skip)], dim=1))
        return x


def _upsample_to(x: Tensor, skip: Tensor) -> Tensor:
    """Bilinear x2, then a row or column of zeros where the skip had an odd size."""
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    return F.pad(x, (0, skip.shape[3] - x.shape[3], 0, skip.shape[2] - x.shape[2]))


class SssdMaskNetwork(nn.Module):
    """PCNet-M: does the object go on under the occluder, and where."""

    def __init__(self, config: SssdMaskConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = MaskUNet(2, config.encoder_channels, config.decoder_channels)
        self.head = nn.Conv2d(config.decoder_channels[-1], 2, 1)

    def forward(self, modal_mask: Tensor, occluder_mask: Tensor) -> Tensor:
        """Logits of (not the object, the object), (B, 2, H, W); they mean something inside the occluder only.

        modal_mask: float (B, 1, H, W) of 0 and the object's category number, 1 where a data set has no categories.
        occluder_mask: float (B, 1, H, W) of 0 and 1, the authors' "eraser". H and W at least 16, 256 in training.
        """
        return self.head(self.unet(torch.cat([modal_mask, occluder_mask], dim=1)))


def amodal_probability(logits: Tensor) -> Tensor:
    """Two-class logits (B, 2, H, W) to the probability of the object, float (B, 1, H, W) in [0, 1]."""
    return logits.softmax(dim=1)[:, 1:]


def likelier_class(logits: Tensor) -> Tensor:
    """Two-class logits (B, 2, H, W) to where the object is the likelier class, bool (B, 1, H, W)."""
    return logits[:, 1:] > logits[:, :1]


def completed_mask(logits: Tensor, modal_mask: Tensor, occluder_mask: Tensor) -> Tensor:
    """PCNet-M's amodal mask, bool (B, 1, H, W): its answer inside the occluder, the modal mask elsewhere.

    The masks are those that the network was given.
    """
    return torch.where(occluder_mask > 0, likelier_class(logits), modal_mask > 0)


class SssdContentNetwork(nn.Module):
    """PCNet-C: the colours of the invisible region, by a U-Net of partial convolutions.

    These divide by the number of known values under a window and leave out the constant that would undo it.
    """

    def __init__(self, config: SssdContentConfig) -> None:
        super().__init__()
        self.config = config
        encoder, decoder = config.encoder_channels, config.decoder_channels
        *skips, deepest = encoder
        self.encoder = nn.ModuleList(
            EncoderLevel(
                before,
                after,
                _KERNELS[level] if level < len(_KERNELS) else 3,
                norm=level > 0,
                renormalise=False,
            )
            for level, (before, after) in enumerate(pairwise((4, *encoder)))
        )
        self.decoder = nn.ModuleList(
            DecoderLevel(before, skip, after, renormalise=False)
            for skip, (before, after) in zip(reversed(skips), pairwise((deepest, *decoder)), strict=True)
        )
        self.output = PartialConv2d(decoder[-1] + 4, 3, 3, bias=True, renormalise=False)

    def forward(self, erased_image: Tensor, known_mask: Tensor, modal_mask: Tensor) -> MaskedFeatures:
        """Colours of all pixels, (B, 3, H, W) on the scale of the erased image, 0 where nothing known reached.

        erased_image: float (B, 3, H, W), normalised by ImageNet's mean and deviation, then 0 where it is not known.
        known_mask: float (B, 1, H, W), 1 outside the invisible region, background included. modal_mask: float
        (B, 1, H, W), 1 where the object is visible. The mask returned says where anything known did reach.
        """
        skips = [MaskedFeatures(torch.cat([erased_image, modal_mask], dim=1), known_mask)]
        for encode in self.encoder:
            skips.append(encode(skips[-1]))
        maps = skips.pop()
        for decode in self.decoder:
            maps = decode(maps, skips.pop())
        (inputs,) = skips
        size = inputs.mask.shape[-2:]
        return self.output(MaskedFeatures(*(F.interpolate(x, size, mode="nearest") for x in maps)), inputs)


def composite(generated: Tensor, image: Tensor, known_mask: Tensor) -> Tensor:
    """The image where it is known, the generated colour elsewhere. float (B, 3, H, W), (B, 3, H, W), (B, 1, H, W)."""
    return torch.where(known_mask > 0, image, generated)


def unet_blocks(num_levels: int, *, first_up: int) -> dict[str, str]:
    """Blocks of a `MaskUNet` called `unet` with a 1x1 `head`: our name → the checkpoint's, the prefix left out.

    first_up: the number that the checkpoint gives to the deepest decoder level.
    """
    blocks = {"unet.down.0": "inc.conv.conv", "head": "outc.conv"}
    for level in range(1, num_levels):
        blocks[f"unet.down.{level}"] = f"down{level}.mpconv.1.conv"
        blocks[f"unet.up.{level - 1}"] = f"up{level - 1 + first_up}.conv.conv"
    return blocks


def content_blocks(num_levels: int) -> dict[str, str]:
    """Blocks of PCNet-C: our name → the checkpoint's, the prefix left out."""
    # A partial convolution of ours holds its bias beside its convolution, theirs inside.
    blocks = {"output.conv": "dec_1.conv.input_conv", "output": "dec_1.conv.input_conv"}
    for level in range(num_levels):
        blocks[f"encoder.{level}.conv.conv"] = f"enc_{level + 1}.conv.input_conv"
        blocks[f"encoder.{level}.norm"] = f"enc_{level + 1}.bn"
    for level in range(num_levels - 1):  # ours count from the deepest, theirs from the shallowest
        blocks[f"decoder.{level}.conv.conv"] = f"dec_{num_levels - level}.conv.input_conv"
        blocks[f"decoder.{level}.norm"] = f"dec_{num_levels - level}.bn"
    return blocks


MASK_BLOCKS = unet_blocks(5, first_up=1)


def original_keys(network: nn.Module, blocks: Mapping[str, str]) -> dict[str, str]:
    """Each key of the network's state dict → the same tensor's key in a checkpoint. The first block that fits holds."""
    keys = {}
    for ours in network.state_dict():
        block = next(block for block in blocks if ours.startswith(f"{block}."))
        keys[ours] = PREFIX + blocks[block] + ours.removeprefix(block)
    return keys


def conv_shape(state_dict: Mapping[str, Tensor], block: str, kind: str) -> tuple[int, ...]:
    """Shape (outputs, inputs, k, k) of the convolution that a checkpoint calls `block`, the prefix left out."""
    key = f"{PREFIX}{block}.weight"
    needs(state_dict, [key], kind)
    shape = tuple(state_dict[key].shape)
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"not a checkpoint of {kind}: '{key}' is {shape}, not the weight of a convolution")
    return shape


def filled(
    network: nn.Module, config: Any, state_dict: Mapping[str, Tensor], blocks: Mapping[str, str], kind: str
) -> Converted:
    """The network with a checkpoint's weights, in eval mode.

    Raises ValueError, naming the first, for a key that is missing and for a tensor of the wrong shape.
    """
    keys = original_keys(network, blocks)
    needs(state_dict, keys.values(), kind)
    for ours, value in network.state_dict().items():
        found, expected = tuple(state_dict[keys[ours]].shape), tuple(value.shape)
        if found != expected:
            raise ValueError(f"not a checkpoint of {kind}: '{keys[ours]}' is {found}, and {expected} is needed")
    network.load_state_dict({ours: state_dict[theirs] for ours, theirs in keys.items()}, strict=True)
    used = set(keys.values())
    return Converted(network.eval(), config, tuple(key for key in state_dict if key not in used))


def unet_widths(state_dict: Mapping[str, Tensor], blocks: Mapping[str, str], kind: str) -> dict[str, tuple[int, ...]]:
    """`encoder_channels` and `decoder_channels` of the U-Net in a checkpoint."""

    def widths(path: str) -> tuple[int, ...]:
        return tuple(conv_shape(state_dict, f"{blocks[b]}.0", kind)[0] for b in blocks if b.startswith(path))

    return {"encoder_channels": widths("unet.down."), "decoder_channels": widths("unet.up.")}


def sssd_mask_from_checkpoint(state_dict: Mapping[str, Tensor]) -> Converted:
    """`SssdMaskNetwork` from the `state_dict` entry of an SSSD PCNet-M checkpoint, its keys as they are.

    The widths are read from the shapes. Raises ValueError for a checkpoint of another kind or a damaged one.
    """
    config = SssdMaskConfig(**unet_widths(state_dict, MASK_BLOCKS, MASK_KIND))
    return filled(SssdMaskNetwork(config), config, state_dict, MASK_BLOCKS, MASK_KIND)


def sssd_content_from_checkpoint(state_dict: Mapping[str, Tensor]) -> Converted:
    """`SssdContentNetwork` from the `state_dict` entry of an SSSD PCNet-C checkpoint, its keys as they are.

    Depth and widths are read from names and shapes. `*.mask_conv.weight`, which count known values, hold only ones
    and are among the unused keys. Raises ValueError for a checkpoint of another kind or a damaged one.
    """
    # By both halves, so that a file cut off in one of them does not pass for a shallower network.
    num_levels = max(_count_levels(state_dict, "enc"), _count_levels(state_dict, "dec"), 2)
    config = SssdContentConfig(
        encoder_channels=tuple(
            conv_shape(state_dict, f"enc_{level}.conv.input_conv", CONTENT_KIND)[0]
            for level in range(1, num_levels + 1)
        ),
        decoder_channels=tuple(
            conv_shape(state_dict, f"dec_{level}.conv.input_conv", CONTENT_KIND)[0]
            for level in range(num_levels, 1, -1)
        ),
    )
    converted = filled(SssdContentNetwork(config), config, state_dict, content_blocks(num_levels), CONTENT_KIND)
    for key in converted.unused:
        if key.endswith(".mask_conv.weight") and not (state_dict[key] == 1).all():
            raise ValueError(f"not a checkpoint of {CONTENT_KIND}: '{key}' holds other values than 1")
    return converted


def _count_levels(state_dict: Mapping[str, Tensor], half: str) -> int:
    pattern = re.compile(rf"{re.escape(PREFIX)}{half}_\d+\.")
    return len({match[0] for key in state_dict if (match := pattern.match(key))})
