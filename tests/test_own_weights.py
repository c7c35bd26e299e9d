"""A weights file that `deocclude train` wrote is a stage: which one, its header says; another file is one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from miniatures import (
    TINY_MASK,
    RedSegmenter,
    mask_network,
    photograph,
    rgb_network,
    segmenter_network,
    with_red_person,
)
from safetensors.torch import save_file
from test_deoccluder import assert_laws

from deocclude import Deoccluder, InputError, weight_specs
from deocclude.models.diffusion.mask_completion import PriorUNet
from deocclude.stages.catalogue import build_mask_stage, build_rgb_stage, check_weights
from deocclude.stages.completers.diffusion import DiffusionMaskCompleter, UNetRgbCompleter
from deocclude.stages.completers.diffusion_loading import with_profile
from deocclude.stages.completers.diffusion_tiny import (
    build_stage_2_prior,
    tiny_body_prior,
    tiny_mask_completer,
    tiny_unet_config,
    tiny_unet_rgb_completer,
)
from deocclude.stages.completers.feedforward import FeedforwardMaskCompleter, FeedforwardRgbCompleter
from deocclude.stages.diffusion import CLIP_TEXT, DPMESH, MASK_DESIGNS, RGB_DESIGN, SD15, STAGE_2_PRIOR
from deocclude.stages.memory import Choice, check_memory
from deocclude.stages.weights_file import stage_of_file
from deocclude.types import MaskCompletion
from deocclude.weights import file_sha256, save_network

PLACE: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32}
SIZE = 64


def saved(folder: Path, network: Any, name: str = "network") -> str:
    path = folder / f"{name}.safetensors"
    save_network(path, network, network.config, half=False)
    return str(path)


def completed() -> tuple[torch.Tensor, MaskCompletion]:
    image = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    modal_mask = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.bool)
    modal_mask[..., 10:30, 20:40] = True
    modal_mask[1, :, :20] = False
    amodal_mask = modal_mask.clone()
    amodal_mask[..., 30:50, 20:40] = True
    return image, MaskCompletion(modal_mask, amodal_mask, amodal_mask.float())


@pytest.fixture
def priors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Miniatures in the places of the priors' weights."""
    monkeypatch.setattr(weight_specs, "local_path", lambda spec: tmp_path / f"{spec.name}.safetensors")
    saved(tmp_path, tiny_body_prior(), "dpmesh")
    for spec in STAGE_2_PRIOR:
        (tmp_path / f"{spec.name}.safetensors").write_bytes(b"")
    monkeypatch.setattr("deocclude.stages.completers.diffusion_loading.build_stage_2_prior", build_stage_2_prior)


@pytest.mark.parametrize("changes", [{}, {"num_templates": 0, "parsing": False}, {"modal_branch": False}])
def test_a_mask_completion_network_of_any_configuration(tmp_path: Path, changes: dict[str, Any]) -> None:
    network = mask_network(replace(TINY_MASK, **changes))
    file = saved(tmp_path, network, "row-1")
    stage = build_mask_stage(file)
    assert isinstance(stage, FeedforwardMaskCompleter) and stage.name == "row-1.safetensors"
    assert stage.weights_sha256 == file_sha256(Path(file))
    image, completion = completed()
    expected = FeedforwardMaskCompleter(network)(image, completion.modal_mask).amodal_probability
    torch.testing.assert_close(stage(image, completion.modal_mask).amodal_probability, expected)
    check_weights(file, "copy-input", "embedded")
    check_memory(Choice(file, "copy-input", torch.device("cpu")))


def test_an_rgb_completion_network(tmp_path: Path) -> None:
    network = rgb_network()
    file = saved(tmp_path, network)
    stage = build_rgb_stage(file)
    assert isinstance(stage, FeedforwardRgbCompleter) and stage.name == "network.safetensors"
    inputs = completed()
    torch.testing.assert_close(stage(*inputs), FeedforwardRgbCompleter(network)(*inputs))
    with pytest.raises(InputError, match=r"network\.safetensors' has no --steps"):
        build_rgb_stage(file, options={"steps": 3})


@pytest.mark.parametrize("name", MASK_DESIGNS)
@pytest.mark.usefixtures("priors")
def test_a_prior_unet_that_predicts_a_mask(tmp_path: Path, name: str) -> None:
    made = tiny_mask_completer(name, **PLACE)
    file = saved(tmp_path, made.unet, "mine")
    check_weights(file, "copy-input", "embedded")
    stage = build_mask_stage(file, dtype=torch.float32)
    assert isinstance(stage, DiffusionMaskCompleter) and stage.unet.config == made.unet.config
    assert (stage.prior is None) == (made.prior is None) and stage.note is None
    assert stage.name == "mine.safetensors" and stage.weights_sha256 is not None
    assert set(stage.weights_sha256) == {"mine.safetensors", *([] if stage.prior is None else ["dpmesh"])}
    image, completion = completed()
    first, second = (one(image, completion.modal_mask).amodal_probability for one in (stage, made))
    torch.testing.assert_close(first, second)


def test_without_a_prior_it_reads_joints_too(tmp_path: Path) -> None:
    """An ablation that can be trained without any weights of others."""
    config = replace(tiny_unet_config(MASK_DESIGNS["diffusion"]), has_prior=False)
    stage = build_mask_stage(saved(tmp_path, PriorUNet(config)))
    assert isinstance(stage, DiffusionMaskCompleter) and stage.prior is None and stage.accepts == {"keypoints"}
    assert stage.dtype == torch.float32


