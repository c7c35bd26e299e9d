"""What a batch promises: nothing that happens to one picture, or to the process, changes what becomes of the others."""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from miniature_batch import (
    WRITE,
    Groups,
    killed_run,
    process_run,
    results,
    rows,
    run,
    start,
    times_recorded,
    write_pictures,
)
from miniatures import photograph, with_red_person, write_png
from PIL import Image

from deocclude.batch.inputs import result_name
from deocclude.batch.manifest import recorded
from deocclude.batch.pictures import ahead
from deocclude.batch.shards import Shard
from deocclude.errors import InputError
from deocclude.pipelines.scene import FoundPeople


def statuses(output: Path) -> dict[str, str]:
    return {Path(one.id).name: one.status for one in recorded(output)}


def test_everybody_is_done(tmp_path: Path) -> None:
    paths, output = write_pictures(tmp_path / "photos"), tmp_path / "out"
    counts = run(tmp_path / "photos", output)
    assert counts == {"done": 7, "no-person": 1}
    by_name = {Path(one.id).name: one for one in recorded(output)}
    assert [by_name[path.name].people for path in paths] == [1, 2, 0, 3, 1, 1, 2, 1]
    assert sum(len(one.files) for one in by_name.values()) == len(results(output))
    for one in by_name.values():
        assert {path.name for path in (output / result_name(one.id)).glob("*")} == set(one.files)
        assert one.seconds > 0


