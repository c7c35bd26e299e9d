"""The files a photograph's people become: their names, known beforehand, and their writing, all or none."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deocclude.errors import InputError
from deocclude.files import staging_folder
from deocclude.images import colour_profile, encode_image
from deocclude.layers.marking import GENERATED, GeneratedMark, generated_png_info
from deocclude.pipelines.overview import overview
from deocclude.pipelines.spread import spread_picture
from deocclude.skeletons import BODY_25
from deocclude.types import Deocclusion

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

PICTURES = ("modal", "amodal", "invisible", "probability", "completed", "cutout", "overview")
"""What is written for a person, beside the JSON: NAME_modal.png and so on."""
RAW = "raw"
"""The RGB stage's own picture on white, where it is asked for."""
SPREAD = "spread"
"""The candidates side by side and where they differ, where there are several."""
_MASKS = ("modal", "amodal", "invisible", "probability")
"""Without colour profile and mark: they show no photograph."""


def picture_kinds(*, raw: bool = False, num_candidates: int = 1) -> tuple[str, ...]:
    """What is written for a person: `PICTURES`, and the candidates where there are several, the best first."""
    candidates = [f"candidate_{rank}" for rank in range(1, num_candidates + 1)] if num_candidates > 1 else []
    return (*PICTURES, *([RAW] if raw else []), *candidates, *([SPREAD] if candidates else []))


def file_names(name: str, kinds: Sequence[str] = PICTURES) -> list[str]:
    """The files of one person, pictures first."""
    return [*(f"{name}_{kind}.png" for kind in kinds), f"{name}.json"]


def person_names(paths: Sequence[Path], num_people: int = 1) -> list[list[str]]:
    """A name for each person of each photograph, so that no two share a file.

    A photograph is called by its stem, and further people get _2, _3, …. Where names would meet, the
    photographs concerned add their suffix, then their folder, then a hash of their path. The result depends
    on nothing but `paths`.
    """
    spellings = [_spellings(path) for path in paths]
    chosen = [0] * len(paths)
    while True:
        names = [_numbered(spelled[level], num_people) for spelled, level in zip(spellings, chosen, strict=True)]
        # Compared without case: on many file systems A.png and a.png are one file.
        uses = Counter(name.casefold() for group in names for name in group)
        meeting = [i for i, group in enumerate(names) if any(uses[name.casefold()] > 1 for name in group)]
        longer = [i for i in meeting if chosen[i] + 1 < len(spellings[i])]
        if not longer:
            return names
        for i in longer:
            chosen[i] += 1


def _spellings(path: Path) -> list[str]:
    path = path.resolve()
    stem, suffix, folder = path.stem, path.suffix[1:].lower(), path.parent.name
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    return [stem, f"{stem}_{suffix}", f"{folder}_{stem}_{suffix}", f"{stem}_{suffix}_{digest}"]


def _numbered(name: str, num_people: int) -> list[str]:
    return [name if person == 1 else f"{name}_{person}" for person in range(1, num_people + 1)]


