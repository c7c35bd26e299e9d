"""Small stand-ins that several test files share: seeded networks, stages and a segmenter with known answers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from deocclude.crops import Box
from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.models.feedforward.mask_completion import MaskCompletionConfig, MaskCompletionNetwork
from deocclude.models.feedforward.rgb_completion import RgbCompletionConfig, RgbCompletionNetwork
from deocclude.models.occlusion import OcclusionConfig, OcclusionNetwork
from deocclude.models.perception.movenet import MoveNet, MoveNetConfig
from deocclude.models.perception.nanodet import NanoDet, NanoDetConfig
from deocclude.models.segmenter import SegmenterNetwork, SegmenterOutput
from deocclude.stages.completers.base import MaskStage, RgbStage
from deocclude.types import Hints, MaskCompletion, Person
from deocclude.weights import save_network

TINY_MASK = MaskCompletionConfig(base_channels=4, stride=4, num_templates=2, template_size=8)
TINY_RGB = RgbCompletionConfig(channels=4, levels=3, attention=("enc3",))


def mask_network(config: MaskCompletionConfig = TINY_MASK) -> MaskCompletionNetwork:
    torch.manual_seed(1)
    return MaskCompletionNetwork(config).eval()


def rgb_network(config: RgbCompletionConfig = TINY_RGB) -> RgbCompletionNetwork:
    torch.manual_seed(2)
    return RgbCompletionNetwork(config).eval()


def segmenter_network(*, finds: bool) -> SegmenterNetwork:
    """The real class, made to see a person in every pixel or in none."""
    from deocclude.models.segmenter import SegmenterConfig

    torch.manual_seed(3)
    network = SegmenterNetwork(SegmenterConfig(decoder_channels=(8, 8, 8))).eval()
    last = network.mask_head[-2]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 5.0 if finds else -5.0)
    return network


def nanodet_network(*, finds: bool) -> NanoDet:
    """The real class, made to see one person who fills the picture, or none."""
    torch.manual_seed(4)
    config = NanoDetConfig(stem_channels=4, stage_blocks=(1, 1, 1, 1), neck_channels=8, num_classes=2, num_bins=60)
    network = NanoDet(config).eval()
    for head in network.heads:
        last = head[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, -5.0)
        sides = last.bias.data[config.num_classes :].view(4, config.num_bins)
        sides[:, -1] = 50.0  # 59 cells away, beyond the picture on every level
        last.bias.data[0] = 5.0 if finds else -5.0
    return network


def movenet_network(*, finds: bool) -> MoveNet:
    """The real class, made to see one person who fills the picture with all keypoints, or none."""
    torch.manual_seed(5)
    network = MoveNet(MoveNetConfig(last_channels=8, pyramid_channels=(8, 8, 8), head_channels=8)).eval()
    for name, bias in (("center", 5.0 if finds else -9.0), ("keypoint_heatmaps", 5.0 if finds else -9.0)):
        last = network.heads[name][-1]
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, bias)
    nn.init.zeros_(network.heads["box_size"][-1].weight)
    nn.init.constant_(network.heads["box_size"][-1].bias, 1000.0)
    return network


def occlusion_network() -> OcclusionNetwork:
    """The real class, made to see something in front everywhere and nothing else for certain: it changes no answer."""
    torch.manual_seed(6)
    network = OcclusionNetwork(OcclusionConfig(decoder_channels=(8, 8, 8))).eval()
    last = network.head[-2]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    nn.init.zeros_(last.weight)
    visible, amodal, front = last.bias.data.view(3, 4)  # four pixels a cell
    visible.fill_(-9.0), amodal.fill_(0.0), front.fill_(9.0)
    return network


def write_assets(folder: Path, *, finds: bool = True) -> None:
    """The weights files of the package, in miniature; `finds`: the detectors and the segmenter see a person."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in (
        ("mask_completion", mask_network()),
        ("rgb_completion", rgb_network()),
        ("segmenter", segmenter_network(finds=finds)),
        ("occlusion", occlusion_network()),
        ("nanodet", nanodet_network(finds=finds)),
        ("movenet", movenet_network(finds=finds)),
    ):
        save_network(folder / f"{name}.safetensors", network, network.config)


