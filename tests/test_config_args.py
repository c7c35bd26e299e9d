"""Options from a dataclass: what is typed arrives in the field, what is not stays the preset's."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deocclude.cli.config_args import add_config_arguments, config_from_arguments, field_documents
from deocclude.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Stem:
    stride: int = 4


@dataclass(frozen=True, kw_only=True)
class Base:
    seed: int = 0
    """Where the random numbers start."""


@dataclass(frozen=True, kw_only=True)
class Config(Base):
    """A training run.

    More about it, which is not shown.
    """

    num_steps: int = 100
    """Steps of the optimiser,
    at most 100 % of them."""
    learning_rate: float = 1e-3
    is_fast: bool = False
    bins: Literal["paper", "contiguous"] = "contiguous"
    """How occlusion ratios are drawn."""
    betas: tuple[float, float] = (0.9, 0.999)
    levels: tuple[int, ...] = (3, 5)
    resume: Path | None = None
    limit: int | None = 7
    stem: Stem = field(default_factory=Stem)

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {self.num_steps}")


def parsed(words: list[str], shown: Any = None, start: Any = None) -> Any:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser, shown or Config())
    return config_from_arguments(parser.parse_args(words), start or shown or Config())


def test_every_kind_of_field_is_read() -> None:
    numbers = ["--seed", "5", "--num-steps", "3", "--learning-rate", "0.5", "--limit", "none"]
    others = ["--is-fast", "--bins", "paper", "--betas", "0.5", "0.9", "--levels", "1", "2", "3"]
    assert parsed([*numbers, *others, "--resume", "run/last"]) == Config(
        seed=5,
        num_steps=3,
        learning_rate=0.5,
        limit=None,
        is_fast=True,
        bins="paper",
        betas=(0.5, 0.9),
        levels=(1, 2, 3),
        resume=Path("run/last"),
    )


@given(
    st.builds(
        Config,
        seed=st.integers(),
        num_steps=st.integers(min_value=1),
        learning_rate=st.floats(allow_nan=False),
        is_fast=st.booleans(),
        bins=st.sampled_from(["paper", "contiguous"]),
        levels=st.lists(st.integers(min_value=0), min_size=1).map(tuple),
        limit=st.none() | st.integers(),
    )
)
def test_typing_a_configuration_gives_it_back(config: Config) -> None:
    words = [f"--{'' if config.is_fast else 'no-'}is-fast", "--levels", *map(str, config.levels)]
    for name in ("seed", "num_steps", "learning_rate", "bins", "limit"):
        value = getattr(config, name)
        words.append(f"--{name.replace('_', '-')}={'none' if value is None else value}")
    assert parsed(words) == config


def test_what_is_not_typed_stays_as_in_the_preset_that_was_chosen_later() -> None:
    chosen = replace(Config(), num_steps=9, stem=Stem(stride=1))
    assert parsed(["--seed", "2"], shown=Config(), start=chosen) == replace(chosen, seed=2)


def test_help_is_the_text_below_the_field_and_the_default_is_the_presets() -> None:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser, replace(Config(), num_steps=42))
    text = " ".join(parser.format_help().split())

    assert "A training run:" in text
    assert "More about it" not in text
    assert "Steps of the optimiser, at most 100 % of them. (default: 42)" in text
    assert "Where the random numbers start. (default: 0)" in text
    assert "(default: 0.9 0.999)" in text
    assert "(default: none)" in text
    assert "--no-is-fast" in text
    assert "{paper,contiguous}" in text
    assert "--stem" not in text


def test_documents_belong_to_fields_only() -> None:
    assert set(field_documents(Config)) == {"seed", "num_steps", "bins"}
    assert set(field_documents(Config)) < {item.name for item in fields(Config)}


def test_a_value_the_configuration_refuses_is_the_users_error() -> None:
    with pytest.raises(InputError, match="num_steps must be at least 1, got 0"):
        parsed(["--num-steps", "0"])


@dataclass(frozen=True)
class Mixed:
    pair: tuple[int, str] = (1, "a")


@dataclass(frozen=True)
class Nameless:
    table: dict[str, int] = field(default_factory=dict)


@pytest.mark.parametrize("config", [Mixed(), Nameless()])
def test_a_field_without_a_form_on_the_command_line_is_refused(config: Any) -> None:
    with pytest.raises(TypeError, match="cannot be an option"):
        add_config_arguments(argparse.ArgumentParser(), config)
