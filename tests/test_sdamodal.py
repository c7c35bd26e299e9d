"""SDAmodal: the numbers that the authors' code gives, its checkpoint read back, and the damaged ones refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor

from deocclude.models.sdamodal import BLOCKS, SdamodalConfig, SdamodalNetwork, sdamodal_from_checkpoint
from deocclude.models.sssd import likelier_class, original_keys, sssd_mask_from_checkpoint

# No two widths alike, so that none can be taken for another.
TINY = SdamodalConfig(
    encoder_channels=(2, 3, 4, 5, 6, 7),
    decoder_channels=(8, 9, 10, 11, 12),
    feature_channels=(13, 14, 15, 16),
    projection_channels=17,
)


def checkpoint(config: SdamodalConfig = TINY) -> dict[str, Tensor]:
    """Every value drawn at random, batch normalisation's included: its start, the identity, hides exchanges."""
    network = SdamodalNetwork(config)
    keys, generator = original_keys(network, BLOCKS), torch.Generator().manual_seed(0)
    return {
        keys[ours]: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value + 7
        for ours, value in network.state_dict().items()
    }


@torch.inference_mode()
def test_the_recorded_numbers(recorded: Path) -> None:
    converted = sdamodal_from_checkpoint(load_file(recorded / "sdamodal" / "checkpoint.safetensors"))
    io = load_file(recorded / "sdamodal" / "io.safetensors")
    features = tuple(rearrange(io[f"in.features_{index}"], "b h w c -> b c h w") for index in range(4))
    network = converted.network
    assert isinstance(network, SdamodalNetwork)

    logits = network(io["in.mask"], features)

    assert converted.unused == ()
    torch.testing.assert_close(
        network.last_features(io["in.mask"], features), io["out.last_features"], atol=1e-3, rtol=0
    )
    torch.testing.assert_close(logits, io["out.logits"], atol=1e-3, rtol=0)
    clear = (io["out.logits"][:, 1:] - io["out.logits"][:, :1]).abs() > 2e-3
    assert clear.float().mean() > 0.99
    assert torch.equal(likelier_class(logits)[clear], io["out.mask"][clear].bool())


def test_the_default_is_the_released_size() -> None:
    with torch.device("meta"):
        network = SdamodalNetwork(SdamodalConfig())
    assert sum(p.numel() for p in network.parameters()) == 15_911_074


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder_channels": (4, 4)}, "a decoder level fewer"),
        ({"feature_channels": (4,) * 7}, "at least as many encoder levels as features, got 6 and 7"),
        ({"feature_channels": (4, 0)}, "must be positive"),
        ({"projection_channels": 0}, "must be positive"),
    ],
)
def test_impossible_widths_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SdamodalConfig(**changes)


def test_keys_are_the_authors() -> None:
    keys = original_keys(SdamodalNetwork(TINY), BLOCKS)

    assert keys["unet.down.5.0.weight"] == "module.down5.mpconv.1.conv.0.weight"
    assert keys["unet.up.0.1.running_var"] == "module.up0.conv.conv.1.running_var"
    assert keys["unet.up.4.3.bias"] == "module.up4.conv.conv.3.bias"
    assert keys["project.0.0.weight"] == "module.reduce_dim_0.0.weight"
    assert keys["project.3.1.bias"] == "module.reduce_dim_3.1.bias"
    assert keys["head.bias"] == "module.outc.conv.bias"


@torch.inference_mode()
def test_the_checkpoint_comes_back() -> None:
    state_dict = checkpoint()

    converted = sdamodal_from_checkpoint(state_dict | {"module.criterion.weight": torch.ones(2)})

    assert converted.config == TINY
    assert converted.unused == ("module.criterion.weight",)
    assert not converted.network.training
    keys = original_keys(converted.network, BLOCKS)
    read = converted.network.state_dict()
    assert all(torch.equal(value, state_dict[keys[ours]]) for ours, value in read.items())
    features = tuple(torch.rand(2, channels, 5, 7) for channels in TINY.feature_channels)
    assert converted.network(torch.ones(2, 1, 33, 70), features).shape == (2, 2, 33, 70)


@torch.inference_mode()
def test_every_feature_map_matters_and_none_may_be_missing() -> None:
    torch.manual_seed(0)
    network = SdamodalNetwork(TINY).eval()
    mask = torch.ones(1, 1, 32, 32)
    features = [torch.rand(1, channels, 4, 4) for channels in TINY.feature_channels]
    logits = network(mask, features)

    for index in range(4):
        changed = [torch.zeros_like(feature) if i == index else feature for i, feature in enumerate(features)]
        assert not torch.equal(network(mask, changed), logits)
    with pytest.raises(ValueError, match="expected 4 feature maps, got 3"):
        network(mask, features[:3])


def test_every_missing_key_is_named() -> None:
    whole = checkpoint()
    for left_out in whole:
        with pytest.raises(ValueError, match=f"not a checkpoint of SDAmodal: it has no '{left_out}'"):
            sdamodal_from_checkpoint({key: value for key, value in whole.items() if key != left_out})


def test_every_wrong_shape_is_refused() -> None:
    whole = checkpoint()
    for key, value in whole.items():
        for wrong in (torch.cat([value.reshape(-1), torch.zeros(1)]), value.reshape(-1)[:0]):
            with pytest.raises(ValueError, match="not a checkpoint of SDAmodal: 'module"):
                sdamodal_from_checkpoint(whole | {key: wrong})


def test_checkpoints_of_another_kind_are_refused() -> None:
    whole = checkpoint()
    without_features = {key: value for key, value in whole.items() if "reduce_dim" not in key}
    without_wrapper = {key.removeprefix("module."): value for key, value in whole.items()}
    for state_dict in (without_features, without_wrapper, {}):
        with pytest.raises(
            ValueError, match=r"not a checkpoint of SDAmodal: it has no 'module\.reduce_dim_0\.0\.weight'"
        ):
            sdamodal_from_checkpoint(state_dict)
    with pytest.raises(ValueError, match="not a checkpoint of SSSD's PCNet-M"):
        sssd_mask_from_checkpoint(whole)
