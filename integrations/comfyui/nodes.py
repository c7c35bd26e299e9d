"""The four nodes. Between them travel ComfyUI's own kinds alone, so that other nodes fit in between.

IMAGE  float32 [B, H, W, C] in [0, 1]; C is 3, or 4 with alpha
MASK   float32 [N, H, W], 0 or 1, one row a person, as large as the picture

One picture has any number of people; several pictures in one batch have one person each, row by row. A list of pictures
ComfyUI hands over one by one: that is how Find People gives each picture together with its own people.

Nothing here takes a path, and nothing is downloaded or installed. What deocclude computes with is imported when a node
runs, not when ComfyUI starts; the names of its stages are read then.
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from deocclude import Deocclusion
    from deocclude.pipelines.scene import Scene, SceneDeoccluder

DEVICES = ["cpu", "cuda", "mps"]
DEFAULT_STAGE = "feedforward"
"""Comes with deocclude; the others want weights that `deocclude weights` fetches."""
NO_STAGE = "copy-input"
"""In the place of a stage that a node does not need."""

_DEVICE = (DEVICES, {"default": "cpu", "tooltip": "Where the networks run."})
_MODAL = ("MASK", {"tooltip": "What is visible of each person, white; as large as the picture."})
_AMODAL = ("MASK", {"tooltip": "The whole of each person, hidden parts included."})

logger = logging.getLogger(__name__)


class FindPeople:
    """Everybody in each picture, or the largest of them."""

    CATEGORY = "deocclude"
    DESCRIPTION = (
        "Finds the people of a picture, the largest first. A picture without people is left out. Masks of other nodes, "
        "or painted by hand, can take this node's place."
    )
    FUNCTION = "find"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("image", "modal_mask")
    OUTPUT_IS_LIST = (True, True)
    OUTPUT_TOOLTIPS = ("Each picture with people, by itself.", "What is visible of its people, one row each.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        people = {"default": 0, "min": 0, "max": 100, "tooltip": "0: everybody. Otherwise so many, the largest first."}
        return {"required": {"image": ("IMAGE",), "people": ("INT", people), "device": _DEVICE}}

    def find(self, image: Tensor, people: int, device: str) -> tuple[list[Tensor], list[Tensor]]:
        """Lists of [1, H, W, C] and [n, H, W]. Raises ValueError where nobody is in any picture."""
        from deocclude.pipelines.scene_people import SceneRequest

        scenes = _scenes(NO_STAGE, NO_STAGE, _choice(device, DEVICES))
        request = SceneRequest(people=people or "all")
        pictures, modal_masks = [], []
        for number, picture in enumerate(_checked(image), 1):
            found = scenes.find(_as_bytes(picture), request).subjects
            if found:
                pictures.append(picture[None])
                modal_masks.append(_as_mask([subject.person.modal_mask for subject in found], image))
            else:
                logger.warning("no person found in picture %d of %d; it is left out", number, len(image))
        if not pictures:
            raise ValueError("no person found in the picture; give Complete Mask a mask of your own instead")
        return pictures, modal_masks


class CompleteMask:
    """Stage 1: the whole body of each person."""

    CATEGORY = "deocclude"
    DESCRIPTION = "Completes the mask of each person behind whatever stands in front, other people included."
    FUNCTION = "complete"
    RETURN_TYPES = ("MASK", "MASK")
    RETURN_NAMES = ("amodal_mask", "invisible_mask")
    OUTPUT_TOOLTIPS = ("The whole person, what is visible included.", "The hidden part alone.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        stage = (_stages("mask"), {"default": DEFAULT_STAGE, "tooltip": "Which network completes the mask."})
        return {"required": {"image": ("IMAGE",), "modal_mask": _MODAL, "mask_stage": stage, "device": _DEVICE}}

    def complete(self, image: Tensor, modal_mask: Tensor, mask_stage: str, device: str) -> tuple[Tensor, Tensor]:
        """Two masks [N, H, W], in the order of the people. Raises ValueError for masks that cannot be used."""
        from deocclude.pipelines.scene_people import SceneRequest

        scenes = _scenes(_choice(mask_stage, _stages("mask")), NO_STAGE, _choice(device, DEVICES))
        people = [
            person
            for picture, modal in _with_its_people(image, modal_mask)
            for person in scenes(_as_bytes(picture), SceneRequest(modal_masks=list(modal))).people
        ]
        amodal = [person.amodal_mask for person in people]
        return _as_mask(amodal, image), _as_mask([person.invisible_mask for person in people], image)


class CompletePerson:
    """Stage 2: the picture of each person's hidden part."""

    CATEGORY = "deocclude"
    DESCRIPTION = (
        "Paints the hidden part of each person into the picture. Every other pixel is the input's, unchanged. What is "
        "painted is invented: never use it to identify anyone or as evidence."
    )
    FUNCTION = "complete"
    RETURN_TYPES = ("IMAGE", "MASK", "STRING")
    RETURN_NAMES = ("person", "invented_mask", "facts")
    OUTPUT_TOOLTIPS = (
        "The picture once for each person, with that person completed.",
        "Which pixels of it are invented.",
        "JSON: how it was made, how much was hidden, who stands in front of whom.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        stage = (_stages("RGB"), {"default": DEFAULT_STAGE, "tooltip": "Which network paints the hidden part."})
        seed = {
            "default": 0,
            "min": 0,
            "max": 0xFFFFFFFFFFFFFFFF,
            "control_after_generate": True,
            "tooltip": "Of what a stage draws at random; feedforward draws nothing.",
        }
        given = {"image": ("IMAGE",), "modal_mask": _MODAL, "amodal_mask": _AMODAL}
        return {"required": {**given, "rgb_stage": stage, "device": _DEVICE, "seed": ("INT", seed)}}

    def complete(
        self, image: Tensor, modal_mask: Tensor, amodal_mask: Tensor, rgb_stage: str, device: str, seed: int
    ) -> tuple[Tensor, Tensor, str]:
        """[N, H, W, C], [N, H, W] and a list of pictures as JSON. Raises ValueError for input that cannot be used."""
        # Stage 1 runs once more: its parsing guides stage 2, but the masks are those given.
        scenes = _scenes(DEFAULT_STAGE, _choice(rgb_stage, _stages("RGB")), _choice(device, DEVICES))
        scenes.deoccluder.seed = seed
        completed, invented, facts = [], [], []
        for picture, modal, amodal in _with_its_people(image, modal_mask, amodal_mask):
            scene = _scene_of_known_masks(scenes, picture, modal, amodal)
            completed += [_painted(picture, person) for person in scene.people]
            invented += [person.invisible_mask for person in scene.people]
            facts.append(_facts(scene))
        return torch.stack(completed), _as_mask(invented, image), json.dumps(facts, indent=2)


class Layers:
    """People, and what is behind and before them, each on a transparent canvas of the picture's size."""

    CATEGORY = "deocclude"
    DESCRIPTION = (
        "Cuts the picture into layers with alpha: background, people, and what stands before their invented parts. "
        "Laid over each other in this order they are the picture again, exactly."
    )
    FUNCTION = "separate"
    RETURN_TYPES = ("IMAGE", "IMAGE", "IMAGE", "IMAGE")
    RETURN_NAMES = ("people", "cropped", "background", "in_front")
    OUTPUT_IS_LIST = (False, True, False, False)
    OUTPUT_TOOLTIPS = (
        "Each person alone, RGBA.",
        "The same, cut to the person.",
        "The picture without the people: transparent where somebody is seen.",
        "The picture's own pixels that hide an invented part.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        person = ("IMAGE", {"tooltip": "Complete Person's picture of each person."})
        return {"required": {"image": ("IMAGE",), "person": person, "modal_mask": _MODAL, "amodal_mask": _AMODAL}}

    def separate(
        self, image: Tensor, person: Tensor, modal_mask: Tensor, amodal_mask: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
        """[N, H, W, 4], N times [1, h, w, 4], and twice [B, H, W, 4]. Raises ValueError for sizes that do not fit."""
        if person.shape != (len(modal_mask), *image.shape[1:]):
            raise ValueError(f"person is {_shape(person)}; it must be a picture like image for each row of modal_mask")
        backgrounds, in_front = [], []
        for picture, modal, amodal in _with_its_people(image, modal_mask, amodal_mask):
            seen, whole = modal >= 0.5, amodal >= 0.5
            backgrounds.append(_cut_out(picture, ~seen.any(dim=0)))
            in_front.append(_cut_out(picture, (whole & ~seen).any(dim=0)))
        whole = (amodal_mask >= 0.5) | (modal_mask >= 0.5)
        people = torch.stack([_cut_out(picture, mask) for picture, mask in zip(person, whole, strict=True)])
        cropped = [_cropped(picture, mask)[None] for picture, mask in zip(people, whole, strict=True)]
        return people, cropped, torch.stack(backgrounds), torch.stack(in_front)


_kept: dict[tuple[str, str, str], SceneDeoccluder] = {}
"""The method used last, for ComfyUI runs a node for each picture of a list."""


def _scenes(mask_stage: str, rgb_stage: str, device: str) -> SceneDeoccluder:
    from deocclude.pipelines.scene import SceneDeoccluder

    wanted = (mask_stage, rgb_stage, device)
    if wanted not in _kept:
        _kept.clear()  # first: two methods at once might not fit
        gc.collect()
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
        _kept[wanted] = SceneDeoccluder.from_preset(
            "feedforward", mask_stage=mask_stage, rgb_stage=rgb_stage, device=device
        )
    return _kept[wanted]


def _stages(kind: Literal["mask", "RGB"]) -> list[str]:
    """The stages that deocclude offers in menus. Reading them imports no network."""
    from deocclude.stages.catalogue import stage_specs

    return [name for name, spec in stage_specs(kind).items() if spec.listed]


def _choice(name: str, choices: Sequence[str]) -> str:
    """The name itself: deocclude takes files as stages too, and a workflow must not name one."""
    if name not in choices:
        raise ValueError(f"no '{name}' here; choose from {', '.join(choices)}")
    return name


def _checked(image: Tensor) -> Tensor:
    if image.ndim != 4 or image.shape[3] not in (3, 4) or 0 in image.shape:
        raise ValueError(f"an image is [B, H, W, 3 or 4]; got {_shape(image)}")
    if not torch.isfinite(image).all():
        raise ValueError("the image holds values that are not numbers; look at the node it comes from")
    return image


def _with_its_people(image: Tensor, *masks: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Each picture [H, W, C] with the rows [n, H, W] of its people, in each of the masks."""
    _checked(image)
    for mask in masks:
        if mask.ndim != 3 or mask.shape[1:] != image.shape[1:3]:
            raise ValueError(f"a mask {_shape(mask)} is not as large as its picture {_shape(image)}")
        if len(mask) != len(masks[0]):
            raise ValueError(f"the masks are of {len(masks[0])} and of {len(mask)} people; give each person one row")
    if len(image) == 1:
        yield (image[0], *masks)
        return
    if len(masks[0]) != len(image):
        raise ValueError(
            f"{len(image)} pictures and {len(masks[0])} masks: a batch has one person a picture, a list any number"
        )
    for number, picture in enumerate(image):
        yield (picture, *(mask[number : number + 1] for mask in masks))


def _scene_of_known_masks(scenes: SceneDeoccluder, picture: Tensor, modal: Tensor, amodal: Tensor) -> Scene:
    """The people of a picture [H, W, C] completed inside the masks [n, H, W] that were given."""
    from deocclude.pipelines.scene_people import SceneRequest

    found = scenes.find(_as_bytes(picture), SceneRequest(modal_masks=list(modal)))
    whole = (amodal >= 0.5).cpu().numpy()
    subjects = [
        replace(subject, amodal_mask=mask | subject.person.modal_mask)
        for subject, mask in zip(found.subjects, whole, strict=True)
    ]
    return scenes.complete([replace(found, subjects=subjects)])[0]


def _painted(picture: Tensor, person: Deocclusion) -> Tensor:
    """The picture [H, W, C] with a person's invented pixels; the others are not touched, not even rounded."""
    invented = torch.from_numpy(person.invisible_mask).to(picture.device)
    painted = picture.clone()
    painted[..., :3][invented] = torch.from_numpy(person.rgb).to(picture)[invented] / 255
    painted[..., 3:][invented] = 1  # where the picture has alpha, what was invented is there
    return painted


def _facts(scene: Scene) -> dict[str, Any]:
    """What is known of a picture's people, by their rows from 0."""
    return {
        "notice": "the pixels of invented_mask are generated by deocclude; nobody photographed them",
        "back_to_front": list(scene.order.back_to_front),
        "in_front_of_each_other": [list(group) for group in scene.order.cycles],
        "people": [{"occlusion_ratio": round(one.occlusion_ratio, 6), **one.facts} for one in scene.people],
    }


def _as_bytes(picture: Tensor) -> np.ndarray:
    """What the networks look at: [H, W, C] to uint8 (H, W, 3), alpha over white. Other nodes overshoot 1 a little."""
    picture = picture.float().cpu().clamp(0, 1)
    alpha = picture[..., 3:] if picture.shape[-1] == 4 else 1
    rgb = picture[..., :3] * alpha + (1 - alpha)
    return (rgb * 255).round().byte().numpy()


def _as_mask(masks: Sequence[np.ndarray], like: Tensor) -> Tensor:
    """bool (H, W) each to one MASK [N, H, W]."""
    return torch.stack([torch.from_numpy(mask) for mask in masks]).float().to(like.device)


def _cut_out(picture: Tensor, mask: Tensor) -> Tensor:
    """[H, W, C] inside a bool mask [H, W], as RGBA [H, W, 4]: transparent, and black, elsewhere."""
    alpha = picture[..., 3:] if picture.shape[-1] == 4 else torch.ones_like(picture[..., :1])
    return torch.cat([picture[..., :3], alpha], dim=-1) * mask[..., None]


def _cropped(picture: Tensor, mask: Tensor) -> Tensor:
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    if not len(rows):
        raise ValueError("a row of the masks is empty; give one person a row")
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
