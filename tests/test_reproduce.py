"""From score files to the papers' tables: the layout of results, the order of rows, the command, the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deocclude.cli.main import main
from deocclude.data.occlusion_set import OcclusionSample, OcclusionSetWriter
from deocclude.errors import InputError
from deocclude.evaluation.ablations import read_ablations
from deocclude.evaluation.beside_paper import beside_paper, differing_sets, order_lines, seeds_apart
from deocclude.evaluation.formats import latex
from deocclude.evaluation.paper_order import paper_orders, paper_set_for
from deocclude.evaluation.papers import TABLES
from deocclude.evaluation.predictions import write_json
from deocclude.evaluation.report import report_text, write_report
from deocclude.evaluation.reproduce import Places, commands, obstacles, open_jobs
from deocclude.evaluation.results import read_runs, row_folder
from deocclude.evaluation.score_files import read_rows, read_scores, write_rows

REPOSITORY = Path(__file__).resolve().parents[1]
SIDE, NUM_PEOPLE = 48, 40
TABLE_3, TABLE_C, TABLE_G = (TABLES[f"a-table-{one}"] for one in "3CG")
DIFFICULTY = np.random.default_rng(0).normal(0, 0.1, NUM_PEOPLE)


def write_run(folder: Path, invisible_iou: float, *, seed: int = 0, noise: float = 0.01) -> None:
    """A scores.csv whose people are as hard as in every other run, about a mean."""
    values = invisible_iou + DIFFICULTY + np.random.default_rng(seed).normal(0, noise, NUM_PEOPLE)
    folder.mkdir(parents=True)
    rows = [
        {"id": f"{person:04d}", "occlusion_ratio": 0.05 + person / 50, "iou": 0.9, "invisible_iou": float(value)}
        for person, value in enumerate(values)
    ]
    rows[0]["invisible_iou"] = float("nan")  # nothing hidden
    write_rows(folder / "scores.csv", rows)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Table 3 in the paper's order but for #3 below #1, three seeds each, and a row of ours; Table C, small, held."""
    for row, mean in {"mask-1": 0.60, "mask-3": 0.57, "mask-4": 0.66, "oracle-joints": 0.7}.items():
        for seed in range(3):
            write_run(tmp_path / "a-table-3" / row / f"seed{seed}", mean, seed=seed)
    for row, mean in {"0": 0.50, "4": 0.56, "8": 0.60, "16": 0.58, "32": 0.54}.items():
        folder = tmp_path / "ablations" / "a-table-C" / row / "seed0"
        write_run(folder, mean, seed=int(row))
        write_json(
            folder / "training.json", {"steps": 400, "batch_size": 8, "sizes": [64, 96], "seconds": 240 + int(row)}
        )
    return tmp_path


# --- results ------------------------------------------------------------------------------------------------


def test_runs_are_read_in_the_papers_order_with_their_seeds(results: Path) -> None:
    runs = read_runs(results, TABLE_3)
    first = runs[0]

    assert [(one.row, one.num_seeds, one.num_people) for one in runs] == [
        (row, 3, NUM_PEOPLE) for row in ("mask-1", "mask-3", "mask-4", "oracle-joints")
    ]
    assert first.mean("invisible_iou") == pytest.approx(np.nanmean(first.values("invisible_iou")))
    low, high = first.interval("invisible_iou")
    assert low < first.mean("invisible_iou") < high and np.isnan(first.mean("psnr"))
    assert first.restricted(0.1, 0.2).num_people == sum(0.1 < row["occlusion_ratio"] <= 0.2 for row in first.rows[0])
    assert read_runs(results, TABLE_G) == [] == read_runs(results, TABLE_C)
    assert [one.trainings[0]["seconds"] for one in read_ablations(results, TABLE_C)] == [240, 244, 248, 256, 272]


def test_another_set_has_a_folder_of_its_own(results: Path) -> None:
    write_run(row_folder(results, TABLE_3, "mask-1", "ahp-real"), 0.588)
    write_run(row_folder(results, TABLES["bench"], "given-feedforward"), 0.8)

    sets = [(one.row, one.set_name) for one in read_runs(results, TABLE_3)]
    assert sets[:2] == [("mask-1", "bench"), ("mask-1", "ahp-real")]
    assert [one.num_seeds for one in read_runs(results, TABLES["bench"])] == [1]
    assert row_folder(results, TABLES["a-table-J"], "10", "ahp-real") == results / "a-table-H" / "10" / "ahp-real"


