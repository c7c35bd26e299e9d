"""Other methods' stages give the numbers that their authors' code gives, where they look at what that looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor

from deocclude.models.diffusion.state_dicts import rgb_denoiser_from_pix2gestalt
from deocclude.models.sdamodal import SdamodalNetwork, sdamodal_from_checkpoint
from deocclude.models.sssd import (
    SssdContentNetwork,
    SssdMaskNetwork,
    sssd_content_from_checkpoint,
    sssd_mask_from_checkpoint,
)
from deocclude.stages.completers import pix2gestalt as pix2gestalt_baseline
from deocclude.stages.completers import sdamodal, sssd
from deocclude.stages.completers.pix2gestalt import Pix2gestalt, Pix2gestaltConfig, Pix2gestaltMaskCompleter
from deocclude.stages.completers.sdamodal import SdamodalMaskCompleter
from deocclude.stages.completers.sssd import IMAGE_MEAN, IMAGE_STD, SssdMaskCompleter, SssdRgbCompleter
from deocclude.stages.completers.windows import Windows
from deocclude.types import Hints, MaskCompletion

CLEAR = 2e-3
"""Of two logits: nearer ones may come out either way."""


@pytest.fixture
def whole_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded squares are the whole crop."""

    def windows(modal_mask: Tensor) -> Windows:
        return Windows(torch.tensor([[0.0, 0.0, 1.0]] * len(modal_mask)))

    for module in (sssd, sdamodal):
        monkeypatch.setattr(module, "paper_windows", windows)


@pytest.mark.usefixtures("whole_crop")
def test_sssds_mask(recorded: Path) -> None:
    io = load_file(recorded / "sssd_m" / "io.safetensors")
    converted = sssd_mask_from_checkpoint(load_file(recorded / "sssd_m" / "checkpoint.safetensors"))
    assert isinstance(converted.network, SssdMaskNetwork)
    is_category_1 = io["in.mask"].amax(dim=(1, 2, 3)) == 1
    assert is_category_1.any()
    modal_mask, eraser = io["in.mask"][is_category_1] > 0, io["in.eraser"][is_category_1] > 0
    stage = SssdMaskCompleter(converted.network)
    image = torch.zeros(len(modal_mask), 3, *modal_mask.shape[2:])
    completion = stage(image, modal_mask, hints=Hints(occluder_mask=eraser))
    in_front, probability = eraser & ~modal_mask, io["out.probability"][is_category_1]
    probability = probability if probability.shape[1] == 1 else probability[:, 1:]
    torch.testing.assert_close(completion.amodal_probability[in_front], probability[in_front], atol=1e-3, rtol=0)
    clear = (probability - 0.5).abs() > CLEAR
    expected = (io["out.completed"][is_category_1] > 0) | modal_mask
    assert clear[in_front].float().mean() > 0.99
    assert torch.equal(completion.amodal_mask[clear], expected[clear])


def test_sssds_colours(recorded: Path) -> None:
    io = load_file(recorded / "sssd_c" / "io.safetensors")
    converted = sssd_content_from_checkpoint(load_file(recorded / "sssd_c" / "checkpoint.safetensors"))
    assert isinstance(converted.network, SssdContentNetwork)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    modal_mask, known = io["in.modal_mask"] > 0, io["in.visible_mask"] > 0
    completion = MaskCompletion(modal_mask, modal_mask | ~known, known.float())
    painted = SssdRgbCompleter(converted.network)(io["in.rgb_erased"] * std + mean, completion)
    expected = (io["out.raw"] * std + mean).clamp(0, 1)
    torch.testing.assert_close(painted, expected, atol=1e-3, rtol=0)


@pytest.mark.usefixtures("whole_crop")
def test_sdamodals_mask(recorded: Path) -> None:
    io = load_file(recorded / "sdamodal" / "io.safetensors")
    converted = sdamodal_from_checkpoint(load_file(recorded / "sdamodal" / "checkpoint.safetensors"))
    assert isinstance(converted.network, SdamodalNetwork)
    maps = [rearrange(io[f"in.features_{index}"], "b h w c -> b c h w") for index in range(4)]
    modal_mask = io["in.mask"] > 0
    stage = SdamodalMaskCompleter(
        converted.network,
        lambda image: maps,  # type: ignore[arg-type]
        window_size=modal_mask.shape[-1],
    )
    completion = stage(torch.zeros(len(modal_mask), 3, *modal_mask.shape[2:]), modal_mask)
    expected = io["out.logits"].softmax(dim=1)[:, 1:]
    torch.testing.assert_close(completion.amodal_probability, expected, atol=1e-3, rtol=0)
    clear = (expected - 0.5).abs() > CLEAR
    assert torch.equal(completion.amodal_mask[clear], ((expected > 0.5) | modal_mask)[clear])


def test_pix2gestalts_picture_and_mask(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded with eta 0, as noise between the steps could not be compared."""
    io = load_file(recorded / "pix2gestalt" / "io.safetensors")
    converted = rgb_denoiser_from_pix2gestalt(load_file(recorded / "pix2gestalt" / "checkpoint.safetensors"))
    painter = Pix2gestalt(converted.network, Pix2gestaltConfig(steps=4, eta=0.0))  # type: ignore[arg-type]
    noises = iter(io["in.noise"].split(1))
    monkeypatch.setattr(pix2gestalt_baseline, "draw_noise", lambda *arguments, like: next(noises))
    image = io["in.image"][None].float() / 255
    modal_mask = (io["in.modal_mask"] > 127)[None, None]
    completion = Pix2gestaltMaskCompleter(painter)(image, modal_mask)
    assert completion.rgb is not None
    torch.testing.assert_close(completion.rgb, io["out.decoded_01"][:1], atol=1e-3, rtol=0)
    grey = (io["out.decoded_01"][:1] * 255 * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    clear = (grey - 250.5).abs() > 2
    assert torch.equal(completion.amodal_mask[clear], ((grey <= 250) | modal_mask)[clear])
