"""Frozen features of the perceptual loss: VGG16's from a file, and files that are not VGG16's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from deocclude.errors import InputError
from deocclude.training.perceptual import VGG16_CONVOLUTIONS, Vgg16Features


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    """As torchvision's file, with a layer that nobody asks for."""
    generator = torch.Generator().manual_seed(0)
    own: dict[str, Tensor] = {"classifier.0.weight": torch.ones(2)}
    for index, before, after in VGG16_CONVOLUTIONS:
        own[f"features.{index}.weight"] = torch.randn(after, before, 3, 3, generator=generator) * 0.05
        own[f"features.{index}.bias"] = torch.randn(after, generator=generator)
    return own


def test_features_come_after_three_pools(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, tmp_path / "vgg16.safetensors")
    network = Vgg16Features(tmp_path / "vgg16.safetensors")
    for (index, _, _), layer in zip(VGG16_CONVOLUTIONS, network.convolutions, strict=True):
        assert torch.equal(layer.weight, tensors[f"features.{index}.weight"])
        assert torch.equal(layer.bias, tensors[f"features.{index}.bias"])
    features = network(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert [tuple(value.shape[1:]) for value in features] == [(64, 16, 16), (128, 8, 8), (256, 4, 4)]
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())


Damage = Callable[[Path, dict[str, Tensor]], None]


def without_a_key(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({key: value for key, value in tensors.items() if key != "features.14.bias"}, path)


def of_another_shape(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({**tensors, "features.0.weight": torch.ones(64, 3, 5, 5)}, path)


def as_a_pickle(path: Path, tensors: dict[str, Tensor]) -> None:
    torch.save(tensors, path)


def cut_off(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, path)
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path, tensors: None, "no such file"),
        (lambda path, tensors: path.mkdir(), "no such file"),
        (lambda path, tensors: path.write_bytes(b""), "no safetensors file that can be read"),
        (as_a_pickle, "no safetensors file that can be read"),
        (cut_off, "no safetensors file that can be read"),
        (without_a_key, "it has no 'features.14.bias'"),
        (of_another_shape, "'features.0.weight' is (64, 3, 5, 5), not (64, 3, 3, 3)"),
    ],
)
def test_another_file_is_refused_in_a_sentence(
    tmp_path: Path, tensors: dict[str, Tensor], damage: Damage, reason: str
) -> None:
    path = tmp_path / "vgg16.safetensors"
    damage(path, tensors)
    with pytest.raises(InputError) as caught:
        Vgg16Features(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and reason in said and "leave --vgg16 out" in said and "\n" not in said
