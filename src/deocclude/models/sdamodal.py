"""SDAmodal (Guanqi Zhan et al. 2024, "Amodal Ground Truth and Completion in the Wild"): its network and checkpoints.

A mask U-Net that Stable Diffusion's features of the picture join. Written anew after the paper and a description of
the checkpoints; with the same weights it gives the numbers that the authors' code gives (tests/test_sdamodal.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deocclude.models.foreign import Converted
from deocclude.models.sssd import MaskUNet, check_widths, conv_shape, filled, unet_blocks, unet_widths

KIND = "SDAmodal"


@dataclass(frozen=True, kw_only=True)
class SdamodalConfig:
    """SDAmodal's mask U-Net with injected features; the defaults are the released widths."""

    encoder_channels: tuple[int, ...] = (32, 64, 128, 256, 512, 512)
    """Channels of each level, the first at full size, every other at half the size of the one before."""
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 32)
    """Channels on the way back up, the deepest first."""
    feature_channels: tuple[int, ...] = (1280, 1280, 640, 320)
    """Channels of the injected maps: the first joins the deepest level, each other the next one above."""
    projection_channels: int = 256
    """Channels that each injected map is brought to."""

    def __post_init__(self) -> None:
        check_widths(self.encoder_channels, self.decoder_channels)
        if len(self.feature_channels) > len(self.encoder_channels):
            raise ValueError(
                f"need at least as many encoder levels as features, got {len(self.encoder_channels)} "
                f"and {len(self.feature_channels)}"
            )
        if min(*self.feature_channels, self.projection_channels) < 1:
            raise ValueError(
                "feature_channels and projection_channels must be positive, "
                f"got {self.feature_channels} and {self.projection_channels}"
            )


class SdamodalNetwork(nn.Module):
    """Modal mask and diffusion features to the amodal mask of one object.

    The features are the outputs of Stable Diffusion 2.1's four up blocks for the picture, noised to timestep 181,
    averaged over noises and cropped like the mask: in the release 24, 48, 96 and 96 pixels a side for a mask of 512.
    """

    def __init__(self, config: SdamodalConfig) -> None:
        super().__init__()
        self.config = config
        num_features = len(config.feature_channels)
        joined = [0] * (len(config.encoder_channels) - num_features) + [config.projection_channels] * num_features
        self.unet = MaskUNet(1, config.encoder_channels, config.decoder_channels, joined)
        self.project = nn.ModuleList(
            _projection(channels, config.projection_channels) for channels in config.feature_channels
        )
        self.head = nn.Conv2d(config.decoder_channels[-1], 2, 1)

    def forward(self, modal_mask: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Logits of (not the object, the object), (B, 2, H, W). See `last_features` for what goes in."""
        return self.head(self.last_features(modal_mask, features))

    def last_features(self, modal_mask: Tensor, features: Sequence[Tensor]) -> Tensor:
        """What the head reads, (B, decoder_channels[-1], H, W).

        modal_mask: float (B, 1, H, W) of 0 and 1, H and W at least 32. features: float (B, C, h, w), one for each of
        `feature_channels` and in that order, any h and w that cover the same square.
        """
        if len(features) != len(self.project):
            raise ValueError(f"expected {len(self.project)} feature maps, got {len(features)}")
        levels = self.unet.encode(modal_mask)
        for depth, (project, feature) in enumerate(zip(self.project, features, strict=True), start=1):
            own = levels[-depth]
            projected = F.interpolate(project(feature), own.shape[-2:], mode="bilinear", align_corners=False)
            levels[-depth] = torch.cat([own, projected], dim=1)
        return self.unet.decode(levels)


def _projection(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


BLOCKS = unet_blocks(6, first_up=0) | {f"project.{index}": f"reduce_dim_{index}" for index in range(4)}
"""Our name of each block → the checkpoint's, the prefix left out."""


def sdamodal_from_checkpoint(state_dict: Mapping[str, Tensor]) -> Converted:
    """`SdamodalNetwork` from the `state_dict` entry of an SDAmodal checkpoint, its keys as they are.

    The widths are read from the shapes. Raises ValueError for a checkpoint of another kind or a damaged one.
    """
    projections = [conv_shape(state_dict, f"reduce_dim_{index}.0", KIND) for index in range(4)]
    config = SdamodalConfig(
        **unet_widths(state_dict, BLOCKS, KIND),
        feature_channels=tuple(shape[1] for shape in projections),
        projection_channels=projections[0][0],
    )
    return filled(SdamodalNetwork(config), config, state_dict, BLOCKS, KIND)
