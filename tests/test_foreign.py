"""What of another project's checkpoint was used: read off what a network was filled with."""

from __future__ import annotations

import torch
from torch import Tensor

from deocclude.models.diffusion.state_dicts import _converted, merge_low_rank
from deocclude.models.foreign import Traced, traced, unused_keys

CHECKPOINT = {name: torch.full((2, 2, 1), float(number)) for number, name in enumerate("abcd")}


def careless(state_dict: dict[str, Traced], config: object) -> dict[str, Traced | None]:
    """As the converters of diffusers: renames, cuts, overwrites, drops, and enters None for what is missing."""
    kept = {key: state_dict.get(key) for key in list(state_dict)}
    new = {"first": kept["a"], "second": kept["b"], "missing": kept.get("z")}
    new["second"] = kept["c"]
    if new["first"].ndim > 2:
        new["first"] = new["first"][:, :, 0]
    return new


def test_what_a_converter_drops_or_overwrites_is_unused() -> None:
    filled = _converted(careless, traced(CHECKPOINT), {})
    assert unused_keys(CHECKPOINT, filled.values()) == ("b", "d")
    assert filled["first"].shape == (2, 2) and torch.equal(filled["first"].tensor, CHECKPOINT["a"][:, :, 0])
    assert filled["second"].tensor is CHECKPOINT["c"]


def test_two_keys_of_one_tensor_are_told_apart() -> None:
    """Tied weights: the same memory under two names, one of which is used."""
    tied = {"a": CHECKPOINT["a"], "again": CHECKPOINT["a"]}
    assert unused_keys(tied, [traced(tied)["a"]]) == ("again",)


def test_merged_weights_are_made_of_all_their_parts() -> None:
    places: dict[str, Tensor] = {
        "net.linear.weight": torch.ones(3, 2),
        "net.linear.bias": torch.zeros(3),
        "net.lora_up.weight": torch.ones(3, 1),
        "net.lora_down.weight": torch.ones(1, 2),
        "net.lora_up.bias": torch.ones(3),
    }
    merged = merge_low_rank(traced(places))
    assert set(merged) == {"net.weight", "net.bias"} and (merged["net.weight"].tensor == 2).all()
    assert unused_keys(places, merged.values()) == ("net.lora_up.bias",)
