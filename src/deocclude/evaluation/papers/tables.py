"""What a table of a paper is: rows, the paper's figures, and what of ours stands for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

AHP_REAL, AHP_SYN, COCOA_40, THUMAN, BENCH_SET = "ahp-real", "ahp-syn", "cocoa-40", "thuman2", "bench"

SETS = {
    AHP_REAL: "AHP's 56 real pictures, from its authors (Zhou et al. 2021), through 'deocclude import ahp'",
    AHP_SYN: "AHP's 891 synthetic test pictures, from its authors (Zhou et al. 2021), through 'deocclude import ahp'",
    COCOA_40: "40 people of COCOA val; the paper does not say which, splits/cocoa-wild.json is our draw",
    THUMAN: "40 occluded pictures rendered from THuman2.0, and PIFu; nothing of ours runs that",
    BENCH_SET: "100 people of CCP val, each under two COCO val objects: 200 pictures of 256 px (splits/bench.json)",
}
"""The sets of people, and what each is: data to be had from somebody else, never shipped."""

Figures = Mapping[str, float]
KID = ("kid_inception_v3", "kid_efficientnet_lite0")
"""Beside every FID, which on so few pictures is biased; no paper gives it."""
RAW = ("--raw",)
"""Both papers score masks with their slivers, paper A the picture with its visible pixels; paper B's keeps them."""
TRAINED = "{trained}"
TEMPLATES = "{templates}"
MASK_NETWORK = "{mask-network}"
"""In a row's options: the weights that its training makes, the pose templates of `deocclude templates`, and paper B's
trained stage 1.
"""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method of ours as options of `deocclude predict`.

    mask_stage, rgb_stage: in place of the preset's; TRAINED is the file of the row's own training. options: further
    ones. weights: presets, stages or weights (`stages.presets.weights_of`) that it loads besides what the package has.
    """

    preset: str = "feedforward"
    mask_stage: str = ""
    rgb_stage: str = ""
    options: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()

    def arguments(self, trained: Path) -> list[str]:
        """The options of `deocclude predict`. trained: the weights of the row's own training."""
        stages = {"--mask-stage": self.mask_stage, "--rgb-stage": self.rgb_stage}
        given = [word.replace(TRAINED, str(trained)) for pair in stages.items() if pair[1] for word in pair]
        return ["--preset", self.preset, *given, *self.options]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table.

    name: of its folder in `results/`. title: what the paper calls it. paper: its figures by set and column of ours,
    in our units (shares, not per cent; LPIPS not times 1000). method: what of ours it is; None where nothing runs it.
    training: options of `deocclude train` that make this row's own weights, at the paper's scale: GPU hours, so
    `reproduce` prints the command and goes on once they are there. x: where the row stands on the curve.
    """

    name: str
    title: str
    paper: Mapping[str, Figures] = field(default_factory=dict)
    method: Method | None = None
    training: tuple[str, ...] = ()
    x: float | None = None


FLOOR = (
    Row(name="copy-input", title="copy the input", method=Method(mask_stage="copy-input", rgb_stage="copy-input")),
    Row(
        name="convex-hull",
        title="convex hull, mean colour",
        method=Method(mask_stage="convex-hull", rgb_stage="mean-colour"),
    ),
    Row(name="feedforward", title="deocclude's feedforward preset", method=Method()),
)
"""Below every table of methods: those that learned nothing, and what this package does out of the box, all of them
through the steps of `deocclude run`.
"""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What is drawn over the rows' x: a column of the paper's and one of ours."""

    label: str
    paper_column: str
    our_column: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table.

    columns: of ours that stand in it. judged_by: pairs of columns, the paper's and ours, by which rows are put in
    order; empty where the paper compares methods rather than variants. runs_of: another table whose runs these are,
    seen in other columns. note: what must be known to read it.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    judged_by: tuple[tuple[str, str], ...] = ()
    curve: Curve | None = None
    runs_of: str = ""
    note: str = ""

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets the paper gives figures on; bench for our own table."""
        named = dict.fromkeys(set_name for row in self.rows for set_name in row.paper)
        return tuple(named) or (BENCH_SET,)

    @property
    def order(self) -> tuple[str, bool, str]:
        """Sorts bench first, then a-table-1, a-table-2, …, a-table-C, …, b-table-2, …."""
        paper, _, place = self.name.partition("-table-")
        return ("" if paper == "bench" else paper, place.isalpha(), place)

    @property
    def folder(self) -> str:
        """The folder of its runs in `results/`."""
        return self.runs_of or self.name

    def row(self, name: str) -> Row | None:
        """The row of that name, None where the paper has no such row."""
        return next((row for row in self.rows if row.name == name), None)
