"""Writer of a folder of whole people, as `synthesize --people` and `train --people` read it (see data/ccp.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deocclude.data.folder_writing import FolderWriter
from deocclude.data.label_maps import NOT_SCORED, PERSON
from deocclude.data.occlusion_set import OcclusionSample
from deocclude.errors import InputError


class PeopleFolderWriter(FolderWriter):
    """Writes whole people whole or not at all: `with PeopleFolderWriter(root) as writer: writer.write(sample)`.

    Everybody belongs to the split `train`, and joints.json is empty: nobody looked for joints.

    Raises InputError for a place that is taken or cannot be written, for an id used twice, and for a person of whom
    the whole picture or the whole mask is unknown.
    """

    kind = "a folder of people"
    parts = frozenset({"index.csv", "joints.json", "images", "masks", "parsing"})

    def __init__(self, root: str | Path, *, overwrite: bool = False) -> None:
        super().__init__(root, overwrite=overwrite)
        self.rows: dict[str, dict[str, str]] = {}

    def write(self, sample: OcclusionSample) -> None:
        """Add one person, without the occluder."""
        if sample.id in self.rows:
            raise InputError(f"{self.root}: '{sample.id}' was written already")
        if sample.whole is None or not sample.is_amodal_known:
            raise InputError(f"{sample.id}: nobody knows the picture without the occluder, or the whole mask")
        height, width = sample.amodal.shape
        labels = sample.amodal * np.uint8(PERSON) + sample.not_scored * np.uint8(NOT_SCORED)
        self.save("images", f"{sample.id}.webp", sample.whole)
        self.save("masks", f"{sample.id}.png", labels)
        if sample.parsing is not None:
            self.save("parsing", f"{sample.id}.png", sample.parsing)
        # The reader takes a parsing to be there where people drew the mask.
        source = "pseudo" if sample.parsing is None else "annotated"
        columns = {"id": sample.id, "split": "train", "mask_source": source}
        self.rows[sample.id] = {**columns, "width": str(width), "height": str(height)}

    def finish(self) -> None:
        """Write the index."""
        self.save_table("index.csv", self.rows.values(), ("id", "split", "mask_source", "width", "height"))
        self.save_text("joints.json", "{}\n")
