"""DPMesh's and pix2gestalt's networks: the numbers that the authors' code gives, and checkpoints refused in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from deocclude.models.diffusion.body_prior import BodyPrior, PriorFeatures, dpmesh_joints
from deocclude.models.diffusion.joint_heatmaps import MIN_CONFIDENCE, found, gaussian_heatmaps
from deocclude.models.diffusion.mask_completion import PriorUNet, PriorUNetConfig
from deocclude.models.diffusion.rgb_completion import (
    CLIP_MEAN,
    CLIP_STD,
    Conditioning,
    RgbDenoiser,
    null_conditioning,
    stacked,
)
from deocclude.models.diffusion.sampling import NOISE_SCHEDULE, SamplingConfig, make_scheduler, sample
from deocclude.models.diffusion.stable_diffusion import LATENT_SCALE
from deocclude.models.diffusion.state_dicts import body_prior_from_dpmesh, rgb_denoiser_from_pix2gestalt
from deocclude.models.foreign import Converted
from deocclude.skeletons import BODY_25, DPMESH_30
from deocclude.stages.completers import diffusion
from deocclude.stages.completers.diffusion import DiffusionRgbCompleter, visible_error
from deocclude.stages.diffusion import DiffusionRgbConfig
from deocclude.types import MaskCompletion

Reader = Callable[[dict[str, Tensor]], Converted]


@dataclass(frozen=True)
class Original:
    """A folder of `recorded`, and what our reader made of its checkpoint."""

    config: dict[str, Any]
    checkpoint: dict[str, Tensor]
    io: dict[str, Tensor]
    converted: Converted

    def __getitem__(self, name: str) -> Tensor:
        return self.io[name]

    def assert_gives(self, ours: Tensor, name: str, tolerance: str) -> None:
        assert ours.shape == self[f"out.{name}"].shape
        difference = (ours - self[f"out.{name}"]).abs().max().item()
        assert difference <= self.config["tolerance"][tolerance], f"{name} differs by {difference}"


def original(folder: Path, read: Reader) -> Original:
    checkpoint = load_file(folder / "checkpoint.safetensors")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return Original(config, checkpoint, load_file(folder / "io.safetensors"), read(checkpoint))


@pytest.fixture(scope="module")
def dpmesh(recorded: Path) -> Original:
    return original(recorded / "dpmesh", body_prior_from_dpmesh)


@pytest.fixture(scope="module")
def pix2gestalt(recorded: Path) -> Original:
    return original(recorded / "pix2gestalt", rgb_denoiser_from_pix2gestalt)


# DPMesh


def our_name(theirs: str) -> str:
    """`L_Shoulder` to `left-shoulder`."""
    name = theirs.lower().replace("_", "-")
    name = re.sub("^l-", "left-", re.sub("^r-", "right-", name))
    return "mid-hip" if name == "pelvis" else name


def body_25(original: Original) -> Tensor:
    """OpenPose's 18 points as BODY_25; the mid-hip is the mean of the hips, as sure as both together."""
    names = [our_name(name) for name in original.config["openpose18_names"]]
    points = original["in.openpose18"]
    joints = torch.zeros(len(points), len(BODY_25), 3)
    for index, name in enumerate(names):
        joints[:, BODY_25.index(name)] = points[:, index]
    right, left = (points[:, names.index(f"{side}-hip")] for side in ("right", "left"))
    hips = torch.cat([(right[:, :2] + left[:, :2]) / 2, right[:, 2:] * left[:, 2:]], dim=1)
    joints[:, BODY_25.index("mid-hip")] = hips
    return joints


@pytest.fixture(scope="module")
def prior(dpmesh: Original) -> BodyPrior:
    network = dpmesh.converted.network
    assert isinstance(network, BodyPrior)
    return network


