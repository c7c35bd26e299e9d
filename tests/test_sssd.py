"""SSSD: the numbers that the authors' code gives, its checkpoints read back, and the damaged ones refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from deocclude.models.foreign import Converted
from deocclude.models.sssd import (
    MASK_BLOCKS,
    SssdContentConfig,
    SssdContentNetwork,
    SssdMaskConfig,
    SssdMaskNetwork,
    amodal_probability,
    completed_mask,
    composite,
    content_blocks,
    original_keys,
    sssd_content_from_checkpoint,
    sssd_mask_from_checkpoint,
)

# No two widths alike, so that none can be taken for another.
TINY_MASK = SssdMaskConfig(encoder_channels=(2, 3, 4, 5, 6), decoder_channels=(7, 8, 9, 10))
TINY_CONTENT = SssdContentConfig(encoder_channels=(2, 3, 4, 5), decoder_channels=(6, 7, 8))


def with_statistics(network: nn.Module) -> nn.Module:
    """Batch normalisation as after some training: a fresh one, being the identity, would hide exchanged tensors."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
                values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
            layer.num_batches_tracked.fill_(7)
    return network.eval()


def mask_checkpoint() -> dict[str, Tensor]:
    network = with_statistics(SssdMaskNetwork(TINY_MASK))
    keys = original_keys(network, MASK_BLOCKS)
    return {keys[ours]: value for ours, value in network.state_dict().items()}


def content_checkpoint() -> dict[str, Tensor]:
    network = with_statistics(SssdContentNetwork(TINY_CONTENT))
    keys = original_keys(network, content_blocks(len(TINY_CONTENT.encoder_channels)))
    state_dict = {keys[ours]: value for ours, value in network.state_dict().items()}
    ones = {
        key.replace("input_conv", "mask_conv"): torch.ones_like(value)
        for key, value in state_dict.items()
        if key.endswith("input_conv.weight")
    }
    return state_dict | ones


READERS = pytest.mark.parametrize(
    ("checkpoint", "read"),
    [(mask_checkpoint, sssd_mask_from_checkpoint), (content_checkpoint, sssd_content_from_checkpoint)],
    ids=["mask", "content"],
)
Reader = Callable[[dict[str, Tensor]], Converted]
Checkpoint = Callable[[], dict[str, Tensor]]


@torch.inference_mode()
def test_mask_network_gives_the_recorded_numbers(recorded: Path) -> None:
    converted = sssd_mask_from_checkpoint(load_file(recorded / "sssd_m" / "checkpoint.safetensors"))
    io = load_file(recorded / "sssd_m" / "io.safetensors")

    logits = converted.network(io["in.mask"], io["in.eraser"])
    completed = completed_mask(logits, io["in.mask"], io["in.eraser"])

    assert converted.unused == ()
    torch.testing.assert_close(logits, io["out.logits"], atol=1e-3, rtol=0)
    torch.testing.assert_close(amodal_probability(logits), io["out.probability"], atol=1e-3, rtol=0)
    clear = (io["out.logits"][:, 1:] - io["out.logits"][:, :1]).abs() > 2e-3
    assert clear.float().mean() > 0.99
    assert torch.equal(completed[clear], io["out.completed"][clear].bool())


@torch.inference_mode()
def test_content_network_gives_the_recorded_numbers(recorded: Path) -> None:
    converted = sssd_content_from_checkpoint(load_file(recorded / "sssd_c" / "checkpoint.safetensors"))
    io = load_file(recorded / "sssd_c" / "io.safetensors")

    raw, final_mask = converted.network(io["in.rgb_erased"], io["in.visible_mask"], io["in.modal_mask"])

    assert {key.rpartition(".conv.")[2] for key in converted.unused} == {"mask_conv.weight"}
    torch.testing.assert_close(raw, io["out.raw"], atol=2e-3, rtol=0)
    assert torch.equal(final_mask.expand_as(raw), io["out.final_mask"])
    whole = composite(raw, io["in.rgb_erased"], io["in.visible_mask"])
    torch.testing.assert_close(whole, io["out.composite"], atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("network_class", "config", "millions"),
    [(SssdMaskNetwork, SssdMaskConfig(), 3.35), (SssdContentNetwork, SssdContentConfig(), 25.78)],
)
def test_the_defaults_are_the_released_sizes(network_class: type[nn.Module], config: object, millions: float) -> None:
    with torch.device("meta"):
        network = network_class(config)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("config_class", [SssdMaskConfig, SssdContentConfig])
@pytest.mark.parametrize(("encoder", "decoder"), [((4,), ()), ((4, 8), (4, 4)), ((4, 0), (4,)), ((), ())])
def test_impossible_widths_are_refused(config_class: type, encoder: tuple[int, ...], decoder: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="positive channels"):
        config_class(encoder_channels=encoder, decoder_channels=decoder)


def test_keys_are_the_authors() -> None:
    mask = original_keys(SssdMaskNetwork(TINY_MASK), MASK_BLOCKS)
    content = original_keys(SssdContentNetwork(TINY_CONTENT), content_blocks(4))

    assert mask["unet.down.0.0.weight"] == "module.inc.conv.conv.0.weight"
    assert mask["unet.down.4.4.running_mean"] == "module.down4.mpconv.1.conv.4.running_mean"
    assert mask["unet.up.0.3.bias"] == "module.up1.conv.conv.3.bias"
    assert mask["head.weight"] == "module.outc.conv.weight"
    assert content["encoder.0.conv.conv.weight"] == "module.enc_1.conv.input_conv.weight"
    assert content["encoder.3.norm.bias"] == "module.enc_4.bn.bias"
    assert content["decoder.0.conv.conv.weight"] == "module.dec_4.conv.input_conv.weight"
    assert content["decoder.2.norm.weight"] == "module.dec_2.bn.weight"
    assert content["output.conv.weight"] == "module.dec_1.conv.input_conv.weight"
    assert content["output.bias"] == "module.dec_1.conv.input_conv.bias"


