"""Training squares follow the rules of inference, and frames cut people as photographers do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_batch_synthesis import CONFIG, UNCUT, backgrounds, body_store, make, patches

from deocclude.crops import crop_around, extract
from deocclude.training.store import PHOTO_SIZE
from deocclude.training.synthesis import BatchSynthesis
from deocclude.training.views import ViewConfig, chained, draw_frames, draw_looks, inside, look_at, resample, square_map

WIDTH, HEIGHT = 300, 200


def normal(box: tuple[int, ...]) -> torch.Tensor:
    """Pixels of the picture as coordinates in which its longer side spans [-1, 1]."""
    offset = torch.tensor([0, (WIDTH - HEIGHT) / 2] * 2)
    return ((torch.tensor(box) + offset) / WIDTH * 2 - 1)[None]


@pytest.mark.parametrize("box", [(140, 60, 170, 150), (0, 0, 20, 40), (250, 100, 300, 200), (10, 5, 290, 195)])
@pytest.mark.parametrize("margin", [1.3, 2.2])
def test_a_look_is_the_crop_of_inference(box: tuple[int, int, int, int], margin: float) -> None:
    crop = crop_around(box, (HEIGHT, WIDTH), margin=margin)
    frame = normal((0, 0, WIDTH, HEIGHT))
    square = look_at(normal(box), frame, torch.tensor([margin]), torch.zeros(1, 2))[0]
    expected = normal(crop.box_xyxy)[0]
    pixel = 2 / WIDTH
    torch.testing.assert_close(square[:2], (expected[:2] + expected[2:]) / 2, atol=pixel, rtol=0)
    torch.testing.assert_close(square[2], (expected[2] - expected[0]) / 2, atol=pixel, rtol=0)


def test_looks_stay_in_their_frames_where_those_are_long_enough() -> None:
    generator = torch.Generator().manual_seed(0)
    frame = torch.tensor([[-0.9, -0.5, 0.8, 0.7]]).expand(200, 4)
    visible, whole = torch.tensor([[-0.2, -0.4, 0.0, 0.0]]), torch.tensor([[-0.2, -0.4, 0.1, 0.65]])
    squares = draw_looks(visible.expand(200, 4), whole.expand(200, 4), frame, ViewConfig(), generator)
    x, y, half = squares.unbind(1)
    assert (half <= 0.85 + 1e-6).all()
    assert (x - half >= -0.9 - 1e-6).all()
    assert (x + half <= 0.8 + 1e-6).all()
    short = half <= 0.6
    assert (y - half)[short].min() >= -0.5 - 1e-6
    assert 0.15 < (half > 0.849).float().mean() < 0.4, "the whole frame, about a quarter of the time"


def test_frames_cut_people_as_often_as_asked_and_stay_in_their_photographs() -> None:
    generator = torch.Generator().manual_seed(0)
    person = torch.tensor([[-0.3, -0.8, 0.3, 0.9]]).expand(500, 4)
    photograph = torch.tensor([[-0.66, -1.0, 0.66, 1.0]]).expand(500, 4)
    elsewhere = torch.zeros(500, dtype=torch.bool)
    frame = draw_frames(person, photograph, elsewhere, ViewConfig(cut_by_frame=0.4), generator)
    assert (frame[:, :2] >= photograph[:, :2]).all()
    assert (frame[:, 2:] <= photograph[:, 2:]).all()
    cut_below = (frame[:, 3] < 0.9).float().mean()
    assert 0.28 < cut_below < 0.42, "a tenth of the cut ones show the legs"
    uncut = draw_frames(person, photograph, elsewhere, UNCUT, generator)
    assert (uncut[:, :2] <= person[:, :2]).all()
    assert (uncut[:, 2:] >= person[:, 2:]).all()
    free = draw_frames(person, photograph, ~elsewhere, UNCUT, generator)
    assert (free[:, 0] < -0.66).any(), "before another background there is more room"


def test_outside_its_frame_a_picture_is_black_and_shows_nobody() -> None:
    """The store's photographs have edges; no background and no occluder goes beyond them."""
    views = replace(UNCUT, original_frame=1.0, letterbox=1.0)
    batch = make(replace(CONFIG, views=views, other_background=0.0), people=32)
    outside = torch.ones(64, dtype=torch.bool)
    outside[64 * 64 // PHOTO_SIZE + 1 : 64 * 320 // PHOTO_SIZE] = False
    for picture in (batch.occluded, batch.whole):
        assert not picture[..., outside].any()
        assert picture[..., ~outside].flatten(1).amax(1).min() > 0
    assert not (batch.amodal_mask | batch.occluder_mask)[..., outside].any()


def test_another_background_leaves_person_and_labels_as_they_are() -> None:
    views = replace(UNCUT, letterbox=1.0)
    config = replace(
        CONFIG, nothing_hidden=1.0, noise=0.0, grey=0.0, something_behind=0.0, scene_in_front=0.0, views=views
    )
    synthesis = BatchSynthesis(body_store(), patches(), backgrounds(1), replace(config, other_background=1.0))
    batch = synthesis(torch.arange(4), 128, torch.Generator().manual_seed(0))
    shown = torch.nn.functional.max_pool2d((~batch.scored | batch.amodal_mask).float(), 7, 1, 3) > 0
    for picture, person in zip(batch.whole, shown, strict=True):
        around = picture[:, ~person[0]]
        around = around[:, around.amax(0) > 0]  # not the black beyond the frame
        assert around.shape[1] > 100
        assert (around - around[:, :1]).abs().max() < 0.02, "one shade of grey"
    assert batch.amodal_mask.flatten(1).any(1).all()


def test_no_backgrounds_no_other_background() -> None:
    config = replace(CONFIG, other_background=1.0)
    none = BatchSynthesis(body_store(), patches(), backgrounds(0), config)
    never = BatchSynthesis(body_store(), patches(), backgrounds(3), replace(config, other_background=0.0))
    pictures = [each(torch.arange(4), 64, torch.Generator().manual_seed(0)).whole for each in (none, never)]
    assert torch.equal(*pictures)


def test_shrinking_averages_as_inference_does() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    tensor = torch.from_numpy(noise).permute(2, 0, 1)[None].float()
    small = resample(tensor, square_map(torch.tensor([[0.0, 0.0, 1.0]])), 64)
    crop = extract(noise, crop_around((0, 0, 256, 256), (256, 256), margin=1.0), 64, nearest=False)
    expected = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
    assert (small - expected).abs().max() < 1.01, "Pillow rounds"


def test_maps_chain_and_squares_nest() -> None:
    scene, square = torch.tensor([[0.2, -0.1, 0.8]]), torch.tensor([[0.3, 0.1, 0.4]])
    there = chained(square_map(inside(square, scene)), square_map(scene))
    torch.testing.assert_close(there, square_map(square))
