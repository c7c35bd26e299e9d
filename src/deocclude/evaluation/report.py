"""The report of everything measured, written from `results/` alone: the same files give the same text everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deocclude.evaluation.ablations import TABLES as SMALL
from deocclude.evaluation.ablations import TRIALS, read_ablations, read_floor, scale_and_cost
from deocclude.evaluation.beside_paper import (
    beside_paper,
    differing_sets,
    not_here,
    order_lines,
    our_cell,
    seeds_apart,
)
from deocclude.evaluation.columns import COLUMNS, MASK_TABLE, NETWORK_TABLE, PICTURE_TABLE, SHARES_TABLE, UNKNOWN
from deocclude.evaluation.formats import markdown
from deocclude.evaluation.papers import TABLES
from deocclude.evaluation.papers.bench import BENCH, TOLD
from deocclude.evaluation.papers.tables import SETS, Row, Table
from deocclude.evaluation.plots import draw_curve
from deocclude.evaluation.results import Runs, read_runs
from deocclude.files import written_whole
from deocclude.metrics.averages import RATIO_BINS, photographs_of, pooled_fraction
from deocclude.metrics.paired import paired_difference

_OURS = {"given": "given-feedforward", "picture": "picture-feedforward", "true": "true-feedforward"}
_RAW = "-raw"
_PAIRED = ("invisible_iou", "content_l1", "rgb_l1", "psnr", "feature_distance_efficientnet_lite0")
_BY_RATIO = ("iou", "invisible_iou", "content_l1", "psnr")

_HEAD = """# Results

Written by `deocclude reproduce --report docs/results.md` from the score files in `results/` and the papers' printed
figures in `evaluation/papers/`. Paper A is *Stable Diffusion-Based Approach for Human De-Occlusion* (2025), paper B
*Human De-occlusion: Invisible Perception and Recovery for Humans* (2021).

The bench is {bench}.
Its rows are run by `deocclude reproduce bench --data bench/`. An average weighs every picture equally; in brackets its
95 % bootstrap interval over photographs ({photographs}), and over training seeds where there are
several; *n* is pictures × seeds.

- *mIoU*: mean IoU with the true amodal mask. *mIoU-inv*: that of what is hidden, both masks without the *true* modal
  mask, whatever modal mask was found. *Mask L1*: pixels in which they differ, over those of the true mask; it may
  exceed 1. *Pooled*: intersections and unions summed over all people, which some papers print under the name mIoU.
- *Content L1*: mean colour error, of 1, inside the true hidden region. *RGB L1*, *PSNR*: of the person on white, over
  the whole picture. *Feature distance*: LPIPS' formula without its learned weights, with the network named.
- *KID*: distance of all pictures from all true ones, ± its spread over random subsets. It looks at texture, not at
  whether a picture is like its own truth: an occluder left where it was is real texture, and costs little.

A person in whom a column is undefined (nothing hidden, or no such picture) is left out of it; bags that people carry
are not scored.