def check_folder(
    folder: Path,
    names: Iterable[str],
    *,
    kinds: Sequence[str] = PICTURES,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
) -> None:
    """See, before any computing, that all files can be written there. Nothing is made, so a refusal leaves nothing.

    Raises InputError if not: the folder cannot be made or written, files exist and `overwrite` is not set, or one of
    them is an input.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise InputError(f"{folder}: cannot write results there, {nearest} is a file; choose another --output")
    probe = nearest / f".{os.getpid()}.partial"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot write results there ({error.strerror or error})") from error
    planned = [folder / file for name in names for file in file_names(name, kinds)]
    sources = {path.resolve() for path in inputs}
    if clash := [path for path in planned if path.resolve() in sources]:
        raise InputError(f"{clash[0]} is an input and would be overwritten; choose another --output")
    if not overwrite and (existing := [path for path in planned if path.exists()]):
        others = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise InputError(f"{existing[0]}{others} exists already; give --overwrite, or another --output")


def write_person(
    folder: Path,
    name: str,
    image: np.ndarray,
    result: Deocclusion,
    *,
    source: Path,
    kinds: Sequence[str] = PICTURES,
    extra: dict[str, Any] | None = None,
) -> list[Path]:
    """Write the files of one person and return their paths; all of them appear at the end, or none.

    image: the photograph, uint8 (H, W, 3); source: its file. extra: more for the JSON. Existing files are replaced:
    `check_folder` has asked. Raises InputError if the folder cannot be written.
    """
    pictures = {kind: _picture(kind, image, result) for kind in kinds}
    profile = colour_profile(source)
    try:
        with staging_folder(folder, name) as staging:
            for kind, array in pictures.items():
                icc_profile = None if kind in (*_MASKS, RAW) else profile
                pnginfo = png_info(_mark(kind, name, result))
                encode_image(staging / f"{name}_{kind}.png", array, icc_profile=icc_profile, pnginfo=pnginfo)
            text = json.dumps(describe(name, result, source, kinds) | (extra or {}), indent=2) + "\n"
            (staging / f"{name}.json").write_text(text, encoding="utf-8")
            # The JSON goes first and comes last: where it is, all the others are, and they are its own.
            (folder / f"{name}.json").unlink(missing_ok=True)
            for file in file_names(name, kinds):
                os.replace(staging / file, folder / file)
    except OSError as error:
        raise InputError(f"{folder / name}: cannot write the results ({error.strerror or error})") from error
    return [folder / file for file in file_names(name, kinds)]


def _mark(kind: str, name: str, result: Deocclusion) -> GeneratedMark | None:
    """What NAME_kind.png says of its invented pixels; None where it shows none."""
    if kind == RAW:  # a network's throughout
        return GeneratedMark(int(result.amodal_mask.sum()), f"{name}_amodal.png", GENERATED)
    return None if kind in _MASKS else invented_mark(result.invisible_mask, f"{name}_invisible.png")


def invented_mark(invisible_mask: np.ndarray, file: str) -> GeneratedMark | None:
    """The mark of a picture in which these pixels, bool (H, W), are invented, as that file shows; None without any."""
    count = int(invisible_mask.sum())
    return GeneratedMark(count, file) if count else None


def png_info(mark: GeneratedMark | None) -> PngInfo | None:
    """The mark as a PNG's chunks."""
    return None if mark is None else generated_png_info(mark)


def _picture(kind: str, image: np.ndarray, result: Deocclusion) -> np.ndarray:
    """The pixels of NAME_kind.png."""
    if kind.startswith("candidate_"):
        rank = int(kind.removeprefix("candidate_"))
        return result.candidates[min(rank, len(result.candidates)) - 1]  # where nothing is hidden there is one
    if kind == SPREAD:
        candidates = result.candidates if len(result.candidates) > 1 else (result.rgb, result.rgb)
        return spread_picture(candidates, result.modal_mask, result.amodal_mask)
    if kind == RAW:
        assert result.own_picture is not None, "a Deoccluder always keeps it"
        return np.where(result.amodal_mask[..., None], result.own_picture, np.uint8(255))
    views: dict[str, Callable[[], np.ndarray]] = {
        "modal": lambda: result.modal_mask,
        "amodal": lambda: result.amodal_mask,
        "invisible": lambda: result.invisible_mask,
        "probability": lambda: probability_picture(result),
        "completed": lambda: result.rgb,
        "cutout": lambda: result.cutout,
        "overview": lambda: overview(image, result),
    }
    return views[kind]()


def probability_picture(result: Deocclusion) -> np.ndarray:
    """The amodal probability as grey levels, uint8 (H, W): 255 is 1."""
    levels: np.ndarray = (result.amodal_probability * 255).round().astype(np.uint8)
    return levels


def describe(name: str, result: Deocclusion, source: Path, kinds: Sequence[str] = PICTURES) -> dict[str, Any]:
    """What the JSON says: where the person is, what was invented, and how, from which file."""
    height, width = result.modal_mask.shape
    return {
        "input": {
            "file": source.name,
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "width": width,
            "height": height,
        },
        **describe_person(result, f"{name}_invisible.png"),
        "files": {kind: f"{name}_{kind}.png" for kind in kinds},
    }


def describe_person(result: Deocclusion, invisible_file: str) -> dict[str, Any]:
    """Where one person is, what of it was invented (which that file shows), and how."""
    return {
        "box_xyxy": list(result.box_xyxy),
        "occlusion_ratio": round(result.occlusion_ratio, 6),
        "invented_pixels": {"count": int(result.invisible_mask.sum()), "mask": invisible_file},
        "joints": _named_joints(result.joints),
        **result.facts,
    }


def _named_joints(joints: np.ndarray | None) -> dict[str, list[float]] | None:
    """Each joint's x, y (pixels of the upright photograph) and confidence."""
    if joints is None:
        return None
    return {joint: [round(float(value), 3) for value in row] for joint, row in zip(BODY_25, joints, strict=True)}