def test_seeds_of_other_people_and_files_that_are_none_are_refused(results: Path) -> None:
    path = results / "a-table-3" / "mask-1" / "seed1" / "scores.csv"
    write_rows(path, read_rows(path)[:-1])
    with pytest.raises(InputError, match="not of the same people"):
        read_runs(results, TABLE_3)
    path.write_text("no scores\n")
    with pytest.raises(InputError, match="is not a score file"):
        read_runs(results, TABLE_3)


def test_a_result_beside_those_of_seeds_is_refused(results: Path) -> None:
    write_run(row_folder(results, TABLE_3, "mask-2"), 0.6)
    write_run(row_folder(results, TABLE_3, "mask-2") / "seed0", 0.6)
    with pytest.raises(InputError, match="holds scores and those of seed0 too"):
        read_runs(results, TABLE_3)


# --- the paper's order --------------------------------------------------------------------------------------


def test_the_order_is_answered_yes_or_no_with_intervals(results: Path) -> None:
    (order,) = paper_orders(TABLE_3, read_runs(results, TABLE_3))
    (curve,) = paper_orders(TABLE_C, read_ablations(results, TABLE_C))

    assert [(step.better.name, step.worse.name) for step in order.steps] == [("mask-4", "mask-3"), ("mask-3", "mask-1")]
    assert [(step.holds, step.is_settled) for step in order.steps] == [(True, True), (False, True)]
    assert not order.holds and order.share == 0 and order.steps[1].difference == pytest.approx(-0.03, abs=0.005)
    assert curve.holds and curve.share > 0.99 and len(curve.steps) == 4
    text = "\n".join(order_lines(TABLE_3, read_runs(results, TABLE_3)))
    assert "**No**: 1 of 2 neighbours" in text and "#4 + J_sub before #3 + H_o" in text
    assert "**Yes**: 4 of 4 neighbours" in "\n".join(order_lines(TABLE_C, read_ablations(results, TABLE_C)))


def test_seeds_that_disagree_leave_a_difference_open(tmp_path: Path) -> None:
    for row, means in {"mask-1": (0.55, 0.60, 0.65), "mask-4": (0.57, 0.61, 0.66)}.items():
        for seed, mean in enumerate(means):
            write_run(tmp_path / "a-table-3" / row / f"seed{seed}", mean, seed=seed)
    runs = read_runs(tmp_path, TABLE_3)
    (order,) = paper_orders(TABLE_3, runs)

    assert order.holds and not order.steps[0].is_settled and 0.5 < order.share < 1
    text = "\n".join(order_lines(TABLE_3, runs))
    assert "**Yes, not settled**: 1 of 1 neighbours" in text and "yes, not settled" in text


def test_trainings_far_apart_are_told_one_by_one(tmp_path: Path) -> None:
    for row, means in {"mask-1": (0.7, 0.7, 0.1), "mask-4": (0.7, 0.72, 0.74)}.items():
        for seed, mean in enumerate(means):
            write_run(tmp_path / "a-table-3" / row / f"seed{seed}", mean, seed=seed)
    runs = read_runs(tmp_path, TABLE_3)
    shown = ", ".join(f"{mean:.3f}" for mean in runs[0].seed_means("invisible_iou"))
    low, high = runs[0].interval("invisible_iou")

    assert seeds_apart(TABLE_3, runs) == [f"#1 modal mask alone: mIoU-inv {shown}"]
    assert np.nanmin(runs[0].values("invisible_iou")) <= low < 0.2 and high > 0.6


def test_equal_figures_are_in_no_order_and_one_row_has_none(tmp_path: Path) -> None:
    table = TABLES["a-table-H"]
    for steps in ("50", "70"):  # the paper has 6.15 for both
        folder = tmp_path / "a-table-H" / steps / "ahp-real"
        folder.mkdir(parents=True)
        write_rows(folder / "scores.csv", [{"id": "a", "occlusion_ratio": 0.1, "rgb_l1": 0.006}])

    assert paper_orders(table, read_runs(tmp_path, table)) == []
    for steps, mean in (("150", 0.0061), ("0", 0.005)):  # the paper: 6.18 and 9.58
        folder = tmp_path / "a-table-H" / steps / "ahp-real"
        folder.mkdir(parents=True)
        write_rows(folder / "scores.csv", [{"id": "a", "occlusion_ratio": 0.1, "rgb_l1": mean}])
    (order,) = paper_orders(table, read_runs(tmp_path, table))
    steps = [(step.better.name, step.worse.name, step.holds) for step in order.steps]
    assert steps == [("50", "150", True), ("70", "150", True), ("150", "0", False)]
    assert paper_set_for(TABLE_G, "bench") == "ahp-syn" and paper_set_for(TABLE_3, "bench") == "ahp-real"
    assert paper_set_for(TABLE_G, "ahp-real") == "ahp-real"


