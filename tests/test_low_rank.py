"""Low-rank weights: what they add, to which layers, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deocclude.errors import InputError
from deocclude.models.diffusion.low_rank import add_low_rank
from deocclude.stages.completers.diffusion_loading import add_low_rank_file


class Layers(nn.Module):
    """A convolution of twelve channels and a linear layer, named as a U-Net's are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv_in = nn.Conv2d(12, 8, 3)
        self.down_blocks = nn.ModuleList([nn.Linear(6, 5), nn.Conv2d(6, 5, 1)])


def low_rank(name: str, up: tuple[int, ...], down: tuple[int, ...], alpha: float | None = None) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    key = f"lora_unet_{name}"
    tensors = {
        f"{key}.lora_up.weight": torch.randn(up, generator=generator),
        f"{key}.lora_down.weight": torch.randn(down, generator=generator),
    }
    return tensors if alpha is None else tensors | {f"{key}.alpha": torch.tensor(alpha)}


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (1.0, 0.5), (4.0, 2.0)])
def test_a_layer_gets_alpha_over_rank_times_up_times_down(alpha: float | None, scale: float) -> None:
    unet, before = Layers(), Layers()
    tensors = low_rank("down_blocks_0", (5, 2), (2, 6), alpha)
    assert add_low_rank(unet, tensors) == 1
    up, down = (tensors[f"lora_unet_down_blocks_0.lora_{side}.weight"] for side in ("up", "down"))
    torch.testing.assert_close(unet.down_blocks[0].weight, before.down_blocks[0].weight + scale * up @ down)
    assert torch.equal(unet.conv_in.weight, before.conv_in.weight)
    picture, changed = torch.rand(1, 6, 2, 2), low_rank("down_blocks_1", (5, 2, 1, 1), (2, 6, 1, 1))
    add_low_rank(unet, changed)
    up, down = changed.values()
    added = nn.functional.conv2d(nn.functional.conv2d(picture, down), up)
    torch.testing.assert_close(unet.down_blocks[1](picture), before.down_blocks[1](picture) + added)


def test_a_wider_first_convolution_is_changed_in_the_noisy_latents_channels() -> None:
    unet, before = Layers(), Layers()
    add_low_rank(unet, low_rank("conv_in", (8, 2, 1, 1), (2, 4, 3, 3)))
    assert not torch.equal(unet.conv_in.weight[:, :4], before.conv_in.weight[:, :4])
    assert torch.equal(unet.conv_in.weight[:, 4:], before.conv_in.weight[:, 4:])


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({"other.weight": torch.zeros(1)}, "no key begins with 'lora_unet_'"),
        (low_rank("mid_block", (5, 2), (2, 6)), "no layer for 'lora_unet_mid_block'"),
        (low_rank("down_blocks_0", (5, 2), (2, 4)), "the layer has"),
        ({"lora_unet_down_blocks_0.alpha": torch.tensor(1.0)}, "lora_unet_down_blocks_0.lora_down.weight"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tensors: dict[str, Tensor], expected: str, tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_file(tensors, path)
    unet, before = Layers(), Layers()
    with pytest.raises(InputError, match="no low-rank weights for this U-Net") as error:
        add_low_rank_file(unet, path)
    assert expected in str(error.value) and "\n" not in str(error.value)
    assert all(torch.equal(a, b) for a, b in zip(unet.parameters(), before.parameters(), strict=True))
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="no low-rank weights for this U-Net"):
        add_low_rank_file(unet, path)
