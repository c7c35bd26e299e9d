"""Networks that compare pictures: LPIPS, FID and KID as torchmetrics has them, and what needs no hub beside them.

A network that cannot be had costs a sentence, never the other scores. Nothing is downloaded here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from deocclude.errors import InputError
from deocclude.imagenet import imagenet_head, imagenet_network
from deocclude.metrics.features import feature_distance, kid

if TYPE_CHECKING:
    from torch import Tensor, nn

INSTALL = "pip install 'deocclude[metrics]'"
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
"""Where torch-fidelity and torchvision keep their weights, in PyTorch's own folder of checkpoints."""
_BROKEN = (ImportError, RuntimeError, OSError, AttributeError)
"""What importing a torchvision that does not fit torch raises, and what is built on it."""

SetFigures = dict[str, dict[str, float]]


class PictureComparison(Protocol):
    """Sees the pictures of one person after another."""

    def add(self, prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """Both uint8 (H, W, 3). Returns this person's scores by column."""
        ...

    def set_figures(self) -> SetFigures:
        """Figures of all pictures seen, by column: `mean`, and what belongs to it; none of too few pictures."""
        ...


@dataclass
class Comparisons:
    """Those that could be had, and for each column that could not, why and what to do."""

    usable: list[PictureComparison] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)


def open_comparisons() -> Comparisons:
    """All comparisons that this machine has the packages and the weights for."""
    opened = Comparisons()
    openers: tuple[tuple[Callable[[], PictureComparison], tuple[str, ...]], ...] = (
        (_efficientnet, ("feature_distance_efficientnet_lite0", "kid_efficientnet_lite0")),
        (_lpips, ("lpips_alexnet",)),
        (_inception, ("fid_inception_v3", "kid_inception_v3")),
    )
    for opener, columns in openers:
        try:
            opened.usable.append(opener())
        except InputError as error:
            opened.unavailable |= dict.fromkeys(columns, str(error))
    return opened


class EfficientNetComparison:
    """Distance of each pair, and KID, on EfficientNet-Lite0's features: ours, and comparable with nobody else's.

    network: gives the five maps whose distance is taken. head: from the last of them, what its classifier averages.
    """

    def __init__(self, network: nn.Module, head: nn.Module) -> None:
        self.network = network
        self.head = head
        self._pooled: tuple[list[np.ndarray], list[np.ndarray]] = [], []

    @torch.inference_mode()
    def add(self, prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
        both = torch.cat([_uint8_tensor(prediction), _uint8_tensor(target)]).float() / 127.5 - 1
        maps = self.network(both)
        for kept, features in zip(self._pooled, self.head(maps[-1]).mean(dim=(2, 3)), strict=True):
            kept.append(features.numpy())
        distance = feature_distance(*([one[picture].numpy() for one in maps] for picture in (0, 1)))
        return {"feature_distance_efficientnet_lite0": distance}

    def set_figures(self) -> SetFigures:
        predictions, targets = map(np.array, self._pooled)
        figure = kid(predictions, targets, rng=np.random.default_rng(0))
        return {} if math.isnan(figure.mean) else {"kid_efficientnet_lite0": asdict(figure)}


class LpipsComparison:
    """LPIPS of each pair. metric: torchmetrics' LearnedPerceptualImagePatchSimilarity, for pictures in [0, 1]."""

    def __init__(self, metric: Any) -> None:
        self.metric = metric

    @torch.inference_mode()
    def add(self, prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
        return {"lpips_alexnet": float(self.metric(_uint8_tensor(prediction) / 255, _uint8_tensor(target) / 255))}

    def set_figures(self) -> SetFigures:
        return {}


class InceptionComparison:
    """FID and KID. features: picture uint8 (1, 3, H, W) to (1, num_features); the pictures go through it once."""

    def __init__(self, features: Callable[[Tensor], Tensor], num_features: int) -> None:
        self.features = features
        self.num_features = num_features
        self._seen: tuple[list[Tensor], list[Tensor]] = [], []

    @torch.inference_mode()
    def add(self, prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
        for kept, picture in zip(self._seen, (prediction, target), strict=True):
            kept.append(self.features(_uint8_tensor(picture)))
        return {}

    @torch.inference_mode()
    def set_figures(self) -> SetFigures:
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance

        size = len(self._seen[0]) // 2
        if size < 2:
            return {}
        given = _Given(self.num_features)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that features take memory
            metrics = [
                FrechetInceptionDistance(feature=given),
                KernelInceptionDistance(feature=given, subset_size=min(size, 1000)),
            ]
        for metric in metrics:
            for seen, is_real in zip(self._seen, (False, True), strict=True):
                metric.update(torch.cat(seen), real=is_real)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # torchmetrics draws its subsets from the global generator
            fid, (kid_mean, kid_std) = (metric.compute() for metric in metrics)
        return {
            "fid_inception_v3": {"mean": float(fid)},
            "kid_inception_v3": {"mean": float(kid_mean), "std": float(kid_std), "subset_size": min(size, 1000)},
        }


class _Given(torch.nn.Module):
    """Stands where torchmetrics wants a network and gets features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _efficientnet() -> PictureComparison:
    return EfficientNetComparison(imagenet_network(), imagenet_head())


def _lpips() -> PictureComparison:
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
        from torchvision.models import alexnet  # noqa: F401  (torchmetrics would fail later, and less clearly)
    except _BROKEN as error:
        raise InputError(_no_package("LPIPS", "torchmetrics and torchvision", error)) from error
    _check_weights(ALEXNET_FILE, "LPIPS", "import torchvision; torchvision.models.alexnet(weights='DEFAULT')")
    return LpipsComparison(LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True))


def _inception() -> PictureComparison:
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        network_class: Any = NoTrainInceptionV3
        import torch_fidelity  # noqa: F401  (torchmetrics would fail later, and less clearly)
    except _BROKEN as error:
        raise InputError(_no_package("FID and KID", "torchmetrics and torch-fidelity", error)) from error
    get = "from torchmetrics.image.fid import FrechetInceptionDistance; FrechetInceptionDistance()"
    _check_weights(INCEPTION_FILE, "FID and KID", get)
    return InceptionComparison(network_class(name="inception-v3-compat", features_list=["2048"]), 2048)


def _no_package(what: str, packages: str, error: BaseException) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{what}: needs {packages}, for the torch that is installed ({reason}): {INSTALL}"


def _check_weights(file: str, what: str, get: str) -> None:
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        raise InputError(f'{what}: its weights ({file}) are not on this machine; get them: python -c "{get}"')


def _uint8_tensor(picture: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) to (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
