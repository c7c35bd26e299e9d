"""Griffe extension: lines of `name, name: text`, in which docstrings explain fields and parameters, become lists."""

from __future__ import annotations

import re

from griffe import Extension, Object

FIELD = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?=\S)", re.MULTILINE)


class FieldLists(Extension):
    """Makes a Markdown list of the field lines of every docstring."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Called for each module, class, function and attribute that was read."""
        if obj.docstring is not None:
            obj.docstring.value = as_lists(obj.docstring.value)


def as_lists(docstring: str) -> str:
    """Markdown in which each run of field lines is a list."""
    return "\n\n".join(FIELD.sub(as_item, paragraph) for paragraph in docstring.split("\n\n"))


def as_item(field: re.Match[str]) -> str:
    names = ", ".join(f"`{name}`" for name in field["names"].split(", "))
    return f"- {names}: "
