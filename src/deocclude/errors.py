"""The one error that is the user's to mend."""


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