@pytest.fixture(scope="module")
def prior_steps(dpmesh: Original, prior: BodyPrior) -> tuple[Tensor, Tensor, Tensor, list[Tensor], PriorFeatures]:
    """Latent, heatmaps, tokens, the ControlNet's thirteen residuals, features: of both pictures."""
    size = dpmesh.config["prior"]["image_size"]
    with torch.inference_mode():
        latent = prior.latent(dpmesh["in.image"])
        heatmaps, tokens = prior.heatmaps(dpmesh["in.joints"], size), prior.tokens(dpmesh["in.joints"], size)
        skips, middle = prior.control(latent, heatmaps, tokens)
        features = prior.taps.features(latent, dpmesh.config["prior"]["timestep"], tokens, (skips, middle))
    return latent, heatmaps, tokens, [*skips, middle], features


def test_dpmesh_widths_are_read_off_the_shapes(dpmesh: Original, prior: BodyPrior) -> None:
    networks, theirs = prior.config.networks, dpmesh.config
    assert prior.config == dpmesh.converted.config
    assert list(networks.channels) == theirs["unet"]["block_out_channels"]
    assert list(networks.vae_channels) == theirs["vae"]["block_out_channels"]
    assert networks.context_dim == theirs["unet"]["context_dim"]
    assert prior.config.num_tokens == theirs["controlnet"]["hint_channels"] == len(DPMESH_30)
    assert prior.config.sigma == theirs["prior"]["heatmap"]["sigma"]
    assert theirs["prior"]["heatmap"]["confidence_threshold"] == MIN_CONFIDENCE


def test_dpmesh_joints_are_sorted_by_name(dpmesh: Original) -> None:
    assert tuple(map(our_name, dpmesh.config["joint_names"])) == DPMESH_30
    dpmesh.assert_gives(dpmesh_joints(body_25(dpmesh)), "joints_from_openpose18", "heatmap_tokens_joints")


def test_feet_stay_out_of_dpmesh_joints(dpmesh: Original) -> None:
    joints = body_25(dpmesh)
    joints[:, 19:] = 100.0
    assert torch.equal(dpmesh_joints(joints), dpmesh_joints(body_25(dpmesh)))


def test_dpmesh_heatmaps(dpmesh: Original, prior_steps: Any) -> None:
    size = dpmesh.config["prior"]["latent_size"]
    units = dpmesh["in.joints"].clone()
    units[..., :2] *= size / dpmesh.config["prior"]["image_size"]
    dpmesh.assert_gives(units, "joints_heatmap_units", "heatmap_tokens_joints")
    usable = found(dpmesh["out.joints_heatmap_units"], size)
    assert torch.equal(usable[..., None], dpmesh["out.joint_mask"].bool())
    assert usable.any() and not usable.all()
    _, heatmaps, *_ = prior_steps
    dpmesh.assert_gives(heatmaps, "heatmap", "heatmap_tokens_joints")
    assert torch.equal(heatmaps.amax((2, 3)) > 0, usable)
    drawn = gaussian_heatmaps(
        dpmesh["out.joints_heatmap_units"][..., :2], usable, size, dpmesh.config["prior"]["heatmap"]["sigma"]
    )
    dpmesh.assert_gives(drawn, "heatmap", "heatmap_tokens_joints")


def test_dpmesh_tokens_and_latent(dpmesh: Original, prior_steps: Any) -> None:
    latent, _, tokens, *_ = prior_steps
    dpmesh.assert_gives(tokens, "tokens", "heatmap_tokens_joints")
    dpmesh.assert_gives(latent, "latent", "latent")


def test_dpmesh_control(dpmesh: Original, prior_steps: Any) -> None:
    *_, residuals, _ = prior_steps
    names = [*(f"control_{index:02d}" for index in range(12)), "control_mid"]
    for name, residual in zip(names, residuals, strict=True):
        dpmesh.assert_gives(residual, name, "control")