Every method goes through the steps of `deocclude run`: slivers along the contour of its mask are dropped, the modal
mask is joined to it, and its colours are drawn towards the visible ones beside them. In rows with
`--raw` slivers stay, and the picture is the stage's own, visible pixels included, white where its mask is not; so it is
for the methods in paper A's tables, and masks in paper B's, but not for the floor below them and the small networks."""

_ORDER = """Paper and ours were measured on different people: compare orders, not levels. A difference is *settled* if
its interval leaves 0 out. The interval knows how people differ; how two trainings of one recipe differ, one seed does
not tell and three tell badly, so that *settled* is said of these networks."""


def write_report(results: Path, path: Path) -> list[Path]:
    """Write the report and its curves beside it (which needs matplotlib if there are any); the files written."""
    curves = _curves(results, path)
    for curve, (table, runs) in curves.items():
        draw_curve(table, runs, curve)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        unfinished.write_text(report_text(results, path), encoding="utf-8")
    return [path, *curves]


def report_text(results: Path, path: Path) -> str:
    """The report as Markdown. path: where it will lie; its curves are called after it."""
    bench = read_runs(results, BENCH)
    parts = [_HEAD.format(bench=SETS["bench"], photographs=_photographs(bench))]
    parts += ["## The bench", *_bench_parts(bench), *_ratio_parts(bench), *_paired_parts(bench), *_provenance(bench)]
    parts += ["## The papers' tables", *_paper_parts(results, path)]
    parts += ["## What is missing, and why", *_missing_parts(results)]
    return "\n\n".join(parts) + "\n"


def _curves(results: Path, path: Path) -> dict[Path, tuple[Table, list[Runs]]]:
    curves = {}
    for table in (table for table in TABLES.values() if table.curve is not None):
        if runs := read_runs(results, table):
            curves[_curve_path(path, table)] = (table, runs)
        if small := read_ablations(results, table):
            curves[_curve_path(path, table, "small-")] = (table, small)
    return curves


def _curve_path(path: Path, table: Table, prefix: str = "") -> Path:
    return path.with_name(f"{path.stem}-{prefix}{table.name}.svg")


def _photographs(bench: Sequence[Runs]) -> str:
    """How many photographs the pictures of the bench were made from."""
    people = next((runs.rows[0] for runs in bench), [])
    return f"{len(people)} pictures were made from {len(set(photographs_of(people)))}"


# --- the bench ----------------------------------------------------------------------------------------------


def _bench_parts(bench: Sequence[Runs]) -> Iterator[str]:
    """What the method is told, one part after another: masks, pictures, what networks make of the pictures."""
    for told, title in TOLD.items():
        rows = _told(bench, told)
        if not rows:
            continue
        yield f"### {title}"
        if told != "true":  # there the masks are the truth
            yield _means_table(rows, MASK_TABLE, pooled=("iou", "invisible_iou"))
        yield _means_table(rows, PICTURE_TABLE)
        if any(np.isfinite(runs.mean(key)) for runs in rows for key in SHARES_TABLE):
            yield "Whole = visible + invisible share, RGB:"
            yield _plain_table(rows, SHARES_TABLE)
        yield _plain_table(rows, NETWORK_TABLE)
    yield from _not_here(bench)


def _not_here(runs: Sequence[Runs], floor: Sequence[Runs] = ()) -> Iterator[str]:
    if sentences := not_here(runs):
        yield "*Not here*: " + " · ".join(sentences)
    yield from (f"**{sentence}**" for sentence in differing_sets([*runs, *floor]))


def _means_table(rows: Sequence[Runs], keys: Sequence[str], *, pooled: Sequence[str] = ()) -> str:
    columns = [COLUMNS[key] for key in keys if any(np.isfinite(runs.values(key)).any() for runs in rows)]
    heads = ["method", *(column.title for column in columns), *(f"{COLUMNS[key].name} pooled" for key in pooled)]
    lines = []
    for runs in rows:
        cells = [our_cell(runs, column, interval=True) for column in columns]
        cells += [_pooled(runs, key) for key in pooled]
        lines.append([_title(runs), *cells, _people(runs, keys)])
    return markdown([*heads, "n"], lines)


def _pooled(runs: Runs, key: str) -> str:
    """Sum of intersections over sum of unions; a dash where the counts were not kept."""
    rows = [row for of_seed in runs.rows for row in of_seed]
    return COLUMNS[key].text(pooled_fraction(rows, key)) if f"{key}_union" in rows[0] else UNKNOWN


def _plain_table(rows: Sequence[Runs], keys: Sequence[str]) -> str:
    """Means without intervals."""
    columns = [COLUMNS[key] for key in keys]
    lines = [[_title(runs), *(our_cell(runs, column) for column in columns)] for runs in rows]
    return markdown(["method", *(column.title for column in columns)], lines)


def _ratio_parts(bench: Sequence[Runs]) -> Iterator[str]:
    yield "### By the share of the person that is hidden"
    for told, title in TOLD.items():
        rows = _told(bench, told)
        keys = [key for key in _BY_RATIO if told != "true" or not COLUMNS[key].name.startswith("mIoU")]
        lines = [
            [_title(runs), f"{low:g}–{high:g}", *(our_cell(part, COLUMNS[key]) for key in keys), str(part.num_people)]
            for runs in rows
            for low, high in RATIO_BINS
            if (part := runs.restricted(low, high)).num_people
        ]
        if lines:
            yield title + ":"
            yield markdown(["method", "hidden", *(COLUMNS[key].title for key in keys), "n"], lines)


def _paired_parts(bench: Sequence[Runs]) -> Iterator[str]:
    """Our own method against the best whose stages learned nothing, then with the steps of `run` against without."""
    by_name = {runs.row: runs for runs in bench}
    lines: list[list[str]] = []
    for told, title in TOLD.items():
        ours = by_name.get(_OURS[told])
        others = [runs for runs in _told(bench, told) if "feedforward" not in runs.row and _RAW not in runs.row]
        if ours is not None and others:
            lines += _paired_lines(ours, others, title)
        for runs in _told(bench, told):
            if (bare := by_name.get(runs.row + _RAW)) is not None:
                lines += _paired_lines(runs, [bare], title)
    if lines:
        yield "### Person by person"
        yield (
            "Ours against the best, in each column, of the methods whose stages learned nothing; "
            "then, with the steps of `deocclude run` against without (`--raw`)."
        )
        yield markdown(["told; compared", "column", "mean difference", "95 %", "better", "worse", "n"], lines)


def _paired_lines(ours: Runs, floor: Sequence[Runs], told: str) -> Iterator[list[str]]:
    for column in (COLUMNS[key] for key in _PAIRED):
        measured = [runs for runs in floor if np.isfinite(runs.mean(column.key))]
        if not measured:
            continue
        other = sorted(measured, key=lambda runs: runs.mean(column.key), reverse=column.higher_is_better)[0]
        ids, other_ids = ([row["id"] for row in one.rows[0]] for one in (ours, other))
        shared = [one for one in ids if one in set(other_ids)]
        values, others = (
            one.values(column.key).mean(axis=0)[[names.index(person) for person in shared]]
            for one, names in ((ours, ids), (other, other_ids))
        )
        photographs = dict(zip(ids, photographs_of(ours.rows[0]), strict=True))
        paired = paired_difference(
            values,
            others,
            [photographs[person] for person in shared],
            higher_is_better=column.higher_is_better,
            rng=np.random.default_rng(0),
        )
        if paired.n and (paired.better or paired.worse):
            compared = f"{told}: {_title(ours)} minus {_title(other)}"
            figures = [column.text(paired.mean, signed=True), column.interval_text(paired.interval, signed=True)]
            yield [compared, column.title, *figures, *(str(count) for count in (paired.better, paired.worse, paired.n))]


def _provenance(bench: Sequence[Runs]) -> Iterator[str]:
    """Which code made the rows, on what machine, and whether our networks were the same in all."""
    summaries = [summary for runs in bench for summary in runs.summaries]
    made = Counter(
        (summary.get("commit") or "unknown", (summary.get("machine") or {}).get("cpu", "unknown"))
        for summary in summaries
    )
    sentences = [f"{count} rows at commit {commit[:12]}{'-dirty' * commit.endswith('-dirty')} on {cpu}"
                 for (commit, cpu), count in sorted(made.items())]  # fmt: skip
    if sentences:
        yield "Made: " + "; ".join(sentences) + "."
    settings = [summary.get("settings") or {} for summary in summaries]
    if len({one.get("weights_sha256", {}).get("conditioning") for one in settings}) > 1:
        yield "**Not all rows were made with the same segmenter**: run the older ones again."
    failed = {runs.row: len(summary["failed"]) for runs in bench for summary in runs.summaries if summary.get("failed")}
    if failed:
        counts = ", ".join(f"{row} {count}" for row, count in failed.items())
        yield f"People to whom a method had no answer, scored as if it had found nothing: {counts}."


def _told(bench: Sequence[Runs], told: str) -> list[Runs]:
    return [runs for runs in bench if runs.row.startswith(f"{told}-") and runs.set_name == "bench"]


def _title(runs: Runs) -> str:
    row = BENCH.row(runs.row)
    return row.title if row is not None else runs.row


def _people(runs: Runs, keys: Sequence[str]) -> str:
    """How many there are, and in how many the scarcest of these columns is defined, if in fewer."""
    counts = [int(np.isfinite(runs.values(key)[0]).sum()) for key in keys]
    scarcest = min((count for count in counts if count), default=runs.num_people)
    return str(runs.num_people) + (f" ({scarcest})" if scarcest < runs.num_people else "")


# --- the papers' tables -------------------------------------------------------------------------------------


def _paper_parts(results: Path, path: Path) -> Iterator[str]:
    tables = [
        (table, read_runs(results, table), read_ablations(results, table))
        for table in TABLES.values()
        if table is not BENCH
    ]
    if not any(runs or small for _, runs, small in tables):
        yield "Nothing has been measured for any of them yet."
        return
    yield _ORDER
    if any(small for _, _, small in tables):
        yield _shared_networks()
    for table, runs, small in tables:
        if runs or small:
            yield f"### `{table.name}`: {table.title}"
            if table.note:
                yield f"{table.note[0].upper()}{table.note[1:]}."
        if runs:
            yield from _beside_paper_parts(table, runs, _curve_path(path, table))
        if small:
            yield scale_and_cost(table, small)
            floor = read_floor(results, table, small)
            yield from _beside_paper_parts(table, small, _curve_path(path, table, "small-"), floor)


def _shared_networks() -> str:
    """The rows of small networks that are one network, seen in several tables."""
    rows: dict[str, list[str]] = {}
    for table, trials in SMALL.items():
        for row, trial in trials.items():
            rows.setdefault(TRIALS[trial].trained_as or trial, []).append(f"`{table}` {row}")
    shared = [" = ".join(names) for names in rows.values() if len(names) > 1]
    return f"Small networks that stand in several rows: {'; '.join(shared)}."


def _beside_paper_parts(table: Table, runs: Sequence[Runs], curve: Path, floor: Sequence[Runs] = ()) -> Iterator[str]:
    yield beside_paper(table, [*runs, *floor])
    yield from _not_here(runs, floor)
    if apart := seeds_apart(table, runs):
        yield "Trainings of one row that ended far apart, seed by seed: " + "; ".join(apart) + "."
    if lines := order_lines(table, runs):
        yield "\n".join(lines)
    if table.curve is not None:
        yield f"![{table.title}]({curve.name})"


def _missing_parts(results: Path) -> Iterator[str]:
    """The papers' rows on the papers' sets that nobody has run: what it takes."""
    lines = []
    for table in TABLES.values():
        runs = read_runs(results, table)
        done = {(one.row, one.set_name) for one in runs}
        left = [row for row in table.rows if any((row.name, set_name) not in done for set_name in table.sets)]
        if left:
            instead = _ours_instead(table, runs, read_ablations(results, table))
            lines.append([f"`{table.name}`", f"{len(left)} of {len(table.rows)}", _needs(table, left), instead])
    if lines:
        yield markdown(["table", "rows not run on its own set", "what it needs", "ours instead"], lines)
        yield "`deocclude reproduce TABLE` prints, for each, the commands that a machine with these needs."
    yield "The sets: " + "; ".join(f"*{name}*: {what}" for name, what in SETS.items()) + "."


def _needs(table: Table, rows: Sequence[Row]) -> str:
    methods = [row.method for row in rows if row.method is not None]
    if not methods:
        return "nothing of ours runs it"
    weights = list(dict.fromkeys(name for method in methods for name in method.weights))
    trained = sum(bool(row.training) for row in rows)
    return "; ".join(
        [
            " and ".join(table.sets),
            *([f"weights: {', '.join(weights)}"] if weights else []),
            *([f"{trained} trainings at the paper's scale"] if trained else []),
        ]
    )


def _ours_instead(table: Table, runs: Sequence[Runs], small: Sequence[Runs]) -> str:
    """What there is of a table on other sets, and of small networks."""
    rows = Counter(one.set_name for one in runs if one.set_name not in table.sets)
    counts = [f"{count} rows on {name}" for name, count in rows.items()]
    return ", ".join([*counts, *([f"{len(small)} rows trained small"] if small else [])]) or UNKNOWN
