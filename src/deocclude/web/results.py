"""What a request gives back: the files of a scene, all in one folder, and the same as one ZIP."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

from deocclude.images import colour_profile, encode_image
from deocclude.pipelines.outputs import invented_mark, png_info
from deocclude.pipelines.scene import Scene
from deocclude.pipelines.scene_outputs import Source, write_scene

INVENTED = "The hidden part is invented."
"""What is said wherever a result is shown or handed out."""


def write_layers(folder: Path, scene: Scene, photograph: Path) -> list[Path]:
    """Write everything about a scene into a new folder under `folder`, and return the files. photograph: its file."""
    place = write_scene(folder, photograph.stem, scene, Source.of_file(photograph))
    return sorted(path for path in place.iterdir() if path.is_file())


def write_candidates(folder: Path, scene: Scene, photograph: Path) -> list[Path]:
    """A scene's one person cut out of every candidate, the best first: RGBA, marked as what they are."""
    (person,) = scene.people
    profile = colour_profile(photograph)
    chunks = png_info(invented_mark(person.invisible_mask, "person_1_invisible.png"))
    paths = []
    for number, picture in enumerate(person.candidates, start=1):
        paths.append(folder / f"person_1_cutout_of_candidate_{number}.png")
        encode_image(paths[-1], replace(person, rgb=picture).cutout, icc_profile=profile, pnginfo=chunks)
    return paths


def zipped(paths: list[Path], archive: Path) -> Path:
    """The files as one ZIP. PNG is compressed already: they are only put together."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as together:
        for path in paths:
            together.write(path, path.name)
    return archive


def summary(scene: Scene) -> str:
    """What was done, in a sentence or two a person, for the page."""
    sentences = []
    for number, person in enumerate(scene.people, start=1):
        whose = "this person" if len(scene.people) == 1 else f"person {number}"
        if person.invisible_mask.any():
            share = max(person.occlusion_ratio, 0.01)
            sentences.append(f"**{share:.0%}** of {whose} was hidden, as far as this method can tell.")
        else:
            sentences.append(f"Nothing of {whose} seems to be hidden, so nothing was invented.")
        sentences += [f"Note: {note}." for note in person.facts.get("notes", [])]
    if any(person.invisible_mask.any() for person in scene.people):
        sentences.append(f"{INVENTED} Every pixel that was visible is exactly as it was.")
    return " ".join(sentences)
