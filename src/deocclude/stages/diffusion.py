"""Paper A: U_mask on a body prior, and Stable Diffusion painting the person; every ablation row is a stage too.

The networks are built by `completers.diffusion_loading`; here is what they are called, which weights fill them and how
they are set.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from deocclude import weight_specs
from deocclude.models.diffusion.configs import DecoderTuningConfig, JointInputConfig, PriorUNetConfig, SamplingConfig
from deocclude.stages.spec import WORK_ONCE, WORK_TWICE, StageSpec
from deocclude.weight_specs import (
    DIFFUSERS_FILE,
    Converted,
    WeightSpec,
    from_hub,
    trained,
)

if TYPE_CHECKING:
    import torch

CROP_SIZE = 256
"""The side both stages work at, pixels."""
TEXT_TOKENS = 77
"""Tokens of CLIP's text encoder: by them a U-Net is known that was trained on plain Stable Diffusion."""

Profile = Literal["dpmesh", "sd15"]
Context = Literal["text_pooled", "image", "image+text", "text_tokens", "text_tokens_projected"]
HintColour = Literal["ade20k", "coco", "white"]

_STATES = "deocclude.models.diffusion.state_dicts"
# EternalEvan/DPMesh README @ 721191b: the address, four files, "This code is distributed under an MIT LICENSE"; of the
# weights it says nothing. `oc`, object occlusion, is nearest to our use.
DPMESH = WeightSpec(
    name="dpmesh",
    what="body prior of stage 1",
    source=Converted(
        file="3dpw-oc_best_ckpt.pth.tar",
        address="https://cloud.tsinghua.edu.cn/d/1d6cd3ee30204bb59fce/",
        converter=(_STATES, "body_prior_from_dpmesh"),
    ),
    size=2_510_000_000,
    parameters=1_253_965_972,
    licence="not stated by its authors (code: MIT)",
    instead=("sd15", "clip-text"),
)


def _u(name: str, what: str, command: str) -> WeightSpec:
    """A U-Net as large as U_mask, stored in float16."""
    return trained(name, what, command, size=36_000_000, parameters=18_020_321)


