"""Whether a training run is over: `train` writes its weights at every validation, long before the end."""

from __future__ import annotations

import csv
import json
from pathlib import Path


def is_finished(run: Path) -> bool:
    """Whether the run in this folder has done all its steps; False where there is none."""
    try:
        steps = json.loads((run / "run.json").read_text())["training"]["steps"]
        with (run / "validation.csv").open(newline="") as file:
            done = max((int(row["step"]) for row in csv.DictReader(file)), default=0)
    except (OSError, KeyError, TypeError, ValueError):
        return False
    return bool(done >= steps) and (run / "network.safetensors").exists()
