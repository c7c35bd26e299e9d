"""Every column of a person against a plain reading of its formula, on random masks with pixels that are not scored."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from deocclude.data.occlusion_set import OcclusionSample
from deocclude.evaluation.columns import COLUMNS, SCORE_COLUMNS
from deocclude.evaluation.predictions import Prediction
from deocclude.evaluation.score import score_person
from deocclude.metrics.averages import averages

SIDE = 6


def drawn(seed: int) -> tuple[OcclusionSample, Prediction]:
    """A person and an answer, all drawn; every tenth person has nothing hidden."""
    rng = np.random.default_rng(seed)
    person = rng.random((SIDE, SIDE)) < 0.6
    not_scored = ~person & (rng.random((SIDE, SIDE)) < 0.3)
    modal = person & (rng.random((SIDE, SIDE)) < 0.5) if seed % 10 else person
    occluded, whole, rgb, second = rng.integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
    prediction = Prediction(rng.random((SIDE, SIDE)) < 0.6, rng.random((SIDE, SIDE)) < 0.5, rgb, (second,))
    return OcclusionSample(f"{seed}", occluded, modal, person, not_scored, whole), prediction


def plain_reading(sample: OcclusionSample, prediction: Prediction, rgb: np.ndarray) -> dict[str, float]:
    """Pixel by pixel, in words: P predicted, T true, M visible."""
    sums: dict[str, float] = dict.fromkeys(
        ("P and T", "P or T", "P xor T", "T", "hidden both", "hidden any", "hidden", "M both", "M any", "pixels"), 0
    )
    errors = {name: [0.0, 0.0, 0.0, 0.0] for name in ("", "_true_mask")}
    content = 0.0
    for r in range(SIDE):
        for c in range(SIDE):
            if sample.not_scored[r, c]:
                continue
            p, t, m = prediction.amodal_mask[r, c], sample.amodal[r, c], sample.modal[r, c]
            sums["pixels"] += 1
            sums["P and T"] += p and t
            sums["P or T"] += p or t
            sums["P xor T"] += p != t
            sums["T"] += t
            sums["hidden both"] += p and t and not m
            sums["hidden any"] += (p or t) and not m
            sums["hidden"] += t and not m
            sums["M both"] += prediction.modal_mask[r, c] and m
            sums["M any"] += prediction.modal_mask[r, c] or m
            for channel in range(3):
                painted, true = rgb[r, c, channel] / 255, sample.whole[r, c, channel] / 255
                content += abs(painted - true) if t and not m else 0
                for suffix, cut in (("", p), ("_true_mask", t)):
                    error = abs((painted if cut else 1) - (true if t else 1))
                    errors[suffix][0 if m else 1] += error
                    errors[suffix][2 if m else 3] += error**2
    row = {
        "modal_iou": sums["M both"] / sums["M any"],
        "iou": sums["P and T"] / sums["P or T"],
        "invisible_iou": sums["hidden both"] / sums["hidden any"] if sums["hidden"] else math.nan,
        "mask_l1": sums["P xor T"] / sums["T"],
        "content_l1": content / (3 * sums["hidden"]) if sums["hidden"] else math.nan,
    }
    for suffix, parts in errors.items():
        visible, invisible, visible_mse, invisible_mse = (part / (3 * sums["pixels"]) for part in parts)
        row |= {
            f"rgb_l1{suffix}": visible + invisible,
            f"rgb_l1_visible{suffix}": visible,
            f"rgb_l1_invisible{suffix}": invisible,
            f"rgb_mse{suffix}": visible_mse + invisible_mse,
            f"rgb_mse_visible{suffix}": visible_mse,
            f"rgb_mse_invisible{suffix}": invisible_mse,
            f"psnr{suffix}": -10 * math.log10(visible_mse + invisible_mse),
        }
    return row


@pytest.mark.parametrize("seed", range(20))
def test_every_column_is_its_formula(seed: int) -> None:
    sample, prediction = drawn(seed)
    row = score_person(sample, prediction, num_candidates=2)
    expected = plain_reading(sample, prediction, prediction.rgb)
    best = min((expected, plain_reading(sample, prediction, prediction.candidates[0])), key=lambda one: one["rgb_l1"])
    expected |= {f"{column}_best_of_n": best[column] for column in ("content_l1", "rgb_l1", "psnr")}

    assert {key: row[key] for key in expected} == pytest.approx(expected, nan_ok=True)
    assert set(SCORE_COLUMNS) - set(expected) - set(row) == {"seconds"}


@pytest.mark.parametrize("seed", range(20))
def test_whole_is_visible_plus_invisible(seed: int) -> None:
    row = score_person(*drawn(seed))

    for column in ("rgb_l1", "rgb_mse"):
        for suffix in ("", "_true_mask"):
            parts = row[f"{column}_visible{suffix}"], row[f"{column}_invisible{suffix}"]
            assert row[f"{column}{suffix}"] == pytest.approx(sum(parts))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_not_scored_changes_no_column(seed: int) -> None:
    sample, prediction = drawn(seed)
    bag = sample.not_scored
    other = Prediction(
        np.where(bag, ~prediction.amodal_mask, prediction.amodal_mask),
        np.where(bag, ~prediction.modal_mask, prediction.modal_mask),
        np.where(bag[..., None], 255 - prediction.rgb, prediction.rgb),
        prediction.candidates,
    )

    rows = [score_person(sample, one, num_candidates=2) for one in (prediction, other)]

    assert bag.any() and rows[0] == pytest.approx(rows[1], nan_ok=True)


def test_nobody_there_is_undefined_and_nothing_found_is_not() -> None:
    sample, prediction = drawn(3)
    nobody = np.zeros((SIDE, SIDE), bool)
    empty = replace(sample, amodal=nobody, modal=nobody)
    row = score_person(empty, replace(prediction, amodal_mask=nobody, modal_mask=nobody))
    missed = score_person(sample, replace(prediction, amodal_mask=nobody))

    assert all(math.isnan(row[key]) for key in ("iou", "invisible_iou", "modal_iou", "mask_l1", "content_l1"))
    assert row["rgb_l1"] == 0 and row["psnr"] == math.inf
    assert (missed["iou"], missed["invisible_iou"], missed["mask_l1"]) == (0, 0, 1)


def test_pooled_ious_are_sums_over_people() -> None:
    people = [drawn(seed) for seed in range(12)]
    summary = averages([score_person(*one) for one in people], ["iou", "invisible_iou"])

    def pooled(hidden_only: bool) -> float:
        both = either = 0
        for sample, prediction in people:
            kept = ~sample.not_scored & (~sample.modal if hidden_only else True)
            if not hidden_only or (sample.amodal & kept).any():  # a person with nothing hidden counts nowhere
                both += (prediction.amodal_mask & sample.amodal & kept).sum()
                either += ((prediction.amodal_mask | sample.amodal) & kept).sum()
        return both / either

    assert summary["iou_pooled"] == pytest.approx(pooled(False))
    assert summary["invisible_iou_pooled"] == pytest.approx(pooled(True))


def test_each_column_that_tables_print_is_scored_or_of_all_pictures() -> None:
    from deocclude.evaluation.columns import SET_COLUMNS

    assert set(COLUMNS) <= {*SCORE_COLUMNS, *SET_COLUMNS}
    assert all(COLUMNS[key].network for key in (*SET_COLUMNS, "lpips_alexnet"))
