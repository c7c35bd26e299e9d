"""The papers' tables as data: complete, in our units, and each row a method that exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from deocclude.cli.config_args import field_documents
from deocclude.errors import InputError
from deocclude.evaluation.beside_paper import _M_COLUMNS
from deocclude.evaluation.columns import COLUMNS
from deocclude.evaluation.papers import TABLES, find_table
from deocclude.evaluation.papers.bench import BENCH, TOLD
from deocclude.evaluation.papers.tables import FLOOR, SETS, TRAINED, Method, Row, Table
from deocclude.evaluation.reproduce import missing_weights
from deocclude.stages import catalogue
from deocclude.stages.catalogue import check_weights, stage_specs
from deocclude.stages.presets import preset
from deocclude.training.config import DiffusionChoice, TrainingConfig

NAMES = [
    "bench",
    *(f"a-table-{one}" for one in ("1", "2", "3", "4", "5", *"CDEFGHIJKLMN")),
    *(f"b-table-{one}" for one in "23456"),
]
ROWS = [(table, row) for table in TABLES.values() for row in table.rows]
METHODS = {f"{table.name} {row.name}": row.method for table, row in ROWS if row.method is not None}


def test_every_table_is_there_in_the_papers_order() -> None:
    assert list(TABLES) == NAMES
    with pytest.raises(InputError, match="did you mean 'a-table-3'"):
        find_table("a-tabel-3")


@pytest.mark.parametrize(
    ("place", "figures"),
    [
        (("a-table-1", "diffusion", "ahp-real"), {"iou": 0.935, "invisible_iou": 0.651, "mask_l1": 0.070}),
        (("a-table-2", "diffusion", "ahp-syn"), {"rgb_l1": 0.0072, "lpips_alexnet": 0.02786, "psnr": 28.36}),
        (("a-table-4", "rgb-6", "ahp-real"), {"fid_inception_v3": 10.85}),
        (("a-table-5", "one-stage", "ahp-syn"), {"invisible_iou": 0.583, "rgb_l1": 0.0084}),
        (("a-table-C", "16", "ahp-real"), {"invisible_iou": 0.633}),
        (("a-table-E", "9", "ahp-real"), {"invisible_iou": 0.649}),
        (("a-table-G", "ce-adam", "ahp-syn"), {"invisible_iou": 0.626}),
        (("a-table-H", "10", "ahp-real"), {"rgb_l1": 0.00699, "psnr": 29.02, "lpips_alexnet": 0.04939}),
        (("a-table-K", "vqa", "ahp-syn"), {"rgb_l1": 0.00718}),
        (("a-table-N", "diffusion", "cocoa-40"), {"mask_l1": 0.347}),
        (("b-table-4", "all", "ahp-syn"), {"modal_iou": 0.847, "iou": 0.846, "invisible_iou": 0.437}),
        (("b-table-5", "0.3", "ahp-syn"), {"fid_inception_v3": 17.85}),
        (("b-table-6", "fused", "ahp-syn"), {"fid_inception_v3": 13.85}),
    ],
)
def test_figures_are_in_our_units(place: tuple[str, str, str], figures: dict[str, float]) -> None:
    table, row, set_name = place
    paper = TABLES[table].row(row).paper[set_name]

    assert {key: paper[key] for key in figures} == pytest.approx(figures)


def test_tables_h_i_and_j_add_up() -> None:
    """The paper's whole error is the visible share and the invisible one, in every row but for rounding."""
    for steps in TABLES["a-table-H"].rows:
        parts = [TABLES[f"a-table-{one}"].row(steps.name).paper["ahp-real"] for one in "HIJ"]
        for kind in ("rgb_l1", "rgb_mse"):
            whole, invisible, visible = (
                part[key] for part, key in zip(parts, (kind, f"{kind}_invisible", f"{kind}_visible"), strict=True)
            )
            assert whole == pytest.approx(invisible + visible, abs=2.1e-5)


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_a_table_is_whole(table: Table) -> None:
    names = [row.name for row in table.rows]
    columns = COLUMNS | _M_COLUMNS

    assert len(set(names)) == len(names) and all(name == Path(name).name for name in names)
    assert set(table.columns) <= set(columns) and set(table.sets) <= set(SETS)
    for row in table.rows:
        assert all(set(figures) <= set(table.columns) for figures in row.paper.values())
        assert table is BENCH or row.paper or row in FLOOR
    for paper_column, our_column in table.judged_by:
        assert {paper_column, our_column} <= set(table.columns)
    if table.curve is not None:
        assert all(row.x is not None for row in table.rows)
    assert table.folder in TABLES


def stages(method: Method) -> tuple[str, str]:
    chosen = preset(method.preset)
    return method.mask_stage or chosen.mask_stage, method.rgb_stage or chosen.rgb_stage


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_is_of_stages_that_exist_and_names_all_it_loads(
    method: Method, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What would be asked for before it builds them, on a machine that has nothing but the package."""
    mask_stage, rgb_stage = stages(method)
    asked: list[str] = []
    monkeypatch.setattr(catalogue, "require_all", lambda specs: asked.extend(spec.name for spec in specs))
    monkeypatch.setattr("deocclude.evaluation.reproduce.local_path", lambda spec: shipped(spec))
    known = [stage if stage != TRAINED else "feedforward" for stage in (mask_stage, rgb_stage)]
    check_weights(*known, preset(method.preset).joints)
    named = {spec.name for spec in missing_weights(method)}

    assert mask_stage in {*stage_specs("mask"), TRAINED} and rgb_stage in {*stage_specs("RGB"), TRAINED}
    assert {*asked} - {"mask-completion", "rgb-completion"} <= named


def shipped(spec: object) -> Path | None:
    return Path("shipped") if type(spec.source).__name__ == "Shipped" else None


def test_trainings_are_options_that_exist() -> None:
    """Of each training: its own file is a stage of the method, and every option one of `deocclude train`."""
    options = {
        "--" + name.replace("_", "-")
        for config in (TrainingConfig, DiffusionChoice)
        for name in field_documents(config)
    }
    options |= {"--family", "--config", "--losses", "--templates", "--mask-network"}
    options |= {"--exact-masks", "--parsing-dropout"}
    trained: list[Row] = [row for _, row in ROWS if row.training]

    assert len(trained) > 40
    for row in trained:
        assert row.training[0] in ("mask-completion", "rgb-completion")
        assert {word for word in row.training if word.startswith("--")} <= options
        assert TRAINED in stages(row.method)
    assert all(TRAINED not in stages(method) for name, method in METHODS.items() if not is_trained(name))


def is_trained(name: str) -> bool:
    table, row = name.split(" ")
    return bool(TABLES[table].row(row).training)


def test_each_row_of_the_bench_says_what_the_method_is_told() -> None:
    assert {row.name.partition("-")[0] for row in BENCH.rows} == set(TOLD)
    for row in BENCH.rows:
        options = " ".join(row.method.options)
        assert row.name.startswith("true-") == ("--amodal true" in options)
        assert row.name.startswith("picture-") == ("--modal predicted" in options)
