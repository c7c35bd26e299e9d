"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one sentence with the file and the way out.

    The command line prints it without a traceback and ends with exit code 2; a batch records it and goes on.
    """
