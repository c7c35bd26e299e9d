"""People made on the training device: what must hold of every batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deocclude.training.imperfect_masks import detector_like
from deocclude.training.store import NOT_SCORED, PATCH_SIZE, PERSON, PHOTO_SIZE, Occluders, PhotoStore, Scenes, join
from deocclude.training.synthesis import BatchSynthesis, BatchSynthesisConfig, SynthesisBatch, modal_parsing
from deocclude.training.views import ViewConfig

CONFIG = BatchSynthesisConfig()
UNCUT = ViewConfig(cut_by_frame=0.0)


def body_store(count: int = 4) -> PhotoStore:
    """Portrait photographs of a block with a bag at its side: left half label 14 (left arm), right half label 15."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(count, 1, PHOTO_SIZE, PHOTO_SIZE, dtype=torch.uint8)
    labels[:, :, 54:334, 134:254] = PERSON  # of 384 x 384
    labels[:, :, 200:266, 254:286] = NOT_SCORED
    parsing = torch.zeros_like(labels)
    parsing[:, :, 54:334, 134:194], parsing[:, :, 54:334, 194:254] = 14, 15
    images = torch.randint(0, 256, (count, 3, PHOTO_SIZE, PHOTO_SIZE), generator=generator, dtype=torch.uint8)
    images[..., :64], images[..., -64:] = 0, 0
    joints = torch.zeros(count, 25, 3)
    joints[:, 2] = torch.tensor([-0.25, -0.5, 1.0])  # right shoulder
    joints[:, 5] = torch.tensor([0.25, -0.5, 1.0])  # left shoulder
    box = torch.tensor([134, 54, 254, 334]) / PHOTO_SIZE * 2 - 1
    frame = torch.tensor([64, 0, 320, 384]) / PHOTO_SIZE * 2 - 1
    return PhotoStore(
        images,
        labels,
        parsing,
        joints,
        torch.zeros(count, 25, dtype=torch.bool),
        box.expand(count, 4).clone(),
        frame.expand(count, 4).clone(),
        torch.ones(count, dtype=torch.bool),
    )


def partly_visible(store: PhotoStore) -> PhotoStore:
    """The same people, of whom something real may hide more: their left knee was marked at the right of the body."""
    joints, hidden = store.joints.clone(), store.hidden.clone()
    joints[:, 13], hidden[:, 13] = torch.tensor([0.6, 0.2, 1.0]), True
    return replace(store, joints=joints, hidden=hidden, whole=torch.zeros_like(store.whole))


def patches(count: int = 6) -> Occluders:
    generator = torch.Generator().manual_seed(1)
    occluders = torch.randint(0, 256, (count, 4, PATCH_SIZE, PATCH_SIZE), generator=generator, dtype=torch.uint8)
    occluders[:, 3] = 0
    occluders[:, 3, 30:162, 45:147] = 255  # of 192 x 192
    return Occluders(occluders, torch.arange(count) % 2 == 0)