_TRAIN = "mask-completion --family diffusion"
U_MASK = _u("u-mask", "stage 1's mask completion", _TRAIN)
U_MASK_1 = _u("u-mask-1", "the same, no prior, no joints", f"{_TRAIN} --design mask-1")
U_MASK_2 = _u("u-mask-2", "the same, no joint heatmap", f"{_TRAIN} --design mask-2")
U_MASK_3 = _u("u-mask-3", "the same, no sub-joints", f"{_TRAIN} --design mask-3")
U_ONE_STAGE = _u("u-one-stage", "one U-Net for mask and picture", f"{_TRAIN} --design one-stage")
U_RGB = _u("u-rgb", "a U-Net for the picture", "rgb-completion --family diffusion")
# huggingface.co/cvlab/pix2gestalt-weights: the file's page at e10cb0b7e874 (size, sha256), "License: cc-by-nc-4.0". The
# hub has it as a pickle only: converted, not downloaded.
PIX2GESTALT = WeightSpec(
    name="pix2gestalt",
    what="denoiser of stage 2",
    source=Converted(
        file="epoch=000005.ckpt",
        address="https://huggingface.co/cvlab/pix2gestalt-weights/tree/e10cb0b7e8743da7b4f46541fb5c71865afdcef4",
        converter=(_STATES, "rgb_denoiser_from_pix2gestalt"),
        size=15_500_000_000,
        sha256="8d314bc613d7cb180e055a0c62b4e90de9b97feaf585149b6da342dbb269a9e7",
    ),
    size=2_500_000_000,
    parameters=1_247_754_667,
    licence="CC BY-NC 4.0: non-commercial",
)
# Hub pages: tree/210682041b41… ("License: openrail"); sha256 on the file's page at 216483e, whose commit for the file,
# 5286cce, is the one at 2106820 too.
CONTROLNET = from_hub(
    "controlnet-seg",
    "ControlNet 1.1, segmentation",
    "lllyasviel/control_v11p_sd15_seg",
    "210682041b41097834006a910b8773f423343900",
    text="config.json",
    weights={DIFFUSERS_FILE: "68291d493d0d75df67fe931c753c9b204cf3863509d5471b5eb64e5f0f2b4b38"},
    size=1_450_000_000,
    parameters=361_279_120,
    licence="OpenRAIL: use restrictions",
)
# Revision, size and sha256 stand together in several public pins. MIT: openai/CLIP LICENSE @ b1c4b6b. Of its 428
# million parameters the text tower's are loaded.
CLIP_TEXT = from_hub(
    "clip-text",
    "CLIP ViT-L/14, words to vectors",
    "openai/clip-vit-large-patch14",
    "32bd64288804d66eefd0ccbe215aa642df71cc41",
    text="config.json preprocessor_config.json tokenizer.json tokenizer_config.json special_tokens_map.json "
    "vocab.json merges.txt",
    weights={"model.safetensors": "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb"},
    size=1_715_000_000,
    parameters=123_650_304,
    licence="MIT (OpenAI's code; the hub's card: none)",
)
# Hub page tree/main at 787b3d3 ("License: bsd-3-clause"); full revision, size and sha256 in several public pins.
BLIP = from_hub(
    "blip-vqa",
    "BLIP VQA, the person in words",
    "Salesforce/blip-vqa-base",
    "787b3d35d57e49572baabd22884b3d5a05acf072",
    text="config.json preprocessor_config.json tokenizer.json tokenizer_config.json special_tokens_map.json vocab.txt",
    weights={"model.safetensors": "33786eed34def0c95fa948128cb4386be9b9219aa2c2e25f1c9c744692121bb7"},
    size=1_540_000_000,
    parameters=361_230_140,
    licence="BSD-3-Clause",
)
# A clone of runwayml's repository, which is gone. VAE: size, sha256 and this revision in a public cache listing; U-Net:
# size and sha256 in public pins of this repository; both lie in its first commit.
SD15 = from_hub(
    "sd15",
    "Stable Diffusion 1.5, VAE and U-Net",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    text="vae/config.json unet/config.json",
    weights={
        f"vae/{DIFFUSERS_FILE}": "a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c",
        f"unet/{DIFFUSERS_FILE}": "19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1",
    },
    size=3_773_000_000,
    parameters=893_684_628,
    licence="CreativeML OpenRAIL-M: use restrictions",
)
WEIGHTS = (
    *(DPMESH, U_MASK, U_MASK_1, U_MASK_2, U_MASK_3, U_ONE_STAGE, U_RGB),
    *(PIX2GESTALT, CONTROLNET, CLIP_TEXT, BLIP, SD15),
)

PRIOR_WEIGHTS: dict[Profile, tuple[WeightSpec, ...]] = {"dpmesh": (DPMESH,), "sd15": (SD15, CLIP_TEXT)}
"""What each profile of the prior loads; plain Stable Diffusion reads CLIP's words once."""
STAGE_2_PRIOR = (PIX2GESTALT, CONTROLNET, CLIP_TEXT)
"""What the prior of U_rgb loads."""


# Stage 1


_DEFAULT = PriorUNetConfig()
MASK_DESIGNS: dict[str, PriorUNetConfig] = {
    "diffusion": _DEFAULT,
    "mask-1": replace(_DEFAULT, inputs=("modal_mask",), has_prior=False),
    "mask-2": replace(_DEFAULT, inputs=("modal_mask",)),
    "mask-3": replace(_DEFAULT, joint_input=JointInputConfig(sub_joints=0)),
    "mask-4": _DEFAULT,
    "one-stage": replace(_DEFAULT, inputs=("modal_mask", "joints", "image"), outputs=("amodal_mask", "rgb")),
}
"""Paper A's Table 3, rows #1 to #4, and U_one (Eq. 18). `mask-4` is `diffusion` under its row's name."""
MASK_WEIGHTS = {
    "diffusion": U_MASK,
    "mask-1": U_MASK_1,
    "mask-2": U_MASK_2,
    "mask-3": U_MASK_3,
    "mask-4": U_MASK,
    "one-stage": U_ONE_STAGE,
}
RGB_DESIGN = replace(_DEFAULT, inputs=("image", "modal_mask", "invisible_mask"), outputs=("rgb",), num_tokens=1)
"""U_rgb (Eq. 20); its T' has one channel, of the one token f_lw."""


