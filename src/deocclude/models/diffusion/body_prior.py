"""The diffusion-based human body prior F, T (paper A, Eqs. 4 to 7): one pass of a U-Net that knows bodies.

Two profiles. `dpmesh`: DPMesh's networks, Stable Diffusion tuned for human mesh recovery, with a ControlNet that takes
joint heatmaps; its conventions are its own (pictures in [0, 1], unscaled latents, timestep 1). `sd15`: plain Stable
Diffusion 1.5 with its own conventions, no ControlNet and a fixed text as context, for those who have no DPMesh weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from deocclude.models.diffusion.configs import HEATMAP_SIGMA
from deocclude.models.diffusion.joint_heatmaps import found, gaussian_heatmaps
from deocclude.models.diffusion.stable_diffusion import (
    LATENT_SCALE,
    LATENT_STRIDE,
    StableDiffusionConfig,
    make_controlnet,
    make_unet,
    make_vae,
)
from deocclude.skeletons import BODY_25, DPMESH_30

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention

TAPS = ("up_blocks.0.resnets.1", "up_blocks.1.attentions.1", "up_blocks.2.attentions.1", "up_blocks.3.attentions.2")
"""The U-Net's layers whose outputs are F, at 1/64, 1/32, 1/16 and 1/8 of the picture: 4, 8, 16, 32 px of 256."""


@dataclass(frozen=True, kw_only=True)
class BodyPriorConfig:
    """Which prior, at which width."""

    profile: Literal["dpmesh", "sd15"] = "dpmesh"
    """Whose weights and conventions (see above)."""
    networks: StableDiffusionConfig = field(default_factory=StableDiffusionConfig)
    """Widths."""
    num_tokens: int = len(DPMESH_30)
    """Context tokens, and so channels of T: DPMesh's 30 joints, or the 77 of a text."""
    sigma: float = HEATMAP_SIGMA
    """Standard deviation of the joint heatmaps, pixels of the latent (paper A's Table D)."""

    @property
    def feature_channels(self) -> tuple[int, int, int, int]:
        """Of F at 4, 8, 16 and 32 px."""
        channels = self.networks.channels
        return channels[3], channels[2], channels[1], channels[0]


@dataclass(frozen=True)
class PriorFeatures:
    """What the prior says about a batch of 256-px crops.

    features: F, float (B, C, n, n) for n = 4, 8, 16, 32. attention: T, (B, tokens, n, n) for n = 8, 16; at each pixel
    the tokens' shares add up to 1.
    """

    features: tuple[Tensor, Tensor, Tensor, Tensor]
    attention: tuple[Tensor, Tensor]

    def map(self, function: Any) -> PriorFeatures:
        """The same with `function` applied to every tensor."""
        return PriorFeatures(
            tuple(map(function, self.features)),
            tuple(map(function, self.attention)),
        )


class BodyPrior(nn.Module):
    """One forward pass, frozen, without noise."""

    context: Tensor

    def __init__(self, config: BodyPriorConfig) -> None:
        super().__init__()
        self.config = config
        self.vae = make_vae(config.networks)
        del self.vae.decoder, self.vae.post_quant_conv
        self.unet = make_unet(config.networks)
        if config.profile == "dpmesh":
            self.controlnet = make_controlnet(config.networks)
            # DPMesh has no encoder of the hint: heatmaps as large as the latent are concatenated to it. Its first
            # convolution is split, which is the same, because a convolution of a concatenation is a sum.
            self.controlnet.controlnet_cond_embedding = nn.Conv2d(
                len(DPMESH_30), config.networks.channels[0], 3, padding=1, bias=False
            )
            self.joint_tokens = nn.Linear(2, config.networks.context_dim)
        else:
            self.register_buffer("context", torch.zeros(1, config.num_tokens, config.networks.context_dim))
        self.taps = UNetTaps(self.unet)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, image: Tensor, joints: Tensor) -> PriorFeatures:
        """F and T of a crop.

        image: float (B, 3, S, S) in [0, 1]. joints: BODY_25, float (B, 25, 3), x, y in pixels and confidence; the
        profile `sd15` does not look at them.
        """
        latent = self.latent(image)
        if self.config.profile == "sd15":
            return self.taps.features(latent, 0, self.context.expand(len(image), -1, -1))
        joints = dpmesh_joints(joints)
        tokens = self.tokens(joints, image.shape[-1])
        control = self.control(latent, self.heatmaps(joints, image.shape[-1]), tokens)
        return self.taps.features(latent, 1, tokens, control)

    def latent(self, image: Tensor) -> Tensor:
        """z_0: the mean of the VAE's posterior, (B, 4, S / 8, S / 8) (Eq. 5). image: (B, 3, S, S) in [0, 1]."""
        if self.config.profile == "sd15":
            mean: Tensor = self.vae.encode(image * 2 - 1).latent_dist.mode() * LATENT_SCALE
            return mean
        mean = self.vae.encode(image).latent_dist.mode()
        return mean

    def heatmaps(self, joints: Tensor, size: int) -> Tensor:
        """H_2D (Eq. 4) of DPMesh's joints (B, 30, 3) in pixels of a crop of `size`: (B, 30, size / 8, size / 8)."""
        side = size // LATENT_STRIDE
        on_latent = torch.cat([joints[..., :2] / LATENT_STRIDE, joints[..., 2:]], dim=-1)
        return gaussian_heatmaps(on_latent[..., :2], found(on_latent, side), side, self.config.sigma)

    def tokens(self, joints: Tensor, size: int) -> Tensor:
        """f_j (Eq. 5): each joint's place on the crop through one linear layer, (B, 30, context_dim).

        Neither confidence nor identity enters, and missing joints have a token like the others: DPMesh's way.
        """
        tokens: Tensor = self.joint_tokens((joints[..., :2] / size).to(self.joint_tokens.weight.dtype))
        return tokens

    def control(self, latent: Tensor, heatmaps: Tensor, tokens: Tensor) -> tuple[list[Tensor], Tensor]:
        """f_c1 (Eq. 6): what the ControlNet adds to the U-Net's twelve skips, and to its middle."""
        skips, middle = self.controlnet(latent, 1, tokens, heatmaps.to(latent.dtype), return_dict=False)
        return skips, middle


