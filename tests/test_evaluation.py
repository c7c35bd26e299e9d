"""predict, score, table and gallery on a small set made here, with the real pipeline and trivial stages."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deocclude.cli.main import main
from deocclude.data.coco import read_coco
from deocclude.data.occlusion_set import OcclusionSample, OcclusionSet, OcclusionSetWriter
from deocclude.errors import InputError
from deocclude.evaluation.gallery import (
    SET_TITLES,
    Photo,
    answers_of_folder,
    answers_of_method,
    chosen,
    occluded_people,
    photo_strips,
    set_strips,
)
from deocclude.evaluation.picture_networks import Comparisons
from deocclude.evaluation.predict import Protocol, deocclude_sample, predict
from deocclude.evaluation.predictions import Prediction, PredictionFolder
from deocclude.evaluation.score import Scores, score_person, score_set
from deocclude.evaluation.score_files import read_rows, write_scores
from deocclude.evaluation.sheets import TILE, contact_sheets
from deocclude.evaluation.table import method_table, network_table, paired_table, ratio_table
from deocclude.metrics.averages import averages
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.stages.completers.base import RgbStage
from deocclude.stages.completers.trivial import ConvexHullMask, CopyInputMask, CopyInputRgb, MeanColourRgb
from deocclude.types import NO_HINTS, Hints, MaskCompletion, Person

SIDE = 48
NUM_PEOPLE = 4
BENCH_POINTS = {"copy-input": (0.717, 0.000, 0.283), "convex-hull": (0.736, 0.359, 0.342)}


def person(index: int) -> OcclusionSample:
    """A grey rectangle on noise, more of it hidden by a bar with each index (nothing at 0), and a bag."""
    rng = np.random.default_rng(index)
    amodal, bag = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    amodal[8:40, 14:34] = True
    bag[20:26, 34:38] = True
    whole = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    whole[amodal] = 60 + 20 * index
    occluder = np.zeros_like(amodal)
    occluder[16 : 16 + 6 * index] = True
    occluded = np.where(occluder[..., None], np.uint8(250), whole)
    return OcclusionSample(f"person_{index}", occluded, amodal & ~occluder, amodal, bag, whole, {"occluder": "bar"})


@pytest.fixture
def people(tmp_path: Path) -> OcclusionSet:
    with OcclusionSetWriter(tmp_path / "set") as writer:
        for index in range(NUM_PEOPLE):
            writer.write(person(index))
    return OcclusionSet(tmp_path / "set")


class CentreSegmenter:
    """Finds the dark pixels where the rectangle is; nobody in a picture whose corner is black."""

    name = "centre"
    weights_sha256 = "0" * 64

    def __call__(self, image: np.ndarray, box_xyxy: tuple[int, int, int, int] | None = None) -> Person:
        if not image[0, 0].any():
            raise InputError("no person found in the picture; say where with a box")
        mask = np.zeros(image.shape[:2], bool)
        mask[8:40, 14:34] = image[8:40, 14:34].max(axis=2) < 200
        return Person((14, 8, 34, 40), mask)

    def locate_joints(self, image: np.ndarray, box_xyxy: tuple[int, int, int, int]) -> np.ndarray:
        return np.zeros((25, 3), np.float32)


def method(mask_stage=None, rgb_stage=None, segmenter=None) -> Deoccluder:
    return Deoccluder(segmenter, mask_stage or sized(ConvexHullMask()), rgb_stage or sized(MeanColourRgb()))


@pytest.fixture
def predicted(people: OcclusionSet, tmp_path: Path) -> PredictionFolder:
    folder = PredictionFolder(tmp_path / "hull")
    predict(method(), people, folder, Protocol())
    return folder


def scored(folder: PredictionFolder, people: OcclusionSet) -> dict:
    return write_scores(score_set(people, folder), folder, set_name="set")


# --- predict ------------------------------------------------------------------------------------------------


def test_predictions_are_the_files_of_the_layout(people: OcclusionSet, predicted: PredictionFolder) -> None:
    files = {str(path.relative_to(predicted.root)) for path in predicted.root.rglob("*") if path.is_file()}
    record = json.loads((predicted.root / "predictions.json").read_text())

    assert files == {
        "predictions.json",
        *(f"amodal/{name}.png" for name in people.ids),
        *(f"rgb/{name}.webp" for name in people.ids),
    }
    assert record["settings"]["mask_stage"] == "convex-hull" and record["settings"]["modal"] == "given"
    assert set(record["seconds"]) == set(people.ids) and record["machine"]["threads"] >= 1


def test_the_completed_picture_survives_the_files_bit_for_bit(
    people: OcclusionSet, predicted: PredictionFolder
) -> None:
    sample = people[2]
    prediction = predicted.read(sample.id, (SIDE, SIDE))
    invisible = prediction.amodal_mask & ~sample.modal

    assert invisible.any()
    assert np.array_equal(prediction.rgb[~invisible], sample.occluded[~invisible])
    assert not np.array_equal(prediction.rgb[invisible], sample.occluded[invisible])


def test_grown_masks_and_true_joints_reach_the_method(people: OcclusionSet, tmp_path: Path) -> None:
    """Table L's masks are 5 to 30 % larger and the same for every method; joints come from the set's file."""
    told: list[tuple[np.ndarray, np.ndarray]] = []

    class Spy:
        def __call__(self, image: np.ndarray, modal_mask: np.ndarray, joints: np.ndarray) -> None:
            told.append((modal_mask, joints))
            raise InputError("enough")

    sample, joints = people[1], np.ones((25, 3), np.float32)
    for _ in range(2):
        with pytest.raises(InputError, match="enough"):
            deocclude_sample(Spy(), sample, Protocol(modal="grown"), joints=joints)  # type: ignore[arg-type]
    (grown, given), (again, _) = told
    assert 1.04 < grown.sum() / sample.modal.sum() < 1.31 and not (sample.modal & ~grown).any()
    assert np.array_equal(grown, again) and given is joints

    protocol = Protocol(joints="true")
    with pytest.raises(InputError, match=r"joints.json: cannot be read"):
        predict(method(), people, PredictionFolder(tmp_path / "none"), protocol)
    (people.root / "joints.json").write_text(json.dumps({"person_1": joints.tolist()}))
    outcome = predict(method(), people, PredictionFolder(tmp_path / "some"), protocol)
    assert outcome.done == ["person_1"] and "has no joints of person_0" in outcome.unreadable["person_0"]
    with pytest.raises(InputError, match="leave '--modal grown' out"):
        Protocol(modal="grown", amodal="true")


def test_a_stopped_run_goes_on_where_it_was(people: OcclusionSet, tmp_path: Path) -> None:
    folder = PredictionFolder(tmp_path / "stopped")
    first = predict(method(), people, folder, Protocol(), limit=2)
    (folder.root / "amodal" / "person_1.png").unlink()
    second = predict(method(), people, folder, Protocol())

    assert first.done == ["person_0", "person_1"] and first.skipped == []
    assert second.skipped == ["person_0"] and second.done == ["person_1", "person_2", "person_3"]
    assert set(folder.read_record().seconds) == set(people.ids)


def test_an_interrupted_run_keeps_the_seconds_of_those_done(people: OcclusionSet, tmp_path: Path) -> None:
    def interrupted(ids):
        yield from list(ids)[:2]
        raise KeyboardInterrupt

    folder = PredictionFolder(tmp_path / "interrupted")
    with pytest.raises(KeyboardInterrupt):
        predict(method(), people, folder, Protocol(), progress=interrupted)

    assert set(folder.read_record().seconds) == {"person_0", "person_1"}


def test_a_folder_never_mixes_two_methods(people: OcclusionSet, predicted: PredictionFolder) -> None:
    other = method(mask_stage=sized(CopyInputMask()))

    with pytest.raises(InputError, match="other mask_stage"):
        predict(other, people, predicted, Protocol())
    outcome = predict(other, people, predicted, Protocol(), limit=1, overwrite=True)

    assert outcome.done == ["person_0"]
    assert predicted.read("person_2", (SIDE, SIDE)) is None


def test_other_weights_are_another_method(people: OcclusionSet, predicted: PredictionFolder) -> None:
    retrained = sized(ConvexHullMask())
    retrained.weights_sha256 = "1" * 64

    with pytest.raises(InputError, match="weights_sha256"):
        predict(method(mask_stage=retrained), people, predicted, Protocol())


def test_another_set_of_the_same_name_is_another_set(
    people: OcclusionSet, predicted: PredictionFolder, tmp_path: Path
) -> None:
    with OcclusionSetWriter(tmp_path / "other" / people.root.name) as writer:
        for index in range(NUM_PEOPLE):
            writer.write(replace(person(index), row={"occluder": "pole"}))

    with pytest.raises(InputError, match="other manifest_sha256"):
        predict(method(), OcclusionSet(tmp_path / "other" / people.root.name), predicted, Protocol())


def test_another_dtype_is_another_method(people: OcclusionSet, predicted: PredictionFolder) -> None:
    class Halved(ConvexHullMask):
        @property
        def dtype(self) -> torch.dtype:
            return torch.bfloat16

    halved = sized(Halved())
    with pytest.raises(InputError, match="other dtype"):
        predict(method(mask_stage=halved), people, predicted, Protocol())


@pytest.mark.parametrize("place", ["", "amodal", "."])
def test_the_sets_own_files_are_never_predictions(people: OcclusionSet, place: str) -> None:
    folder = PredictionFolder(people.root / place)
    before = sorted(people.root.rglob("*"))

    with pytest.raises(InputError, match="choose another folder"):
        predict(method(), people, folder, Protocol(), overwrite=True)
    with pytest.raises(InputError, match="choose another folder"):
        score_set(people, folder)
    assert sorted(people.root.rglob("*")) == before


def test_the_sets_files_are_known_behind_a_link_too(people: OcclusionSet, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "amodal").symlink_to(people.root / "amodal")

    with pytest.raises(InputError, match="choose another folder"):
        predict(method(), people, PredictionFolder(tmp_path / "linked"), Protocol(), overwrite=True)
    assert predict(method(), people, PredictionFolder(people.root / "predictions"), Protocol(), limit=1).done


def test_the_found_modal_mask_is_written_when_it_is_the_methods_own(people: OcclusionSet, tmp_path: Path) -> None:
    folder = PredictionFolder(tmp_path / "own")
    predict(method(segmenter=CentreSegmenter()), people, folder, Protocol(modal="predicted"))

    assert scored(folder, people)["overall"]["modal_iou_mean"] > 0.9


def test_the_true_amodal_mask_reaches_the_rgb_stage(people: OcclusionSet, tmp_path: Path) -> None:
    class SeesAmodal(RgbStage):
        name, size, area = "sees-amodal", SIDE, 0

        def complete(self, image, completion: MaskCompletion, hints: Hints) -> torch.Tensor:
            SeesAmodal.area = int(completion.amodal_mask.sum())
            return image

    folder = PredictionFolder(tmp_path / "true")
    predict(
        method(mask_stage=sized(CopyInputMask()), rgb_stage=SeesAmodal()),
        people,
        folder,
        Protocol(amodal="true"),
    )

    assert SeesAmodal.area == int(people[-1].amodal.sum())
    assert scored(folder, people)["overall"]["iou_mean"] == 1
    with pytest.raises(InputError, match="true modal"):
        Protocol(modal="predicted", amodal="true")


def sized(stage: Any) -> Any:
    stage.size = SIDE
    return stage


class RaggedHull(ConvexHullMask):
    """The hull with a sliver on its right."""

    def complete(self, image, modal_mask, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
        known = super().complete(image, modal_mask, hints, refine_modal=refine_modal)
        probability = known.amodal_probability.roll(1, dims=3).maximum(known.amodal_probability)
        return MaskCompletion(modal_mask, probability >= 0.5, probability)


def test_raw_keeps_what_the_stages_said(people: OcclusionSet, tmp_path: Path) -> None:
    sample, cleaned, raw = people[2], PredictionFolder(tmp_path / "cleaned"), PredictionFolder(tmp_path / "raw")
    for folder, protocol in ((cleaned, Protocol()), (raw, Protocol(raw=True))):
        predict(method(sized(RaggedHull())), people, folder, protocol)
    (mask, _), (own, picture) = ((one.amodal_mask, one.rgb) for one in
                                 (folder.read(sample.id, (SIDE, SIDE)) for folder in (cleaned, raw)))  # fmt: skip

    assert (sample.modal <= mask).all() and not mask[32:38, 34].any(), "slivers are dropped"
    assert (sample.modal <= own).all() and own[32:38, 34].all(), "column 34 is the sliver"
    assert (picture[own] < 255).all(axis=1).all() and (picture[0] == 255).all(), "painted inside, white outside"
    assert scored(cleaned, people)["overall"]["iou_mean"] > scored(raw, people)["overall"]["iou_mean"]
    with pytest.raises(InputError, match="other raw"):
        predict(method(sized(RaggedHull())), people, raw, Protocol())


# --- bad people ---------------------------------------------------------------------------------------------


def test_one_bad_file_stops_nobody(people: OcclusionSet, tmp_path: Path) -> None:
    (people.root / "occluded" / "person_1.png").write_bytes(b"\x89PNG broken")
    folder = PredictionFolder(tmp_path / "bad")

    outcome = predict(method(), people, folder, Protocol())
    scores = score_set(people, folder)

    assert list(outcome.unreadable) == ["person_1"] and len(outcome.done) == NUM_PEOPLE - 1
    assert list(scores.unreadable) == ["person_1"] and len(scores.rows) == NUM_PEOPLE - 1


def test_a_method_that_finds_nobody_is_scored_as_an_empty_answer(people: OcclusionSet, tmp_path: Path) -> None:
    sample = person(2)
    sample.occluded[0, 0] = 0
    with OcclusionSetWriter(tmp_path / "hard") as writer:
        writer.write(sample)
    hard, folder = OcclusionSet(tmp_path / "hard"), PredictionFolder(tmp_path / "nobody")

    outcome = predict(method(segmenter=CentreSegmenter()), hard, folder, Protocol(modal="predicted"))
    scores = score_set(hard, folder)

    assert "no person found" in outcome.failed["person_2"] and scores.failed == ["person_2"]
    assert scores.rows[0]["iou"] == 0 and scores.rows[0]["invisible_iou"] == 0 and scores.rows[0]["mask_l1"] == 1
    assert scores.rows[0]["rgb_l1"] > 0 and scores.rows[0]["content_l1"] > 0


# --- score --------------------------------------------------------------------------------------------------


def test_the_truth_itself_gets_full_marks(people: OcclusionSet, tmp_path: Path) -> None:
    sample = people[2]
    row = score_person(sample, Prediction(sample.amodal, sample.modal, sample.whole))

    assert (row["iou"], row["invisible_iou"], row["modal_iou"], row["mask_l1"]) == (1, 1, 1, 0)
    assert row["content_l1"] == row["rgb_l1"] == row["rgb_l1_true_mask"] == 0 and row["psnr"] == math.inf


def test_a_bag_costs_nothing(people: OcclusionSet) -> None:
    sample = people[2]
    with_bag = Prediction(sample.amodal | sample.not_scored, None, sample.whole)

    row = score_person(sample, with_bag)

    assert sample.not_scored.any() and row["iou"] == 1 and row["mask_l1"] == 0 and row["rgb_l1"] == 0


def test_scores_files_hold_every_person_and_add_up(people: OcclusionSet, predicted: PredictionFolder) -> None:
    summary = scored(predicted, people)
    rows = list(csv.DictReader((predicted.root / "scores.csv").open()))

    assert [row["id"] for row in rows] == people.ids
    assert summary["overall"]["n"] == NUM_PEOPLE
    assert summary["overall"]["undefined"]["invisible_iou"] == 1  # person_0 has nothing hidden
    assert rows[0]["invisible_iou"] == "" and rows[0]["modal_iou"] == ""
    assert sum(part["n"] for part in summary["by_ratio"].values()) == NUM_PEOPLE - 1
    for row in rows:
        assert float(row["rgb_l1"]) == pytest.approx(
            float(row["rgb_l1_visible"]) + float(row["rgb_l1_invisible"]), rel=1e-4
        )
    mean = np.mean([float(row["iou"]) for row in rows])
    assert summary["overall"]["iou_mean"] == pytest.approx(mean, rel=1e-4)


def test_nobody_predicted_is_an_error_with_the_way_out(people: OcclusionSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="deocclude predict"):
        score_set(people, PredictionFolder(tmp_path / "empty"))


def test_a_prediction_of_another_size_is_named(people: OcclusionSet, predicted: PredictionFolder) -> None:
    Image.new("L", (10, 10)).save(predicted.root / "amodal" / "person_1.png")

    assert "10x10" in score_set(people, predicted).unreadable["person_1"]


# --- candidates ---------------------------------------------------------------------------------------------


class DrawsGreys(RgbStage):
    """Paints the person in one grey a candidate, the lightest first."""

    name, size, draws_candidates = "greys", SIDE, True

    def complete(self, image, completion, hints: Hints) -> torch.Tensor:
        return self.candidates(image, completion, 1)[:, 0]

    def candidates(self, image, completion, count, *, hints: Hints = NO_HINTS) -> torch.Tensor:
        greys = torch.linspace(0.9, 0.1, count).view(1, count, 1, 1, 1)
        return greys.expand(len(image), count, *image.shape[1:])


def drawing(num_candidates: int) -> Deoccluder:
    return Deoccluder(None, sized(ConvexHullMask()), DrawsGreys(), num_candidates=num_candidates)


def test_the_first_and_the_best_of_n_are_scored_apart(people: OcclusionSet, tmp_path: Path) -> None:
    """Both by hand: the first candidate, and of all the one nearest to the true picture."""
    folder = PredictionFolder(tmp_path / "several")
    predict(drawing(3), people, folder, Protocol())
    summary = scored(folder, people)
    rows = {row["id"]: row for row in read_rows(folder.root / "scores.csv")}

    assert summary["settings"]["candidates"] == 3 and summary["overall"]["undefined"]["rgb_l1_best_of_n"] == 0
    assert rows["person_0"]["rgb_l1_best_of_n"] == rows["person_0"]["rgb_l1"]  # nothing is hidden: one picture
    for sample in list(people)[1:]:
        prediction = folder.read(sample.id, (SIDE, SIDE))
        each = [score_person(sample, replace(prediction, rgb=rgb)) for rgb in (prediction.rgb, *prediction.candidates)]
        best = min(each, key=lambda row: row["rgb_l1"])
        row = rows[sample.id]
        assert len(each) == 3 and row["rgb_l1"] == pytest.approx(each[0]["rgb_l1"], rel=1e-5)
        assert row["rgb_l1_best_of_n"] == pytest.approx(best["rgb_l1"], rel=1e-5) and best is not each[0]
        assert row["psnr_best_of_n"] == pytest.approx(best["psnr"], rel=1e-5)
        assert row["content_l1_best_of_n"] == pytest.approx(best["content_l1"], rel=1e-5)
    assert "RGB L1, best of N" in method_table([folder.root])


def test_one_candidate_has_no_best_of_n(people: OcclusionSet, predicted: PredictionFolder) -> None:
    summary = scored(predicted, people)

    assert summary["overall"]["rgb_l1_best_of_n_mean"] is None
    assert "best of" not in method_table([predicted.root])
    assert not (predicted.root / "candidates").exists()


def test_fewer_candidates_leave_none_of_the_older_behind(people: OcclusionSet, tmp_path: Path) -> None:
    folder = PredictionFolder(tmp_path / "again")
    predict(drawing(4), people, folder, Protocol())
    with pytest.raises(InputError, match="other candidates"):
        predict(drawing(2), people, folder, Protocol())
    predict(drawing(2), people, folder, Protocol(), overwrite=True)

    assert len(folder.read("person_2", (SIDE, SIDE)).candidates) == 1
    with pytest.raises(InputError, match="leave --candidates out"):
        predict(drawing(2), people, PredictionFolder(tmp_path / "raw"), Protocol(raw=True))


# --- networks that look at pictures -------------------------------------------------------------------------


class Counts:
    """Stands for a network: how many bytes of the two pictures differ."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def add(self, prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
        self.seen.append(int((prediction != target).sum()))
        return {"feature_distance_efficientnet_lite0": float(self.seen[-1])}

    def set_figures(self) -> dict[str, dict[str, float]]:
        return {"kid_efficientnet_lite0": {"mean": 0.5, "std": 0.25, "subset_size": 2}}


