"""The documentation's commands and Python lines: all of them are read, and what can run offline is run in miniature."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from miniatures import photograph, write_assets, write_png
from PIL import Image
from tiny_data import silhouette, write_coco

from deocclude import weights
from deocclude.cli.main import VERBS, main
from deocclude.conditioning import sources
from deocclude.masks import mask_box
from deocclude.types import Person

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "integrations").rglob("*.md")]
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

ENVIRONMENT = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "2"}

NOT_RUN = {
    "deocclude demo": "make demo in CI, and test_cli_run.py",
    "deocclude serve": "waits for visitors: test_web_serve.py",
    "deocclude weights download": "asks a hub: test_hub.py",
    "deocclude weights convert": "wants a checkpoint of another project: test_cli_weights.py",
    "deocclude ablate": "a hundred trainings: test_ablations.py",
    "deocclude run photo.jpg --mask-stage sssd": "wants weights of another project: test_baselines.py",
    "deocclude run photo.jpg --mask-stage feedforward --rgb-stage diffusion": "wants downloaded weights and a GPU",
    "deocclude train mask-completion --family diffusion": "wants the prior's weights: test_training_diffusion.py",
    "deocclude synthesize --protocol ahp-val": "makes 891 images: test_cli_synthesize.py",
    "deocclude import ahp": "wants a download: test_cli_import_export.py",
    "deocclude export people ahp-whole/": "follows it",
    "deocclude import cocoa": "wants a download: test_cli_import_export.py",
    "deocclude batch 'shards/*.tar'": "wants tar shards and writes to /shared: test_batch_inputs.py",
}
"""Beginnings of commands that are parsed but not run here, and why."""

IN_MINIATURE = {
    "run": ["--overwrite"],
    "synthesize": ["--count", "2", "--overwrite"],
    "templates": ["--count", "2", "--masks", "16"],
    "export": ["--overwrite"],
    "train": [
        *("--limit", "6", "--validation-people", "2", "--steps", "1", "--batch-size", "2"),
        *("--sizes", "64", "--size-shares", "1", "--device", "cpu"),
    ],
    "gallery": ["--count", "2", "--overwrite"],
}
"""What is added to a command so that it takes seconds."""

PYTHON_NOT_RUN = {
    "read_amodal_json": "wants COCOA: test_cocoa.py",
    "fiftyone_fields": "wants supervision and fiftyone: test_detections.py",
}

WHOLE_PEOPLE = ["deocclude import folder photos/ --amodal bodies/ --output whole/"]
BEFORE = {
    "docs/data.md": [
        *WHOLE_PEOPLE,
        "deocclude export people whole/ --output people/",
        "deocclude import folder photos/ --amodal bodies/ --count 2 --output SET",
        "deocclude predict --data SET --output PRED",
    ],
    "docs/evaluate-a-method.md": [*WHOLE_PEOPLE, "deocclude export people whole/ --output people/"],
    "docs/training.md": [*WHOLE_PEOPLE, "deocclude export people whole/ --output ccp/"],
    "docs/baselines.md": ["deocclude import folder photos/ --modal visible/ --amodal bodies/ --output bench/"],
    "docs/layers.md": ["deocclude run photo.jpg --output out/"],
}
"""What a page takes for granted."""


def fences(page: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCE.findall(page.read_text("utf-8")) if language in languages]


def shell_lines(page: Path) -> list[str]:
    """The commands of a page: one line each, comments gone, variables replaced."""
    variables, lines = dict(ENVIRONMENT), []
    for text in fences(page, "sh", "bash"):
        for line in text.replace("\\\n", " ").splitlines():
            line = re.sub(r"\$(\w+)", lambda name: variables[name[1]], re.sub(r"(^|\s+)# .*|^#.*", "", line).strip())
            if assignment := re.fullmatch(r'(\w+)="(.*)"', line):
                variables[assignment[1]] = assignment[2]
            elif line:
                lines.append(line)
    return lines


def everywhere(read: Callable[[Path], list[str]]) -> list[tuple[Path, str]]:
    return [(page, found) for page in PAGES for found in read(page)]


def ids(value: object) -> str:
    return str(value.relative_to(REPOSITORY)) if isinstance(value, Path) else str(value)[:60]


@pytest.fixture
def parsed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are read by their real parsers, and do nothing."""
    for verb in VERBS:
        monkeypatch.setattr(import_module(f"deocclude.cli.{verb}"), "run", lambda args: 0)


