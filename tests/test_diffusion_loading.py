"""What the presets load: miniatures in the places of the real weights, and one sentence where those lack."""

from __future__ import annotations

import json
import re
import string
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from deocclude import Deoccluder, InputError, weight_specs
from deocclude.conditioning import describer, pose_estimator
from deocclude.conditioning.sentence_encoder import load_sentence_encoder
from deocclude.conditioning.sources import build_detector, build_joint_source
from deocclude.models.diffusion.body_prior import BodyPrior, BodyPriorConfig
from deocclude.models.diffusion.mask_completion import PriorUNet
from deocclude.models.diffusion.stable_diffusion import make_unet, make_vae
from deocclude.stages.catalogue import build_mask_stage, build_rgb_stage, stage_specs, weight_spec
from deocclude.stages.completers import diffusion_loading
from deocclude.stages.completers.diffusion import DiffusionMaskCompleter, DiffusionRgbCompleter
from deocclude.stages.completers.diffusion_loading import load_body_prior
from deocclude.stages.completers.diffusion_tiny import (
    NETWORKS,
    tiny_body_prior,
    tiny_mask_completer,
    tiny_rgb_completer,
    tiny_unet_rgb_completer,
)
from deocclude.stages.diffusion import MASK_DESIGNS, RGB_CONFIGS
from deocclude.stages.diffusion_tiny import STEPS
from deocclude.stages.presets import preset, presets
from deocclude.types import Hints, MaskCompletion
from deocclude.weight_specs import Shipped, WeightSpec
from deocclude.weights import save_network

SIZE = 64
REAL_PRESETS = [name for name, one in presets().items() if one.detector == "rt-detr"]
"""Paper A's."""
PLACE: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32}