# --- ours beside the paper's --------------------------------------------------------------------------------


def test_ours_stand_beside_the_papers(results: Path) -> None:
    runs = read_runs(results, TABLE_3)
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in
                       beside_paper(TABLE_3, runs).splitlines())  # fmt: skip
    cells = {row[0]: dict(zip(heads, row, strict=True)) for row in rows}

    assert cells["#2 + F, T"]["mIoU-inv, paper, ahp-real"] == "0.603"
    assert cells["#2 + F, T"]["mIoU-inv, ours, bench"] == "–"
    ours = cells["#4 + J_sub"]["mIoU-inv, ours, bench"]
    low, high = runs[2].interval("invisible_iou")
    assert ours == f"{runs[2].mean('invisible_iou'):.3f} ({low:.3f} to {high:.3f})"
    assert cells["#4 + J_sub"]["n, bench"] == f"{NUM_PEOPLE} × 3"
    assert cells["oracle-joints (not in the paper)"]["mIoU-inv, paper, ahp-real"] == "–"
    assert "mask L1, ours, bench" not in heads  # nobody scored it


def test_rows_of_different_sets_of_one_name_are_told(results: Path) -> None:
    for row, sha256 in {"mask-1": "one", "mask-3": "one", "mask-4": "two"}.items():
        write_json(results / "a-table-3" / row / "seed0" / "scores.json", {"settings": {"manifest_sha256": sha256}})
    runs = read_runs(results, TABLE_3)
    assert differing_sets(runs[:2]) == [] and "not all rows on bench" in differing_sets(runs)[0]
    assert "**not all rows on bench" in report_text(results, results / "results.md")


def test_latex_is_escaped() -> None:
    text = latex(["a_b & c", "50 %"], [["σ2 × 3", "–"]])

    assert text.splitlines()[2] == r"a\_b \& c & 50 \% \\" and r"$\sigma$2 $\times$ 3 & -- \\" in text
    assert text.startswith(r"\begin{tabular}{lr}") and text.endswith(r"\end{tabular}")


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four grey people behind a bar."""
    root = tmp_path_factory.mktemp("sets") / "bench"
    with OcclusionSetWriter(root) as writer:
        for index in range(4):
            amodal = np.zeros((SIDE, SIDE), bool)
            amodal[8:40, 14:34] = True
            whole = np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            whole[amodal] = 90
            bar = np.zeros_like(amodal)
            bar[20 : 24 + 3 * index] = True
            occluded = np.where(bar[..., None], np.uint8(250), whole)
            writer.write(OcclusionSample(f"{index}", occluded, amodal & ~bar, amodal, ~amodal & bar, whole))
    return root


def test_what_is_missing_is_run_kept_and_not_run_again(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["reproduce", "bench", "--data", str(people), "--rows", "given-copy-*"]

    assert main(words) == 0
    said = capsys.readouterr().out
    assert "1 of 1: bench, given-copy-input, on bench" in said and "| given-copy-input " in said
    kept = tmp_path / "results" / "bench" / "given-copy-input"
    assert sorted(path.name for path in kept.iterdir()) == ["scores.csv", "scores.json"]
    rows, summary = read_rows(kept / "scores.csv"), read_scores(kept)
    assert len(rows) == 4 and "iou_union" in rows[0] and "modal_iou_union" not in rows[0]
    assert summary["settings"]["mask_stage"] == "copy-input" and summary["overall"]["n"] == 4
    assert str(tmp_path) not in (kept / "scores.json").read_text()

    (tmp_path / "runs" / "reproduce" / "bench" / "given-copy-input" / "bench" / "amodal" / "0.png").unlink()
    assert main(words) == 0 and "1 of" not in capsys.readouterr().out
    assert main([*words, "--overwrite"]) == 0 and "4 people done, 0 were there" in capsys.readouterr().out
    assert main(["table", str(kept), "--against", str(kept)]) == 0  # a folder of results is one of scores


def test_scores_made_by_hand_are_collected(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands that `reproduce` prints end in a folder that it looks into."""
    places = {"--results": tmp_path / "results", "--work": tmp_path / "work"}
    options = [str(word) for pair in places.items() for word in pair]
    (job,) = open_jobs(
        TABLES["bench"],
        Places(results=places["--results"], work=places["--work"], sets={"bench": people}),
        rows=["true-copy-input"],
    )
    lines = list(commands(job))
    for line in lines:
        assert main(line.split()[1:]) == 0
    assert obstacles(job) == [] and not (places["--results"] / "bench").exists()
    capsys.readouterr()

    assert main(["reproduce", "bench", "--data", str(people), "--rows", "true-copy-input", *options]) == 0
    assert "people done" not in capsys.readouterr().out
    assert (places["--results"] / "bench" / "true-copy-input" / "scores.csv").exists()