def test_dpmesh_features_and_attention(dpmesh: Original, prior_steps: Any) -> None:
    features = prior_steps[-1]
    for size, value in zip((4, 8, 16, 32), features.features, strict=True):
        dpmesh.assert_gives(value, f"F_{size}", "F")
    for size, value in zip((8, 16), features.attention, strict=True):
        dpmesh.assert_gives(value, f"T_{size}", "T")


@torch.inference_mode()
def test_u_mask_is_fed_with_what_dpmesh_returns(dpmesh: Original, prior: BodyPrior, prior_steps: Any) -> None:
    """Its wrapper's list, from large to small: T behind the F of its size."""
    widths = {"encoder": (2,) * 7, "decoder": (2,) * 6, "projection": 2}
    config = PriorUNetConfig(prior_channels=prior.config.feature_channels, num_tokens=prior.config.num_tokens, **widths)
    unet = PriorUNet(config).eval()
    fed: list[Tensor] = []
    for projection in unet.projections:
        projection.register_forward_pre_hook(lambda module, inputs: fed.append(inputs[0]))
    size = dpmesh.config["prior"]["image_size"]
    unet(torch.zeros(len(dpmesh["in.image"]), 2, size, size), prior_steps[-1])
    for side, value in zip((4, 8, 16, 32), fed, strict=True):
        dpmesh.assert_gives(value, f"returned_{side}", "F")


@torch.inference_mode()
def test_the_prior_goes_from_picture_and_body_25_to_features(dpmesh: Original, prior: BodyPrior) -> None:
    """In one call; the joints of the first picture are those of its 18 points."""
    assert torch.equal(dpmesh["in.joints"][0], dpmesh["out.joints_from_openpose18"][0])
    features = prior(dpmesh["in.image"][:1], body_25(dpmesh)[:1])
    tolerance = dpmesh.config["tolerance"]
    for size, value in zip((4, 8, 16, 32), features.features, strict=True):
        torch.testing.assert_close(value, dpmesh[f"out.F_{size}"][:1], atol=tolerance["F"], rtol=0)
    for size, value in zip((8, 16), features.attention, strict=True):
        torch.testing.assert_close(value, dpmesh[f"out.T_{size}"][:1], atol=tolerance["T"], rtol=0)


@torch.inference_mode()
def test_the_conventions_of_stable_diffusion_are_not_dpmeshs(dpmesh: Original, prior: BodyPrior) -> None:
    """Neither a picture in [-1, 1], nor a scaled latent, nor timestep 0, nor a base without its low-rank weights."""
    tolerance, image = dpmesh.config["tolerance"], dpmesh["in.image"][:1]
    for wrong in (prior.latent(image * 2 - 1), prior.latent(image) * LATENT_SCALE):
        assert (wrong - dpmesh["out.latent"][:1]).abs().max() > 10 * tolerance["latent"]
    latent, tokens = dpmesh["out.latent"][:1], dpmesh["out.tokens"][:1]
    control = prior.control(latent, dpmesh["out.heatmap"][:1], tokens)
    without = {key: value * 0 if ".lora_up" in key else value for key, value in dpmesh.checkpoint.items()}
    base = body_prior_from_dpmesh(without).network
    assert isinstance(base, BodyPrior)
    for network, timestep in ((prior, 0), (base, 1)):
        features = network.taps.features(latent, timestep, tokens, control).features
        theirs = [dpmesh[f"out.F_{size}"][:1] for size in (4, 8, 16, 32)]
        differences = [(one - other).abs().max() for one, other in zip(features, theirs, strict=True)]
        assert max(differences) > 10 * tolerance["F"]


# pix2gestalt


@dataclass(frozen=True)
class Inputs:
    """Of the recorded picture, as our networks want it, and the conditions of all samples."""

    image: Tensor
    modal_mask: Tensor
    noise: Tensor
    given: Conditioning
    null: Conditioning


@pytest.fixture(scope="module")
def denoiser(pix2gestalt: Original) -> RgbDenoiser:
    network = pix2gestalt.converted.network
    assert isinstance(network, RgbDenoiser)
    return network