def test_a_network_that_cannot_be_had_costs_a_sentence(
    people: OcclusionSet, predicted: PredictionFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = Comparisons([Counts()], {"lpips_alexnet": "LPIPS: its weights are not on this machine"})
    write_scores(score_set(people, predicted, comparisons=networks), predicted, set_name="set")
    heads, _, row, *notes = network_table([predicted.root]).splitlines()
    cells = dict(zip(*([cell.strip() for cell in line.strip("|").split("|")] for line in (heads, row)), strict=True))

    assert cells["LPIPS ×1000 (AlexNet)"] == "not here" and cells["FID (InceptionV3)"] == "–"
    assert cells["KID ×1000 (EfficientNet-Lite0)"] == "500.00 ± 250.00"
    assert notes == ["", "not here: LPIPS: its weights are not on this machine"]
    assert cells["feature distance ×1000 (EfficientNet-Lite0)"] == "0.00"  # a flat person, painted exactly
    assert main(["table", str(predicted.root)]) == 0 and "500.00 ± 250.00" in capsys.readouterr().out


def test_networks_see_no_pixel_that_is_not_scored(people: OcclusionSet) -> None:
    sample, network = people[2], Counts()
    painted = np.where(sample.not_scored[..., None], np.uint8(7), sample.whole)

    score_person(sample, Prediction(sample.amodal | sample.not_scored, None, painted), comparisons=[network])

    assert network.seen == [0]


# --- ordinary photographs -----------------------------------------------------------------------------------


def ordinary_person(index: int) -> OcclusionSample:
    """One of `person`, with a box, of whom the visible part alone is known; the first is whole."""
    sample = person(index)
    unknown = ~sample.modal
    row = {"whole": str(int(index == 0)), "kind": "left" if index < 4 else "right"}
    row |= dict(zip(("x0", "y0", "x1", "y1"), ("14", "8", "34", "40"), strict=True))
    return replace(sample, amodal=sample.modal, not_scored=unknown, whole=None, row=row, is_amodal_known=False)


@pytest.fixture
def ordinary(tmp_path: Path) -> OcclusionSet:
    """Eight people, each with one marked hidden keypoint in the bar and one visible on the body."""
    with OcclusionSetWriter(tmp_path / "ordinary") as writer:
        for index in range(8):
            writer.write(replace(ordinary_person(index % 4), id=f"person_{index}", row=ordinary_person(index).row))
    keypoints = np.zeros((17, 3))
    keypoints[:2] = (20, 19, 1), (20, 10, 2)
    joints = {f"person_{index}": keypoints.tolist() for index in range(8)}
    (tmp_path / "ordinary" / "joints.json").write_text(json.dumps(joints))
    return OcclusionSet(tmp_path / "ordinary")


def test_a_box_reaches_the_method_with_the_whole_photograph(ordinary: OcclusionSet) -> None:
    """As `run --box`: the method crops by its own rule."""
    seen: list[tuple[np.ndarray, tuple]] = []

    class Spy:
        def __call__(self, image: np.ndarray, box: tuple, joints: None) -> None:
            seen.append((image, box))
            raise InputError("enough")

    with pytest.raises(InputError, match="enough"):
        deocclude_sample(Spy(), ordinary[1], Protocol(modal="box"))  # type: ignore[arg-type]

    assert np.array_equal(seen[0][0], ordinary[1].occluded) and seen[0][1] == (14, 8, 34, 40)
    with pytest.raises(InputError, match="leave '--modal box' out"):
        Protocol(modal="box", amodal="true")


def test_with_a_box_the_modal_mask_is_the_methods_own(ordinary: OcclusionSet, tmp_path: Path) -> None:
    (ordinary.root / "occluded" / "person_5.png").unlink()
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(ordinary.root / "occluded" / "person_5.png")
    folder = PredictionFolder(tmp_path / "box")

    outcome = predict(method(segmenter=CentreSegmenter()), ordinary, folder, Protocol(modal="box"))
    scores = score_set(ordinary, folder)
    rows = {row["id"]: row for row in scores.rows}

    assert list(outcome.failed) == ["person_5"] == scores.failed
    assert rows["person_1"]["modal_iou"] > 0.9 and rows["person_1"]["modal_iou_from_80"] == 1
    assert rows["person_5"]["modal_iou"] == 0 and rows["person_5"]["modal_iou_from_80"] == 0
    assert rows["person_5"]["invented"] == 0 and rows["person_5"]["keypoints_reached"] == 0


def test_a_set_without_boxes_says_so(people: OcclusionSet, ordinary: OcclusionSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest.csv: without x0, y0, x1, y1"):
        predict(method(segmenter=CentreSegmenter()), people, PredictionFolder(tmp_path / "p"), Protocol(modal="box"))
    with pytest.raises(InputError, match="person_1 has no box"):
        _ = replace(ordinary[1], row={"x0": "left"}).box_xyxy


def test_nothing_is_compared_with_a_whole_person_that_is_not_known(ordinary: OcclusionSet) -> None:
    """The hull of person_2 in words: it fills the bar, 20 columns by 12 rows, between two visible blocks."""
    sample = ordinary[2]
    hull, body_width, bar_height = sample.modal.copy(), 20, 12
    hull[8:40, 14:34] = True
    keypoints = ordinary.marked_keypoints()["person_2"]

    row = score_person(sample, Prediction(hull, None, sample.occluded), keypoints=keypoints)
    everything = np.ones_like(hull)
    wide = score_person(sample, Prediction(everything, everything, sample.occluded), keypoints=keypoints)

    unknown = ("occlusion_ratio", "iou", "invisible_iou", "mask_l1", "content_l1", "rgb_l1", "invented_background")
    assert all(math.isnan(row[key]) for key in unknown) and math.isnan(row["modal_iou"])
    assert row["invented"] == body_width * bar_height / sample.modal.sum()
    assert row["self_invention"] == row["self_invention_above_5"] == row["islands"] == row["has_islands"] == 0
    assert (row["keypoints_reached"], row["num_keypoints_reached"], row["num_keypoints_hidden"]) == (1, 1, 1)
    assert math.isnan(row["whole_invented"]) and math.isnan(row["whole_invented_above_3"])
    assert wide["modal_iou"] == sample.modal.mean(), "a pixel where the person may go on unseen is not visible"
    assert wide["modal_iou_from_80"] == 0


def test_what_a_method_calls_hidden_though_it_is_visible(ordinary: OcclusionSet) -> None:
    """It finds the upper block of the body alone and claims the rest, whole person or not."""
    whole, hidden = ordinary[0], ordinary[2]
    rows = []
    for sample in (whole, hidden):
        own = sample.modal.copy()
        own[20:] = False
        rows.append(score_person(sample, Prediction(sample.modal | own, own)))

    assert [row["self_invention"] for row in rows] == pytest.approx([20 / 32, 12 / 20])
    assert [row["self_invention_above_5"] for row in rows] == [1, 1]
    assert rows[0]["whole_invented"] == rows[0]["invented"] == pytest.approx(20 / 32)
    assert rows[0]["whole_invented_above_3"] == 1 and math.isnan(rows[1]["whole_invented_above_3"])
    assert [row["islands"] for row in rows] == [0, 1], "behind the bar it does not touch what was found"


def test_background_is_known_where_the_whole_person_is(people: OcclusionSet) -> None:
    sample = people[2]
    everything = score_person(sample, Prediction(np.ones_like(sample.amodal), None))
    background = SIDE * SIDE - sample.amodal.sum() - sample.not_scored.sum()

    assert everything["invented_background"] == background / sample.modal.sum()
    assert score_person(sample, Prediction(sample.amodal, None))["invented_background"] == 0


def test_scores_come_by_the_groups_of_the_manifest(
    ordinary: OcclusionSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = PredictionFolder(tmp_path / "hull")
    predict(method(), ordinary, folder, Protocol())
    summary = scored(folder, ordinary)
    rows = read_rows(folder.root / "scores.csv")
    parts = summary["by_group"]

    assert list(parts) == ["whole", "kind"], "x0 has one value, id one a person"
    assert {value: part["n"] for value, part in parts["kind"].items()} == {"left": 4, "right": 4}
    assert parts["whole"]["0"]["invented_mean"] == pytest.approx(
        np.mean([row["invented"] for row in rows if row["group_whole"] == "0"]), rel=1e-4
    )
    assert summary["overall"]["keypoints_reached_pooled"] == pytest.approx(
        sum(row["num_keypoints_reached"] for row in rows) / sum(row["num_keypoints_hidden"] for row in rows)
    )
    assert summary["overall"]["undefined"]["iou"] == 8 and summary["overall"]["iou_mean"] is None

    assert main(["table", str(folder.root)]) == 0
    heads, row = table_with(capsys.readouterr().out, "hidden keypoints reached")
    assert row[heads.index("whole people: > 3 %")] == "0.000" and "mIoU" not in heads
    assert main(["table", "--by", "kind", str(folder.root)]) == 0
    heads, left, right = table_with(capsys.readouterr().out, "kind")
    assert [left[1], right[1]] == ["left", "right"] and left[heads.index("hidden keypoints reached")] == "1.000"
    assert main(["table", "--by", "colour", str(folder.root)]) == 2
    assert "was not scored by 'colour' (has whole, kind)" in capsys.readouterr().err


def table_with(text: str, head: str) -> list[list[str]]:
    """The cells of the Markdown table that has this column: heads first, without the ruler."""
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if "--" not in line]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        if head in rows[0]:
            return rows
    raise AssertionError(f"no table with {head}")


def test_keypoints_drawn_by_hand_serve_as_true_joints(ordinary: OcclusionSet, tmp_path: Path) -> None:
    told: list[np.ndarray] = []

    class Spies(CentreSegmenter):
        def locate_joints(self, image: np.ndarray, box_xyxy: tuple[int, int, int, int]) -> np.ndarray:
            raise AssertionError("the labels have them")

    class SeesKeypoints(CopyInputMask):
        accepts = frozenset({"keypoints"})

        def complete(self, image, modal_mask, hints: Hints, *, refine_modal: bool) -> MaskCompletion:
            told.append(hints.keypoints)
            return super().complete(image, modal_mask, hints, refine_modal=refine_modal)

    seen = method(sized(SeesKeypoints()), segmenter=Spies())
    outcome = predict(seen, ordinary, PredictionFolder(tmp_path / "true"), Protocol(joints="true", modal="box"))

    assert len(outcome.done) == 8 and told[0].shape[-2:] == (25, 3)


# --- table --------------------------------------------------------------------------------------------------


def test_two_methods_are_compared_on_the_same_people(
    people: OcclusionSet, predicted: PredictionFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = PredictionFolder(tmp_path / "copy-input")
    predict(method(sized(CopyInputMask()), sized(CopyInputRgb())), people, copied, Protocol(), limit=3)
    for folder in (copied, predicted):
        scored(folder, people)
    mine, other = ({row["id"]: row for row in read_rows(one.root / "scores.csv")} for one in (predicted, copied))
    differences = [mine[name]["iou"] - other[name]["iou"] for name in other]

    assert main(["table", str(predicted.root), "--against", str(copied.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| mIoU "))

    assert lines[0].startswith("| hull minus copy-input") and lines[-1].startswith("1 people are in one of the two")
    assert row[1] == f"{np.mean(differences):+.3f}" and row[3] == "3"
    assert row[4:] == [str(sum(d > 0 for d in differences)), str(sum(d < 0 for d in differences))]


def test_scores_on_two_sets_are_not_paired(people: OcclusionSet, predicted: PredictionFolder, tmp_path: Path) -> None:
    with OcclusionSetWriter(tmp_path / "other") as writer:
        writer.write(person(2))
    elsewhere = PredictionFolder(tmp_path / "elsewhere")
    predict(method(), OcclusionSet(tmp_path / "other"), elsewhere, Protocol())
    scored(predicted, people)
    scored(elsewhere, OcclusionSet(tmp_path / "other"))

    with pytest.raises(InputError, match="different occlusion sets"):
        paired_table(predicted.root, elsewhere.root)


def test_the_table_has_a_row_a_folder_and_the_figures_of_the_scores(
    people: OcclusionSet, predicted: PredictionFolder, tmp_path: Path
) -> None:
    copied = PredictionFolder(tmp_path / "copy-input")
    predict(method(sized(CopyInputMask()), sized(CopyInputRgb())), people, copied, Protocol())
    summaries = [scored(folder, people) for folder in (copied, predicted)]

    lines = method_table([copied.root, predicted.root]).splitlines()
    heads, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines if "--" not in line)

    assert [row[0] for row in rows] == ["copy-input", "hull"]
    for row, summary in zip(rows, summaries, strict=True):
        assert row[heads.index("mIoU")] == f"{summary['overall']['iou_mean']:.3f}"
        assert row[heads.index("modal IoU")] == "–"
        assert row[heads.index("n")] == str(NUM_PEOPLE)
    assert len({len(line) for line in lines}) == 1
    assert len(ratio_table([copied.root]).splitlines()) == 2 + 6


def test_a_folder_without_scores_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="deocclude score"):
        method_table([tmp_path])
    (tmp_path / "scores.json").write_text("[]")
    with pytest.raises(InputError, match="not a score file"):
        method_table([tmp_path])


# --- gallery ------------------------------------------------------------------------------------------------


def test_the_gallery_is_drawn_by_seed(people: OcclusionSet, predicted: PredictionFolder) -> None:
    def sheets(seed: int) -> list[np.ndarray]:
        indices = chosen(range(len(people)), 3, rng=np.random.default_rng(seed))
        return contact_sheets(set_strips(people, indices, answers_of_folder(predicted)), SET_TITLES)

    first, again = sheets(0), sheets(0)

    assert len(first) == 1 and first[0].dtype == np.uint8 and first[0].shape[1] > 6 * TILE
    assert np.array_equal(first[0], again[0])
    assert any(not np.array_equal(first[0], sheets(seed)[0]) for seed in range(1, 4))


def test_answers_made_on_the_spot_are_those_of_predict(people: OcclusionSet, predicted: PredictionFolder) -> None:
    strips = [
        set_strips(people, [2], answer)[0]
        for answer in (answers_of_method(method(), Protocol()), answers_of_folder(predicted))
    ]

    assert strips[0].caption == strips[1].caption and "inv" in strips[0].caption
    assert np.array_equal(strips[0].pictures[2], strips[1].pictures[2])


def test_photographs_without_truth_and_without_people(people: OcclusionSet, tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    Image.new("RGB", (SIDE, SIDE)).save(empty)
    photos = [Photo(people.root / "occluded" / "person_2.png"), Photo(empty), Photo(tmp_path / "none.png")]

    strips = photo_strips(photos, method(segmenter=CentreSegmenter()))

    assert all(picture is not None for picture in strips[0].pictures) and "hidden" in strips[0].caption
    assert strips[1].pictures[1:] == (None, None, None) and "no person found" in strips[1].caption
    assert strips[2].pictures[0] is None and "no such file" in strips[2].caption
    assert len(contact_sheets(strips, ("input", "modal", "amodal", "completed"))) == 1


def test_people_beside_other_objects_are_taken_from_a_coco_file(tmp_path: Path) -> None:
    """Of three people: one shares its place with a chair, one stands alone, one is too small to be looked at."""
    boxes = [(1, [10, 10, 60, 150]), (2, [40, 60, 60, 60]), (1, [200, 10, 60, 150]), (1, [45, 70, 20, 40])]
    annotations = [
        {
            "id": index,
            "image_id": 7,
            "category_id": category,
            "bbox": [x, y, w, h],
            "area": w * h,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for index, (category, (x, y, w, h)) in enumerate(boxes)
    ]
    content = {
        "images": [{"id": 7, "file_name": "street.jpg", "width": 300, "height": 200}],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "chair"}],
        "annotations": annotations,
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))

    photos = occluded_people(read_coco(tmp_path / "instances.json", tmp_path))

    assert photos == [Photo(tmp_path / "street.jpg", (10, 10, 70, 160), "street #0")]


# --- the command --------------------------------------------------------------------------------------------


def test_the_verbs_hand_files_to_each_other(
    people: OcclusionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output, sheets = str(people.root), str(tmp_path / "pred"), str(tmp_path / "sheets")
    monkeypatch.setattr(Deoccluder, "from_preset", classmethod(lambda cls, *args, **options: method()))

    assert main(["predict", "--data", data, "--output", output, "--limit", "3"]) == 0
    assert main(["score", "--data", data, "--predictions", output]) == 0
    assert "1   without a prediction" in capsys.readouterr().out
    assert main(["table", output]) == 0
    assert "mIoU-inv" in capsys.readouterr().out
    assert main(["gallery", "--data", data, "--predictions", output, "--output", sheets, "--count", "2"]) == 0
    assert main(["gallery", "--data", data, "--predictions", output, "--output", sheets]) == 2
    assert [path.name for path in Path(sheets).iterdir()] == ["people_seed0_0.png"]


def test_the_gallery_leaves_a_place_for_a_broken_file(
    people: OcclusionSet, predicted: PredictionFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (people.root / "amodal" / "person_1.png").write_bytes(b"\x89PNG broken")
    data, sheets = str(people.root), tmp_path / "sheets"

    assert main(["gallery", "--data", data, "--predictions", str(predicted.root), "--output", str(sheets)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("deocclude: error: ")]
    assert len(errors) == 1 and "person_1.png" in errors[0]
    assert [path.name for path in sheets.iterdir()] == ["people_seed0_0.png"]


# --- the benchmark ------------------------------------------------------------------------------------------


def test_the_floor_of_the_benchmark(shared_data: Path) -> None:
    """The reference points of the bench set: what a mask stage and an RGB stage that know nothing get."""
    scores = {name: Scores() for name in BENCH_POINTS}
    for sample in OcclusionSet(shared_data / "bench"):
        image = torch.from_numpy(sample.occluded).permute(2, 0, 1)[None].float() / 255
        modal_mask = torch.from_numpy(sample.modal)[None, None]
        for name, stage in (("copy-input", CopyInputMask()), ("convex-hull", ConvexHullMask())):
            amodal_mask = stage(image, modal_mask).amodal_mask[0, 0].numpy()
            colour = MeanColourRgb()(image, MaskCompletion(modal_mask, modal_mask, modal_mask.float()))
            painted = np.where(sample.modal[..., None], sample.occluded, colour[0].permute(1, 2, 0).numpy() * 255)
            scores[name].rows.append(score_person(sample, Prediction(amodal_mask, None, painted)))
    for name, points in BENCH_POINTS.items():
        rows = scores[name].rows
        means = [np.nanmean([row[column] for row in rows]) for column in ("iou", "invisible_iou", "mask_l1")]
        assert len(rows) == 200
        # The reference hull was drawn by another library: "about", its L1 most of all.
        assert means == pytest.approx(points, abs=0.007 if name == "convex-hull" else 0.0006)
        assert np.nanmean([row["content_l1"] for row in rows]) == pytest.approx(0.213, abs=0.0006)


def test_the_floors_of_ordinary_photographs(shared_data: Path) -> None:
    """The reference points of `bench-wild` and `wild`, which another program measured: its hull and its margin differ a
    little, and `wild` has 146 keypoints that count.
    """
    bench, wild = OcclusionSet(shared_data / "bench-wild"), OcclusionSet(shared_data / "wild")
    keypoints = wild.marked_keypoints()
    copied = [score_person(sample, Prediction(sample.modal)) for sample in bench]
    hulls = [score_person(sample, Prediction(hull_of(sample)), keypoints=keypoints[sample.id]) for sample in wild]
    columns = ["whole_invented", "whole_invented_above_3", "keypoints_reached", "invented", "self_invention"]
    hull = averages(hulls, columns)

    assert [np.nanmean([row[key] for row in copied]) for key in ("iou", "mask_l1")] == pytest.approx(
        [0.725, 0.275], abs=0.0006
    )
    assert hull["whole_invented_mean"] == pytest.approx(0.545, abs=0.006) and hull["whole_invented_above_3_mean"] == 1
    assert hull["invented_mean"] == pytest.approx(0.386, abs=0.006) and hull["self_invention_mean"] == 0
    assert hull["keypoints_reached_pooled"] == pytest.approx(0.343, abs=0.01)
    assert hull["undefined"]["whole_invented"] == 171 - 63 and all(math.isnan(row["iou"]) for row in hulls)


def hull_of(sample: OcclusionSample) -> np.ndarray:
    """The convex hull of the visible part, bool (H, W)."""
    image, modal_mask = torch.zeros(1, 3, *sample.modal.shape), torch.from_numpy(sample.modal)[None, None]
    return ConvexHullMask()(image, modal_mask).amodal_mask[0, 0].numpy()