@torch.inference_mode()
def test_mask_checkpoint_comes_back() -> None:
    state_dict = mask_checkpoint()
    mask, occluder = (torch.rand(2, 2, 1, 33, 20, generator=torch.Generator().manual_seed(1)) > 0.5).float()

    converted = sssd_mask_from_checkpoint(state_dict)

    assert converted.config == TINY_MASK
    assert converted.unused == ()
    assert not converted.network.training
    read = converted.network.state_dict()
    keys = original_keys(converted.network, MASK_BLOCKS)
    assert all(torch.equal(value, state_dict[keys[ours]]) for ours, value in read.items())
    assert converted.network(mask, occluder).shape == (2, 2, 33, 20)


@torch.inference_mode()
def test_content_checkpoint_comes_back() -> None:
    state_dict = content_checkpoint()

    converted = sssd_content_from_checkpoint(state_dict)

    assert converted.config == TINY_CONTENT
    assert sorted(converted.unused) == sorted(key for key in state_dict if "mask_conv" in key)
    assert not converted.network.training
    read = converted.network.state_dict()
    keys = original_keys(converted.network, content_blocks(4))
    assert all(torch.equal(value, state_dict[keys[ours]]) for ours, value in read.items())


@READERS
def test_foreign_keys_are_listed(checkpoint: Checkpoint, read: Reader) -> None:
    assert "module.discriminator.weight" in read(checkpoint() | {"module.discriminator.weight": torch.ones(1)}).unused


@READERS
def test_every_missing_key_is_named(checkpoint: Checkpoint, read: Reader) -> None:
    whole = checkpoint()
    for left_out in (key for key in whole if "mask_conv" not in key):
        with pytest.raises(ValueError, match=f"not a checkpoint of SSSD's PCNet.*no '{left_out}'"):
            read({key: value for key, value in whole.items() if key != left_out})


@READERS
def test_every_wrong_shape_is_refused(checkpoint: Checkpoint, read: Reader) -> None:
    whole = checkpoint()
    for key in (key for key in whole if "mask_conv" not in key):
        for value in (torch.cat([whole[key].reshape(-1), torch.zeros(1)]), whole[key].float().reshape(-1)[:0]):
            with pytest.raises(ValueError, match="not a checkpoint of SSSD's PCNet"):
                read(whole | {key: value})


@READERS
def test_checkpoints_of_another_kind_are_refused(checkpoint: Checkpoint, read: Reader) -> None:
    other = content_checkpoint() if checkpoint is mask_checkpoint else mask_checkpoint()
    without_wrapper = {key.removeprefix("module."): value for key, value in checkpoint().items()}
    for state_dict in (other, without_wrapper, {}):
        with pytest.raises(ValueError, match=r"not a checkpoint of SSSD's PCNet.*it has no 'module\."):
            read(state_dict)


def test_a_mask_network_over_another_input_is_refused() -> None:
    """As SDAmodal's, whose keys are the same and more, and which takes the modal mask alone."""
    state_dict = mask_checkpoint()
    state_dict["module.inc.conv.conv.0.weight"] = state_dict["module.inc.conv.conv.0.weight"][:, :1]
    with pytest.raises(ValueError, match=r"\(2, 1, 3, 3\), and \(2, 2, 3, 3\) is needed"):
        sssd_mask_from_checkpoint(state_dict)


def test_a_learned_mask_convolution_is_refused() -> None:
    state_dict = content_checkpoint()
    state_dict["module.enc_2.conv.mask_conv.weight"][0, 0, 0, 0] = 0.5
    with pytest.raises(ValueError, match=r"module\.enc_2\.conv\.mask_conv\.weight' holds other values than 1"):
        sssd_content_from_checkpoint(state_dict)


def test_the_completed_mask_is_the_answer_inside_the_occluder_only() -> None:
    says_yes = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)
    modal_mask = torch.tensor([3.0, 0.0, 0.0, 3.0]).view(1, 1, 1, 4)  # category 3
    occluder_mask = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 1, 1, 4)

    assert completed_mask(says_yes, modal_mask, occluder_mask).flatten().tolist() == [True, False, True, True]
    assert completed_mask(-says_yes, modal_mask, occluder_mask).flatten().tolist() == [True, False, False, False]


@torch.inference_mode()
def test_what_the_occluder_shows_never_reaches_the_colours() -> None:
    generator = torch.Generator().manual_seed(2)
    network = sssd_content_from_checkpoint(content_checkpoint()).network
    image, other = torch.rand(2, 1, 3, 32, 32, generator=generator)
    known = torch.ones(1, 1, 32, 32)
    known[..., 8:24, 8:24] = 0

    raw, _ = network(image, known, known)
    raw_of_other, _ = network(torch.where(known > 0, image, other), known, known)

    assert torch.equal(raw, raw_of_other)
    assert torch.equal(composite(raw, image, known)[..., :8, :], image[..., :8, :])