@pytest.fixture(scope="module")
def inputs(pix2gestalt: Original, denoiser: RgbDenoiser) -> Inputs:
    image = pix2gestalt["in.image"][None].float() / 255
    modal_mask = (pix2gestalt["in.modal_mask"] > 127)[None, None]
    noise = pix2gestalt["in.noise"]
    with torch.inference_mode():
        tokens = denoiser.projection(pix2gestalt["in.image_token"])
        given = Conditioning(denoiser.condition_latents(image, modal_mask), tokens).repeated(len(noise))
        return Inputs(image, modal_mask, noise, given, null_conditioning(given))


def paper_steps(pix2gestalt: Original, steps: int | None = None) -> SamplingConfig:
    settings = pix2gestalt.config["sampling"]
    return SamplingConfig(solver="ddim", steps=steps or settings["steps"], guidance=settings["guidance_scale"])


@pytest.fixture(scope="module")
def sampled(pix2gestalt: Original, denoiser: RgbDenoiser, inputs: Inputs) -> tuple[Tensor, list[Tensor]]:
    """The last latent, and those after every step."""
    after: list[Tensor] = []
    with torch.inference_mode():
        config = paper_steps(pix2gestalt)
        last = sample(denoiser, inputs.noise, inputs.given, inputs.null, config, on_step=after.append)
    return last, after


def test_pix2gestalt_widths_are_read_off_the_shapes(pix2gestalt: Original, denoiser: RgbDenoiser) -> None:
    theirs, networks, clip = pix2gestalt.config, denoiser.config.networks, denoiser.config.image_encoder
    assert denoiser.config == pix2gestalt.converted.config
    assert list(networks.channels) == theirs["unet"]["block_out_channels"]
    assert list(networks.vae_channels) == theirs["vae"]["block_out_channels"]
    assert networks.context_dim == theirs["unet"]["context_dim"]
    names = {"width": "width", "layers": "layers", "heads": "heads", "patch": "patch_size", "size": "image_size"}
    assert {ours: getattr(clip, ours) for ours in names} == {k: theirs["clip"][v] for k, v in names.items()}
    assert list(CLIP_MEAN) == theirs["clip"]["mean"] and list(CLIP_STD) == theirs["clip"]["std"]
    assert theirs["vae"]["scale_factor"] == LATENT_SCALE
    schedule = {"num_train_timesteps": "train_steps", "beta_start": "beta_start", "beta_end": "beta_end"}
    assert {k: NOISE_SCHEDULE[k] for k in schedule} == {k: theirs["schedule"][v] for k, v in schedule.items()}


@torch.inference_mode()
def test_pix2gestalt_picture_and_mask_before_the_vae(
    pix2gestalt: Original, denoiser: RgbDenoiser, inputs: Inputs
) -> None:
    seen: list[Tensor] = []
    handle = denoiser.vae.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        denoiser.condition_latents(inputs.image, inputs.modal_mask)
    finally:
        handle.remove()
    pix2gestalt.assert_gives(seen[0], "image_normalised", "normalised")
    pix2gestalt.assert_gives(seen[1], "mask_normalised", "normalised")


def test_pix2gestalt_latents_of_picture_and_mask(pix2gestalt: Original, inputs: Inputs) -> None:
    pix2gestalt.assert_gives(inputs.given.latents[:1, :4], "latent_image", "latent_cond")
    pix2gestalt.assert_gives(inputs.given.latents[:1, 4:], "latent_mask", "latent_cond")


@torch.inference_mode()
def test_pix2gestalt_image_token(pix2gestalt: Original, denoiser: RgbDenoiser, inputs: Inputs) -> None:
    assert torch.equal(pix2gestalt["in.image_token"], pix2gestalt["out.clip_image_token"])
    token = denoiser.image_token(inputs.image)
    pix2gestalt.assert_gives(denoiser.clip_picture(inputs.image), "clip_preprocessed", "clip_preprocessed")
    pix2gestalt.assert_gives(token, "clip_image_token", "token")
    pix2gestalt.assert_gives(denoiser.projection(token), "cond_token", "token")


