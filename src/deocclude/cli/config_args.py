"""Command-line options made from a configuration dataclass: every field is written and explained once.

A field is an option: its name (`--num-joints`), its type hint (a converter, choices, a number of values), its
value in the given configuration (the default) and the string literal below it (the help).
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from deocclude.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Config = TypeVar("Config", bound=DataclassInstance)


def add_config_arguments(parser: argparse.ArgumentParser, config: DataclassInstance) -> None:
    """Add an option for each field of `config`, whose values are the defaults shown in the help.

    Options that are not given leave nothing in the namespace, so `config_from_arguments` may start from
    another preset than the one shown here. A field that holds another configuration gets no option: a preset
    chooses it.

    Raises TypeError for a field whose type has no form on a command line.
    """
    group = parser.add_argument_group(_first_sentence(type(config)))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.init and not dataclasses.is_dataclass(value):
            add_option(group, field.name, config, field, f"(default: {shown(value)})")


def add_option(group: Any, name: str, config: DataclassInstance, field: dataclasses.Field[Any], remark: str) -> None:
    """Add one field of a configuration as the option `--NAME`; a remark follows its own help."""
    document = field_documents(type(config)).get(field.name, "")
    settings = _option_settings(name, typing.get_type_hints(type(config))[field.name])
    group.add_argument(
        "--" + name.replace("_", "-"),
        dest=name,
        default=argparse.SUPPRESS,
        help=f"{document} {remark}".strip().replace("%", "%%"),
        **settings,
    )


def config_from_arguments(args: argparse.Namespace, config: Config) -> Config:
    """`config` with the fields that were given on the command line.

    Raises InputError with the sentence of the configuration's own check.
    """
    given = {
        field.name: _as_field_value(getattr(args, field.name))
        for field in dataclasses.fields(config)
        if field.init and hasattr(args, field.name)
    }
    try:
        return dataclasses.replace(config, **given)
    except ValueError as error:
        raise InputError(str(error)) from error


@cache
def field_documents(config_class: type) -> dict[str, str]:
    """The string literal below each field of a dataclass and its bases, on one line."""
    documents: dict[str, str] = {}
    for base in reversed(config_class.__mro__):
        if dataclasses.is_dataclass(base):
            documents |= _documents_in_source(textwrap.dedent(inspect.getsource(base)))
    return documents


def _first_sentence(config_class: type) -> str:
    text = " ".join((inspect.getdoc(config_class) or config_class.__name__).split())
    return re.split(r"\.(?:\s|$)", text, maxsplit=1)[0]


def _documents_in_source(source: str) -> dict[str, str]:
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    documents = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                documents[name] = " ".join(text.split())
    return documents


def _option_settings(name: str, hint: Any) -> dict[str, Any]:
    """Keyword arguments of `add_argument` for a field of this type."""
    hint, is_optional = _without_none(hint)
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if typing.get_origin(hint) is tuple:
        return _tuple_settings(name, typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return _choice_settings(name, typing.get_args(hint))
    if hint not in (int, float, str, Path):
        raise TypeError(f"field '{name}' of type {hint} cannot be an option")
    if is_optional:
        return {"type": _or_none(hint), "metavar": f"{_metavar(hint)}|none"}
    return {"type": hint, "metavar": _metavar(hint)}


def _tuple_settings(name: str, items: tuple[Any, ...]) -> dict[str, Any]:
    count: int | str = "+" if items[-1] is Ellipsis else len(items)
    kinds = set(items) - {Ellipsis}
    if len(kinds) != 1:
        raise TypeError(f"field '{name}' mixes types in a tuple and cannot be an option")
    return {**_option_settings(name, kinds.pop()), "nargs": count}


def _choice_settings(name: str, choices: tuple[Any, ...]) -> dict[str, Any]:
    kinds = {type(choice) for choice in choices}
    if len(kinds) != 1:
        raise TypeError(f"field '{name}' mixes types in its choices and cannot be an option")
    return {"type": kinds.pop(), "choices": choices}


def _without_none(hint: Any) -> tuple[Any, bool]:
    """`int | None` to (int, True); any other type to (it, False)."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
    return (kinds[0], True) if len(kinds) == 1 else (hint, False)


def _or_none(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def converted(text: str) -> Any:
        return None if text == "none" else convert(text)

    converted.__name__ = getattr(convert, "__name__", "value")  # argparse names it: "invalid int value"
    return converted


def _metavar(kind: type) -> str:
    return {int: "N", float: "X", str: "TEXT", Path: "PATH"}[kind]


def shown(value: Any) -> str:
    """A field's value as it would be typed."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "none" if value is None else str(value)


def _as_field_value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
