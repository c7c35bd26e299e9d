"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, and no test that fails because the machine is slow. `--hypothesis-profile=explore`
# looks for new ones.
STEADY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", derandomize=True, **STEADY)
settings.register_profile("explore", derandomize=False, max_examples=1000, print_blob=True, **STEADY)
settings.load_profile("default")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread() -> None:
    """Miniatures are too small to share out; more threads only contend with whatever else runs."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The project's data folder, not part of the repository; a test that needs it is skipped without it."""
    folder = Path(os.environ.get("DEOCCLUDE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the repository, and DEOCCLUDE_SHARED_DATA names no folder")
    return folder


@pytest.fixture(scope="session")
def recorded() -> Path:
    """Checkpoints and numbers of the original projects' code (`shared/fixtures/README.md`), not part of the repository.

    DEOCCLUDE_SHARED_FIXTURES names another set, of other seeds and widths.
    """
    folder = Path(os.environ.get("DEOCCLUDE_SHARED_FIXTURES", REPOSITORY.parent / "shared" / "fixtures"))
    if not folder.is_dir():
        pytest.skip("no ../shared/fixtures beside the repository, and DEOCCLUDE_SHARED_FIXTURES names no folder")
    return folder
