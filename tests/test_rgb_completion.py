"""The RGB completion network: its sizes, and what it may and may not look at."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor, nn

from deocclude.models.feedforward.rgb_completion import (
    COMPACT,
    PAPER,
    RGB_COMPLETION_PRESETS,
    RgbCompletionConfig,
    RgbCompletionNetwork,
    dim_background,
)

TINY = RgbCompletionConfig(channels=4, levels=4, num_parts=3, attention=("enc2", "enc4", "dec3"), key_reduction=2)
COPYING = replace(TINY, copied_colours=2)


def make_network(config: RgbCompletionConfig = TINY) -> RgbCompletionNetwork:
    torch.manual_seed(0)
    network = RgbCompletionNetwork(config).eval()
    for module in network.modules():  # statistics as training would leave them, not 0 and 1
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network


def make_inputs(batch: int = 3, height: int = 32, width: int = 32, *, parts: int = 3) -> list[Tensor]:
    """The arguments of `forward`, in their order: a block of a body, some of its rows hidden."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(batch, 3, height, width, generator=generator)
    amodal = torch.zeros(batch, 1, height, width)
    amodal[..., 2:-2, width // 4 : -width // 4] = 1
    modal = amodal.clone()
    for sample in range(batch):
        modal[sample, :, height // 4 : height // 2 + 4 * sample, width // 3 :] = 0
    labels = torch.randint(parts, (batch, height, width), generator=generator)
    parsing = nn.functional.one_hot(labels, parts).permute(0, 3, 1, 2).float()
    return [image, modal, amodal, parsing * modal, parsing * amodal]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_paper_size() -> None:
    with torch.device("meta"):
        network = RgbCompletionNetwork(PAPER)

    places = {place: round(count(attention) / 1e6, 4) for place, attention in network.attention.items()}
    assert places == {"enc3": 0.2294, "enc5": 0.8848, "dec5": 0.8848, "dec3": 0.0615}
    assert round(count(network.attention) / 1e6, 2) == 2.06
    assert round(count(network) / 1e6, 2) == 27.85


def test_compact_size() -> None:
    assert RGB_COMPLETION_PRESETS["compact"] is COMPACT
    assert 3e6 < count(RgbCompletionNetwork(COMPACT)) < 5e6


def test_rows_by_name() -> None:
    """Tables 5 and 6: the streams alone see all of the background, which is their row's."""
    rows = {name: config for name, config in RGB_COMPLETION_PRESETS.items() if name.startswith("compact-")}
    assert len(rows) == 7 + 4 and all(config.copied_colours == 0 for config in rows.values())
    assert rows["compact-w-0.3"].combine == "none" and rows["compact-w-0.3"].background_weight == 0.3
    assert rows["compact-body"].combine == "body" and rows["compact-body"].background_weight == 1
    assert replace(rows["compact-fused"], copied_colours=4) == COMPACT


@pytest.mark.parametrize("config", [TINY, COPYING], ids=["paper", "copying"])
@pytest.mark.parametrize("training", [False, True])
def test_what_the_occluder_looks_like_never_matters(training: bool, config: RgbCompletionConfig) -> None:
    network = make_network(config).train(training)
    image, modal, amodal, *parsing = make_inputs()
    other = torch.where((amodal > 0) & (modal == 0), 1 - image, image)
    assert not torch.equal(image, other)

    assert torch.equal(network(image, modal, amodal, *parsing), network(other, modal, amodal, *parsing))


def test_what_the_person_and_the_background_look_like_does_matter() -> None:
    network = make_network()
    image, modal, amodal, *parsing = make_inputs()
    picture = network(image, modal, amodal, *parsing)
    for region in (modal, 1 - amodal):
        other = torch.where(region > 0, 1 - image, image)
        hidden = (amodal - modal).expand_as(image) > 0
        assert not torch.allclose(network(other, modal, amodal, *parsing)[hidden], picture[hidden], atol=1e-4)


def test_background_of_weight_zero_is_not_seen() -> None:
    network = make_network(replace(TINY, background_weight=0.0))
    image, modal, amodal, *parsing = make_inputs()
    other = torch.where(amodal > 0, image, 1 - image)

    assert torch.equal(network(image, modal, amodal, *parsing), network(other, modal, amodal, *parsing))


def test_only_the_background_is_dimmed() -> None:
    image, _, amodal, *_ = make_inputs()
    body = amodal.expand_as(image) > 0

    dimmed = dim_background(image, amodal, 0.3)

    torch.testing.assert_close(dimmed[body], image[body])
    torch.testing.assert_close(dimmed[~body] * 2 - 1, 0.3 * (image[~body] * 2 - 1))


@pytest.mark.parametrize("config", [TINY, COPYING], ids=["paper", "copying"])
def test_a_batch_is_its_samples(config: RgbCompletionConfig) -> None:
    network, inputs = make_network(config), make_inputs()

    together = network(*inputs)

    for sample in range(3):
        alone = network(*(part[sample : sample + 1] for part in inputs))
        torch.testing.assert_close(together[sample : sample + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("copied_colours", [0, 2])
@pytest.mark.parametrize("combine", ["fused", "cascaded", "body", "spatial", "none"])
def test_training_reaches_every_weight(combine: str, copied_colours: int) -> None:
    network = make_network(replace(TINY, combine=combine, copied_colours=copied_colours)).train()
    assert bool(count(network.attention)) == (combine != "none")

    picture = network(*make_inputs(3, 64, 64))
    (picture - 0.2).abs().mean().backward()

    assert picture.min() >= 0
    assert picture.max() <= 1
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    # A key's bias adds the same to all logits of a query, and a softmax ignores that.
    still = {name for name, gradient in gradients.items() if not gradient.abs().max() > 1e-9}
    assert all("visible_key.bias" in name or name == "copying.key.bias" for name in still)


@pytest.mark.parametrize("config", [TINY, COPYING], ids=["paper", "copying"])
@pytest.mark.parametrize("size", [(32, 32), (37, 50), (33, 47), (16, 64)])
def test_any_size(size: tuple[int, int], config: RgbCompletionConfig) -> None:
    inputs = make_inputs(1, *size)
    picture = make_network(config)(*inputs)
    assert picture.shape == inputs[0].shape
    assert picture.isfinite().all()


@pytest.mark.parametrize("config", [TINY, COPYING], ids=["paper", "copying"])
@pytest.mark.parametrize("hidden", ["nothing", "everything"])
def test_extreme_masks_stay_finite(hidden: str, config: RgbCompletionConfig) -> None:
    network = make_network(config).train()
    image, modal, amodal, _, parsing = make_inputs()
    modal = amodal if hidden == "nothing" else torch.zeros_like(amodal)
    if hidden == "everything":
        amodal = torch.ones_like(amodal)

    picture = network(image, modal, amodal, parsing * modal, parsing)
    picture.sum().backward()

    assert picture.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("keys", ["known", "person"])
def test_full_matrix_gives_the_same_picture(keys: str) -> None:
    config = replace(TINY, keys=keys)
    network, dense = make_network(config), make_network(replace(config, relation="dense"))
    inputs = make_inputs()

    torch.testing.assert_close(network(*inputs), dense(*inputs), atol=1e-5, rtol=1e-5)


def test_learns_to_continue_a_colour_behind_the_occluder() -> None:
    network = make_network(replace(TINY, channels=8)).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    _, modal, amodal, *parsing = make_inputs(8)
    hidden = (amodal - modal).expand(-1, 3, -1, -1) > 0
    errors = []
    for _ in range(120):
        whole = torch.rand(8, 3, 1, 1, generator=generator).expand(-1, -1, 32, 32)
        image = torch.where(hidden, 1 - whole, whole)
        error = (network(image, modal, amodal, *parsing) - whole).abs()[hidden].mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    # Mid-grey, the best answer that ignores the picture, is wrong by 0.25 on average.
    assert sum(errors[-10:]) / 10 < 0.15


def test_configuration_survives_json() -> None:
    config = replace(COMPACT, combine="cascaded", keys="person")
    assert RgbCompletionConfig(**json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"attention": ("enc9",)}, r"no attention after \['enc9'\]; choose from \['enc1'"),
        ({"attention": ("dec1",)}, "no attention after"),
        ({"combine": "sum"}, "no combine 'sum'; choose from"),
        ({"keys": "all"}, "no keys 'all'; choose from"),
        ({"relation": "sparse"}, "no relation 'sparse'; choose from"),
        ({"background_weight": 1.5}, r"background_weight must be in \[0, 1\], got 1.5"),
        ({"levels": 1}, "need levels >= 2"),
        ({"levels": 2, "attention": (), "copied_colours": 1}, "levels >= 3 to copy any"),
    ],
)
def test_configuration_refuses(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(PAPER, **wrong)
