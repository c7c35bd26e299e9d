"""Package metadata that depends on where the project is published.

The links of README.md are relative, so that they work in a clone, on a branch and in a fork. A package index shows the
README without the files it links to. A build for an index therefore sets DEOCCLUDE_REPOSITORY_URL
(https://HOST/OWNER/NAME, as the workflow publish.yml does) and DEOCCLUDE_REPOSITORY_REF (a tag; else `main`): the links
become absolute, and the project's URLs are filled in.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE_LINK = re.compile(r"(?P<before>(?P<image>!?)\[[^]]*\]\()(?P<target>(?![a-z]+:|#)[^)\s]+)\)")


def absolute_links(markdown: str, url: str, ref: str) -> str:
    """Markdown whose relative links and images point into the repository at `url`, at the tag or branch `ref`."""

    def absolute(link: re.Match[str]) -> str:
        view = "raw" if link["image"] else "blob"
        return f"{link['before']}{url}/{view}/{ref}/{link['target']})"

    return RELATIVE_LINK.sub(absolute, markdown)


class CustomMetadataHook(MetadataHookInterface):
    """Fills in `readme` and `urls`, which pyproject.toml declares dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add both to the metadata of a build."""
        readme = Path(self.root, "README.md").read_text("utf-8")
        url = os.environ.get("DEOCCLUDE_REPOSITORY_URL", "").rstrip("/")
        if url:
            readme = absolute_links(readme, url, os.environ.get("DEOCCLUDE_REPOSITORY_REF", "main"))
            metadata["urls"] = {"Source": url, "Issues": f"{url}/issues", "Documentation": f"{url}/tree/main/docs"}
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