def prior_profile(config: PriorUNetConfig) -> Profile:
    """Which prior a U-Net was trained with: DPMesh's has a token a joint, Stable Diffusion's a text's 77."""
    return "sd15" if config.num_tokens == TEXT_TOKENS else "dpmesh"


def hints_of_unet(config: PriorUNetConfig) -> frozenset[str]:
    """What a mask stage with this U-Net reads."""
    return frozenset({"keypoints"}) if config.has_prior or "joints" in config.inputs else frozenset()


def _mask_needs(name: str, config: Any) -> tuple[WeightSpec, ...]:
    """The U-Net and the prior that it was trained with, which its file knows; the U-Net alone where it is missing."""
    from deocclude.weights import saved_config

    unet = MASK_WEIGHTS[name]
    path = weight_specs.local_path(unet)
    if path is None:
        return (unet,)
    saved = saved_config(path, expected="PriorUNet")
    return (unet, *(PRIOR_WEIGHTS[prior_profile(saved)] if saved.has_prior else ()))


def _load_mask(name: str, *, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers import diffusion_loading

    return diffusion_loading.load_mask_completer(name, device=device, dtype=dtype)


def _mask_stage(name: str, design: PriorUNetConfig) -> StageSpec:
    return StageSpec(
        name=name,
        kind="mask",
        title="Stable Diffusion-Based Human De-Occlusion" if name == "diffusion" else f"paper A's row {name}",
        paper="Stable Diffusion-Based Approach for Human De-Occlusion (paper A, 2025)",
        licence="yours, on the prior's: not stated by its authors",
        weights=(*((DPMESH,) if design.has_prior else ()), MASK_WEIGHTS[name]),
        needs=partial(_mask_needs, name),
        size=CROP_SIZE,
        dtype="fast",
        accepts=hints_of_unet(design),
        options=None,
        batched=False,
        role="method" if name == "diffusion" else "ablation",
        memory=WORK_ONCE,
        note="U_mask on a body prior" if name == "diffusion" else "an ablation",
        load=partial(_load_mask, name),
    )


# Stage 2


@dataclass(frozen=True, kw_only=True)
class DiffusionRgbConfig:
    """Settings of a diffusion RGB stage. The defaults are the fast preset; paper A's own are `diffusion-paper`."""

    sampling: SamplingConfig = field(default_factory=SamplingConfig, metadata={"prefix": ""})
    """Solver, steps, guidance."""
    context: Context = "text_pooled"
    """What the U-Net reads: the sentence's one embedding, the picture's, both, or the sentence's 77 tokens."""
    vqa: bool = True
    """Ask a VQA model about the person; otherwise the prompt is "a photo of a human"."""
    control: bool = field(default=True, metadata={"option": False})
    """Show the amodal mask to the ControlNet (f_c2)."""
    hint_colour: HintColour = "ade20k"
    """Colour of the amodal mask in the ControlNet's hint."""
    tuning: DecoderTuningConfig = field(
        default_factory=lambda: DecoderTuningConfig(steps=0), metadata={"prefix": "decoder_tuning_"}
    )
    """Decoder fine-tuning (Eq. 16); 0 steps leave it out."""
    lcm_lora: Path | None = None
    """Low-rank weights distilled for few steps (safetensors), for the solver lcm."""

    def __post_init__(self) -> None:
        for what, value, kind in (("context", self.context, Context), ("hint colour", self.hint_colour, HintColour)):
            if value not in get_args(kind):
                raise ValueError(f"no {what} '{value}'; choose from {', '.join(get_args(kind))}")
        if (self.sampling.solver == "lcm") != (self.lcm_lora is not None):
            raise ValueError(
                "the solver lcm and weights distilled for it go together; give --solver lcm --lcm-lora FILE"
            )
        if self.tuning.stop_below is not None and not self.tuning.steps:
            raise ValueError("stop_below ends a tuning that this stage does not do; give --decoder-tuning-steps")

    @property
    def reads_prompt(self) -> bool:
        """Whether a sentence about the person changes anything."""
        return self.context != "image"

    @property
    def accepts(self) -> frozenset[str]:
        """The hints that a stage of these settings reads."""
        read = {
            "generator": True,
            "prompt": self.reads_prompt,
            "reference": self.context in ("image", "image+text"),
        }
        return frozenset(hint for hint, is_read in read.items() if is_read)

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        """What a stage of these settings loads."""
        return (
            PIX2GESTALT,
            *([CONTROLNET] if self.control else []),
            *([CLIP_TEXT] if self.control or self.reads_prompt else []),
            *([BLIP] if self.vqa and self.reads_prompt else []),
        )


_PAPER = DiffusionRgbConfig(sampling=SamplingConfig(solver="ddim", steps=200), tuning=DecoderTuningConfig(steps=50))
_UNTUNED = replace(_PAPER, tuning=DecoderTuningConfig(steps=0))
RGB_CONFIGS: dict[str, DiffusionRgbConfig] = {
    "diffusion": DiffusionRgbConfig(),
    "diffusion-paper": _PAPER,
    "rgb-5": replace(_UNTUNED, context="image", control=False),
    "rgb-6": replace(_UNTUNED, context="image"),
    "rgb-7": _UNTUNED,
    "rgb-8": _PAPER,
    "rgb-image": replace(_PAPER, context="image"),
    "rgb-generic": replace(_PAPER, vqa=False),
}
"""The fast setting, the paper's, its Table 4, rows #5 to #8 (neither f_c2 nor f_hs, f_c2, both, tuned as well), f_lw in
place of f_hs (Table 5's third row) and "a photo of a human" (Table K)."""
_TITLES = {
    "diffusion": "Stable Diffusion-Based Human De-Occlusion",
    "diffusion-paper": "Stable Diffusion-Based Human De-Occlusion, the paper's settings",
}


def _rgb_needs(config: DiffusionRgbConfig) -> tuple[WeightSpec, ...]:
    return config.weights


def _load_rgb(name: str, *, device: torch.device, dtype: torch.dtype, config: DiffusionRgbConfig) -> Any:
    from deocclude.stages.completers import diffusion_loading

    return diffusion_loading.load_rgb_completer(name, config, device=device, dtype=dtype)


def _rgb_stage(name: str, config: DiffusionRgbConfig) -> StageSpec:
    return StageSpec(
        name=name,
        kind="RGB",
        title=_TITLES.get(name, f"paper A's row {name}"),
        paper="Stable Diffusion-Based Approach for Human De-Occlusion (paper A, 2025)",
        licence="CC BY-NC 4.0, non-commercial; OpenRAIL",
        weights=config.weights,
        needs=_rgb_needs,
        size=CROP_SIZE,
        dtype="fast",
        accepts=config.accepts,
        accepts_with={} if "reference" in config.accepts else {"reference": "--context image"},
        options=config,
        batched=False,
        draws_candidates=True,
        role="method" if name in _TITLES else "ablation",
        memory=WORK_TWICE,
        note={"diffusion": "15 steps", "diffusion-paper": "200 steps, decoder tuned"}.get(name, "an ablation"),
        load=partial(_load_rgb, name),
    )


def _load_unet_rgb(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers import diffusion_loading

    return diffusion_loading.load_unet_rgb_completer(device=device, dtype=dtype)


def _load_one_stage(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    from deocclude.stages.completers.diffusion import OneStageRgbCompleter

    return OneStageRgbCompleter()


_TABLE_5: Any = partial(
    StageSpec,
    kind="RGB",
    paper="Stable Diffusion-Based Approach for Human De-Occlusion (paper A, 2025)",
    size=CROP_SIZE,
    accepts=frozenset(),
    options=None,
    batched=False,
    role="ablation",
    note="an ablation",
)
STAGES = (
    *(_mask_stage(name, design) for name, design in MASK_DESIGNS.items()),
    *(_rgb_stage(name, config) for name, config in RGB_CONFIGS.items()),
    _TABLE_5(
        name="two-stage-unet",
        title="paper A's two-stage (U_rgb)",
        licence="yours, on CC BY-NC 4.0, non-commercial; OpenRAIL",
        weights=(*STAGE_2_PRIOR, U_RGB),
        dtype="fast",
        memory=WORK_TWICE,
        load=_load_unet_rgb,
    ),
    _TABLE_5(
        name="one-stage",
        title="paper A's one-stage (U_one)",
        licence="as the mask stage",
        weights=(),
        dtype="float32",
        memory=0,
        needs_painting_mask_stage=True,
        load=_load_one_stage,
    ),
)
