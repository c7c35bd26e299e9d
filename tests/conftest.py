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
TESTS = REPOSITORY / "tests"

QUICK = """
    annotations batch_manifest canvas checkpoints cli_main cli_weights coco cocoa compositing config_args
    control crops deoccluder detections devices diagrams feedforward_stages files finished images imports joint_heatmaps
    layers_marking layers_openraster layers_scene_json layers_stacking mask_completion mask_folders metrics_masks
    metrics_paired metrics_pictures occlusion_order occlusion_set outputs plausibility scene scene_outputs score_person
    synthesis trivial web_drawing weight_specs weights
"""
"""Test files whose tests are `quick`: every part of the package, and none that trains, starts processes or a browser.

Single tests of other files carry the mark themselves.
"""
NOT_QUICK = {"test_24_megapixels", "test_every_network_is_built_from_its_header"}
"""Tests of these files that take too long for it."""


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the files in QUICK."""
    quick = {f"test_{name}" for name in QUICK.split()}
    if renamed := quick - {path.stem for path in TESTS.rglob("test_*.py")}:
        raise pytest.UsageError(f"QUICK in tests/conftest.py names no test file: {sorted(renamed)}")
    for item in items:
        if item.path.stem in quick and item.name.partition("[")[0] not in NOT_QUICK:
            item.add_marker(pytest.mark.quick)


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
