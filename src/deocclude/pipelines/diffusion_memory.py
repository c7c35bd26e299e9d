"""Whether a device has room for paper A's networks: told before gigabytes are read, with what would fit instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from deocclude.devices import fast_dtype, free_memory
from deocclude.errors import InputError
from deocclude.files import human_size
from deocclude.pipelines.diffusion_stages import (
    MASK_STAGE_CONFIGS,
    RGB_STAGE_CONFIGS,
    configured,
    mask_weights,
    prior_profile,
    rgb_weights,
)
from deocclude.pipelines.own_weights import STAGE_2_PRIOR, Stage, prior_weights
from deocclude.presets import RgbOptions
from deocclude.weight_specs import BASELINE_WEIGHTS, require
from deocclude.weights import saved_config

U_MASK_PARAMETERS = 18_020_321
PARAMETERS = {
    "dpmesh": 1_253_965_972,
    "sd15": 893_684_628,
    "pix2gestalt": 1_247_754_667,
    "controlnet-seg": 361_279_120,
    "clip-text": 123_650_304,
    "blip-vqa": 361_230_140,
    "u-rgb": U_MASK_PARAMETERS,
    "sdamodal": 15_911_074,
    "sd21": 949_564_587,  # its text encoder is asked once, for the empty sentence, and let go
    "sd15-inpaint": 1_066_249_707,
    "flux2-klein": 7_982_058_787,
    **{mask_weights(name)[0]: U_MASK_PARAMETERS for name in MASK_STAGE_CONFIGS},
}
"""What each stage's weights hold in memory, counted on the networks' classes at their real size
(tests/test_diffusion_memory.py). U_mask's relatives have about as many as U_mask."""

_PAINTERS = {"pix2gestalt", "sd15-inpaint", "flux2-klein"}

MASK_WORK, RGB_WORK = 750_000_000, 1_500_000_000
"""Bytes beside the weights in float32 at 256 px: 1.5 GB measured for a denoising step, which sees a person twice (with
the condition and without); half of it for the prior, which sees him once. Candidates and decoder tuning take more, and
so do pose estimator and detector: they are not counted, so that nothing is refused that might fit."""


@dataclass(frozen=True)
class Choice:
    """What is to be loaded, and where. dtype: None for the device's own (`devices.fast_dtype`)."""

    mask_stage: str
    rgb_stage: str
    device: torch.device
    dtype: torch.dtype | None = None
    options: RgbOptions | None = None

    @property
    def arithmetic(self) -> torch.dtype:
        """The networks' dtype."""
        return self.dtype or fast_dtype(self.device)

    @property
    def needed(self) -> int:
        """Bytes of the diffusion stages' weights and work."""
        names = _weights(self)
        work = RGB_WORK if names & _PAINTERS else MASK_WORK if names else 0
        return (sum(PARAMETERS[name] for name in names) * 4 + work) * self.arithmetic.itemsize // 4


def check_memory(choice: Choice) -> None:
    """Raises InputError, with what would fit, where the device has too little; nowhere, where nobody tells."""
    needed, free = choice.needed, free_memory(choice.device)
    if free is None or needed <= free:
        return
    dtype = str(choice.arithmetic).removeprefix("torch.")
    ways = [*_smaller(choice), "--preset feedforward (under 1 GB)"]
    raise InputError(
        f"not enough memory on {choice.device}: {human_size(free)} free, and mask stage '{choice.mask_stage}' with RGB "
        f"stage '{choice.rgb_stage}' needs about {human_size(needed)} in {dtype}; what would fit: {', '.join(ways)}"
    )


def _smaller(choice: Choice) -> Iterator[str]:
    """The options, beside those given, with which it would fit: the nearest to what was asked for first."""
    can_halve = choice.arithmetic == torch.float32
    smaller = replace(choice, dtype=torch.bfloat16)
    if can_halve:
        yield from _fitting(smaller, "--dtype bfloat16")
    if choice.device.type != "cpu":
        yield from _fitting(replace(choice, device=torch.device("cpu")), "--device cpu")
    if choice.mask_stage in MASK_STAGE_CONFIGS and choice.rgb_stage != "one-stage":
        found = [*_fitting(replace(choice, rgb_stage="feedforward", options=None), "--rgb-stage feedforward")]
        if can_halve and not found:
            option = "--dtype bfloat16 --rgb-stage feedforward"
            found = [*_fitting(replace(smaller, rgb_stage="feedforward", options=None), option)]
        yield from found


def _fitting(choice: Choice, option: str) -> Iterator[str]:
    needed, free = choice.needed, free_memory(choice.device)
    if needed and free is not None and needed <= free:
        yield f"{option} ({human_size(needed)})"


def _weights(choice: Choice) -> set[str]:
    """The names in `PARAMETERS` of what is loaded, each once. Raises InputError where U_mask's file is missing."""
    names: set[str] = set()
    if choice.mask_stage in MASK_STAGE_CONFIGS:
        (name,) = mask_weights(choice.mask_stage)
        config = saved_config(require(name), expected="PriorUNet")  # it knows which prior it was trained with
        names |= {name, prior_profile(config)} if config.has_prior else {name}
    if choice.rgb_stage in RGB_STAGE_CONFIGS:
        names |= {*rgb_weights(configured(RGB_STAGE_CONFIGS[choice.rgb_stage], choice.options))}
    elif choice.rgb_stage == "two-stage-unet":
        names |= {"u-rgb", *STAGE_2_PRIOR}
    return names | _other_weights(choice.mask_stage, "mask") | _other_weights(choice.rgb_stage, "RGB")


def _other_weights(name: str, stage: Stage) -> set[str]:
    """The same of another method's stage, small networks left out, and of a stage that is a user's own file."""
    return set(BASELINE_WEIGHTS[stage].get(name, ())) & set(PARAMETERS) | _weights_of_file(name, stage)


def _weights_of_file(name: str, stage: Stage) -> set[str]:
    """The same of a stage that is a user's own file; none of one without a prior, which is small."""
    prior = prior_weights(name, stage) if name.endswith(".safetensors") else ()
    if not prior:
        return set()
    return {"u-mask", prior[0]} if stage == "mask" else {"u-rgb", *prior}  # plain SD reads CLIP's words once
