"""The training loop with miniature networks: every loss reaches the generator, a killed run goes on unharmed."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_batch_synthesis import backgrounds, body_store, patches
from torch import nn

from deocclude.errors import InputError
from deocclude.models.feedforward.mask_completion import MaskCompletionConfig, MaskCompletionNetwork
from deocclude.models.feedforward.rgb_completion import RgbCompletionConfig, RgbCompletionNetwork
from deocclude.models.occlusion import OcclusionConfig, OcclusionNetwork
from deocclude.models.segmenter import SegmenterConfig, SegmenterNetwork
from deocclude.training.config import TrainingConfig
from deocclude.training.imperfect_masks import detector_like
from deocclude.training.loop import MovingAverage, Run, append_row, train
from deocclude.training.mask_completion import MaskCompletionTask, MaskLossConfig
from deocclude.training.occlusion import OcclusionLossConfig, OcclusionTask
from deocclude.training.rgb_completion import RgbCompletionTask, RgbLossConfig
from deocclude.training.segmenter import SegmenterLossConfig, SegmenterTask, draw_boxes, joint_peaks, joint_targets
from deocclude.training.synthesis import BatchSynthesis, BatchSynthesisConfig
from deocclude.training.templates import cluster_templates
from deocclude.weights import load_network

CONFIG = TrainingConfig(
    steps=4, batch_size=2, sizes=(64,), size_shares=(1.0,), validation_people=2, validate_every=2, log_every=1
)


def features(picture: torch.Tensor) -> list[torch.Tensor]:
    """A stand-in for a frozen network: the picture itself, and its halves."""
    return [picture, nn.functional.avg_pool2d(picture, 2)]


def mask_task(losses: MaskLossConfig | None = None) -> MaskCompletionTask:
    torch.manual_seed(0)
    network = MaskCompletionNetwork(MaskCompletionConfig(base_channels=2, num_templates=3, template_size=8))
    network.templates.copy_(torch.rand(3, 8, 8))
    return MaskCompletionTask(network, losses or MaskLossConfig(soft_iou=1.0), features=features)


def rgb_task(losses: RgbLossConfig | None = None) -> RgbCompletionTask:
    torch.manual_seed(0)
    network = RgbCompletionNetwork(RgbCompletionConfig(channels=4, levels=3, attention=("enc2",)))
    config = losses or RgbLossConfig(invisible_l1_per_person=1.0)
    return RgbCompletionTask(network, config, features=features, mask_network=mask_task().network)


def segmenter_task() -> SegmenterTask:
    torch.manual_seed(0)
    return SegmenterTask(SegmenterNetwork(SegmenterConfig(decoder_channels=(8, 8, 8))), SegmenterLossConfig())


def synthesis() -> BatchSynthesis:
    return BatchSynthesis(body_store(6), patches(), backgrounds(), BatchSynthesisConfig(nothing_hidden=0.0))


def occlusion_task() -> OcclusionTask:
    torch.manual_seed(0)
    return OcclusionTask(OcclusionNetwork(OcclusionConfig(decoder_channels=(8, 8, 8))), OcclusionLossConfig())


TASKS = {"mask": mask_task, "rgb": rgb_task, "segmenter": segmenter_task, "occlusion": occlusion_task}


@pytest.mark.parametrize("name", TASKS)
def test_every_loss_term_reaches_the_generator(name: str) -> None:
    """Also the adversarial and the perceptual one, which the published code of paper B cuts off."""
    task: Any = TASKS[name]()
    batch = synthesis()(torch.arange(4), 64, torch.Generator().manual_seed(0))
    losses, _ = task.generator_losses(task.network.train(), batch, torch.Generator().manual_seed(0))
    expected = {
        "mask": {"amodal", "modal", "amodal_parsing", "modal_parsing", "l1", "perceptual", "soft_iou", "adversarial"},
        "rgb": {"l1", "invisible_l1", "perceptual", "style", "adversarial"},
        "segmenter": {"mask", "soft_iou", "joints"},
        "occlusion": {"amodal", "visible", "front", "soft_iou"},
    }
    assert set(losses) == expected[name]
    for term, loss in losses.items():
        task.network.zero_grad()
        loss.backward(retain_graph=True)
        gradients = [parameter.grad for parameter in task.network.parameters() if parameter.grad is not None]
        assert sum(gradient.abs().sum() for gradient in gradients) > 0, term
        assert all(torch.isfinite(gradient).all() for gradient in gradients), term


@pytest.mark.parametrize("name", ["mask", "rgb"])
def test_the_two_players_leave_each_other_alone(name: str) -> None:
    task: Any = TASKS[name]()
    batch = synthesis()(torch.arange(2), 64, torch.Generator().manual_seed(0))
    losses, made = task.generator_losses(task.network, batch, torch.Generator().manual_seed(0))
    losses["adversarial"].backward()
    assert all(parameter.grad is None for parameter in task.discriminator.parameters())
    task.network.zero_grad()
    task.discriminator_loss(made).backward()
    assert all(parameter.grad is not None for parameter in task.discriminator.parameters())
    assert all(parameter.grad is None for parameter in task.network.parameters())


def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = train(mask_task(), synthesis(), CONFIG, tmp_path / "whole")

    killed = Run(mask_task(), synthesis(), CONFIG, tmp_path / "killed")
    for _ in range(2):
        killed.step()
    killed.checkpoint()
    killed.step()  # done after the checkpoint, so lost with the kill
    resumed = train(mask_task(), synthesis(), CONFIG, tmp_path / "killed")

    assert resumed.read_bytes() == whole.read_bytes()


def test_a_resumed_run_logs_every_step_once(tmp_path: Path) -> None:
    run = Run(mask_task(), synthesis(), CONFIG, tmp_path)
    run.step()
    append_row(tmp_path / "losses.csv", {"step": 1})
    run.checkpoint()
    # Logged after the checkpoint, and lost with the kill.
    append_row(tmp_path / "losses.csv", {"step": 2})
    shutil.copytree(tmp_path / "checkpoint", tmp_path / "kept")
    run.step()
    run.checkpoint()
    shutil.rmtree(tmp_path / "checkpoint")
    shutil.move(tmp_path / "kept", tmp_path / "checkpoint")

    train(mask_task(), synthesis(), CONFIG, tmp_path)
    assert steps_in(tmp_path / "losses.csv") == ["1", "2", "3", "4"]
    assert steps_in(tmp_path / "validation.csv") == ["1", "2", "4"]


def steps_in(path: Path) -> list[str]:
    with path.open() as file:
        return [row["step"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("left", ["checkpoint.new", "checkpoint.old"])
def test_a_kill_between_two_renames_loses_no_checkpoint(left: str, tmp_path: Path) -> None:
    run = Run(mask_task(), synthesis(), CONFIG, tmp_path)
    run.step()
    run.checkpoint()
    (tmp_path / "checkpoint").rename(tmp_path / left)
    assert Run(mask_task(), synthesis(), CONFIG, tmp_path).progress.step == 1


def test_an_unfinished_checkpoint_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(mask_task(), synthesis(), CONFIG, tmp_path)

    def killed(folder: str) -> None:
        Path(folder).mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(run.accelerator, "save_state", killed)
    run.step()
    with pytest.raises(KeyboardInterrupt):
        run.checkpoint()
    assert Run(mask_task(), synthesis(), CONFIG, tmp_path).progress.step == 0


@pytest.mark.parametrize("name", TASKS)
def test_a_run_writes_all_it_promises(name: str, tmp_path: Path) -> None:
    task: Any = TASKS[name]()
    weights = train(task, synthesis(), CONFIG, tmp_path)
    network, _ = load_network(weights, expected=type(task.network).__name__)
    assert network.config == task.network.config
    assert steps_in(tmp_path / "losses.csv") == ["1", "2", "3", "4"]
    assert steps_in(tmp_path / "validation.csv") == ["2", "4"]
    assert len(list((tmp_path / "preview").glob("*.png"))) == 2


def test_a_folder_with_another_run_is_refused(tmp_path: Path) -> None:
    train(mask_task(), synthesis(), CONFIG, tmp_path)
    with pytest.raises(InputError, match="another --output"):
        train(mask_task(), synthesis(), replace(CONFIG, seed=1), tmp_path)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_papers_optimisers_keep_their_rate(optimizer: Any, tmp_path: Path) -> None:
    config = replace(CONFIG, optimizer=optimizer, learning_rate=1e-3)
    train(segmenter_task(), synthesis(), config, tmp_path)
    with (tmp_path / "losses.csv").open() as file:
        assert {row["learning_rate"] for row in csv.DictReader(file)} == {"0.001"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"validation_people": 0},
        {"log_every": 0},
        {"validate_every": 0},
        {"sizes": (100,)},
        {"sizes": ()},
        {"size_shares": (0.5,)},
        {"learning_rate": float("nan")},
        {"ema_decay": 1.0},
        {"seed": -1},
    ],
)
def test_a_configuration_out_of_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)


def test_too_few_photographs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="6 photographs are too few"):
        Run(mask_task(), synthesis(), replace(CONFIG, validation_people=6), tmp_path)


def test_the_papers_mask_distances_leave_the_modal_mask_alone() -> None:
    """Eq. 3's are of the amodal mask alone; the authors' code adds the modal mask's."""
    task = mask_task()
    batch = synthesis()(torch.arange(2), 64, torch.Generator().manual_seed(0))
    losses, _ = task.generator_losses(task.network, batch, torch.Generator().manual_seed(0))
    with torch.no_grad():
        initial = detector_like(batch.modal_mask, batch.occluder_mask, torch.Generator().manual_seed(0), exact=0.5)
        amodal = task.network(batch.occluded, initial).amodal.sigmoid()
    expected = task.config.l1 * ((amodal - batch.amodal_mask.float()).abs() * batch.scored).mean()
    torch.testing.assert_close(losses["l1"].detach(), expected)


