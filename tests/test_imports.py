"""Laws of the layout, read from the source: who may import whom, and what a layer keeps its hands off."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "deocclude"
SOURCES = sorted(PACKAGE.rglob("*.py"))

LEVELS = (
    "types masks mask_levels images skeletons crops parsing files devices errors",
    "models conditioning data metrics weights weight_specs imagenet hub checkpoints tfjs",
    "stages",
    "evaluation training pipelines downstream layers",
    "cli web batch",
)
"""Lowest first. A module imports from its own level and from the levels below it."""

FILE_MODULES = {
    "PIL",
    "cv2",
    "imageio",
    "io",
    "os",
    "pathlib",
    "safetensors",
    "shutil",
    "skimage",
    "tempfile",
}
FILE_CALLS = {"open", "torch.load", "torch.save", "np.load", "np.save", "numpy.load", "numpy.save"}


def level_of(part: str) -> int:
    found = [index for index, names in enumerate(LEVELS) if part in names.split()]
    assert found, f"deocclude.{part} has no place in LEVELS"
    return found[0]


def module_name(source: Path) -> str:
    return ".".join(("deocclude", *source.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def part_of(module: str) -> str:
    """`models` of `deocclude.models.feedforward.hourglass`."""
    return module.split(".")[1]


def imported_modules(tree: ast.AST, source: Path) -> Iterator[str]:
    """Dotted names a file imports, those inside functions and `TYPE_CHECKING` included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute_base(node, source)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def absolute_base(node: ast.ImportFrom, source: Path) -> str:
    name = "." * node.level + (node.module or "")
    package = module_name(source) if source.name == "__init__.py" else module_name(source).rpartition(".")[0]
    return importlib.util.resolve_name(name, package)


def called_names(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def forbidden_imports(source: Path, text: str) -> list[str]:
    """Imports of `source` that point upwards, or out of a model to anything but the lowest level."""
    part = part_of(module_name(source))
    found = []
    for name in imported_modules(ast.parse(text), source):
        if not name.startswith("deocclude.") or name == "deocclude.__version__" or part_of(name) == part:
            continue
        limit = 0 if part == "models" else level_of(part)
        if level_of(part_of(name)) > limit:
            found.append(name)
    return found


def below_the_root() -> list[Path]:
    return [source for source in SOURCES if source != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("source", below_the_root(), ids=module_name)
def test_imports_point_downwards(source: Path) -> None:
    assert forbidden_imports(source, source.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("models/layers.py", "from deocclude.data import synthesis"),
        ("models/layers.py", "from ..weights import load_network"),
        ("masks.py", "import deocclude.models.layers"),
        ("pipelines/outputs.py", "def f():\n    from deocclude.cli.main import VERBS"),
        ("data/coco.py", "from deocclude import pipelines"),
    ],
)
def test_an_upward_import_is_noticed(place: str, line: str) -> None:
    assert len(forbidden_imports(PACKAGE / place, line)) == 1


@pytest.mark.parametrize("source", sorted((PACKAGE / "models").rglob("*.py")), ids=module_name)
def test_models_read_no_files(source: Path) -> None:
    tree = ast.parse(source.read_text("utf-8"))
    assert {name.partition(".")[0] for name in imported_modules(tree, source)} & FILE_MODULES == set()
    assert called_names(tree) & FILE_CALLS == set()


@pytest.mark.parametrize("source", SOURCES, ids=module_name)
def test_only_the_command_line_prints_and_nobody_spells_cuda(source: Path) -> None:
    names = called_names(ast.parse(source.read_text("utf-8")))
    assert not any(name.endswith(".cuda") for name in names)
    if source.parent != PACKAGE / "cli":
        assert names & {"print", "logging.basicConfig"} == set()


def test_methods_are_found_without_importing_torch() -> None:
    """Their names, weights and options, before anything is loaded."""
    program = (
        "import sys\n"
        "from deocclude.stages import catalogue, memory, presets, weights_file\n"
        "assert catalogue.stage_specs('mask') and catalogue.stage_specs('RGB') and catalogue.weight_specs()\n"
        "assert presets.presets() and catalogue.stages_with_option()\n"
        "assert not {'torch', 'diffusers', 'transformers', 'PIL'} & {*sys.modules}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_stage_is_asked_what_it_happens_to_have() -> None:
    """What a stage can do is declared (`types`): no attribute of one is looked for, and none tells it by its class."""
    asked = re.compile(r"(getattr|hasattr|isinstance)\([^)]*(stage|completer)", re.IGNORECASE)
    found = [source.name for source in SOURCES if asked.search(source.read_text("utf-8"))]
    assert found == []


def test_helpers_have_a_subject() -> None:
    assert [source for source in SOURCES if source.stem in {"utils", "util", "helpers", "common", "misc"}] == []
