"""Stage 1: published parameter counts, every row of Table 4, template weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deocclude.models.feedforward.mask_completion import (
    MASK_COMPLETION_PRESETS,
    MaskCompletionConfig,
    MaskCompletionNetwork,
)
from deocclude.models.feedforward.templates import template_weights

TINY = MaskCompletionConfig(base_channels=2, num_templates=5, template_size=8)


def num_parameters(config: MaskCompletionConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in MaskCompletionNetwork(config).parameters())


def test_parameter_counts() -> None:
    # A rebuild from the papers has 27.01 M, the authors' network 27.00 M (one convolution fewer in each parsing head).
    assert num_parameters(MASK_COMPLETION_PRESETS["paper"]) == 27_021_020
    assert num_parameters(MASK_COMPLETION_PRESETS["compact"]) == 6_898_008


def test_the_baseline_lacks_the_heads_alone() -> None:
    """Paper B, section 5.3: the baseline answers by both hourglasses; supplement: the branches cost 2.5 of 15.83 ms."""
    with torch.device("meta"):
        baseline, modal = (
            MaskCompletionNetwork(MASK_COMPLETION_PRESETS[f"paper-{row}"]) for row in ("baseline", "modal")
        )
    left_out = modal.state_dict().keys() - baseline.state_dict().keys()

    assert baseline.state_dict().keys() < modal.state_dict().keys()
    assert {name.split(".")[0] for name in left_out} == {"modal_head"}


def test_the_baselines_second_hourglass_reads_the_first_and_the_initial_mask() -> None:
    torch.manual_seed(0)
    config = replace(TINY, modal_branch=False, parsing=False, num_templates=0)
    network, image, mask = MaskCompletionNetwork(config).eval(), torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    seen: list[torch.Tensor] = []
    network.amodal_hourglass.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(image, mask)
    features = network.modal_hourglass(torch.cat([image * 2 - 1, mask], dim=1))

    torch.testing.assert_close(seen[0], torch.cat([features, mask, image * 2 - 1], dim=1))


def test_rows_by_name() -> None:
    rows = {"baseline", "modal", "parsing", "templates", "inverse-l2", "templates-inverse-l2", "inner-softmax"}
    assert {name.removeprefix("compact-") for name in MASK_COMPLETION_PRESETS if name.startswith("compact-")} == rows
    baseline = MASK_COMPLETION_PRESETS["paper-baseline"]
    assert (baseline.modal_branch, baseline.parsing, baseline.num_templates) == (False, False, 0)
    assert baseline.base_channels == MASK_COMPLETION_PRESETS["paper"].base_channels


TABLE_4 = {
    "baseline": {"modal_branch": False, "parsing": False, "num_templates": 0},
    "modal head": {"parsing": False, "num_templates": 0},
    "parsing": {"num_templates": 0},
    "templates": {"parsing": False},
    "all": {},
    "code": {"amodal_sees_modal": False, "template_weighting": "inner_softmax"},
    "strided": {"stride": 4, "amodal_sees_image": False},
}


@pytest.mark.parametrize("row", TABLE_4)
def test_every_configuration_answers_at_the_size_of_the_picture(row: str) -> None:
    torch.manual_seed(0)
    config = replace(TINY, **TABLE_4[row])
    logits = MaskCompletionNetwork(config).eval()(torch.rand(2, 3, 64, 64), torch.ones(2, 1, 64, 64))
    assert logits.amodal.shape == (2, 1, 64, 64)
    assert (logits.modal is not None) == config.modal_branch
    assert (logits.amodal_parsing is not None) == config.parsing
    if logits.amodal_parsing is not None:
        assert logits.amodal_parsing.shape == (2, 20, 64 // config.stride, 64 // config.stride)


@pytest.mark.parametrize("weighting", ["inverse_l2", "softmax_l2", "inner_softmax"])
def test_the_fitting_template_weighs_most(weighting: str) -> None:
    templates = torch.eye(16).view(16, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2)
    modal = torch.nn.functional.interpolate(templates[[3, 11], None], scale_factor=2)
    weights = template_weights(modal, templates, weighting)  # type: ignore[arg-type]
    assert weights.argmax(1).tolist() == [3, 11]
    torch.testing.assert_close(weights.sum(1), torch.ones(2))


def test_inverse_l2_is_the_papers_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    templates = torch.rand(6, 8, 8, generator=generator)
    modal = torch.rand(2, 1, 8, 8, generator=generator)
    distance = (modal - templates).square().sum((2, 3)).sqrt()
    expected = (1 / distance) / (1 / distance).sum(1, keepdim=True)
    torch.testing.assert_close(template_weights(modal, templates, "inverse_l2"), expected, rtol=1e-4, atol=1e-6)


def test_templates_do_not_bend_the_modal_mask() -> None:
    modal = torch.rand(1, 1, 8, 8, requires_grad=True)
    network = MaskCompletionNetwork(TINY)
    features = network._template_features(modal, torch.rand(1, 2, 64, 64))
    assert features is not None
    features.sum().backward()
    assert modal.grad is None
