"""Where figures come from: the code and the machine. A speed without its machine says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Processor, its cores, PyTorch's version and threads, and the GPU if there is one."""
    import torch

    facts = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def commit() -> str | None:
    """Hash of the commit that runs, with "-dirty" if files changed since; None outside the repository."""
    package = Path(__file__).parent
    # A package installed inside somebody else's repository is no file of that repository.
    if _git(package, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    head = _git(package, "rev-parse", "HEAD")
    is_dirty = bool(_git(package, "status", "--porcelain", "--untracked-files=no"))
    return f"{head}-dirty" if head and is_dirty else head


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