def backgrounds(count: int = 3) -> Scenes:
    """Grey pictures, each of another shade, whose lower third is an object."""
    shades = torch.arange(1, count + 1, dtype=torch.uint8) * 60
    images = shades[:, None, None, None].expand(count, 3, PHOTO_SIZE, PHOTO_SIZE).clone()
    objects = torch.zeros((count, 1, PHOTO_SIZE, PHOTO_SIZE), dtype=torch.uint8)
    objects[:, :, PHOTO_SIZE * 2 // 3 :] = 1
    return Scenes(images, objects)


def make(config: BatchSynthesisConfig = CONFIG, *, seed: int = 0, people: int = 16, size: int = 64) -> SynthesisBatch:
    indices = torch.arange(people) % 4
    return BatchSynthesis(body_store(), patches(), backgrounds(), config)(
        indices, size, torch.Generator().manual_seed(seed)
    )


def make_many(config: BatchSynthesisConfig, people: int, size: int = 64) -> list[SynthesisBatch]:
    """Batches of 16 with other seeds: as one batch they would need more than 1 GB."""
    return [make(config, seed=seed, size=size) for seed in range(people // 16)]


def test_modal_is_amodal_without_the_occluder_and_bags_are_never_a_target() -> None:
    batch = make()
    assert torch.equal(batch.modal_mask, batch.amodal_mask & ~batch.occluder_mask)
    assert (~batch.scored).any()
    assert not (batch.amodal_mask & ~batch.scored).any()


def test_only_occluders_change_the_picture() -> None:
    batch = make(replace(CONFIG, noise=0.0, other_background=0.0))
    untouched = ~torch.nn.functional.max_pool2d(batch.occluder_mask.float(), 7, 1, 3).bool().expand(-1, 3, -1, -1)
    torch.testing.assert_close(batch.occluded[untouched], batch.whole[untouched])
    assert not torch.equal(batch.occluded, batch.whole)


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again, other = make(), make(), make(seed=1)
    names = [name for name, value in vars(first).items() if isinstance(value, torch.Tensor)]
    assert len(names) == 10 and all(torch.equal(getattr(first, name), getattr(again, name)) for name in names)
    assert all(torch.equal(*pair) for pair in zip(vars(first.known).values(), vars(again.known).values(), strict=True))
    assert not torch.equal(first.occluded, other.occluded)


def test_ratios_spread_up_to_the_largest_wanted() -> None:
    config = replace(CONFIG, max_ratio=0.5, views=UNCUT, other_background=0.0)
    batches = make_many(config, 128)
    visible, whole = (
        torch.cat([mask.flatten(1).sum(1) for mask in masks])
        for masks in ([one.modal_mask for one in batches], [one.amodal_mask for one in batches])
    )
    ratio = 1 - visible / whole
    counts = torch.histc(ratio, bins=5, min=0, max=0.5)
    assert (counts > 5).all()
    assert (ratio < 0.75).float().mean() > 0.97  # a large person in front can hide more than was wanted


def test_nothing_hidden_means_nothing_pasted() -> None:
    batch = make(replace(CONFIG, nothing_hidden=1.0, other_background=0.0))
    assert torch.equal(batch.modal_mask, batch.amodal_mask)
    assert not batch.occluder_mask.any()


def test_a_flip_swaps_left_and_right_in_parsing_and_joints() -> None:
    """In every picture, flipped or not, the person's own sides stay where the mirror puts them."""
    batch = make(replace(CONFIG, views=UNCUT), people=32)
    columns = torch.arange(64).expand(32, 64, 64).float()
    # Label 14 is painted on the left half of the photograph; flipped, that half is on the right and called 15.
    left, right = (columns.where(batch.parsing == label, torch.nan).flatten(1).nanmean(1) for label in (14, 15))
    assert (left < right).all()
    assert (batch.joints[:, 2, 0] < batch.joints[:, 5, 0]).all()


def test_joints_move_with_the_body() -> None:
    batch = make(replace(CONFIG, views=UNCUT), people=32)
    x, y = batch.joints[:, 2, 0], batch.joints[:, 2, 1]
    inside = (x > 2) & (x < 62) & (y > 2) & (y < 62)
    labels = batch.amodal_mask[torch.arange(32), 0, y.long().clamp(0, 63), x.long().clamp(0, 63)]
    assert labels[inside].all()


def test_modal_parsing_is_the_visible_part() -> None:
    batch = make()
    parsing = modal_parsing(batch.parsing, batch.modal_mask)
    visible = batch.modal_mask[:, 0]
    assert torch.equal(parsing[visible], batch.parsing[visible])
    assert (parsing[~visible] == 0).all()


@pytest.mark.parametrize("size", [64, 128])
def test_detector_errors_range_from_small_to_gross_at_every_size(size: int) -> None:
    """A thick block suffers less than a silhouette with limbs, whose mean IoU is 0.85."""
    generator, found = torch.Generator().manual_seed(0), []
    for batch in make_many(replace(CONFIG, views=UNCUT), 192, size):
        detected = detector_like(batch.modal_mask, batch.occluder_mask, generator, exact=0.0) > 0.5
        union = (detected | batch.modal_mask).flatten(1).sum(1)
        found.append((detected & batch.modal_mask).flatten(1).sum(1)[union > 0] / union[union > 0])
    ious = torch.cat(found)
    assert abs(ious.mean().item() - 0.92) < 0.03
    assert ious.max() > 0.99
    assert ious.min() < 0.75


def test_exact_masks_are_exact() -> None:
    batch = make()
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(
        detector_like(batch.modal_mask, batch.occluder_mask, generator, exact=1.0) > 0.5, batch.modal_mask
    )


def test_of_a_whole_person_everything_in_the_photograph_is_known_but_the_bag() -> None:
    batch = make()
    inside = batch.frame_mask & batch.scored
    assert batch.known.body_scored[inside].all()
    assert batch.known.front_scored[inside].all()
    assert torch.equal(batch.known.body & batch.frame_mask, batch.amodal_mask)
    assert torch.equal(batch.known.front & batch.known.front_scored, batch.occluder_mask & batch.known.front_scored)


def test_of_a_partly_visible_person_only_evidence_is_known() -> None:
    store = partly_visible(body_store())
    config = replace(CONFIG, nothing_hidden=1.0, something_behind=0.0, views=replace(UNCUT, letterbox=1.0))
    batch = BatchSynthesis(store, patches(), backgrounds(), config)(
        torch.arange(4), 128, torch.Generator().manual_seed(0)
    )
    known, seen = batch.known, batch.frame_mask
    at_knee = known.body & ~batch.amodal_mask
    assert at_knee.flatten(1).any(1).all(), "a marked hidden keypoint is body"
    assert known.front[at_knee].all() and known.body_scored[at_knee].all() and known.front_scored[at_knee].all()
    beside = seen & batch.scored & ~batch.modal_mask & ~at_knee
    assert (beside & ~known.body_scored).flatten(1).any(1).all(), "background may hide them: not known"
    assert not known.front[beside].any()
    assert known.body_scored[batch.modal_mask].all() and known.front_scored[batch.modal_mask].all()


def test_objects_of_a_scene_stand_in_front_or_behind() -> None:
    """Half of the scenes' objects are in front of the person, and then they hide what is under them."""
    views = replace(UNCUT, original_frame=0.0, letterbox=1.0)
    config = replace(CONFIG, nothing_hidden=1.0, other_background=1.0, scene_in_front=1.0, noise=0.0, views=views)
    batch = make(config, people=32, size=64)
    in_front = batch.occluder_mask.flatten(1).any(1)
    assert 4 < in_front.sum() < 28
    changed = (batch.occluded - batch.whole).abs().amax(1, keepdim=True) > 0.02
    assert not (changed & ~batch.occluder_mask).any()
    assert (batch.amodal_mask & batch.occluder_mask).any()
    visible = batch.modal_mask.flatten(1).sum(1) / batch.amodal_mask.flatten(1).sum(1)
    assert visible.min() > 0.25


def test_what_is_pasted_behind_hides_nothing() -> None:
    config = replace(CONFIG, nothing_hidden=1.0, noise=0.0, other_background=0.0, something_behind=1.0, views=UNCUT)
    batch = make(config, people=32)
    assert torch.equal(batch.modal_mask, batch.amodal_mask)
    assert not (batch.occluder_mask | batch.known.front).any()


def test_photographs_are_drawn_as_often_as_said() -> None:
    ccp = body_store(2)
    coco = replace(ccp, parsing=torch.full_like(ccp.parsing, 255))
    synthesis = BatchSynthesis(
        join([ccp, coco, partly_visible(coco)]),
        patches(),
        backgrounds(),
        replace(CONFIG, ccp_repeats=2, whole_repeats=5),
    )
    assert synthesis.repeats.tolist() == [2, 2, 5, 5, 1, 1]
