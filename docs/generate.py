"""Write the tables of stages and weights into the documents, from the catalogue: `python docs/generate.py`.

A test compares the documents with what this would write.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from deocclude.files import human_size
from deocclude.hub import Hub
from deocclude.stages.catalogue import stage_specs, weight_specs
from deocclude.stages.spec import StageSpec
from deocclude.weight_specs import Converted, Shipped, Trained, WeightSpec

ROOT = Path(__file__).resolve().parents[1]


def tables() -> dict[Path, str]:
    """Each document that holds a table, and the table."""
    return {ROOT / "docs" / "baselines.md": stage_table(), ROOT / "WEIGHTS.md": weight_table()}


def written(document: str, table: str) -> str:
    """The document with the table between its two marks."""
    before, begin, rest = document.partition("<!-- generated: python docs/generate.py -->\n")
    _, end, after = rest.partition("<!-- end -->")
    assert begin and end, "a document has its marks"
    return f"{before}{begin}{table}{end}{after}"


def stage_table() -> str:
    """A row for each method and floor; a name that is a mask and an RGB stage has two."""
    specs = [spec for kind in ("mask", "RGB") for spec in stage_specs(kind).values()]
    specs = [spec for spec in specs if spec.role in ("method", "floor")]
    names = list(dict.fromkeys(spec.name for spec in sorted(specs, key=lambda spec: not spec.listed)))
    specs.sort(key=lambda spec: names.index(spec.name))
    return _table(("name", "stage", "method", "reads", "weights", "licence"), map(_stage_row, specs))


def weight_table() -> str:
    """A row for each weights that are neither in the package nor the user's own."""
    specs = [spec for spec in weight_specs().values() if not isinstance(spec.source, (Shipped, Trained))]
    return _table(("weights", "of", "licence"), ((f"`{spec.name}`", spec.what, spec.licence) for spec in specs))


def _stage_row(spec: StageSpec) -> tuple[str, ...]:
    reads = ", ".join(sorted(spec.accepts - {"generator"}))
    method = ": ".join(filter(None, (spec.paper, spec.note)))
    weights = "; ".join(map(_how, spec.weights)) or "none"
    return f"`{spec.name}`", spec.kind, method, reads.replace("_", " ") or "–", weights, spec.licence


def _how(spec: WeightSpec) -> str:
    if isinstance(spec.source, Hub):
        return f"`{spec.name}`: hub, {human_size(spec.size)}"
    if isinstance(spec.source, Converted):
        return f"`{spec.name}`: `deocclude weights convert`"
    if isinstance(spec.source, Trained):
        return f"`{spec.name}`: `{spec.source.command}`"
    return "in the package"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    for path, table in tables().items():
        path.write_text(written(path.read_text("utf-8"), table), "utf-8")
        print(path)
