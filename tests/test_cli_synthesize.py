from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tiny_data import write_coco, write_people

from deocclude.cli.main import main
from deocclude.data.occluders import OccluderBank
from deocclude.data.occlusion_set import OcclusionSet
from deocclude.data.protocols import PROTOCOLS, even_bins
from deocclude.data.synthesis import RATIO_BINS, SynthesisConfig
from deocclude.errors import InputError
from deocclude.masks import occlusion_ratio


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """The options that name a folder of four people and a COCO file of two objects."""
    write_people(tmp_path / "people", 4)
    coco, images = write_coco(tmp_path)
    return [
        *("--people", str(tmp_path / "people")),
        *("--occluders", str(coco)),
        *("--occluder-images", str(images)),
        *("--size", "48"),
    ]


def synthesize(sources: list[str], output: Path, *options: str) -> int:
    return main(["synthesize", *sources, "--output", str(output), *options])


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_set_of_the_asked_size(sources: list[str], tmp_path: Path) -> None:
    assert synthesize(sources, tmp_path / "set", "--count", "6", "--bins", "contiguous", "--split", "val") == 0
    folder = OcclusionSet(tmp_path / "set")
    assert len(folder) == 6
    assert {row["person"] for row in folder.rows} == {"000", "001", "002", "003"}, "everyone before anyone twice"
    for sample in folder:
        assert sample.occluded.shape == (48, 48, 3) and sample.whole is not None
        assert sample.parsing is None and sample.initial_modal is None
        assert sample.not_scored.any()
        assert 0 < occlusion_ratio(sample.modal, sample.amodal) <= 0.5
        assert sample.row["occluder"] in ("chair", "cup")


def test_the_same_seed_writes_the_same_bytes(sources: list[str], tmp_path: Path) -> None:
    extras = (
        "--count",
        "3",
        "--parsing",
        "--initial-masks",
        "detector",
        "--augment",
        "--people-as-occluders",
    )
    for name, seed in (("one", "5"), ("two", "5"), ("other", "6")):
        assert synthesize(sources, tmp_path / name, "--seed", seed, *extras) == 0
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two") != contents(tmp_path / "other")
    assert len(one) == 1 + 3 * 6


def test_optional_folders_change_nothing_else(sources: list[str], tmp_path: Path) -> None:
    synthesize(sources, tmp_path / "plain", "--count", "3")
    synthesize(sources, tmp_path / "rich", "--count", "3", "--parsing", "--initial-masks", "detector")
    plain, rich = contents(tmp_path / "plain"), contents(tmp_path / "rich")
    assert plain.items() < rich.items()
    sample = OcclusionSet(tmp_path / "rich")[0]
    assert sample.parsing is not None and sample.parsing[sample.amodal].any()
    assert sample.initial_modal is not None and (sample.initial_modal & sample.modal).any()


def test_the_index_chooses_the_people(sources: list[str], tmp_path: Path) -> None:
    synthesize(sources, tmp_path / "set", "--count", "4", "--people-split", "val")
    assert {row["person"] for row in OcclusionSet(tmp_path / "set").rows} == {"001", "003"}


def test_a_bad_file_is_reported_at_the_end(
    sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "people" / "masks" / "002.png").write_bytes(b"not a picture")
    assert synthesize(sources, tmp_path / "set", "--count", "8") == 2
    assert len(OcclusionSet(tmp_path / "set")) == 6
    shown = capsys.readouterr()
    assert shown.err.count("002.png") == 1 and "(2 times)" in shown.err
    assert "6 occluded people" in shown.out and "2 left out" in shown.out


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "give --count N, or --protocol"),
        (("--protocol", "ahp-val", "--count", "3"), "leave --count out"),
        (("--protocol", "ahp-val", "--bins", "paper"), "leave --bins out"),
        (("--protocol", "ahp-val"), "at least 3 occluders"),
        (("--protocol", "coco"), "ahp-val"),
        (("--count", "0"), "at least 1"),
        (("--count", "2", "--seed", "-1"), "at least 0"),
        (("--count", "2", "--bins", "even"), "even"),
        (("--count", "2", "--people", "nowhere"), "nowhere"),
        (("--count", "2", "--occluders", "nothing.json"), "nothing.json"),
        (("--count", "2", "--occluder-images", "nowhere"), "nobody could be occluded"),
        (("--count", "2", "--overlap", "2", "1"), "overlap"),
    ],
)
def test_bad_input_writes_nothing(
    sources: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    complaint: str,
) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    assert synthesize(sources, tmp_path / "set", *options) == 2
    assert complaint in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == before


def test_the_protocol_of_the_validation_set(sources: list[str], tmp_path: Path) -> None:
    """Four people stand for 297: each three times under different occluders, every range of ratios as often."""
    code = synthesize(sources, tmp_path / "set", "--protocol", "ahp-val", "--people-as-occluders")
    folder = OcclusionSet(tmp_path / "set")
    assert code == 0 and len(folder) == 12
    assert Counter(row["person"] for row in folder.rows) == {"000": 3, "001": 3, "002": 3, "003": 3}
    for person in ("000", "001", "002", "003"):
        assert len({row["occluder_id"] for row in folder.rows if row["person"] == person}) == 3
    ratios = [occlusion_ratio(sample.modal, sample.amodal) for sample in folder]
    per_bin = [sum(low < ratio <= high for ratio in ratios) for low, high in RATIO_BINS["paper", "val"]]
    assert per_bin == [3, 3, 3, 3]


def test_a_protocol_takes_no_more_people_than_it_says() -> None:
    protocol = PROTOCOLS["ahp-val"]
    bins = even_bins(protocol.configured(SynthesisConfig()), 891, seed=0)
    assert sorted(Counter(bins).values()) == [222, 223, 223, 223]
    assert bins == even_bins(protocol.configured(SynthesisConfig()), 891, seed=0)
    with pytest.raises(InputError, match="at least 3 occluders"):
        protocol.banks(OccluderBank([]))


def test_an_existing_set_is_kept_unless_asked(
    sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synthesize(sources, tmp_path / "set", "--count", "2") == 0
    assert synthesize(sources, tmp_path / "set", "--count", "1") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert len(OcclusionSet(tmp_path / "set")) == 2
    assert synthesize(sources, tmp_path / "set", "--count", "1", "--overwrite") == 0
    assert len(OcclusionSet(tmp_path / "set")) == 1