def test_results_hold_no_times(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos")
    for output in ("a", "b"):
        run(tmp_path / "photos", tmp_path / output)
    assert results(tmp_path / "a") == results(tmp_path / "b")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    described = next((tmp_path / "a").glob("*/scene.json")).read_text()
    assert "seconds" not in described and json.loads(described)["input"]["file"].startswith("photo_")


def test_people_of_several_pictures_share_a_batch_and_come_out_as_alone(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos")
    together, alone = Groups(batch_size=3), Groups(batch_size=1)
    run(tmp_path / "photos", tmp_path / "together", together)
    run(tmp_path / "photos", tmp_path / "alone", alone)
    assert together.seen == [[1, 2], [3], [1, 1], [2, 1]]
    assert alone.seen == [[1], [2], [3], [1], [1], [2], [1]]
    for one in ("person_1_amodal.png", "completed.png"):
        for path in (tmp_path / "alone").glob(f"*/{one}"):
            other = tmp_path / "together" / path.relative_to(tmp_path / "alone")
            values, others = (np.array(Image.open(p)).astype(int) for p in (path, other))
            assert (np.abs(values - others) > 1).mean() < 1e-3  # rounding in batches of another size


def test_large_pictures_do_not_share(tmp_path: Path) -> None:
    from miniature_batch import BatchWorker, Manifest, find_items, run_batch

    write_pictures(tmp_path / "photos", (1, 1, 1))
    groups, output = Groups(), tmp_path / "out"
    with Manifest(output, {}) as manifest:
        worker = BatchWorker(groups, WRITE, output, output / ".staging", max_pixels=2 * 64 * 96)
        run_batch(find_items([tmp_path / "photos"], output=output), worker, manifest)
    assert groups.seen == [[1, 1], [1]]


def test_bad_files_do_not_end_a_run(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    good = write_pictures(photos, (1, 1, 1))
    (photos / "empty.png").touch()
    (photos / "text.jpg").write_text("no picture")
    (photos / "half.png").write_bytes(good[0].read_bytes()[:1000])
    assert run(photos, tmp_path / "out") == {"done": 3, "failed": 3}
    errors = {Path(one.id).name: one.error for one in recorded(tmp_path / "out") if one.error}
    assert (
        "0 bytes" in errors["empty.png"] and "not a picture" in errors["text.jpg"] and "damaged" in errors["half.png"]
    )
    for path in set(photos.iterdir()) - set(good):
        path.unlink()
    run(photos, tmp_path / "clean")
    assert results(tmp_path / "out") == results(tmp_path / "clean")


class Crashing(Groups):
    """Falls over pictures with three people."""

    def refuse(self, found: Sequence[FoundPeople]) -> None:
        if any(len(one.subjects) == 3 for one in found):
            raise RuntimeError("three is\na crowd")


def test_a_crash_is_recorded_and_the_others_of_its_group_are_done(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", (1, 3, 2))
    crashing = Crashing(batch_size=8)
    assert run(tmp_path / "photos", tmp_path / "out", crashing) == {"done": 2, "failed": 1}
    assert crashing.seen == [[1], [2]]
    (failed,) = [one for one in recorded(tmp_path / "out") if one.status == "failed"]
    assert failed.error == "RuntimeError: three is a crowd" and failed.input_sha256 and not failed.files


def test_failures_are_kept_until_they_are_to_be_tried_again(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", (1, 3))
    output = tmp_path / "out"
    run(tmp_path / "photos", output, Crashing())
    assert run(tmp_path / "photos", output) == {"kept": 2}
    assert run(tmp_path / "photos", output, retry_failed=True) == {"done": 1, "kept": 1}
    assert set(statuses(output).values()) == {"done"}


def test_changed_inputs_and_lost_results_are_done_again(tmp_path: Path) -> None:
    first, second, third = write_pictures(tmp_path / "photos", (1, 1, 1))
    output = tmp_path / "out"
    run(tmp_path / "photos", output)
    write_png(first, with_red_person(photograph(seed=9), (10, 10, 30, 40))[0])
    next(output.glob(f"{second.stem}_*/overview.png")).unlink()
    assert run(tmp_path / "photos", output) == {"done": 2, "kept": 1}
    write_png(third, photograph(seed=9))
    assert run(tmp_path / "photos", output) == {"no-person": 1, "kept": 2}
    assert not list(output.glob(f"{third.stem}_*"))  # what it was before is no longer true


class Small(Groups):
    """A device with room for so many people."""

    room = 2
    error: type[Exception] = torch.OutOfMemoryError

    def refuse(self, found: Sequence[FoundPeople]) -> None:
        if min(self.batch_size, sum(len(one.subjects) for one in found)) > self.room:
            if self.error is InputError:  # as devices.enough_memory puts it
                raise InputError("not enough memory") from torch.OutOfMemoryError("CUDA out of memory")
            raise self.error("no memory")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, InputError])
def test_lack_of_memory_halves_the_batch(tmp_path: Path, error: type[Exception]) -> None:
    write_pictures(tmp_path / "photos", (1, 1, 1, 1, 1, 3))
    small = Small(batch_size=8)
    small.error = error
    assert run(tmp_path / "photos", tmp_path / "out", small) == {"done": 6}
    assert small.seen == [[1], [1, 1], [1, 1, 3]]  # eight are too many, then four, and so from there on two
    assert small.batch_size == 2


def test_a_picture_that_never_fits_fails_alone(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", (1, 1))
    small = Small(batch_size=4)
    small.room = 0
    assert run(tmp_path / "photos", tmp_path / "out", small) == {"failed": 2}
    assert small.batch_size == 1 and small.seen == []


def test_too_many_failures_stop_a_run(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_pictures(photos, (1,))
    for number in range(60):
        (photos / f"bad_{number:02}.jpg").touch()
    with pytest.raises(InputError, match=r"20 of 20 pictures failed, more than --max-failure-rate 0\.5"):
        run(photos, tmp_path / "out", max_failure_rate=0.5)
    assert len(recorded(tmp_path / "out")) == 20
    assert run(photos, tmp_path / "out") == {"kept": 20, "failed": 40, "done": 1}
    assert run(photos, tmp_path / "out", max_failure_rate=0.0) == {"kept": 61}
    with pytest.raises(InputError, match="20 of 20"):
        run(photos, tmp_path / "out", max_failure_rate=0.99, retry_failed=True)


def test_a_few_pictures_are_judged_at_the_end(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", (1,))
    (tmp_path / "photos" / "bad.jpg").touch()
    with pytest.raises(InputError, match="1 of 2 pictures failed"):
        run(tmp_path / "photos", tmp_path / "out", max_failure_rate=0.4)
    assert sorted(statuses(tmp_path / "out").values()) == ["done", "failed"]


def test_a_full_disk_ends_a_run_and_is_no_pictures_fault(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", (1, 1))

    def full(*_: Any) -> Path:
        raise InputError("cannot write the results") from OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="nothing can be written there"):
        run(tmp_path / "photos", tmp_path / "out", write=full)
    assert recorded(tmp_path / "out") == []
    assert run(tmp_path / "photos", tmp_path / "out") == {"done": 2}


@pytest.mark.parametrize("at", [1, 2, 4, 7])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, at: int) -> None:
    """Killed while it writes: of the 1st picture, inside a group, at the end of one, of the last."""
    write_pictures(tmp_path / "photos")
    (tmp_path / "photos" / "photo_3b.png").write_text("broken")
    output = tmp_path / "out"
    killed = start(killed_run, tmp_path / "photos", output, at)
    assert killed.wait(600) == -signal.SIGKILL, killed.stderr and killed.stderr.read()
    whole = len([one for one in recorded(output) if one.status == "done"])
    assert whole < at <= 7

    counts = run(tmp_path / "photos", output)
    assert counts["done"] == 7 - whole and counts["kept"] >= whole
    run(tmp_path / "photos", tmp_path / "uninterrupted")
    assert results(output) == results(tmp_path / "uninterrupted")
    assert rows(output) == rows(tmp_path / "uninterrupted")


def test_shards_share_the_pictures_and_a_whole_run_afterwards_has_nothing_to_do(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", (1,) * 12)
    output = tmp_path / "out"
    done = [run(tmp_path / "photos", output, shard=Shard(index, 3))["done"] for index in range(3)]
    assert sum(done) == 12 and max(done) < 12
    assert set(times_recorded(output).values()) == {1}
    assert run(tmp_path / "photos", output) == {"kept": 12}


def test_processes_of_a_launcher_share_the_pictures(tmp_path: Path) -> None:
    """What `accelerate launch` and torchrun do: the same command several times, with its number in the environment."""
    write_pictures(tmp_path / "photos", (1,) * 8)
    started = [
        start(process_run, tmp_path / "photos", tmp_path / "out", RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
        for rank in range(2)
    ]
    for process in started:
        assert process.wait(600) == 0, process.stderr and process.stderr.read()
    assert len(times_recorded(tmp_path / "out")) == 8 and set(times_recorded(tmp_path / "out").values()) == {1}
    assert len(list((tmp_path / "out").glob("manifest-*.sqlite"))) == 2
    run(tmp_path / "photos", tmp_path / "alone", Groups(batch_size=1))
    assert set(results(tmp_path / "out")) == set(results(tmp_path / "alone"))


def test_pictures_are_opened_ahead_in_their_order_and_no_more_than_needed() -> None:
    asked: list[int] = []

    def given() -> Any:
        for number in range(100):
            asked.append(number)
            yield number

    made = ahead(lambda number: number * 2, given(), depth=4)
    assert [next(made) for _ in range(3)] == [0, 2, 4]
    assert len(asked) <= 3 + 4
    assert list(made) == [number * 2 for number in range(3, 100)]
