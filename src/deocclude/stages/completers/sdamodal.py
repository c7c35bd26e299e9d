"""SDAmodal (Zhan et al. 2024) as a mask stage: a mask U-Net fed with what Stable Diffusion 2.1 sees in the picture.

The features are those of one denoising step at t = 181 with an empty prompt, averaged over eight noises, of the crop at
768 px; the authors take the whole photograph's and cut them out. Weights: the U-Net is converted by the user, and its
authors state no licence; Stable Diffusion 2.1 is under CreativeML Open RAIL++-M.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deocclude.models.diffusion.sampling import NOISE_SCHEDULE
from deocclude.models.sdamodal import SdamodalNetwork
from deocclude.models.sssd import amodal_probability
from deocclude.stages.completers.base import MaskStage
from deocclude.stages.completers.windows import paper_windows
from deocclude.stages.loading import load_part
from deocclude.types import Hints, MaskCompletion

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

CROP_SIZE = 768
"""Side of the picture that Stable Diffusion 2.1 sees, pixels."""
WINDOW_SIZE = 512
"""Side of the mask that the U-Net is trained on, pixels."""
TIMESTEP = 181
NUM_NOISES = 8
SEED = 0
"""Of the noises: a mask stage gets none, and is to give the same mask for the same picture."""


class DiffusionFeatures:
    """Outputs of the four up blocks of Stable Diffusion's U-Net for a noised picture.

    empty_prompt: float (1, n, C), the text encoder's answer to the empty sentence.
    """

    def __init__(self, unet: UNet2DConditionModel, vae: AutoencoderKL, empty_prompt: Tensor) -> None:
        from diffusers import DDPMScheduler

        self.unet, self.vae, self.empty_prompt = unet.eval(), vae.eval(), empty_prompt
        self.schedule = DDPMScheduler(**NOISE_SCHEDULE)

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' arithmetic."""
        return self.unet.dtype

    def __call__(self, image: Tensor) -> list[Tensor]:
        """image float (B, 3, S, S) in [0, 1] to the maps of each up block, the deepest first: float (B, C, h, w).

        Everybody gets the same noises, so that nobody's maps depend on who else is in the batch.
        """
        generator = torch.Generator().manual_seed(SEED)
        posterior = self.vae.encode((image * 2 - 1).to(self.dtype)).latent_dist
        shape = posterior.mean.shape[1:]
        total: list[Tensor] = []
        for _ in range(NUM_NOISES):
            drawn, noise = (torch.randn(shape, generator=generator).to(posterior.mean) for _ in range(2))
            latent = (posterior.mean + posterior.std * drawn) * self.vae.config.scaling_factor
            maps = self._maps(latent, noise.expand_as(latent))
            total = [one + other for one, other in zip(total, maps, strict=True)] if total else maps
        return [value / NUM_NOISES for value in total]

    def _maps(self, latent: Tensor, noise: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        hooks = [
            block.register_forward_hook(lambda module, inputs, output: maps.append(output.float()))
            for block in self.unet.up_blocks
        ]
        timestep = torch.tensor(TIMESTEP, device=latent.device)
        try:
            noisy = self.schedule.add_noise(latent, noise, timestep[None])
            self.unet(noisy, timestep, self.empty_prompt.to(latent).expand(len(latent), -1, -1))
        finally:
            for hook in hooks:
                hook.remove()
        return maps


class SdamodalMaskCompleter(MaskStage):
    """The mask U-Net on SSSD's square round the visible part, which is cut out of the features too."""

    name = "sdamodal"

    def __init__(
        self,
        network: SdamodalNetwork,
        features_of: DiffusionFeatures,
        *,
        size: int = CROP_SIZE,
        window_size: int = WINDOW_SIZE,
        weights_sha256: dict[str, str] | None = None,
    ) -> None:
        self.network, self.features_of = network.eval(), features_of
        self.size, self.window_size = size, window_size
        self.weights_sha256 = weights_sha256

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks' arithmetic."""
        return next(self.network.parameters()).dtype

    @torch.inference_mode()
    def complete(self, image: Tensor, modal_mask: Tensor, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
        """image float (B, 3, S, S) in [0, 1], modal_mask bool (B, 1, S, S); refines nothing."""
        windows = paper_windows(modal_mask)
        maps = [windows.cut(value, value.shape[-1]).to(self.dtype) for value in self.features_of(image)]
        seen = windows.cut(modal_mask.to(self.dtype), self.window_size, "nearest")
        probability = amodal_probability(self.network(seen, maps)).float()
        probability = windows.paste(probability, image.shape[-1]).clamp(0, 1)
        return MaskCompletion(modal_mask, (probability > 0.5) | modal_mask, probability)


def load_features(folder: Path, *, device: torch.device, dtype: torch.dtype) -> DiffusionFeatures:
    """Stable Diffusion's networks from the hub's folder. Raises InputError for files that are not theirs."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    parts = {"vae": AutoencoderKL, "unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}
    vae, unet, text_encoder = (
        load_part(kind, folder / name, dtype, variant="fp16").to(device) for name, kind in parts.items()
    )
    tokenizer: Any = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    ids = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt").input_ids
    with torch.inference_mode():
        empty_prompt = text_encoder(ids.to(device)).last_hidden_state
    return DiffusionFeatures(unet, vae, empty_prompt)
