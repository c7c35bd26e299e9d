"""One picture that shows what was done: input, modal, amodal, completed side by side, of a person or of everybody."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deocclude.pipelines.compositing import grow
from deocclude.types import Deocclusion

if TYPE_CHECKING:
    from deocclude.pipelines.scene import Scene

MAX_HEIGHT, MAX_WIDTH = 768, 1024
"""Of one panel, pixels."""
GAP, LABEL_HEIGHT = 8, 26
PERSON_TINT = (64, 160, 255)
INVENTED_TINT = (255, 140, 0)
OUTLINE = (255, 255, 0)


def overview(image: np.ndarray, result: Deocclusion) -> np.ndarray:
    """The four panels, uint8 (h, w, 3), of a photograph uint8 (H, W, 3). Invented pixels are outlined."""
    size_wh = panel_size(image.shape[1], image.shape[0])
    shown, completed = (shrunk(picture, size_wh) for picture in (image, result.rgb))
    modal, invisible = (shrunk(mask, size_wh) for mask in (result.modal_mask, result.invisible_mask))
    panels = {
        "input": shown,
        "modal": tinted(shown, modal, PERSON_TINT),
        "amodal": outlined(tinted(tinted(shown, modal, PERSON_TINT), invisible, INVENTED_TINT), invisible),
        "completed": outlined(completed, invisible),
    }
    return side_by_side(panels)


def scene_overview(scene: Scene) -> np.ndarray:
    """The same of everybody in a scene, each in a colour of its own, those in front over those behind."""
    size_wh = panel_size(scene.image.shape[1], scene.image.shape[0])
    shown, completed = (shrunk(picture, size_wh) for picture in (scene.image, scene.rgb))
    modal, amodal, invented = shown, shown, shrunk(scene.invented_mask, size_wh)
    for one in scene.order.back_to_front:
        person, colour = scene.people[one], person_colour(one)
        visible, invisible = (shrunk(mask, size_wh) for mask in (person.modal_mask, person.invisible_mask))
        modal = tinted(modal, visible, colour)
        amodal = outlined(tinted(amodal, visible | invisible, colour), invisible)
    panels = {"input": shown, "modal": modal, "amodal": amodal, "completed": outlined(completed, invented)}
    return side_by_side(panels)


def person_colour(number: int) -> tuple[int, int, int]:
    """A colour for each person of a scene; neighbours in number differ much."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + number * 0.381966) % 1, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def panel_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of a panel: the photograph's, or smaller."""
    scale = min(1.0, MAX_HEIGHT / height, MAX_WIDTH / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def shrunk(array: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """A picture or a mask at a panel's size."""
    if array.dtype == bool:
        return shrunk(array.astype(np.uint8) * 255, size_wh) >= 128
    if (array.shape[1], array.shape[0]) == size_wh:
        return array
    return np.array(Image.fromarray(array).resize(size_wh, Image.Resampling.BOX))


def tinted(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The picture, half of it this colour inside the mask."""
    tinted = picture.copy()
    tinted[mask] = (picture[mask].astype(np.uint16) + np.array(colour, np.uint16)) // 2
    return tinted


def outlined(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A line round the mask, outside it, so that every invented pixel stays to be seen."""
    outlined = picture.copy()
    outlined[outline(mask)] = OUTLINE
    return outlined


def outline(mask: np.ndarray, width: int = 1) -> np.ndarray:
    """The pixels just outside a mask, bool (H, W)."""
    grown = mask
    for _ in range(width):
        grown = grow(grown)
    return grown & ~mask


def side_by_side(panels: dict[str, np.ndarray]) -> np.ndarray:
    """Panels of one size beside one another, each under its label."""
    height, width = next(iter(panels.values())).shape[:2]
    sheet = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height + LABEL_HEIGHT), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    for place, (label, panel) in enumerate(panels.items()):
        left = place * (width + GAP)
        sheet.paste(Image.fromarray(panel), (left, LABEL_HEIGHT))
        draw.text((left + 2, 4), label, fill="black", font=font)
    return np.array(sheet)
