"""The one error that is caused by user input."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one sentence with the file and the way out.

    The command line prints it without a traceback and ends with exit code 2; a batch records it and goes on.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))


def printable(text: str) -> str:
    """The text on one line, control characters spelled out: names in it come from strangers, and go to a terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def no_such(what: str, name: str, names: Iterable[str]) -> InputError:
    """The error for a name that is none of `names`, with the one that was probably meant, or all."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    choice = f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(names)}"
    return InputError(f"no {what} '{name}'; {choice}")
