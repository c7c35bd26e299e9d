"""The diagrams of docs/ are those that their scripts draw."""

from __future__ import annotations

import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

DIAGRAMS = Path(__file__).resolve().parents[1] / "docs" / "diagrams"


@pytest.mark.parametrize("script", sorted(DIAGRAMS.glob("*.py")), ids=lambda script: script.stem)
def test_the_committed_drawing_is_the_scripts(script: Path) -> None:
    drawn = runpy.run_path(str(script))[script.stem]() + "\n"
    assert script.with_suffix(".svg").read_text("utf-8") == drawn, "run make diagrams"
    assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