class GrowDown(MaskStage):
    """Mask stage: the person goes on for as many rows as can be seen of it, 0.9 sure."""

    name = "grow-down"

    def __init__(self, size: int = 32) -> None:
        self.size = size
        self.calls = 0

    def complete(self, image: Tensor, modal_mask: Tensor, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
        self.calls += 1
        self.joints = hints.keypoints
        self.refine_modal = refine_modal
        assert modal_mask.dtype == torch.bool and modal_mask.shape == image[:, :1].shape
        box = mask_box(modal_mask[0, 0].cpu().numpy())
        assert box is not None
        x0, y0, x1, y1 = box
        amodal_mask = modal_mask.clone()
        amodal_mask[..., y0 : 2 * y1 - y0, x0:x1] = True
        return MaskCompletion(modal_mask, amodal_mask, amodal_mask * 0.9)


class Paint(RgbStage):
    """RGB stage: one colour everywhere."""

    name = "paint"
    weights_sha256 = "0" * 64

    def __init__(self, colour: tuple[float, float, float] = (0.0, 1.0, 0.0), size: int = 32) -> None:
        self.colour, self.size = colour, size

    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        return torch.tensor(self.colour).view(1, 3, 1, 1).expand_as(image)


class Noise(Paint):
    """RGB stage: whatever the generator draws."""

    accepts = frozenset({"generator"})

    def complete(self, image: Tensor, completion: MaskCompletion, hints: Hints) -> Tensor:
        return torch.rand(image.shape, generator=hints.generator)


def with_hints(stage: Any, *inputs: Any, **hints: Any) -> Any:
    """What a stage answers to images and masks with those of the hints that it reads."""
    return stage(*inputs, hints=Hints(**hints).only(stage.accepts))


class RedSegmenter:
    """Takes what is red for a person; its joints are all in the middle of the box."""

    name = "red"

    def __call__(self, image: np.ndarray, box_xyxy: Box | None = None) -> Person:
        mask = (image[..., 0] > 200) & (image[..., 1] < 50)
        box = mask_box(mask)
        if box is None:
            raise InputError("no person found in the picture")
        return Person(box, mask, self.locate_joints(image, box))

    def locate_joints(self, image: np.ndarray, box_xyxy: Box) -> np.ndarray:
        x0, y0, x1, y1 = box_xyxy
        return np.tile(np.array([(x0 + x1) / 2, (y0 + y1) / 2, 0.5], np.float32), (25, 1))


class RedNetwork(nn.Module):
    """In the segmenter network's place: red inside the box is the person, a joint sits where blue is strongest."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))
        self.boxes: list[Tensor] = []

    def forward(self, image: Tensor, box: Tensor) -> SegmenterOutput:
        self.boxes.append(box)
        red = (image[:, :1] - image[:, 1:2]) * box
        blue = nn.functional.avg_pool2d(image[:, 2:], 4)
        return SegmenterOutput((red - 0.5) * self.scale, blue.expand(-1, 25, -1, -1) * self.scale - 10)


def photograph(height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """Noise, uint8 (H, W, 3), never red."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image[..., 0] //= 2
    return image


def with_red_person(image: np.ndarray, box_xyxy: Box) -> tuple[np.ndarray, np.ndarray]:
    """The picture with a red rectangle in it, and its mask."""
    x0, y0, x1, y1 = box_xyxy
    image, mask = image.copy(), np.zeros(image.shape[:2], bool)
    mask[y0:y1, x0:x1] = True
    image[mask] = (255, 0, 0)
    return image, mask


def write_png(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array).save(path)
    return path


def peak_megabytes(work: Callable[..., None], *arguments: int) -> float:
    """What a function of a test file takes at most beside its imports, in an interpreter of its own.

    In this one a greedier test may have set the mark before. Not `ru_maxrss`: a child inherits its parent's.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("memory is measured on Linux only")
    file = Path(inspect.getfile(work))
    program = (
        f"import sys; sys.path.insert(0, {str(file.parent)!r})\n"
        f"from {file.stem} import {work.__name__}\n"
        "def kilobytes(name):\n"
        f"    lines = open({str(status)!r}).read().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith(name))\n"
        "before = kilobytes('VmRSS')\n"
        f"{work.__name__}(*{arguments!r})\n"
        "print(kilobytes('VmHWM') - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1000


def standing_joints(size: float = 64) -> np.ndarray:
    """BODY_25 of somebody who stands, seen from the front, in a square of `size`: float32 (25, 3), all certain."""
    right = [
        (0.38, 0.24), (0.32, 0.40), (0.29, 0.54),  # arm
        (0.43, 0.54), (0.42, 0.72), (0.41, 0.90),  # leg
        (0.47, 0.08), (0.44, 0.10),  # eye and ear
        (0.38, 0.95), (0.36, 0.94), (0.42, 0.93),  # foot
    ]  # fmt: skip
    left = [(1 - x, y) for x, y in right]
    order = [(0.5, 0.11), (0.5, 0.23), *right[:3], *left[:3], (0.5, 0.53), *right[3:6], *left[3:6]]
    order += [right[6], left[6], right[7], left[7], *left[8:], *right[8:]]
    return np.array([(x * size, y * size, 1.0) for x, y in order], np.float32)
