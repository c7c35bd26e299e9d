"""A batch in one process: pictures opened ahead, completed together, recorded as they are done."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tqdm import tqdm

from deocclude.batch.inputs import Item
from deocclude.batch.manifest import Manifest, Outcome
from deocclude.batch.pictures import Picture, ahead, open_picture
from deocclude.batch.worker import BatchWorker
from deocclude.errors import InputError

PICTURES_AHEAD = 4
ENOUGH_TO_JUDGE = 20
"""Before so many pictures a share of failures says nothing."""


def run_batch(
    items: Sequence[Item],
    worker: BatchWorker,
    manifest: Manifest,
    *,
    retry_failed: bool = False,
    max_failure_rate: float | None = None,
) -> Counter[str]:
    """Do what the manifest does not have, and record it. Returns how many pictures were "done", had "no-person", have
    "failed", and were "kept" as an earlier run left them.

    Raises InputError where more than `max_failure_rate` of the pictures tried have failed, and where nothing can be
    written any more.
    """
    progress = Progress(len(items), manifest.shard.tag)

    def settle() -> Iterator[tuple[Item, str | None]]:
        for item in items:
            yield item, manifest.settled(item.id, retry_failed=retry_failed)

    opened = ahead(lambda given: open_picture(*given), settle(), depth=PICTURES_AHEAD)
    with progress:
        record(worker(progress.new_ones(opened)), manifest, progress, max_failure_rate)
    return progress.counts


def record(
    groups: Iterable[list[Outcome]], manifest: Manifest, progress: Progress, max_failure_rate: float | None
) -> None:
    """Record groups of outcomes as they come. Raises InputError once too many have failed."""
    for outcomes in groups:
        manifest.record(outcomes)
        progress.show(outcomes)
        check_failures(progress.counts, max_failure_rate, at_least=ENOUGH_TO_JUDGE)
    check_failures(progress.counts, max_failure_rate)


def check_failures(counts: Counter[str], max_failure_rate: float | None, *, at_least: int = 1) -> None:
    """Raise InputError where more than this share of at least so many pictures has failed."""
    tried = counts.total() - counts["kept"]
    if max_failure_rate is None or tried < at_least or counts["failed"] <= max_failure_rate * tried:
        return
    raise InputError(
        f"{counts['failed']} of {tried} pictures failed, more than --max-failure-rate {max_failure_rate:g}; "
        "--summary says why, and what is done is kept"
    )


class Progress:
    """Counts, and a bar with pictures per second and the time left."""

    def __init__(self, total: int, title: str) -> None:
        self.counts: Counter[str] = Counter()
        title = "batch" if title == "all" else f"batch {title}"
        self._bar = tqdm(total=total, desc=title, unit="picture", smoothing=0, file=sys.stderr)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def new_ones(self, opened: Iterable[Picture | Outcome | None]) -> Iterator[Picture | Outcome]:
        """Those that are not None, the pictures that an earlier run has settled."""
        for one in opened:
            if one is None:
                self.keep(1)
            else:
                yield one

    def keep(self, count: int) -> None:
        """Count pictures that need not be done: they say nothing about the speed."""
        self.counts["kept"] += count
        self._bar.initial += count
        self._bar.update(count)

    def show(self, outcomes: Iterable[Outcome]) -> None:
        """Count pictures that were tried."""
        new = Counter(outcome.status for outcome in outcomes)
        self.counts += new
        told = {name: self.counts[name] for name in ("failed", "no-person") if self.counts[name]}
        self._bar.set_postfix(told, refresh=False)
        self._bar.update(new.total())
