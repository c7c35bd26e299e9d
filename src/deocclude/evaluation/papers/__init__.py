"""Every table of both papers by name, with the paper's figures and what of ours each row is."""

from __future__ import annotations

import difflib

from deocclude.errors import InputError
from deocclude.evaluation.papers.bench import BENCH
from deocclude.evaluation.papers.paper_a_masks import MASK_TABLES
from deocclude.evaluation.papers.paper_a_pictures import PICTURE_TABLES
from deocclude.evaluation.papers.paper_b import PAPER_B_TABLES
from deocclude.evaluation.papers.tables import Table

TABLES: dict[str, Table] = {
    table.name: table
    for table in sorted((BENCH, *MASK_TABLES, *PICTURE_TABLES, *PAPER_B_TABLES), key=lambda table: table.order)
}
"""`bench`, ours, then the papers' in their own order."""


def find_table(name: str) -> Table:
    """The table `name`. Raises InputError, with the nearest name, for an unknown one."""
    if name not in TABLES:
        close = difflib.get_close_matches(name, TABLES, n=1)
        raise InputError(f"no table '{name}'; " + (f"did you mean '{close[0]}'?" if close else "see --list"))
    return TABLES[name]
