"""What is cut out of a crop and put back stands where it stood."""

from __future__ import annotations

import pytest
import torch

from deocclude.crops import paper_crop
from deocclude.stages.completers.windows import Windows, paper_windows

SIZE = 64


def maps(channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def windows(*rows: tuple[int, int, int]) -> Windows:
    """Of left, top and side in pixels of the crop, one row a person."""
    return Windows(torch.tensor(rows, dtype=torch.float32) / SIZE)


def test_each_person_has_a_window_round_the_visible_part() -> None:
    mask = torch.zeros(3, 1, SIZE, SIZE, dtype=torch.bool)
    mask[0, 0, 10:40, 20:30] = True
    mask[1, 0, :20, :50] = True
    rows = (paper_windows(mask).corner_and_side * SIZE).round().int().tolist()
    for row, box in zip(rows, [(20, 10, 30, 40), (0, 0, 50, 20)], strict=False):
        crop = paper_crop(box)
        assert row == [crop.left, crop.top, crop.side]
    assert rows[2] == [0, 0, SIZE]  # nobody: the whole crop


def test_a_window_shows_its_pixels() -> None:
    values = maps()
    shown = windows((16, 8, 32), (0, 32, 32)).cut(values, 32)
    torch.testing.assert_close(shown[0], values[0, :, 8:40, 16:48], atol=1e-5, rtol=0)
    torch.testing.assert_close(shown[1], values[1, :, 32:, :32], atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_outside_the_crop_a_window_shows_nothing(mode: str) -> None:
    shown = windows((-32, 0, 64), (32, 32, 64)).cut(maps() + 1, SIZE, mode)
    assert not shown[0, :, :, :31].any() and (shown[0, :, :, 33:] > 0.9).all()
    assert not shown[1, :, 33:].any() and not shown[1, :, :, 33:].any()


def test_what_was_cut_out_goes_back() -> None:
    values, both = maps(), windows((16, 8, 32), (-4, 20, 40))
    back = both.paste(both.cut(values, 128), SIZE)
    smooth = torch.nn.functional.avg_pool2d(values, 5, stride=1, padding=2)
    back_smooth = both.paste(both.cut(smooth, 128), SIZE)
    assert not back[0, :, :7].any() and not back[0, :, :, 50:].any() and not back[1, :, :19].any()
    torch.testing.assert_close(back_smooth[0, :, 10:38, 18:46], smooth[0, :, 10:38, 18:46], atol=0.02, rtol=0)
    torch.testing.assert_close(back_smooth[1, :, 22:58, 2:34], smooth[1, :, 22:58, 2:34], atol=0.02, rtol=0)


def test_the_number_type_stays() -> None:
    both = windows((16, 8, 32), (-4, 20, 40))
    values = maps().to(torch.bfloat16)
    assert both.cut(values, 16).dtype == both.paste(values, SIZE).dtype == torch.bfloat16
