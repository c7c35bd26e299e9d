"""Paper A's training in miniature: losses, fixed samples, the kept prior, and the command from words to weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_batch_synthesis import CONFIG, backgrounds, body_store, make, patches
from test_cli_train import TWO_STEPS, coco_options, pictures
from torch import Tensor

from deocclude.cli.main import main
from deocclude.errors import InputError
from deocclude.models.diffusion.body_prior import PriorFeatures
from deocclude.stages.completers.diffusion_loading import with_profile
from deocclude.stages.diffusion import MASK_DESIGNS, prior_profile
from deocclude.training.config import DIFFUSION_TRAINING
from deocclude.training.diffusion import PriorUNetLossConfig, embedded_joints, inpainting_losses
from deocclude.training.fixed_samples import FixedSamples, PriorCache
from deocclude.training.imperfect_masks import GROWTH, grown
from deocclude.training.loop import Run
from deocclude.training.synthesis import BatchSynthesis, SynthesisBatch
from deocclude.weights import load_network

__all__ = ["coco_options", "pictures"]  # a fixture of theirs


def fixed(count: int = 12, *, seed: int = 0) -> FixedSamples:
    synthesis = BatchSynthesis(body_store(), patches(), backgrounds(), CONFIG)
    return FixedSamples(synthesis, count, seed=seed, validation_people=2)


def fields(batch: SynthesisBatch) -> list[Tensor]:
    tensors = [value for value in vars(batch).values() if isinstance(value, Tensor)]
    return [*tensors, *vars(batch.known).values()]


def test_fixed_samples_are_functions_of_their_number() -> None:
    """Whatever the batch, the order and the generator."""
    samples, anything = fixed(), torch.Generator().manual_seed(5)
    together = samples(torch.tensor([3, 7, 4]), 64, anything)
    for row, index in enumerate((3, 7, 4)):
        alone = samples(torch.tensor([index]), 64, torch.Generator().manual_seed(9))
        assert all(
            torch.equal(one[row : row + 1], other) for one, other in zip(fields(together), fields(alone), strict=True)
        )
    other_seed = fixed(seed=1)(torch.tensor([3]), 64, anything)
    assert not torch.equal(other_seed.occluded, together.occluded[:1])


def test_photographs_kept_aside_are_in_no_other_sample() -> None:
    shown: list[int] = []

    class Spy(BatchSynthesis):
        def __call__(self, indices: Tensor, size: int, generator: torch.Generator) -> SynthesisBatch:
            shown.extend(indices.tolist())
            return super().__call__(indices, size, generator)

    samples = FixedSamples(Spy(body_store(), patches(), backgrounds(), CONFIG), 12, seed=0, validation_people=2)
    samples(torch.arange(12), 64, torch.Generator())
    assert shown[:2] == [0, 1] and set(shown[2:]) == {2, 3}
    with pytest.raises(InputError, match="2 samples are too few"):
        fixed(2)


def test_the_prior_is_asked_once_and_remembered(tmp_path: Path) -> None:
    asked: list[int] = []

    def prior(batch: SynthesisBatch) -> PriorFeatures:
        assert batch.sample_ids is not None
        asked.extend(batch.sample_ids.tolist())
        means = batch.occluded.mean((2, 3))
        maps = [means[:, :, None, None].expand(-1, -1, side, side) for side in (1, 2, 4, 8)]
        return PriorFeatures((maps[0], maps[1], maps[2], maps[3]), (maps[1], maps[2]))

    samples, anything = fixed(), torch.Generator()
    for _ in range(2):  # as after a kill: another cache over the same folder
        cache = PriorCache(tmp_path, prior, "a prior", count=6)
        batch = samples(torch.tensor([5, 3]), 64, anything)
        kept, fresh = cache(batch), prior(batch)
        for one, other in zip((*kept.features, *kept.attention), (*fresh.features, *fresh.attention), strict=True):
            assert one.dtype == torch.float32
            torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    assert asked == [5, 3, 5, 3, 5, 3]  # once by the cache, twice by this test
    assert not torch.equal(cache(samples(torch.tensor([3]), 64, anything)).features[0], kept.features[0][:1])
    with pytest.raises(InputError, match="made from other samples or another prior"):
        PriorCache(tmp_path, prior, "another prior", count=6)


def test_a_cache_that_would_not_fit_is_refused_after_its_first_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prior(batch: SynthesisBatch) -> PriorFeatures:
        maps = [torch.zeros(len(batch.occluded), 3, side, side) for side in (4, 8, 16, 32)]
        return PriorFeatures((maps[0], maps[1], maps[2], maps[3]), (maps[1], maps[2]))

    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=100_000))
    batch = fixed()(torch.tensor([5, 3]), 64, torch.Generator())
    PriorCache(tmp_path / "few", prior, "a prior", count=6)(batch)
    with pytest.raises(InputError, match=r"a million: 1000000 samples need .* GB more, and 0.0 GB are free"):
        PriorCache(tmp_path / "a million", prior, "a prior", count=1_000_000)(batch)


def test_inaccurate_masks_grow_by_5_to_30_percent() -> None:
    modal = make(replace(CONFIG, nothing_hidden=1.0), people=48, size=128).modal_mask
    result = grown(modal, torch.Generator().manual_seed(0), probability=1.0)
    assert (result | ~modal).all(), "it grows"
    assert grown(torch.ones(1, 1, 8, 8, dtype=torch.bool), torch.Generator(), probability=1.0).all(), "and ends"
    full = modal.flatten(1).sum(1).float()
    growth = result.flatten(1).sum(1) / full - 1
    # By whole pixels: a ring of one may be more than what was wanted.
    ring = torch.nn.functional.max_pool2d(modal.float(), 3, 1, 1).flatten(1).sum(1) / full - 1
    assert (growth[full > 0] >= GROWTH[0]).all()
    assert (growth <= GROWTH[1] + ring + 0.02)[full > 0].all()
    assert growth.std() > 0.03
    assert torch.equal(grown(modal, torch.Generator().manual_seed(0), probability=0.0), modal)
    share = (grown(modal, torch.Generator().manual_seed(0), probability=0.5) != modal).flatten(1).any(1).float().mean()
    assert 0.3 < share < 0.7


def test_ratios_are_normally_distributed_where_asked() -> None:
    config = replace(CONFIG, nothing_hidden=0.0, ratio_mean=0.3, ratio_deviation=0.1, second_occluder=0.0)
    drawn = BatchSynthesis(body_store(), patches(), backgrounds(), config)._draw_ratios(
        4000, torch.device("cpu"), torch.Generator().manual_seed(0)
    )
    assert abs(drawn.mean() - 0.3) < 0.01 and abs(drawn.std() - 0.1) < 0.01
    assert drawn.min() >= 0 and drawn.max() <= config.max_ratio


def test_inpainting_terms_see_their_regions_alone() -> None:
    batch, config = make(people=4), PriorUNetLossConfig()
    perfect = inpainting_losses(batch.whole, batch, config, None)
    assert perfect["visible"] == 0 and perfect["invisible"] == 0
    invisible = batch.amodal_mask & ~batch.modal_mask
    for name, region in (("visible", batch.modal_mask), ("invisible", invisible)):
        off = torch.where(region, batch.whole + 0.1, batch.whole)
        losses = inpainting_losses(off, batch, config, None)
        other = "invisible" if name == "visible" else "visible"
        expected = getattr(config, name) * 0.1 * region.float().mean()
        torch.testing.assert_close(losses[name], expected)
        assert losses[other] == 0
    background = torch.where(batch.amodal_mask, batch.whole, batch.whole + 0.5)
    unchanged = inpainting_losses(background, batch, config, lambda picture: [picture])
    for name in ("visible", "invisible", "perceptual", "style"):
        assert unchanged[name] == 0, name


def test_embedded_joints_lie_on_the_crop() -> None:
    from miniatures import segmenter_network

    batch = make(people=2)
    joints = embedded_joints(segmenter_network(finds=True))(batch)
    assert joints.shape == (2, 25, 3) and not joints.requires_grad
    assert (joints[..., :2] >= 0).all() and (joints[..., :2] <= 64).all()
    assert (joints[..., 2] >= 0).all() and (joints[..., 2] <= 1).all()


def test_the_papers_schedule_drops_the_rate_twice(tmp_path: Path) -> None:
    from test_training import mask_task, synthesis

    config = replace(
        DIFFUSION_TRAINING, steps=6, milestones=(2, 4), sizes=(64,), batch_size=2, validation_people=2, log_every=1
    )
    run = Run(mask_task(), synthesis(), config, tmp_path)
    rates = []
    for _ in range(6):
        rates.append(run.schedule.get_last_lr()[0])
        run.step()
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_a_profile_is_a_number_of_tokens() -> None:
    for config in MASK_DESIGNS.values():
        assert prior_profile(config) == "dpmesh"
        assert prior_profile(with_profile(config, "sd15")) == "sd15"
        assert with_profile(config, "dpmesh") == config


DIFFUSION = ("--family", "diffusion", "--prior", "tiny")


@pytest.mark.parametrize(
    ("network", "options", "losses"),
    [
        ("mask-completion", (), "mask"),
        ("mask-completion", ("--design", "mask-1", "--mask-loss", "ce"), "mask"),
        ("mask-completion", ("--design", "one-stage"), "mask,invisible,visible,total_variation,perceptual,style"),
        ("rgb-completion", ("--joints", "labels"), "invisible,visible,total_variation,perceptual,style"),
    ],
)
def test_each_design_trains(
    network: str, options: tuple[str, ...], losses: str, pictures: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main(["train", network, *pictures, "--output", str(run), *TWO_STEPS, *DIFFUSION, *options]) == 0
    trained, _ = load_network(run / "network.safetensors", expected="PriorUNet")
    assert trained.config.mask_logits == (2 if "ce" in options else 1)
    assert (run / "losses.csv").read_text().splitlines()[0] == f"step,seconds,learning_rate,{losses}"


def test_a_narrow_design_without_prior(pictures: list[str], tmp_path: Path) -> None:
    options = ("--family", "diffusion", "--prior", "none", "--width", "0.125", "--output", str(tmp_path))
    assert main(["train", "mask-completion", *pictures, *TWO_STEPS, *options]) == 0
    trained, _ = load_network(tmp_path / "network.safetensors", expected="PriorUNet")
    assert not trained.config.has_prior and trained.config.inputs == ("modal_mask", "joints")
    assert trained.config.encoder == (4, 8, 16, 32, 32, 32, 32) and trained.config.decoder == (48, 32, 16, 8, 4, 4)


def test_a_kept_prior_changes_nothing_but_the_last_digits(pictures: list[str], tmp_path: Path) -> None:
    """Twice over the same folder: computed and kept, then read."""
    for name in ("one", "two"):
        options = ("--cache", str(tmp_path / "prior"), "--samples", "6", "--output", str(tmp_path / name))
        assert main(["train", "mask-completion", *pictures, *TWO_STEPS, *DIFFUSION, *options]) == 0
    one, two = ((tmp_path / name / "network.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    assert 2 <= len(list((tmp_path / "prior").glob("*.safetensors"))) <= 6


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["segmenter", "--family", "diffusion"], "leave it out for segmenter"),
        (["mask-completion", "--design", "mask-1"], "--design is not for --family feedforward"),
        (["mask-completion", *DIFFUSION, "--templates", "none"], "--templates is not for --family diffusion"),
        (
            ["mask-completion", *DIFFUSION, "--design", "best"],
            "no design 'best' of mask-completion; choose from",
        ),
        (["mask-completion", *DIFFUSION, "--samples", "9"], "--samples counts what --cache keeps"),
        (["mask-completion", *DIFFUSION, "--design", "mask-1", "--cache", "kept"], "has no prior to keep"),
        (["mask-completion", "--family", "diffusion"], "dpmesh is not on this machine"),
        (["mask-completion", *DIFFUSION, "--sizes", "96"], "sizes must be multiples of 64, got (96,)"),
        (["mask-completion", *DIFFUSION, "--vgg16", "a"], "--vgg16 is for a design that paints"),
        (["mask-completion", *DIFFUSION, "--design", "mask-2", "--sub-joints", "3"], "draws no joints"),
        (["mask-completion", *DIFFUSION, "--inaccurate-masks", "2"], "inaccurate_masks must be in [0, 1], got 2.0"),
        (["mask-completion", *DIFFUSION, "--width", "0"], "width must be above 0 and at most 1, got 0.0"),
        (["rgb-completion", "--family", "diffusion", "--prior", "sd15"], "leave --prior sd15 out"),
        (["rgb-completion", "--family", "diffusion", "--prior", "none"], "leave --prior none out"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(
    words: list[str],
    expected: str,
    pictures: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEOCCLUDE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    network, *options = words
    assert main(["train", network, *pictures, "--output", str(tmp_path / "run"), *TWO_STEPS, *options]) == 2
    error = capsys.readouterr().err
    assert expected in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()