@torch.inference_mode()
def test_pix2gestalt_noise(pix2gestalt: Original, denoiser: RgbDenoiser, inputs: Inputs) -> None:
    timestep, scale = (pix2gestalt.config["sampling"][name] for name in ("eps_timestep", "guidance_scale"))
    given = denoiser.predict_noise(inputs.noise, timestep, inputs.given)
    pix2gestalt.assert_gives(given, "eps_cond", "eps")
    pix2gestalt.assert_gives(denoiser.predict_noise(inputs.noise, timestep, inputs.null), "eps_uncond", "eps")
    guided = denoiser.guided_noise(inputs.noise, timestep, stacked(inputs.null, inputs.given), scale)
    pix2gestalt.assert_gives(guided, "eps_guided", "eps")
    raw = (given - pix2gestalt["out.eps_cond_raw_weights"]).abs().max()
    assert raw > 10 * pix2gestalt.config["tolerance"]["eps"], "these are the raw weights"


@torch.inference_mode()
def test_pix2gestalt_raw_weights_where_they_are_wanted(pix2gestalt: Original, inputs: Inputs) -> None:
    converted = rgb_denoiser_from_pix2gestalt(pix2gestalt.checkpoint, averaged=False)
    assert isinstance(converted.network, RgbDenoiser)
    noise = converted.network.predict_noise(inputs.noise, pix2gestalt.config["sampling"]["eps_timestep"], inputs.given)
    pix2gestalt.assert_gives(noise, "eps_cond_raw_weights", "eps")
    averages = {key for key in pix2gestalt.checkpoint if key.startswith("model_ema.")}
    assert averages <= set(converted.unused)
    assert not any(key.startswith("model.diffusion_model.") for key in converted.unused)


def test_pix2gestalt_sampling(pix2gestalt: Original, sampled: tuple[Tensor, list[Tensor]]) -> None:
    last, after = sampled
    timesteps = make_scheduler(paper_steps(pix2gestalt)).timesteps
    assert timesteps.tolist() == pix2gestalt["out.timesteps"].tolist() == pix2gestalt.config["sampling"]["timesteps"]
    pix2gestalt.assert_gives(torch.stack(after), "latents_after_step", "latents_after_step")
    pix2gestalt.assert_gives(last, "latent_final", "latents_after_step")


@torch.inference_mode()
def test_pix2gestalt_guesses_of_the_result(pix2gestalt: Original, denoiser: RgbDenoiser, inputs: Inputs) -> None:
    """ẑ_do of Eq. 15 at each recorded latent: one pass away from it, so that no error adds up."""
    config = paper_steps(pix2gestalt)
    alphas = make_scheduler(config).alphas_cumprod
    both = stacked(inputs.null, inputs.given)
    before = [inputs.noise, *pix2gestalt["out.latents_after_step"][:-1]]
    for latent, timestep, theirs in zip(
        before, pix2gestalt["out.timesteps"].tolist(), pix2gestalt["out.pred_x0_at_step"], strict=True
    ):
        noise = denoiser.guided_noise(latent, timestep, both, config.guidance)
        alpha = alphas[timestep]
        ours = (latent - (1 - alpha).sqrt() * noise) / alpha.sqrt()
        # The noise's tolerance, as the formula magnifies it.
        tolerance = pix2gestalt.config["tolerance"]["eps"] * ((1 - alpha) / alpha).sqrt().item()
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