@pytest.mark.quick
@pytest.mark.parametrize(("page", "line"), everywhere(shell_lines), ids=ids)
@pytest.mark.usefixtures("parsed_only")
def test_every_shell_command_can_be_typed(page: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in shlex.split(line) if not re.match(r"[A-Z_]+=", word)]
    if "deocclude.cli.main" in words:  # accelerate launch … -m deocclude.cli.main
        words = ["deocclude", *words[words.index("deocclude.cli.main") + 1 :]]
    program, *arguments = words
    if program == "deocclude":
        assert main(arguments) == 0, capsys.readouterr().err
    elif program == "make":
        makefile = (REPOSITORY / "Makefile").read_text("utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in arguments)
    elif program == "pip":
        extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        assert {name for word in arguments for name in re.findall(r"\[([\w,]+)\]", word)} <= set(extras)
    elif program in ("python", "bash"):
        assert (REPOSITORY / arguments[0]).is_file()
    else:
        assert program in ("pytest", "curl", "cp", "docker"), f"{program}: say in this test what becomes of it"


@pytest.fixture(scope="module")
def options_of() -> dict[str, set[str]]:
    """Each command's options, those of its sub-commands included."""
    found: dict[str, set[str]] = {}
    add_argument = argparse._ActionsContainer.add_argument
    with pytest.MonkeyPatch.context() as patch:
        for verb in VERBS:
            options = found[verb] = set()

            def recording(self: object, *names: str, _options: set[str] = options, **settings: object) -> object:
                action = add_argument(self, *names, **settings)  # type: ignore[arg-type]
                _options.update(action.option_strings)
                return action

            patch.setattr(argparse._ActionsContainer, "add_argument", recording)
            with pytest.raises(SystemExit):
                main([verb, "--help"])
    return found


def inline_code(page: Path) -> list[str]:
    """`code` in the text of a page that speaks of options; what stands in fences is tested above."""
    text = FENCE.sub("", page.read_text("utf-8"))
    return [code for code in re.findall(r"`([^`]+)`", text) if re.search(r"(^|\s)--[a-z]", code)]


@pytest.mark.quick
@pytest.mark.parametrize(("page", "code"), everywhere(inline_code), ids=ids)
def test_every_option_in_the_text_exists(page: Path, code: str, options_of: dict[str, set[str]]) -> None:
    known = set.union(*options_of.values())
    if command := re.match(r"deocclude ([a-z]+)", code):
        known = options_of[command[1]]
    if script := re.match(r"python (\S+)", code):
        known = set(re.findall(r'"(--[a-z-]+)"', (REPOSITORY / script[1]).read_text("utf-8")))
    if code.startswith("pytest"):
        known = {"--hypothesis-profile"}
    named = set(re.findall(r"(?<!\S)--[a-z][\w-]*", code))
    assert named <= known, f"no such option: {sorted(named - known)}"


class OneInTheMiddle:
    """Finds one person in every photograph, at no cost."""

    name = "one in the middle"

    def __call__(self, image: np.ndarray) -> list[Person]:
        height, width = image.shape[:2]
        mask = np.zeros((height, width), bool)
        mask[height // 4 : -height // 4, width // 4 : -width // 4] = True
        return [Person(mask_box(mask), mask)]

    def person_at(self, image: np.ndarray, point_xy: tuple[float, float]) -> Person:
        return self(image)[0]


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the documentation speaks of, and networks in miniature, in the current folder."""
    write_assets(tmp_path / "src" / "deocclude" / "assets")
    monkeypatch.setattr(weights, "ASSETS", tmp_path / "src" / "deocclude" / "assets")
    monkeypatch.setitem(sources.FINDERS, "embedded", lambda segmenter, device, dtype: OneInTheMiddle())
    monkeypatch.chdir(tmp_path)

    Image.fromarray(photograph(height=330, width=440)).save("photo.jpg")
    Image.fromarray(silhouette(330, 440)).save("mask.png")
    Path("photos").mkdir()
    for number, name in enumerate(("street", "park")):
        Image.fromarray(photograph(height=96, width=72, seed=number)).save(f"photos/{name}.jpg")
        for person in range(26):  # the first 48 are kept aside to validate on
            write_png(Path("bodies", f"{name}_{person}.png"), silhouette(96, 72, seed=person))
        write_png(Path("visible", f"{name}_0.png"), silhouette(96, 72) & (np.arange(96)[:, None] < 60))
    annotations, images = write_coco(tmp_path / "made", person=True)
    for name in ("coco", "coco/images", "val2017", "coco-people/images", "objects/images"):
        shutil.copytree(images, name)
    for name in (
        "instances.json",
        "instances_val2017.json",
        "coco/instances_train.json",
        "coco-people/people_train.json",
        "objects/instances_train.json",
    ):
        shutil.copy(annotations, name)
    # As a training would have left it.
    Path("runs/mine").mkdir(parents=True)
    shutil.copy("src/deocclude/assets/mask_completion.safetensors", "runs/mine/network.safetensors")
    return tmp_path


def runnable(page: Path) -> list[str]:
    return [line for line in shell_lines(page) if line.startswith("deocclude ") and not line.startswith(tuple(NOT_RUN))]


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=ids)
@pytest.mark.usefixtures("sandbox")
def test_commands_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in [*BEFORE.get(ids(page), []), *runnable(page)]:
        _, verb, *rest = shlex.split(line)
        assert main([verb, *rest, *IN_MINIATURE.get(verb, [])]) == 0, f"{line}\n{capsys.readouterr().err}"


def python_blocks(page: Path) -> list[str]:
    return [text for text in fences(page, "python") if not any(word in text for word in PYTHON_NOT_RUN)]


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=ids)
@pytest.mark.usefixtures("sandbox")
def test_python_lines_run(page: Path) -> None:
    for line in BEFORE.get(ids(page), []):
        assert main(shlex.split(line)[1:]) == 0
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec"), {})


@pytest.mark.quick
def test_the_lists_of_exceptions_are_needed() -> None:
    lines = [line for page in PAGES for line in shell_lines(page)]
    assert [beginning for beginning in NOT_RUN if not any(line.startswith(beginning) for line in lines)] == []
    blocks = [text for page in PAGES for text in fences(page, "python")]
    assert [word for word in PYTHON_NOT_RUN if not any(word in text for text in blocks)] == []
    assert set(BEFORE) <= {ids(page) for page in PAGES}


@pytest.mark.quick
def test_readme_lists_every_command() -> None:
    section = (REPOSITORY / "README.md").read_text("utf-8").partition("\n## Commands\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(VERBS)