def test_kept_aside_photographs_are_never_trained_on(tmp_path: Path) -> None:
    run = Run(mask_task(), synthesis(), CONFIG, tmp_path)
    assert run.pool.min() == CONFIG.validation_people
    assert len(run.pool) == 6 - CONFIG.validation_people


def test_sizes_follow_their_shares() -> None:
    config = replace(CONFIG, steps=10, sizes=(128, 192, 256), size_shares=(0.5, 0.3, 0.2))
    assert [config.size_at(step) for step in range(10)] == [128] * 5 + [192] * 3 + [256] * 2


def test_moving_average_follows_the_weights() -> None:
    network = nn.Linear(1, 1, bias=False)
    average = MovingAverage(network, decay=0.5)
    start = network.weight.item()
    with torch.no_grad():
        network.weight += 1
    average.update(network, step=1000)
    assert average.average["weight"].item() == pytest.approx(start + 0.5)


def test_templates_are_silhouettes() -> None:
    templates = cluster_templates(synthesis(), CONFIG, num_templates=4, size=16, num_masks=24)
    assert templates.shape == (4, 16, 16)
    assert (templates >= 0).all()
    assert (templates <= 1).all()
    assert torch.equal(templates, cluster_templates(synthesis(), CONFIG, num_templates=4, size=16, num_masks=24))


def test_joint_maps_peak_at_their_joints() -> None:
    joints = torch.zeros(1, 25, 3)
    joints[0, :, 0], joints[0, :, 1] = torch.arange(25) * 4 + 2.0, torch.arange(25) * 2 + 20.0
    heatmaps, _ = joint_targets(joints, (32, 32), 1.5)
    xy, _ = joint_peaks(heatmaps)
    assert (xy - joints[..., :2]).abs().max() <= 2


def test_boxes_hold_the_person_or_the_whole_picture() -> None:
    mask = torch.zeros(64, 1, 40, 60, dtype=torch.bool)
    mask[:, :, 10:30, 20:40] = True
    boxes = draw_boxes(mask, torch.Generator().manual_seed(0), given=0.5)
    share = boxes.flatten(1).mean(1)
    assert ((share == 1) | (share < 0.5)).all()
    assert 10 < (share == 1).sum() < 54
    assert (boxes * mask).flatten(1).sum(1).min() >= 0.48 * 400
