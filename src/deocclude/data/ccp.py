"""Reader of the CCP folder: street photographs of one unoccluded person each.

index.csv        id, split, mask_source
images/ID.webp
masks/ID.png     255 person, 128 a carried bag (neither person nor background), 0 background
parsing/ID.png   LIP-20, 255 ignore; only beside hand-annotated masks
joints.json      BODY_25 as [x, y, confidence] in pixels
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from deocclude.data.keypoint_files import read_joints
from deocclude.data.people import PersonSample, load_person, read_index
from deocclude.skeletons import NUM_JOINTS

COLUMNS = {"id", "split", "mask_source"}


@dataclass(frozen=True, eq=False)
class CcpRecord:
    """Where one photograph lies, and what the index says about it.

    parsing_path: None where a person segmenter made the mask and nobody labelled parts.
    joints: BODY_25, float32 (25, 3) of x, y in pixels and confidence in [0, 1]; zeros where nobody found them.
    """

    id: str
    image_path: Path
    mask_path: Path
    parsing_path: Path | None
    joints: np.ndarray

    def load(self) -> PersonSample:
        """Read the pictures. Raises InputError that names the file."""
        return load_person(self.image_path, self.mask_path, self.parsing_path)


def read_ccp(root: Path, split: Literal["train", "val"]) -> list[CcpRecord]:
    """The records of one split, in the order of the index. InputError for a folder that is not CCP's."""
    root = Path(root)
    joints = read_joints(root / "joints.json")
    rows = read_index(root / "index.csv", COLUMNS)
    return [_record(root, row, joints) for row in rows if row["split"] == split]


def _record(root: Path, row: dict[str, str], joints: dict[str, np.ndarray]) -> CcpRecord:
    id = row["id"]
    return CcpRecord(
        id=id,
        image_path=root / "images" / f"{id}.webp",
        mask_path=root / "masks" / f"{id}.png",
        parsing_path=root / "parsing" / f"{id}.png" if row["mask_source"] == "annotated" else None,
        joints=joints.get(id, np.zeros((NUM_JOINTS, 3), np.float32)),
    )