def write_tokenizer(folder: Path) -> None:
    """CLIP's files for a vocabulary of letters; the two marks are the first and the last number."""
    tokens = ["<|startoftext|>", *string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    tokens += [f"unused{number}" for number in range(511 - len(tokens))] + ["<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything the presets load, each under its name, as the converters and the hub leave it."""
    folder = tmp_path_factory.mktemp("weights")

    def save(name: str, network: Any) -> None:
        save_network(folder / f"{name}.safetensors", network, network.config, half=False)

    for name in MASK_DESIGNS:
        save("u-mask" if name in ("diffusion", "mask-4") else f"u-{name}", tiny_mask_completer(name, **PLACE).unet)
    save("u-rgb", tiny_unet_rgb_completer(**PLACE).unet)
    save("dpmesh", tiny_body_prior())
    stage = tiny_rgb_completer("diffusion", **PLACE)
    save("pix2gestalt", stage.denoiser)
    assert stage.controlnet is not None and stage.sentence_encoder is not None
    stage.controlnet.save_pretrained(folder / "controlnet-seg")
    stage.sentence_encoder.model.save_pretrained(folder / "clip-text")
    write_tokenizer(folder / "clip-text")
    for name in ("blip-vqa", "vitpose", "detector"):
        (folder / name).mkdir()
    return folder


@pytest.fixture
def required(installed: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names that were asked for; three of the models are not built, which have their own tests."""
    names: set[str] = set()

    def local_path(spec: WeightSpec) -> Path:
        names.add(spec.name)
        folder = installed / spec.name
        return folder if folder.is_dir() else installed / f"{spec.name}.safetensors"

    monkeypatch.setattr(weight_specs, "local_path", local_path)
    monkeypatch.setattr(describer, "load_describer", lambda folder, **options: lambda images: ["a man"] * len(images))
    for name in ("load_pose_estimator", "load_person_detector"):
        monkeypatch.setattr(pose_estimator, name, lambda folder, **options: object())
    return names


def completed() -> tuple[torch.Tensor, MaskCompletion]:
    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    modal_mask = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    modal_mask[..., 10:30, 20:40] = True
    amodal_mask = modal_mask.clone()
    amodal_mask[..., 30:50, 20:40] = True
    return image, MaskCompletion(modal_mask, amodal_mask, amodal_mask.float())


@pytest.mark.parametrize("name", REAL_PRESETS)
def test_a_preset_loads_what_its_list_names(name: str, required: set[str]) -> None:
    chosen = preset(name)
    mask_completer, rgb_completer = build_mask_stage(chosen.mask_stage), build_rgb_stage(chosen.rgb_stage)
    build_joint_source(chosen.joints)
    assert chosen.detector is not None
    build_detector(chosen.detector)
    assert required == {spec.name for spec in chosen.weights if not isinstance(spec.source, Shipped)}
    assert mask_completer.name == chosen.mask_stage and rgb_completer.name == chosen.rgb_stage
    hashes = [stage.weights_sha256 or {} for stage in (mask_completer, rgb_completer)]
    assert set().union(*hashes) == required - {"vitpose", "detector"}
    assert mask_completer.note is None and rgb_completer.note is None


def assert_same_weights(saved: nn.Module | None, loaded: nn.Module | None) -> None:
    assert (saved is None) == (loaded is None)
    if saved is None or loaded is None:
        return
    first, second = saved.state_dict(), loaded.state_dict()
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    assert not loaded.training
    # Buffers that no file holds, as CLIP's numbers of its patches, are made with the network.
    buffers, made = dict(saved.named_buffers()), dict(loaded.named_buffers())
    assert buffers.keys() == made.keys() and all(torch.equal(buffers[key], made[key]) for key in buffers)
    if not isinstance(loaded, PriorUNet):  # which one may go on training
        assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("name", MASK_DESIGNS)
def test_loaded_mask_stages_are_those_that_were_saved(name: str, required: set[str]) -> None:
    saved, loaded = tiny_mask_completer(name, **PLACE), build_mask_stage(name, **PLACE)
    assert isinstance(loaded, DiffusionMaskCompleter)
    assert_same_weights(saved.unet, loaded.unet)
    assert_same_weights(saved.prior, loaded.prior)
    assert loaded.unet.config == saved.unet.config
    image, completion = completed()
    first, second = (stage(image, completion.modal_mask).amodal_probability for stage in (saved, loaded))
    torch.testing.assert_close(first, second, atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["rgb-5", "rgb-7"])
def test_loaded_rgb_stages_are_those_that_were_saved(name: str, required: set[str]) -> None:
    saved, loaded = tiny_rgb_completer(name, **PLACE), build_rgb_stage(name, options={"steps": STEPS}, **PLACE)
    assert isinstance(loaded, DiffusionRgbCompleter) and loaded.config == saved.config
    assert_same_weights(saved.denoiser, loaded.denoiser)
    assert_same_weights(saved.controlnet, loaded.controlnet)
    if loaded.sentence_encoder is not None and saved.sentence_encoder is not None:
        assert_same_weights(saved.sentence_encoder.model, loaded.sentence_encoder.model)
    image, completion = completed()
    generator = torch.Generator().manual_seed(0)
    hints = Hints(prompt=loaded.describe(image), generator=generator).only(loaded.accepts)
    picture = loaded(image, completion, hints=hints)
    assert picture.shape == image.shape and picture.std() > 0
    assert loaded.describe(image) == (["a man"] if name == "rgb-7" else [])


def test_the_sentence_encoder_is_read_from_a_folder(installed: Path) -> None:
    encoder = load_sentence_encoder(installed / "clip-text", **PLACE)
    assert encoder.count_tokens("ab c") == 5  # with begin and end
    features = encoder(["ab c", "c " * 100])
    assert features.hidden.shape == (2, 77, 64) and features.pooled.shape == (2, 64)
    torch.testing.assert_close(features.pooled[0], features.projected[0, 4])
    torch.testing.assert_close(features.pooled[1], features.projected[1, 76])
    torch.testing.assert_close(encoder(["ab c"]).hidden[0], features.hidden[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_plain_stable_diffusion_is_read_from_a_folder(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    unet, vae = make_unet(NETWORKS), make_vae(NETWORKS)
    unet.save_pretrained(tmp_path / "unet")
    vae.save_pretrained(tmp_path / "vae")
    folders = {"sd15": tmp_path, "clip-text": installed / "clip-text"}
    monkeypatch.setattr(weight_specs, "local_path", lambda spec: folders[spec.name])
    monkeypatch.setattr(diffusion_loading, "BodyPriorConfig", partial(BodyPriorConfig, networks=NETWORKS))
    prior = load_body_prior("sd15", dtype=dtype)
    assert isinstance(prior, BodyPrior) and not prior.training
    assert_same_weights(unet.to(dtype).eval().requires_grad_(False), prior.unet)
    assert torch.equal(prior.vae.encoder.conv_in.weight, vae.encoder.conv_in.weight.to(dtype))
    words = load_sentence_encoder(installed / "clip-text", **PLACE)(["a photo of a human"])
    assert torch.equal(prior.context, words.hidden.to(dtype))


def test_networks_of_another_design_are_refused(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """U_mask's file under the name of U_one's and of pix2gestalt's."""
    monkeypatch.setattr(weight_specs, "local_path", lambda spec: installed / "u-mask.safetensors")
    with pytest.raises(InputError, match=r"u-mask\.safetensors: trained as another design \(inputs: "):
        build_mask_stage("one-stage")
    with pytest.raises(InputError, match="it holds a PriorUNet, and a RgbDenoiser is needed"):
        build_rgb_stage("rgb-5")


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEOCCLUDE_HOME", str(tmp_path))
    monkeypatch.setattr("deocclude.hub.HUB.cached", lambda *arguments: None)


def named_in(error: InputError) -> set[str]:
    """The weights an error names as missing, each with its licence and the way to get it; in one line."""
    said = str(error)
    assert "\n" not in said
    missing = set(re.findall(r"(\S+) is not on this machine: ", said))
    for spec in map(weight_spec, missing):
        assert f"licence: {spec.licence}; {weight_specs.how_to_get(spec)}" in said
    return missing


@pytest.mark.parametrize("name", MASK_DESIGNS)
def test_the_missing_u_net_of_a_mask_stage_is_named(name: str, nothing_installed: None) -> None:
    """What prior it was trained with is in its file, so that the prior cannot be asked for yet."""
    with pytest.raises(InputError) as caught:
        build_mask_stage(name)
    assert named_in(caught.value) == {"u-mask" if name in ("diffusion", "mask-4") else f"u-{name}"}


@pytest.mark.parametrize("name", RGB_CONFIGS)
def test_all_missing_weights_of_an_rgb_stage_are_named(name: str, nothing_installed: None) -> None:
    with pytest.raises(InputError) as caught:
        build_rgb_stage(name)
    assert named_in(caught.value) == {spec.name for spec in stage_specs("RGB")[name].weights}


@pytest.mark.parametrize("name", REAL_PRESETS)
def test_a_preset_without_its_weights_says_so(name: str, nothing_installed: None) -> None:
    with pytest.raises(InputError) as caught:
        Deoccluder.from_preset(name)
    missing = named_in(caught.value)
    assert missing and missing <= {spec.name for spec in preset(name).weights}