@torch.inference_mode()
def test_pix2gestalts_own_default(pix2gestalt: Original, denoiser: RgbDenoiser, inputs: Inputs) -> None:
    """Its entry point leaves the first timestep out; what remains is the same process."""
    timesteps = pix2gestalt["out.default_call_timesteps"].tolist()
    config = paper_steps(pix2gestalt, len(timesteps) + 1)
    scheduler, both, latent = make_scheduler(config), stacked(inputs.null, inputs.given), inputs.noise
    assert scheduler.timesteps.tolist()[1:] == timesteps
    for timestep in timesteps:
        noise = denoiser.guided_noise(latent, timestep, both, config.guidance)
        latent = scheduler.step(noise, timestep, latent, return_dict=False)[0]
    pix2gestalt.assert_gives(latent, "default_call_latent_final", "latents_after_step")


@torch.inference_mode()
def test_pix2gestalt_pictures(
    pix2gestalt: Original, denoiser: RgbDenoiser, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder's, and those of the whole stage as paper A's row #5 has it, best first."""
    latent = pix2gestalt["out.latent_final"]
    pix2gestalt.assert_gives(denoiser.decode(latent), "decoded_raw", "decoded_raw")
    config = DiffusionRgbConfig(context="image", control=False, sampling=paper_steps(pix2gestalt))
    stage = DiffusionRgbCompleter(denoiser, config)
    pix2gestalt.assert_gives(stage.picture(latent, inputs.image, inputs.modal_mask), "decoded_01", "decoded_01")

    monkeypatch.setattr(diffusion, "draw_noise", lambda *arguments, **options: inputs.noise)
    completion = MaskCompletion(inputs.modal_mask, inputs.modal_mask, inputs.modal_mask.float())
    candidates = stage.candidates(inputs.image, completion, len(inputs.noise))
    theirs = pix2gestalt["out.decoded_01"][None]
    ranks = visible_error(theirs, inputs.image, inputs.modal_mask)[0].argsort()
    difference = (candidates - theirs[:, ranks]).abs().max()
    assert difference <= pix2gestalt.config["tolerance"]["decoded_01"]


# Both


def named_as_unneeded(original: Original) -> str:
    """A pattern for the keys of the groups that `config.json` tells to ignore."""
    patterns = []
    for group, meaning in original.config["key_groups"].items():
        for name in group.split(", ") if "ignore" in meaning else ():
            pattern = re.escape(name.removesuffix(".*")).replace(r"\*", r"[^.]*")
            pattern = re.sub(r"\\\{(.*?)\\\}", lambda match: f"({match[1].replace(',', '|')})", pattern)
            patterns.append(re.sub("<[^>]*>", "[^.]+", pattern) + (r"(\..*)?" if name.endswith(".*") else ""))
    return "|".join(patterns)


def test_what_dpmeshs_file_has_beside_the_prior_is_listed(dpmesh: Original) -> None:
    unused = set(dpmesh.converted.unused)
    post_quant = {key for key in dpmesh.checkpoint if ".first_stage_model.post_quant_conv." in key}  # of the decoder
    pattern = named_as_unneeded(dpmesh)
    assert unused == {key for key in dpmesh.checkpoint if re.fullmatch(pattern, key)} | post_quant
    assert len(post_quant) == 2 and len(unused) == len(dpmesh.converted.unused) < len(dpmesh.checkpoint)


def test_what_pix2gestalts_file_has_beside_the_denoiser_is_listed(pix2gestalt: Original) -> None:
    unused = set(pix2gestalt.converted.unused)
    clip = "cond_stage_model.model."
    text = {key for key in pix2gestalt.checkpoint if key.startswith(clip) and not key.startswith(f"{clip}visual.")}
    schedule = {key for key in pix2gestalt.checkpoint if "." not in key}
    raw = {key for key in pix2gestalt.checkpoint if key.startswith("model.diffusion_model.")}
    assert unused == raw | text | schedule | {"model_ema.decay", "model_ema.num_updates"}
    assert raw and text and "alphas_cumprod" in schedule and len(unused) == len(pix2gestalt.converted.unused)


SD_MODEL = "module.backbone.sd_model."
DROPPED = [
    ("dpmesh", f"{SD_MODEL}model.diffusion_model.label_emb.0.0.weight"),
    ("dpmesh", f"{SD_MODEL}model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.lora_up.bias"),
    ("dpmesh", f"{SD_MODEL}control_model.zero_convs.12.0.weight"),
    ("dpmesh", f"{SD_MODEL}first_stage_model.encoder.logvar"),
    ("pix2gestalt", "first_stage_model.loss.logvar"),
    ("pix2gestalt", "first_stage_model.encoder.down.3.downsample.conv.scale"),
    ("pix2gestalt", "model_ema.diffusion_modellabel_emb00weight"),
]
"""Keys among used ones for which the converters of diffusers have no name, and drop without a word."""


@pytest.mark.parametrize(("name", "key"), DROPPED)
def test_a_key_that_is_dropped_among_used_ones_is_listed(name: str, key: str, request: pytest.FixtureRequest) -> None:
    whole: Original = request.getfixturevalue(name)
    read = body_prior_from_dpmesh if name == "dpmesh" else rgb_denoiser_from_pix2gestalt
    converted = read(whole.checkpoint | {key: torch.ones(2)})
    assert set(converted.unused) == {*whole.converted.unused, key}


def test_of_two_keys_for_one_tensor_the_loser_is_listed(pix2gestalt: Original) -> None:
    """`in_layers.0` is called `norm1` in diffusers, which takes either."""
    place = "model.diffusion_model.input_blocks.1.0"
    ours, theirs = f"{place}.norm1.weight", f"{place}.in_layers.0.weight"
    twice = pix2gestalt.checkpoint | {ours: pix2gestalt.checkpoint[theirs] + 1}
    converted = rgb_denoiser_from_pix2gestalt(twice, averaged=False)
    loaded = converted.network.state_dict()["unet.down_blocks.0.resnets.0.norm1.weight"]
    (loser,) = {ours, theirs} & set(converted.unused)
    (winner,) = {ours, theirs} - {loser}
    assert torch.equal(loaded, twice[winner])


def test_low_rank_weights_without_their_own_are_refused(dpmesh: Original) -> None:
    """Left out, they would leave a layer as it was before DPMesh's training."""
    key = "module.backbone.sd_model.model.diffusion_model.input_blocks.1.1.proj_in.lora_up.weight"
    assert "proj_in.linear.weight" in sentence(body_prior_from_dpmesh, dpmesh.checkpoint | {key: torch.ones(2, 2)})


BOTH = pytest.mark.parametrize(
    ("name", "read"),
    [("dpmesh", body_prior_from_dpmesh), ("pix2gestalt", rgb_denoiser_from_pix2gestalt)],
    ids=["dpmesh", "pix2gestalt"],
)


@BOTH
def test_unused_keys_may_be_missing(name: str, read: Reader, request: pytest.FixtureRequest) -> None:
    """And used they are not: without them the network is the same. The raw U-Net only names the averaged one's keys."""
    whole: Original = request.getfixturevalue(name)
    kept = {
        key: value
        for key, value in whole.checkpoint.items()
        if key not in whole.converted.unused or key.startswith("model.diffusion_model.")
    }
    converted = read({key: value * 0 if key in whole.converted.unused else value for key, value in kept.items()})
    assert set(converted.unused) == set(whole.converted.unused) & set(kept)
    first, second = (network.state_dict() for network in (whole.converted.network, converted.network))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@BOTH
def test_converted_networks_are_frozen(name: str, read: Reader, request: pytest.FixtureRequest) -> None:
    network: nn.Module = request.getfixturevalue(name).converted.network
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    assert all(value.device.type == "cpu" for value in network.state_dict().values())


def sentence(read: Reader, checkpoint: dict[str, Tensor]) -> str:
    """Read it, expect a refusal in one line, return it."""
    with pytest.raises(ValueError, match=r"^(not a checkpoint of|the checkpoint does not fit: )") as caught:
        read(checkpoint)
    assert "\n" not in str(caught.value)
    return str(caught.value)


DAMAGED = [
    ("dpmesh", "module.kp_lifting.bias"),
    ("dpmesh", "module.backbone.sd_model.control_model.input_blocks.0.0.weight"),
    ("dpmesh", "module.backbone.sd_model.control_model.zero_convs.11.0.bias"),
    ("dpmesh", "module.backbone.sd_model.first_stage_model.encoder.down.2.block.1.conv2.weight"),
    ("dpmesh", "module.backbone.sd_model.model.diffusion_model.output_blocks.8.2.conv.bias"),
    *(
        ("dpmesh", f"module.backbone.sd_model.model.diffusion_model.input_blocks.4.1.transformer_blocks.0.{layer}")
        for layer in (
            "attn2.to_k.linear.weight",
            "attn2.to_k.lora_up.weight",
            "attn1.to_out.0.lora_down.weight",
            "ff.net.0.proj.linear.bias",
            "norm2.weight",
        )
    ),
    ("pix2gestalt", "model_ema.diffusion_modelinput_blocks00weight"),
    ("pix2gestalt", "model_ema.diffusion_modelinput_blocks11transformer_blocks0attn2to_kweight"),
    ("pix2gestalt", "cc_projection.weight"),
    ("pix2gestalt", "first_stage_model.decoder.up.2.upsample.conv.bias"),
    ("pix2gestalt", "first_stage_model.post_quant_conv.weight"),
    ("pix2gestalt", "cond_stage_model.model.visual.conv1.weight"),
    ("pix2gestalt", "cond_stage_model.model.visual.positional_embedding"),
    ("pix2gestalt", "cond_stage_model.model.visual.proj"),
    ("pix2gestalt", "cond_stage_model.model.visual.transformer.resblocks.0.attn.in_proj_weight"),
]


@pytest.mark.parametrize(("name", "key"), DAMAGED)
def test_missing_keys_and_wrong_shapes_are_refused(name: str, key: str, request: pytest.FixtureRequest) -> None:
    whole: Original = request.getfixturevalue(name)
    read = body_prior_from_dpmesh if name == "dpmesh" else rgb_denoiser_from_pix2gestalt
    assert key in whole.checkpoint and key not in whole.converted.unused
    sentence(read, {other: value for other, value in whole.checkpoint.items() if other != key})
    value = whole.checkpoint[key]
    flat_and_longer, first_row = torch.cat([value.flatten(), value.flatten()[:1]]), value[:1]
    for wrong in (flat_and_longer, first_row) if len(value) > 1 else (flat_and_longer,):
        sentence(read, whole.checkpoint | {key: wrong})


@BOTH
def test_checkpoints_of_another_kind_are_refused(name: str, read: Reader, request: pytest.FixtureRequest) -> None:
    other: Original = request.getfixturevalue("pix2gestalt" if name == "dpmesh" else "dpmesh")
    own = request.getfixturevalue(name).checkpoint
    without_first_part = {key.partition(".")[2]: value for key, value in own.items()}
    for state_dict in (other.checkpoint, without_first_part, {}):
        assert sentence(read, state_dict).lower().startswith(f"not a checkpoint of {name}: it has no '")


def test_a_controlnet_without_joint_heatmaps_is_refused(dpmesh: Original) -> None:
    """As of Stable Diffusion's own, whose first convolution sees the latent alone."""
    key = "module.backbone.sd_model.control_model.input_blocks.0.0.weight"
    said = sentence(body_prior_from_dpmesh, dpmesh.checkpoint | {key: dpmesh.checkpoint[key][:, :4]})
    assert "controlnet_cond_embedding" in said


def test_averages_are_demanded_where_they_are_wanted(pix2gestalt: Original) -> None:
    without = {key: value for key, value in pix2gestalt.checkpoint.items() if not key.startswith("model_ema.")}
    assert "with averaged weights" in sentence(rgb_denoiser_from_pix2gestalt, without)
    assert rgb_denoiser_from_pix2gestalt(without, averaged=False).unused
