"""Options that the stages bring: which there are to choose from, and their settings, read from the catalogue."""

from __future__ import annotations

import argparse
from typing import Any, Literal

from deocclude.cli.config_args import add_option, shown
from deocclude.stages.catalogue import stage_specs, stages_with_option
from deocclude.stages.presets import DEFAULT, offered_presets
from deocclude.stages.spec import StageSpec, option_fields


class Offered:
    """What there is to choose from, those that can run on this machine first: looked for when help is printed."""

    def __init__(self, kind: Literal["preset", "mask", "RGB"]) -> None:
        self.kind = kind

    def __str__(self) -> str:
        here = offered_presets()
        return ", ".join(here if self.kind == "preset" else [name for name in here if name in stage_specs(self.kind)])


def add_choice(group: Any, option: str, kind: Literal["preset", "mask", "RGB"], before: str, after: str = "") -> None:
    """An option that names a preset or a stage, with what there is to choose from in its help."""
    metavar = "NAME" if kind == "preset" else "NAME|FILE"
    default = DEFAULT if kind == "preset" else None
    action = group.add_argument(option, default=default, metavar=metavar, help=f"{before}: %(offered)s{after}")
    action.offered = Offered(kind)


def add_stage_options(parser: argparse.ArgumentParser) -> None:
    """One option for each setting of an RGB stage; of several that have it, each keeps its own default."""
    group = parser.add_argument_group("settings of an RGB stage")
    for name, specs in stages_with_option().items():
        config, field = option_fields(specs[0].options)[name]
        add_option(group, name, config, field, f"({', '.join(_default(spec, name) for spec in specs)})")


def _default(spec: StageSpec, name: str) -> str:
    """A stage that has the option, and its own value."""
    config, field = option_fields(spec.options)[name]
    return f"{spec.name}: {shown(getattr(config, field.name))}"


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, by name."""
    return {name: getattr(args, name) for name in stages_with_option() if hasattr(args, name)}