@pytest.mark.usefixtures("priors")
def test_a_prior_unet_that_paints(tmp_path: Path) -> None:
    made = tiny_unet_rgb_completer(**PLACE)
    file = saved(tmp_path, made.unet)
    stage = build_rgb_stage(file, dtype=torch.float32)
    assert isinstance(stage, UNetRgbCompleter) and set(stage.weights_sha256 or ()) == {
        "network.safetensors",
        *(spec.name for spec in STAGE_2_PRIOR),
    }
    inputs = completed()
    torch.testing.assert_close(stage(*inputs), made(*inputs))


def test_from_photograph_to_result(tmp_path: Path) -> None:
    image, mask = with_red_person(photograph(96, 80), (25, 20, 55, 60))
    files = saved(tmp_path, mask_network(), "mask"), saved(tmp_path, rgb_network(), "rgb")
    stages = build_mask_stage(files[0]), build_rgb_stage(files[1])
    first, again = (Deoccluder(RedSegmenter(), *stages)(image, mask) for _ in range(2))
    assert_laws(image, first)
    assert np.array_equal(first.rgb, again.rgb)
    assert first.facts["method"]["mask_completion"] == "mask.safetensors"


def test_the_prior_is_asked_for_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_specs, "local_path", lambda spec: None)
    configs = {"mask": MASK_DESIGNS["diffusion"], "rgb": RGB_DESIGN}
    mask, rgb = (saved(tmp_path, PriorUNet(tiny_unet_config(config)), name) for name, config in configs.items())
    assert stage_of_file(mask, "mask").weights == (DPMESH,) and stage_of_file(rgb, "RGB").weights == STAGE_2_PRIOR
    with pytest.raises(InputError, match=r"dpmesh is not on this machine.*; pix2gestalt is not.*clip-text is not"):
        check_weights(mask, rgb, "embedded")
    monkeypatch.setattr("deocclude.devices.free_memory", lambda device: 10**9)
    with pytest.raises(InputError, match=r"not enough memory on cpu: 1\.0 GB free, and mask stage"):
        check_memory(Choice(mask, "copy-input", torch.device("cpu")))
    with pytest.raises(InputError, match="not enough memory"):
        check_memory(Choice("copy-input", rgb, torch.device("cpu")))


def test_plain_stable_diffusion_is_known_by_its_tokens(tmp_path: Path) -> None:
    unet = PriorUNet(with_profile(tiny_unet_config(MASK_DESIGNS["diffusion"]), "sd15"))
    assert stage_of_file(saved(tmp_path, unet), "mask").weights == (SD15, CLIP_TEXT)


@pytest.mark.usefixtures("priors")
def test_a_unet_of_another_prior_is_refused(tmp_path: Path) -> None:
    config = replace(tiny_unet_config(MASK_DESIGNS["diffusion"]), prior_channels=(64, 64, 32, 16))
    with pytest.raises(InputError, match="trained on another prior than dpmesh, whose maps have other channels"):
        build_mask_stage(saved(tmp_path, PriorUNet(config)))


def wrong_files(folder: Path) -> dict[str, tuple[str, str, str]]:
    """What is wrong → stage, file, sentence."""
    save_file({"a": torch.zeros(1)}, folder / "foreign.safetensors")
    (folder / "text.safetensors").write_text("no weights at all, but words")
    painter = replace(tiny_unet_config(RGB_DESIGN), has_prior=False)
    one_stage = tiny_unet_config(MASK_DESIGNS["one-stage"])
    made = {
        "segmenter": segmenter_network(finds=True),
        "rgb": rgb_network(),
        "mask": mask_network(),
        "u-rgb": PriorUNet(tiny_unet_config(RGB_DESIGN)),
        "painter": PriorUNet(painter),
        "one": PriorUNet(one_stage),
    }
    files = {name: saved(folder, network, name) for name, network in made.items()}
    lacking = f"{folder / 'nowhere.safetensors'}"
    return {
        "a segmenter": ("mask", files["segmenter"], "holds a SegmenterNetwork, and the mask stage is a Mask"),
        "the other stage's": ("mask", files["rgb"], "holds a RgbCompletionNetwork, and the mask stage is a Mask"),
        "the first stage's": ("rgb", files["mask"], "holds a MaskCompletionNetwork, and the RGB stage is a Rgb"),
        "a painter for a mask": ("mask", files["u-rgb"], "no mask stage; its network predicts rgb"),
        "mask and picture for a picture": ("rgb", files["one"], "no RGB stage; its network predicts amodal_mask and"),
        "a painter without prior": ("rgb", files["painter"], "fed with stage 2's prior, and this one takes none"),
        "foreign": ("rgb", str(folder / "foreign.safetensors"), "its header names no network and configuration"),
        "text": ("mask", str(folder / "text.safetensors"), "not a safetensors file"),
        "no file": ("mask", lacking, "no weights there"),
    }


@pytest.mark.parametrize(
    "what",
    ["a segmenter", "the other stage's", "the first stage's", "a painter for a mask", "mask and picture for a picture",
     "a painter without prior", "foreign", "text", "no file"],
)  # fmt: skip
def test_another_file_is_one_sentence(tmp_path: Path, what: str) -> None:
    stage, file, sentence = wrong_files(tmp_path)[what]
    build = build_mask_stage if stage == "mask" else build_rgb_stage
    names = (file, "copy-input") if stage == "mask" else ("copy-input", file)
    for ask in (lambda: build(file), lambda: check_weights(*names, "embedded")):
        with pytest.raises(InputError) as caught:
            ask()
        assert sentence in str(caught.value) and file in str(caught.value) and "\n" not in str(caught.value)
