"""LaMa's generator: as large as the published one, laws of its Fourier convolutions, files read back or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from miniature_baselines import LAMA, lama_state_dict
from safetensors.torch import save_file

from deocclude.errors import InputError
from deocclude.models.lama import PREFIXES, FourierConv, LamaConfig, LamaNetwork, lama_from_published, published_names
from deocclude.stages.lama import load_network


def test_the_default_is_big_lama() -> None:
    """Its 51 million parameters and 989 tensors."""
    with torch.device("meta"):
        network = LamaNetwork(LamaConfig())
    assert sum(p.numel() for p in network.parameters()) == 50_975_875
    assert len(network.state_dict()) == 989


def test_published_names() -> None:
    names = published_names(LamaConfig())
    assert names["stem.local_to_local"] == "model.1.ffc.convl2l"
    assert names["down.2.local_to_global"] == "model.4.ffc.convl2g"
    assert names["blocks.0.first.global_to_global.fourier.conv"] == "model.5.conv1.ffc.convg2g.fu.conv_layer"
    assert names["blocks.17.second.global_norm"] == "model.22.conv2.bn_g"
    assert names["up.0"] == "model.24" and names["up_norm.2"] == "model.31" and names["head"] == "model.34"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_published_files_are_read_back(prefix: str, tmp_path: Path) -> None:
    tensors = lama_state_dict(prefix=prefix)
    others = {"discriminator.model0.0.weight": torch.zeros(1), "loss_resnet_pl.impl.conv1.weight": torch.zeros(2)}
    converted = lama_from_published(tensors | others)
    assert converted.config == LAMA and converted.unused == tuple(others)
    network = converted.network
    for ours, value in network.state_dict().items():
        layer, _, kind = ours.rpartition(".")
        assert torch.equal(value, tensors[f"{prefix}{published_names(LAMA)[layer]}.{kind}"])
    save_file(tensors, tmp_path / "lama.safetensors")
    image, hole = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    assert torch.equal(load_network(tmp_path / "lama.safetensors")(image, hole), network(image, hole))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ({"model.6.conv2.bn_g.running_var": None}, "has no 'model.6.conv2.bn_g.running_var'"),
        ({"model.1.ffc.convl2l.weight": None}, "has no 'model.1.ffc.convl2l.weight'"),
        ({"model.5.conv1.ffc.convl2g.weight": torch.zeros(3, 3)}, "size mismatch"),
        ({"model.5.conv1.ffc.gate.weight": torch.zeros(3)}, "has a 'model.5.conv1.ffc.gate.weight', for which"),
    ],
)
def test_damaged_files_are_refused_in_a_sentence(
    damage: dict[str, torch.Tensor | None], sentence: str, tmp_path: Path
) -> None:
    tensors = {key: value for key, value in (lama_state_dict() | damage).items() if value is not None}
    with pytest.raises(ValueError, match="not a checkpoint of LaMa") as caught:
        lama_from_published(tensors)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    save_file(tensors, tmp_path / "lama.safetensors")
    with pytest.raises(InputError, match="no weights of LaMa"):
        load_network(tmp_path / "lama.safetensors")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("words")
    for path in (tmp_path / "text", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no weights of LaMa"):
            load_network(path)


@torch.inference_mode()
def test_a_fourier_convolution_does_not_know_where_it_is() -> None:
    """Moved round and round, a map gives its result moved as much: the spectrum's absolute values are the same.

    That holds for moves of a whole number of pixels only where the convolution is linear, so its ReLU is passed by.
    """
    torch.manual_seed(0)
    layer = FourierConv(3).eval()
    torch.nn.init.dirac_(layer.conv.weight)
    layer.norm.bias.data.fill_(100.0)  # far from the ReLU's bend
    x = torch.rand(2, 3, 12, 10)
    constant = layer(torch.zeros_like(x))
    torch.testing.assert_close(layer(x) - constant, x / (1 + layer.norm.eps) ** 0.5, atol=1e-3, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (72, 40)])
def test_what_is_in_the_hole_does_not_count(size: tuple[int, int]) -> None:
    network = lama_from_published(lama_state_dict()).network
    generator = torch.Generator().manual_seed(0)
    image, other = (torch.rand(2, 3, *size, generator=generator) for _ in range(2))
    hole = torch.zeros(2, 1, *size)
    hole[..., 10:30, 10:30] = 1
    painted = network(image, hole)
    assert painted.shape == image.shape and painted.min() >= 0 and painted.max() <= 1
    assert torch.equal(painted, network(torch.where(hole > 0, other, image), hole))
    assert not torch.equal(painted, network(image, 1 - hole))
    for index in range(2):
        one = slice(index, index + 1)
        torch.testing.assert_close(network(image[one], hole[one]), painted[one], atol=1e-5, rtol=0)


def test_widths_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="need at least one channel"):
        LamaConfig(num_blocks=0)
    with pytest.raises(ValueError, match="global channels must be even, got 3"):
        LamaConfig(channels=1, num_halvings=2)