def test_what_cannot_be_run_here_says_why_and_what_to_type(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deocclude.evaluation.reproduce.local_path", lambda spec: None)
    options = ["--results", str(results), "--work", "W"]

    assert main(["reproduce", "a-table-3", *options]) == 0
    said = capsys.readouterr().out
    assert "**No**" in said and "deocclude ablate a-modal-mask a-joints a-sub-joints --people CCP" in said
    assert "mask-1, mask-2, mask-3, mask-4: needs AHP's 56 real pictures" in said and "--data ahp-real=DIR" in said
    assert "mask-1: u-mask-1 is not on this machine" in said
    assert "deocclude predict --data AHP-REAL --output W/a-table-3/mask-1/ahp-real --preset mask-1" in said
    assert main(["reproduce", "b-table-4", *options, "--rows", "all"]) == 0
    said = capsys.readouterr().out.splitlines()
    verbs = [line.split()[1] for line in said if line.startswith("  deocclude ")]
    assert verbs == ["templates", "train", "predict", "score", "ablate"]
    assert any("--mask-stage W/b-table-4/all/training/network.safetensors" in line for line in said)
    assert main(["reproduce", "b-table-6", *options, "--rows", "fused"]) == 0
    (train,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  deocclude train")]
    assert "--mask-network " in train and "mask-completion-paper.safetensors" in train and "{" not in train
    assert main(["reproduce", "a-table-M", *options, "--format", "latex"]) == 0
    assert "nothing of ours runs this row" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "say one of"),
        (["bench", "--list"], "say one of"),
        (["a-table-9"], "did you mean"),
        (["bench", "--rows", "nobody"], "has no row nobody; choose from given-copy-input"),
        (["a-table-3", "--plot", "x.svg"], "is no curve"),
        (["a-table-C", "--plot", "x.gif"], "a plot is one of .png, .svg"),
    ],
)
def test_a_wrong_word_is_a_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_the_list_names_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--list"]) == 0
    said = capsys.readouterr().out

    assert all(f"\n{name} " in f"\n{said}" for name in TABLES) and "ahp-syn" in said


# --- curves and the report ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_curve_is_drawn_the_same_each_time(results: Path, tmp_path: Path, suffix: str) -> None:
    drawn = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.{suffix}"
        assert main(["reproduce", "a-table-C", "--results", str(results), "--plot", str(path)]) == 0
        drawn.append(path.read_bytes())

    assert drawn[0] == drawn[1] and len(drawn[0]) > 5000


def test_the_report_has_what_was_measured_and_what_is_missing(results: Path, tmp_path: Path) -> None:
    for row, mean in {"given-feedforward": 0.8, "given-feedforward-raw": 0.7, "given-convex-hull": 0.4}.items():
        write_run(results / "bench" / row, mean, seed=1)
        write_json(results / "bench" / row / "scores.json", {"unavailable": {"lpips_alexnet": "LPIPS: no weights"}})
    written = write_report(results, tmp_path / "docs" / "results.md")
    text = written[0].read_text("utf-8")

    assert [path.name for path in written] == ["results.md", "results-small-a-table-C.svg"]
    assert all(path.exists() for path in written) and "](results-small-a-table-C.svg)" in text
    assert "### The true modal mask" in text and "### Both true masks" not in text
    assert "not here" in text and "*Not here*: LPIPS: no weights" in text
    assert "The true modal mask: feedforward minus convex hull, mean colour" in text
    assert "The true modal mask: feedforward minus feedforward (--raw)" in text
    small = text[text.index("### `a-table-C`") : text.index("## What is missing")]
    assert "| convex hull, mean colour (from the bench) |" in small and "(--raw)" not in small
    assert "`a-table-3` mask-4 = `a-table-C` 8 = `a-table-E` 9" in text
    assert (
        "### `a-table-3`" in text
        and "400 steps of 8 people at 64 or 96 pixels each, 4 to 5 minutes (median 4)" in text
        and "**No**" in text
    )
    assert "| `a-table-2`" in text and str(tmp_path) not in text
    assert report_text(results, tmp_path / "docs" / "results.md") == text


def test_nothing_measured_is_a_report_too(tmp_path: Path) -> None:
    assert "Nothing has been measured" in report_text(tmp_path, tmp_path / "results.md")


def test_the_repositorys_report_is_that_of_its_results() -> None:
    """`deocclude reproduce --report docs/results.md` was run after the last change of results/."""
    path = REPOSITORY / "docs" / "results.md"

    assert path.read_text("utf-8") == report_text(REPOSITORY / "results", path)
