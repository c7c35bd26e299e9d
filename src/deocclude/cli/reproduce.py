"""`deocclude reproduce`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError

if TYPE_CHECKING:
    from deocclude.evaluation.papers.tables import Table
    from deocclude.evaluation.reproduce import Job, Places

HELP = "One command a table of the papers: runs what is missing and can be run, prints ours beside theirs."
EXAMPLE = """
deocclude reproduce --list
deocclude reproduce bench --data bench/
deocclude reproduce bench --data bench/ --rows 'picture-*' --overwrite
deocclude reproduce a-table-4 --data ahp-real=AHP/real/ --device cuda --format latex
deocclude reproduce a-table-C --plot sigma2.svg
deocclude reproduce --report docs/results.md
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="TABLE", help="its name, see --list")
    parser.add_argument("--list", action="store_true", help="all tables, with what they need")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report of all results, and its curves")
    parser.add_argument(
        "--data",
        type=_named_set,
        action="append",
        default=[],
        metavar="[NAME=]SET",
        help="an occlusion set to run on (again for another); without one nothing is run. NAME is the folder's",
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="score files, small and committed"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("runs/reproduce"), metavar="DIR", help="predictions and trainings"
    )
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="only these rows; * stands for anything")
    parser.add_argument("--overwrite", action="store_true", help="run again what has a result")
    parser.add_argument("--device", default="cpu", help="that 'predict' runs on: cpu, cuda, …")
    parser.add_argument("--format", choices=("markdown", "latex"), default="markdown", help="of the table")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the table's curve: .png or .svg")


def run(args: argparse.Namespace) -> int:
    asked = [bool(args.name), args.list, args.report is not None]
    if sum(asked) != 1:
        raise InputError("say one of: a table's name, --list, --report FILE")
    if args.list:
        return _list_tables()
    if args.report:
        from deocclude.evaluation.report import write_report

        print("written: " + ", ".join(map(str, write_report(args.results, args.report))))
        return 0
    return _reproduce(args)


def _reproduce(args: argparse.Namespace) -> int:
    from deocclude.evaluation.ablations import read_ablations
    from deocclude.evaluation.papers import find_table
    from deocclude.evaluation.plots import draw_curve
    from deocclude.evaluation.reproduce import Places, obstacles, open_jobs
    from deocclude.evaluation.results import read_runs

    table = find_table(args.name)
    places = Places(results=args.results, work=args.work, sets=dict(args.data))
    jobs = open_jobs(table, places, rows=args.rows, overwrite=args.overwrite)
    waiting = {place: found for place, job in enumerate(jobs) if (found := obstacles(job)) and not _is_kept(job, args)}
    ready = [job for place, job in enumerate(jobs) if place not in waiting]
    code = 0
    for number, job in enumerate(ready, start=1):
        print(f"{number} of {len(ready)}: {table.name}, {job.row.name}, on {job.set_name}", flush=True)
        code = max(code, _run_job(job, args))
    if ready:
        print()
    _print_table(table, places, args)
    if waiting:
        _print_waiting({place: jobs[place] for place in waiting}, waiting)
    if args.plot:
        draw_curve(table, read_runs(args.results, table) or read_ablations(args.results, table), args.plot)
        print(f"\nwritten: {args.plot}")
    return code


def _is_kept(job: Job, args: argparse.Namespace) -> bool:
    """Whether predictions lie there scored, by commands typed elsewhere, and are only to be kept."""
    return job.is_scored and not args.overwrite


def _run_job(job: Job, args: argparse.Namespace) -> int:
    """Predict, score and keep; what `predict` has done it does not do again, unless told to."""
    from deocclude.cli import predict, score
    from deocclude.evaluation.results import keep_scores

    if not _is_kept(job, args):
        arguments = [*job.predict_arguments(), "--device", args.device, *(["--overwrite"] if args.overwrite else [])]
        for verb, words in ((predict, arguments), (score, job.score_arguments())):
            parser = argparse.ArgumentParser()
            verb.add_arguments(parser)
            if code := verb.run(parser.parse_args(words)):
                return code  # some people's files cannot be read: what it printed says which
    keep_scores(job.predictions, job.result)
    return 0


def _print_table(table: Table, places: Places, args: argparse.Namespace) -> None:
    from deocclude.evaluation.ablations import read_ablations, read_floor, scale_and_cost
    from deocclude.evaluation.beside_paper import beside_paper, differing_sets, not_here, order_lines
    from deocclude.evaluation.formats import plain_text
    from deocclude.evaluation.results import read_runs

    runs, small = read_runs(places.results, table), read_ablations(places.results, table)
    for some in [one for one in (runs, small) if one] or [runs]:
        notes = [table.note] if table.note else []
        notes += [scale_and_cost(table, small)] if some is small else []
        shown = [*some, *(read_floor(places.results, table, small) if some is small else [])]
        notes += [*(f"not here: {sentence}" for sentence in not_here(some)), *differing_sets(shown)]
        text = beside_paper(table, shown, args.format)
        print("\n\n".join([text, *(plain_text(one, args.format) for one in notes)]))
        if lines := order_lines(table, some, args.format):
            print("\n" + "\n".join(lines))
        print()


def _print_waiting(jobs: dict[int, Job], why: dict[int, list[str]]) -> None:
    """What the rows left lack, each sentence once, and the commands for them."""
    from deocclude.evaluation.ablations import TABLES as SMALL
    from deocclude.evaluation.reproduce import commands

    print("\nnot run here:")
    sentences: dict[str, list[str]] = {}
    for place, job in jobs.items():
        for sentence in why[place]:
            sentences.setdefault(sentence, []).append(job.row.name)
    for sentence, rows in sentences.items():
        print(f"  {', '.join(dict.fromkeys(rows))}: {sentence}")
    lines = dict.fromkeys(line for job in jobs.values() for line in commands(job))
    if lines:
        print("\nthe commands, once that is there; then this one again, which collects the scores:")
        print("\n".join(f"  {line}" for line in lines))
    trials = [SMALL.get(job.table.name, {}).get(job.row.name) for job in jobs.values()]
    if named := list(dict.fromkeys(filter(None, trials))):
        print("\nor small, in minutes (docs/training.md):")
        print(f"  deocclude ablate {' '.join(named)} --people CCP …")


def _list_tables() -> int:
    from deocclude.evaluation.papers import TABLES
    from deocclude.evaluation.papers.tables import SETS

    width = max(map(len, TABLES))
    for table in TABLES.values():
        print(f"{table.name:<{width}}  {table.title}; on {' and '.join(table.sets)}")
        for need in _needs(table):
            print(f"{'':<{width}}    {need}")
    print("\nsets:")
    for name, what in SETS.items():
        print(f"  {name:<9} {what}")
    return 0


def _needs(table: Table) -> list[str]:
    """Weights that are not in the package, by the name that `deocclude weights list` knows, and trainings."""
    from deocclude.evaluation.reproduce import missing_weights

    methods = [row.method for row in table.rows if row.method is not None]
    if not methods:
        return ["nothing of ours runs it"]
    missing = dict.fromkeys(spec.name for method in methods for spec in missing_weights(method))
    trained = sum(bool(row.training) for row in table.rows)
    return [
        *([f"weights not here: {', '.join(missing)} (deocclude weights list)"] if missing else []),
        *([f"{trained} trainings of its own"] if trained else []),
    ]


def _named_set(text: str) -> tuple[str, Any]:
    """'NAME=DIR' or 'DIR', whose name is its folder's."""
    name, equals, folder = text.partition("=")
    path = Path(folder if equals else text)
    return (name if equals else path.resolve().name), path
