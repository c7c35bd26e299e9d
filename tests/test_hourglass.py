"""The hourglass: sizes kept, and the published widths."""

from __future__ import annotations

import pytest
import torch

from deocclude.models.feedforward.hourglass import Hourglass


@pytest.mark.parametrize(("height", "width"), [(16, 16), (33, 47), (64, 32)])
def test_features_keep_the_size_of_the_input(height: int, width: int) -> None:
    torch.manual_seed(0)
    features = Hourglass(4, 2).eval()(torch.rand(2, 4, height, width))
    assert features.shape == (2, 2, height, width)


def test_a_batch_equals_its_singles() -> None:
    torch.manual_seed(0)
    network, pictures = Hourglass(3, 2).eval(), torch.rand(3, 3, 32, 32)
    singles = torch.cat([network(picture[None]) for picture in pictures])
    torch.testing.assert_close(network(pictures), singles, rtol=1e-5, atol=1e-6)
