"""The command as a person meets it: the overview, a verb's help, errors of one line, exit codes."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

import deocclude
from deocclude.cli import main as cli
from deocclude.errors import InputError

HEAVY = {"torch", "numpy", "PIL", "skimage", "scipy", "accelerate", "pycocotools", "deocclude.types"}
HEAVY_FOR_A_VERB = HEAVY - {"numpy", "PIL", "deocclude.types"}


@pytest.fixture
def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def fake_verb(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a verb made of the given function in the place of `run`."""

    def install(run: Any) -> None:
        module = SimpleNamespace(
            HELP="fake",
            EXAMPLE="deocclude run a.jpg",
            add_arguments=lambda parser: parser.add_argument("--number", type=int, default=3),
            run=run,
        )
        monkeypatch.setitem(sys.modules, "deocclude.cli.run", module)

    return install


def modules_after(code: str) -> set[str]:
    """Names of the modules a fresh interpreter has imported after `code`."""
    program = f"import sys\n{code}\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def help_of(*words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--help"])
    assert ended.value.code == 0


@pytest.mark.usefixtures("narrow_terminal")
def test_the_overview_fits_one_screen_and_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    help_of()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) < 80
    table = lines[lines.index("verbs:") + 1 :][: len(cli.VERBS)]
    assert [line.split()[0] for line in table] == list(cli.VERBS)


def test_the_overview_imports_nothing_heavy() -> None:
    code = "from deocclude.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert modules_after(code) & HEAVY == set()
    assert modules_after("import deocclude") & HEAVY == set()


def test_the_help_of_a_verb_imports_nothing_heavy() -> None:
    code = (
        "from deocclude.cli.main import main, VERBS\n"
        "for verb in VERBS:\n  try: main([verb, '--help'])\n  except SystemExit: pass"
    )
    assert modules_after(code) & HEAVY_FOR_A_VERB == set()


@pytest.mark.parametrize("verb", cli.VERBS)
@pytest.mark.usefixtures("narrow_terminal")
def test_the_help_of_a_verb_shows_its_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = import_module(f"deocclude.cli.{verb}")
    help_of(verb)
    text = capsys.readouterr().out
    assert module.HELP.strip()
    assert "\n" not in module.HELP
    for line in module.EXAMPLE.strip().splitlines():
        assert line.strip() in text
    assert f"deocclude {verb}" in module.EXAMPLE


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"deocclude {deocclude.__version__}\n"


def test_no_verb_shows_the_overview_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "verbs:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rnu"], "no verb 'rnu'; did you mean 'run'?"),
        (["xyzzy"], "no verb 'xyzzy'; choose from run, batch, "),
        (["--loud", "run"], "--loud"),
        (
            ["run", "--number", "many"],
            "argument --number: invalid int value: 'many'; see 'deocclude run --help'",
        ),
        (["run", "--num", "4"], "unrecognized arguments: --num 4"),
    ],
)
def test_a_mistyped_command_is_one_line(
    words: list[str], expected: str, fake_verb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_verb(lambda args: 0)
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("deocclude: error: ")
    assert expected in error
    assert error.count("\n") == 1


def raising(error: BaseException) -> Any:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("a.png is empty; give a mask with the person in it"), "a.png is empty; give a mask"),
        (PermissionError(13, "Permission denied", "out/a.png"), "out/a.png: Permission denied"),
        (
            ModuleNotFoundError("No module named 'accelerate'", name="accelerate"),
            "pip install 'deocclude[train,diffusion]'",
        ),
    ],
)
def test_the_users_errors_are_one_line(
    error: Exception, expected: str, fake_verb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_verb(raising(error))
    assert cli.main(["run"]) == 2
    text = capsys.readouterr().err
    assert expected in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("words", [["run", "-v"], ["-v", "run"], ["run", "--verbose"]])
def test_verbose_shows_where_an_error_came_from(
    words: list[str], fake_verb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_verb(raising(InputError("no person found")))
    assert cli.main(words) == 2
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert text.endswith("deocclude: error: no person found\n")


@pytest.mark.parametrize("error", [ValueError("a bug"), ModuleNotFoundError("No module named 'x'", name="x")])
def test_our_own_errors_are_not_dressed_up(error: Exception, fake_verb: Any) -> None:
    fake_verb(raising(error))
    with pytest.raises(type(error), match=str(error)):
        cli.main(["run"])


def test_interruption_is_quiet(fake_verb: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fake_verb(raising(KeyboardInterrupt()))
    assert cli.main(["run"]) == 130
    assert capsys.readouterr().err == "deocclude: interrupted\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    program = (
        "import sys, types\n"
        "from deocclude.cli.main import main\n"
        "def talk(args): print('word ' * 99999)\n"
        "verb = types.SimpleNamespace(HELP='', EXAMPLE='', add_arguments=id, run=talk)\n"
        "sys.modules['deocclude.cli.run'] = verb\n"
        "sys.exit(main(['run']))"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
    assert (process.returncode, error) == (cli.EXIT_BROKEN_PIPE, b"")


def test_the_verb_gets_its_options_and_its_exit_code_counts(fake_verb: Any) -> None:
    fake_verb(lambda args: args.number + 10 * args.verbose)
    assert cli.main(["run"]) == 3
    assert cli.main(["run", "--number", "5", "-v"]) == 15


def test_public_names_resolve_and_others_do_not() -> None:
    for name in deocclude.__all__:
        assert getattr(deocclude, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Decoluder'"):
        _ = deocclude.Decoluder
