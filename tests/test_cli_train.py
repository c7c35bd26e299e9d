"""`deocclude train` and `deocclude templates` from the words typed to the weights written, two steps each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_data import write_coco, write_people

from deocclude.cli.main import main
from deocclude.models.feedforward.mask_completion import MaskCompletionConfig, MaskCompletionNetwork
from deocclude.training.config import TrainingConfig
from deocclude.training.setup import TrainingImages, build_synthesis
from deocclude.training.templates import load_templates, save_templates
from deocclude.weights import load_network, save_network


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name 52 training photographs, of which 48 are kept aside, and a COCO file with a person."""
    root = tmp_path_factory.mktemp("pictures")
    write_people(root / "ccp", 104, size_hw=(64, 48))
    return ["--people", str(root / "ccp"), *coco_options(root, person=True)]


def coco_options(root: Path, *, person: bool) -> list[str]:
    coco, images = write_coco(root, person=person)
    return ["--occluders", str(coco), "--occluder-images", str(images)]


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    path = tmp_path / "templates.safetensors"
    save_templates(path, torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return path


TWO_STEPS = (
    *("--limit", "6", "--validation-people", "2", "--steps", "2", "--batch-size", "2"),
    *("--sizes", "64", "--size-shares", "1", "--device", "cpu"),
)


def train(network: str, pictures: list[str], output: Path, *options: str) -> int:
    return main(["train", network, *pictures, "--output", str(output), *TWO_STEPS, *options])


def test_mask_completion_is_a_function_of_the_seed(pictures: list[str], templates: Path, tmp_path: Path) -> None:
    """From the first weights on: in one process, a second network is drawn from another state than the first."""
    for name, seed in (("one", "5"), ("two", "5"), ("other", "6")):
        options = ("--templates", str(templates), "--seed", seed)
        assert train("mask-completion", pictures, tmp_path / name, *options) == 0
    one, two, other = ((tmp_path / name / "network.safetensors").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other
    network, _ = load_network(tmp_path / "one" / "network.safetensors", expected="MaskCompletionNetwork")
    assert torch.allclose(network.templates, load_templates(templates), atol=1e-3)  # stored as float16


def test_rgb_completion_with_the_papers_losses_and_stage_1s_parsing(pictures: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    stage_1 = MaskCompletionNetwork(MaskCompletionConfig(base_channels=2, num_templates=0))
    save_network(tmp_path / "mask.safetensors", stage_1, stage_1.config)
    options = ("--losses", "paper", "--mask-network", str(tmp_path / "mask.safetensors"))
    assert train("rgb-completion", pictures, tmp_path / "run", *options) == 0
    load_network(tmp_path / "run" / "network.safetensors", expected="RgbCompletionNetwork")
    header = (tmp_path / "run" / "losses.csv").read_text().splitlines()[0]
    assert header == "step,seconds,learning_rate,l1,perceptual,style,adversarial,discriminator"


def test_an_ablation_row_without_adversary(pictures: list[str], tmp_path: Path) -> None:
    options = ("--config", "compact-baseline", "--losses", "no-adversary", "--templates", "none")
    assert train("mask-completion", pictures, tmp_path, *options) == 0
    network, _ = load_network(tmp_path / "network.safetensors", expected="MaskCompletionNetwork")
    assert not network.config.modal_branch and not network.config.parsing
    assert (tmp_path / "losses.csv").read_text().startswith("step,seconds,learning_rate,amodal,l1,perceptual\n")


def test_the_papers_shares_are_options(pictures: list[str], tmp_path: Path) -> None:
    shares = {
        "mask-completion": ("exact_masks", "--templates", "none", "--exact-masks", "0"),
        "rgb-completion": ("parsing_dropout", "--parsing-dropout", "0"),
    }
    for network, (field, *options) in shares.items():
        assert train(network, pictures, tmp_path / network, *options) == 0
        assert f"{field}=0.0" in json.loads((tmp_path / network / "run.json").read_text())["task"]


def test_the_segmenter_starts_from_given_weights(pictures: list[str], tmp_path: Path) -> None:
    assert train("segmenter", pictures, tmp_path / "first") == 0
    weights = tmp_path / "first" / "network.safetensors"
    assert train("segmenter", pictures, tmp_path / "second", "--from", str(weights)) == 0
    load_network(tmp_path / "second" / "network.safetensors", expected="SegmenterNetwork")


def test_hand_drawn_masks_alone_and_the_same_photographs_kept_aside(tmp_path: Path) -> None:
    write_people(tmp_path / "ccp", 16, size_hw=(64, 48))
    index = tmp_path / "ccp" / "index.csv"
    index.write_text(index.read_text().replace("000,train,annotated", "000,train,pseudo"))
    index.write_text(index.read_text().replace("006,train,annotated", "006,train,pseudo"))
    coco, images = write_coco(tmp_path, person=False)
    stores = [
        build_synthesis(
            TrainingImages(people=tmp_path / "ccp", occluders=((coco, images),)),
            TrainingConfig(validation_people=2),
            device=torch.device("cpu"),
            hand_drawn=hand_drawn,
        ).photos
        for hand_drawn in (False, True)
    ]
    assert len(stores[0]) == 8
    kept = [0, 1, 2, 4, 5, 6, 7]  # the first is kept aside whoever drew its mask; the fourth is 006
    assert torch.equal(stores[1].images, stores[0].images[kept])


def test_templates_are_written_once(pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "templates.safetensors"
    command = ["templates", *pictures, "--output", str(path), "--count", "2", "--size", "8", "--masks", "8"]
    assert main(command) == 0
    assert load_templates(path).shape == (2, 8, 8)
    capsys.readouterr()
    assert main([*command, "--seed", "1"]) == 2
    assert "exists already" in capsys.readouterr().err
    before = path.read_bytes()
    assert main([*command, "--seed", "1", "--overwrite"]) == 0
    assert path.read_bytes() != before
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "nothing half written stays"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["segmenter", "--config", "paper"], "--config is for mask-completion and rgb-completion"),
        (["segmenter", "--losses", "paper"], "--losses is for"),
        (["segmenter", "--vgg16", "a"], "--vgg16 is for"),
        (["rgb-completion", "--templates", "a"], "--templates is for mask-completion"),
        (["rgb-completion", "--exact-masks", "0"], "--exact-masks is for mask-completion"),
        (["segmenter", "--parsing-dropout", "0"], "--parsing-dropout is for rgb-completion"),
        (["mask-completion", "--templates", "none", "--mask-network", "a"], "--mask-network is for rgb-completion"),
        (["mask-completion", "--from", "a", "--templates", "b"], "the weights of --from bring their own templates"),
        (["rgb-completion", "--from", "a", "--config", "paper"], "the weights of --from bring their own config"),
        (["rgb-completion", "--vgg16", "a"], "--vgg16 is for --losses paper"),
        (["mask-completion"], "needs --templates FILE"),
        (["mask-completion", "--config", "paper"], "needs --templates FILE"),
        (["mask-completion", "--templates", "missing"], "missing: no templates there"),
        (["segmenter", "--device", "abacus"], "device 'abacus' is not available here"),
        (["segmenter", "--log-every", "0"], "log_every must be at least 1, got 0"),
        (["segmenter", "--limit", "2"], "2 photographs are too few: the first 2 are kept aside"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    words: list[str], expected: str, pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, *options = words
    assert train(network, pictures, tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.splitlines()[-1].startswith("deocclude: error: ")
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_occluders_need_no_people(pictures: list[str], tmp_path: Path) -> None:
    nobody = [*pictures[:2], *coco_options(tmp_path, person=False)]
    assert train("segmenter", nobody, tmp_path / "run") == 0


def test_data_without_people_are_one_sentence(
    pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_people(tmp_path / "ccp", 1)
    index = tmp_path / "ccp" / "index.csv"
    index.write_text(index.read_text().replace("train", "val"))
    assert train("segmenter", ["--people", str(tmp_path / "ccp"), *pictures[2:]], tmp_path / "run") == 2
    assert "gives no photograph to the split 'train'" in capsys.readouterr().err
