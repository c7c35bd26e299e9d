from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deocclude.data.occlusion_set import OcclusionSample, OcclusionSet, OcclusionSetWriter
from deocclude.errors import InputError
from deocclude.masks import occlusion_ratio


def sample(
    id: str = "a", *, seed: int = 0, size_hw: tuple[int, int] = (12, 9), everything: bool = True
) -> OcclusionSample:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 4, size_hw)  # 0 background, 1 not scored, 2 hidden, 3 visible
    kind.flat[:2] = 2, 3
    picture = rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    made = OcclusionSample(
        id=id,
        occluded=picture,
        modal=kind == 3,
        amodal=kind >= 2,
        not_scored=kind == 1,
        row={
            "id": id,
            "occlusion_ratio": f"{(kind == 2).sum() / (kind >= 2).sum():.4f}",
            "occluder": "fire hydrant",
        },
    )
    if not everything:
        return made
    parsing = rng.integers(0, 20, size_hw, dtype=np.uint8)
    return replace(made, whole=picture[::-1].copy(), parsing=parsing, initial_modal=kind >= 1)


def write(root: Path, *samples: OcclusionSample, **options: object) -> OcclusionSet:
    with OcclusionSetWriter(root, **options) as writer:
        for one in samples:
            writer.write(one)
    return OcclusionSet(root)


def assert_equal(read: OcclusionSample, written: OcclusionSample) -> None:
    for name, value in vars(written).items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(getattr(read, name), value), name
            assert getattr(read, name).dtype == value.dtype, name
        else:
            assert getattr(read, name) == value, name


@settings(max_examples=12)
@given(
    seed=st.integers(0, 1000),
    height=st.integers(2, 20),
    width=st.integers(2, 20),
    everything=st.booleans(),
    image_format=st.sampled_from(["png", "webp"]),
)
def test_a_round_trip_returns_the_input(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    height: int,
    width: int,
    everything: bool,
    image_format: str,
) -> None:
    written = [sample(f"person {n}", seed=seed + n, size_hw=(height, width), everything=everything) for n in range(2)]
    folder = write(tmp_path_factory.mktemp("set") / "set", *written, image_format=image_format)
    assert len(folder) == 2 and folder.ids == ["person 0", "person 1"]
    for read, one in zip(folder, written, strict=True):
        assert_equal(read, one)


def test_the_same_samples_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, sample())
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*")]
    assert len(files) == 7
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    unfit = replace(sample("b"), occluded=np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="b: "):
        write(tmp_path / "set", sample("a"), unfit)
    assert not list(tmp_path.iterdir())