class UNetTaps:
    """Listens to a Stable Diffusion U-Net: the outputs of `TAPS`, and its cross-attention at 8 and 16 px."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.unet = unet
        self._outputs: dict[str, Tensor] = {}
        self._attention: list[Tensor] = []
        modules = dict(unet.named_modules())
        for name in TAPS:
            modules[name].register_forward_hook(self._keep_as(name))
        for name, module in modules.items():
            # Of the down and up paths alone, and not where there are more than 16 x 16 pixels (DPMesh's choice).
            if name.endswith("attn2") and not name.startswith(("mid_block", "down_blocks.0", "up_blocks.3")):
                module.set_processor(KeepingAttention(self._attention))

    def features(
        self, latent: Tensor, timestep: int, context: Tensor, control: tuple[list[Tensor], Tensor] | None = None
    ) -> PriorFeatures:
        """F and T of one pass (Eq. 7; Eq. 19 for the U-Net of stage 2), with a ControlNet's residuals if given."""
        skips, middle = control or (None, None)
        try:
            self.unet(
                latent, timestep, context, down_block_additional_residuals=skips, mid_block_additional_residual=middle
            )
            features = tuple(self._outputs[name] for name in TAPS)
            attention = tuple(_mean_of_size(self._attention, value.shape[-1]) for value in features[1:3])
        finally:
            self._outputs.clear()
            self._attention.clear()
        return PriorFeatures(features, attention)  # type: ignore[arg-type]

    def _keep_as(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            self._outputs[name] = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)

        return keep


class KeepingAttention:
    """Cross-attention that writes its probabilities out and keeps their mean over the heads, (B, tokens, n, n)."""

    def __init__(self, kept: list[Tensor]) -> None:
        self.kept = kept

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **unused: Any
    ) -> Tensor:
        assert encoder_hidden_states is not None, "cross-attention has a context"
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        probabilities = attn.get_attention_scores(query, key)
        batch, pixels, _ = hidden_states.shape
        side = int(pixels**0.5)
        mean = probabilities.view(batch, attn.heads, pixels, -1).mean(dim=1)
        self.kept.append(mean.transpose(1, 2).reshape(batch, -1, side, side))
        attended: Tensor = attn.to_out[0](attn.batch_to_head_dim(probabilities @ value))
        return attended


def _mean_of_size(maps: list[Tensor], size: int) -> Tensor:
    return torch.stack([value for value in maps if value.shape[-1] == size]).mean(dim=0)


def dpmesh_joints(joints: Tensor) -> Tensor:
    """BODY_25 (B, 25, 3) sorted into DPMesh's 30 joints (B, 30, 3) by name; those BODY_25 lacks are (0, 0, 0).

    Paper A speaks of 25 heatmaps; the released ControlNet takes 30. The toes stay out, as in the paper's J_body.
    """
    ours = joints.new_zeros(len(joints), len(DPMESH_30), 3)
    for index, name in enumerate(DPMESH_30):
        if name in BODY_25 and "toe" not in name:
            ours[:, index] = joints[:, BODY_25.index(name)]
    return ours
