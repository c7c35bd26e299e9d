"""Rows of text as a table in Markdown or LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Format = Literal["markdown", "latex"]
FORMATS: tuple[Format, ...] = ("markdown", "latex")

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "–": "--", "−": "$-$", "…": r"\dots{}",
    "σ": r"$\sigma$", "†": r"\dag{}", "→": r"$\to$", "±": r"$\pm$", "₁": "$_1$", "₂": "$_2$",
}  # fmt: skip
"""Characters that LaTeX reads otherwise, or that its usual fonts lack."""


def table_text(heads: Sequence[str], rows: Sequence[Sequence[str]], style: Format = "markdown") -> str:
    """The table. The first column is text and stands on the left, the others are figures and stand on the right."""
    return markdown(heads, rows) if style == "markdown" else latex(heads, rows)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[index]) for row in (heads, *rows)) for index in range(len(heads))]
    numeric = [index > 0 for index in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    ruler = ("-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True))
    return "\n".join([line(heads), f"| {' | '.join(ruler)} |", *map(line, rows)])


def latex(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A LaTeX tabular with booktabs' rules; the document needs \\usepackage{booktabs}."""
    lines = [" & ".join(map(_escaped, cells)) + r" \\" for cells in (heads, *rows)]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def plain_text(text: str, style: Format = "markdown") -> str:
    """A paragraph of ours: for LaTeX without Markdown's stars and backquotes, and escaped."""
    return text if style == "markdown" else _escaped(re.sub(r"[*`]", "", text))


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