def test_an_older_set_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root, sample("old"))
    with pytest.raises(InputError, match="--overwrite"):
        OcclusionSetWriter(root)
    with pytest.raises(RuntimeError), OcclusionSetWriter(root, overwrite=True):
        raise RuntimeError
    assert OcclusionSet(root).ids == ["old"]
    write(root, sample("new", everything=False), overwrite=True)
    assert [one.id for one in OcclusionSet(root)] == ["new"]
    assert sorted(path.name for path in root.iterdir()) == ["amodal", "manifest.csv", "modal", "occluded"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_nothing_but_a_set_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        OcclusionSetWriter(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        OcclusionSetWriter(tmp_path / "thesis.txt", overwrite=True)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.set: cannot be written"):
        OcclusionSetWriter(tmp_path / "file" / "set").__enter__()


def test_the_writer_refuses_what_is_no_sample(tmp_path: Path) -> None:
    good = sample()
    with OcclusionSetWriter(tmp_path / "set") as writer:
        for bad in (
            replace(good, modal=~good.amodal),
            replace(good, not_scored=good.amodal),
            replace(good, modal=good.modal.astype(np.uint8)),
            replace(good, whole=good.occluded[:-1]),
            replace(good, occluded=good.occluded / 255),
        ):
            with pytest.raises(ValueError, match="a: "):
                writer.write(bad)
        with pytest.raises(InputError, match="cannot be an id"):
            writer.write(replace(good, id="../a"))
        writer.write(good)
        with pytest.raises(InputError, match="already"):
            writer.write(good)
    assert OcclusionSet(tmp_path / "set").ids == ["a"]


@pytest.mark.parametrize(
    ("manifest", "complaint"),
    [
        (None, "no such file"),
        ("", "lists nobody"),
        ("id\n", "lists nobody"),
        ("name\na\n", "cannot be an id"),
        ("id\na\na\n", "twice"),
        ("id\n../../etc\n", "cannot be an id"),
        ("id,occluder\na\n", "number of columns"),
        ("id\na,b\n", "number of columns"),
    ],
)
def test_a_bad_manifest_is_refused_at_once(tmp_path: Path, manifest: str | None, complaint: str) -> None:
    if manifest is not None:
        (tmp_path / "manifest.csv").write_text(manifest)
    with pytest.raises(InputError, match=rf"manifest\.csv.*{complaint}"):
        OcclusionSet(tmp_path)


def grey(level: int, size_hw: tuple[int, int] = (12, 9)) -> Image.Image:
    return Image.new("L", size_hw[::-1], level)


@pytest.mark.parametrize(
    ("name", "picture", "complaint"),
    [
        ("modal/a.png", grey(255), "of its pixels lie outside amodal/a.png"),
        ("modal/a.png", grey(1), "found 1"),
        ("modal/a.png", None, "no such file"),
        ("amodal/a.png", grey(255, (3, 3)), "is 3x3 pixels, its picture 9x12"),
        ("amodal/a.png", Image.new("RGB", (9, 12)), "mode is RGB"),
        ("occluded/a.png", None, "no such picture"),
        ("whole/a.png", Image.new("RGB", (4, 4)), "its size is not"),
        ("parsing/a.png", grey(0, (3, 3)), "is 3x3 pixels"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, picture: Image.Image | None, complaint: str) -> None:
    folder = write(tmp_path / "set", sample("a"), sample("b", seed=1))
    path = tmp_path / "set" / name
    path.unlink() if picture is None else picture.save(path)
    with pytest.raises(InputError, match=f"{name.partition('.')[0]}.*{complaint}"):
        folder[0]
    assert_equal(folder[1], sample("b", seed=1))


def test_jpg_and_missing_whole_pictures_are_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", sample(everything=False))
    occluded = tmp_path / "set" / "occluded"
    Image.open(occluded / "a.png").save(occluded / "a.jpg")
    (occluded / "a.png").unlink()
    read = folder[0]
    assert read.occluded.shape == (12, 9, 3) and read.whole is None


def test_the_whole_picture_may_be_known_of_some_people_only(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", sample("a"), replace(sample("b", seed=1), whole=None))
    assert folder[0].whole is not None and folder[1].whole is None
    (tmp_path / "set" / "whole" / "b.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"whole.b\.png"):
        folder[1]


def test_shared_bench(shared_data: Path) -> None:
    folder = OcclusionSet(shared_data / "bench")
    assert len(folder) == 200
    for index in range(0, 200, 40):
        read = folder[index]
        assert read.whole is not None
        assert np.array_equal(read.occluded[read.modal], read.whole[read.modal])
        assert 0 < occlusion_ratio(read.modal, read.amodal) < 0.6


def test_a_person_whose_whole_nobody_knows(tmp_path: Path) -> None:
    known = sample("known")
    unknown = replace(sample("unknown"), amodal=known.modal, not_scored=~known.modal, is_amodal_known=False)
    folder = write(tmp_path / "set", known, unknown)
    assert [row["occlusion_ratio"] for row in folder.rows] == [known.row["occlusion_ratio"], ""]
    assert [person.is_amodal_known for person in folder] == [True, False]
    again = write(tmp_path / "again", replace(folder[1], is_amodal_known=True))
    assert again[0].is_amodal_known and again.rows[0]["occlusion_ratio"] == "0.0000"
