"""MkDocs hook: pages of the site whose text lies elsewhere in the repository, or is made from the code.

Pages link to one another as files of the repository, so that the links work in a clone too. Where a file has another
place on the site, its links are rewritten; a link to a file that is not on the site fails a strict build.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
from contextlib import redirect_stdout, suppress
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from deocclude.cli.main import VERBS, main

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE_OF = {
    "index.md": "README.md",
    "weights.md": "WEIGHTS.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "code-of-conduct.md": "CODE_OF_CONDUCT.md",
    "comfyui.md": "integrations/comfyui/README.md",
    "LICENSE.txt": "LICENSE",
    "CITATION.cff": "CITATION.cff",
}
"""Place on the site → file of the repository outside docs/."""
PLACE_OF = {source: place for place, source in SOURCE_OF.items()}

LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for place, source in SOURCE_OF.items():
        files.append(File.generated(config, place, content=(REPOSITORY / source).read_text("utf-8")))
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page from places in the repository to places on the site."""
    here = page.file.src_uri
    source_folder = posixpath.dirname(SOURCE_OF.get(here, f"docs/{here}"))

    def on_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(source_folder, link[2]))
        place = PLACE_OF.get(target, target.removeprefix("docs/"))
        return link[1] + posixpath.relpath(place, posixpath.dirname(here) or ".")

    return LINK.sub(on_site, markdown)


def commands_page() -> str:
    """`deocclude COMMAND --help` of all commands."""
    os.environ["COLUMNS"] = "100"  # argparse's width, whatever terminal this is
    sections = [f"## {verb}\n\n```text\n{help_of(verb)}```\n" for verb in VERBS]
    return "# Commands\n\nWhat `deocclude COMMAND --help` prints.\n\n" + "\n".join(sections)


def help_of(verb: str) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        main([verb, "--help"])
    return printed.getvalue()
