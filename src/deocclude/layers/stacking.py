"""A scene as layers: background, people from back to front, what stands before them. Flattened, it is the photograph.

Bottom to top:

background     the photograph without the people: transparent where somebody is seen, since nobody knows what is behind
people         each whole, invented pixels included, those at the back first; above each a hidden layer that shows which
               pixels were invented
occluders      pixels of the photograph that hide an invented part and belong to nobody
visible parts  of a person whom the order puts behind another's invented part: people who hide each other in turn

Nothing is blended: every pixel is opaque or transparent, so that what was visible comes out bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from deocclude.layers.marking import GeneratedMark
from deocclude.masks import invisible_mask, mask_box

Kind = Literal["background", "person", "invented", "occluders", "visible parts", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
INVENTED_NAME = "{}: invented pixels"
"""How the hidden layer of a person is called."""
INVENTED_COLOUR = (255, 255, 0)
"""Of the hidden layers: the colour that outlines invented pixels in an overview."""


@dataclass(frozen=True, eq=False)
class ScenePerson:
    """One completed person of a scene, in the pixels of the canvas.

    name: as the layer is called; people of a scene have different ones.
    rgb: the completed picture, uint8 (H, W, 3); only its pixels in the invisible mask are looked at.
    modal_mask, amodal_mask: bool (H, W), modal inside amodal, amodal not empty.
    """

    name: str
    rgb: np.ndarray
    modal_mask: np.ndarray
    amodal_mask: np.ndarray

    def __post_init__(self) -> None:
        size_hw = self.amodal_mask.shape
        if self.rgb.dtype != np.uint8 or self.rgb.shape != (*size_hw, 3) or self.modal_mask.shape != size_hw:
            raise ValueError(f"{self.name}: rgb is uint8 (H, W, 3) and the masks are (H, W), all of one size")
        if self.modal_mask.dtype != bool or self.amodal_mask.dtype != bool:
            raise ValueError(f"{self.name}: masks are bool")
        if not self.amodal_mask.any() or (self.modal_mask & ~self.amodal_mask).any():
            raise ValueError(f"{self.name}: the amodal mask holds the modal one and is not empty")

    @property
    def invisible_mask(self) -> np.ndarray:
        """The invented pixels, bool (H, W)."""
        return invisible_mask(self.modal_mask, self.amodal_mask)


@dataclass(frozen=True, eq=False)
class Layer:
    """A picture on the canvas, cropped to what it shows.

    rgba: uint8 (h, w, 4), with its left upper pixel at `offset_xy` of the canvas; it may reach over the canvas's edge.
    mark: what is to be said of its invented pixels; None where it has none.
    """

    name: str
    kind: Kind
    rgba: np.ndarray
    offset_xy: tuple[int, int] = (0, 0)
    is_visible: bool = True
    mark: GeneratedMark | None = None

    def on_canvas(self, size_hw: tuple[int, int]) -> np.ndarray:
        """The layer alone on the whole canvas, uint8 (H, W, 4), transparent black elsewhere."""
        canvas = np.zeros((*size_hw, 4), np.uint8)
        rgba, (x, y) = self.inside(size_hw)
        canvas[y : y + rgba.shape[0], x : x + rgba.shape[1]] = rgba
        return canvas

    def inside(self, size_hw: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
        """What lies on the canvas, uint8 (h, w, 4), and where; of no pixels where the layer lies beside it."""
        x, y = self.offset_xy
        rgba = self.rgba[max(-y, 0) : max(size_hw[0] - y, 0), max(-x, 0) : max(size_hw[1] - x, 0)]
        return rgba, (max(x, 0), max(y, 0))


@dataclass(frozen=True, eq=False)
class LayerStack:
    """Layers on a canvas of (height, width) pixels, bottom to top.

    mark: what is to be said of all of them flattened; None where no invented pixel is seen then, as on a canvas no
        larger than the photograph.
    """

    size_hw: tuple[int, int]
    layers: tuple[Layer, ...]
    mark: GeneratedMark | None = None

    def of_kind(self, kind: Kind) -> tuple[Layer, ...]:
        """The layers of a kind, bottom to top: `of_kind("person")` is everybody, cut out, from back to front."""
        return tuple(layer for layer in self.layers if layer.kind == kind)


def flatten(stack: LayerStack) -> np.ndarray:
    """What is seen of the visible layers together, uint8 (H, W, 4), each over those below it."""
    from PIL import Image

    canvas = Image.new("RGBA", stack.size_hw[::-1])
    for layer in stack.layers:
        rgba, offset_xy = layer.inside(stack.size_hw)
        if layer.is_visible and rgba.size:
            canvas.alpha_composite(Image.fromarray(rgba), offset_xy)
    return np.array(canvas)


def stack_scene(
    photograph: np.ndarray,
    people: Sequence[ScenePerson],
    back_to_front: Sequence[int],
    *,
    offset_xy: tuple[int, int] = (0, 0),
) -> LayerStack:
    """The layers of a scene; `flatten` gives the photograph, opaque, bit for bit.

    photograph: uint8 (h, w, 3). back_to_front: the index of each person once, who is at the back first.
    offset_xy: where the photograph lies on the canvas, which is as large as the people's masks: people whom the frame
        cuts off go on beside it. There the background is transparent.

    Raises ValueError where sizes, order or names do not fit, or somebody is seen outside the photograph.
    """
    _check_scene(people, back_to_front)
    size_hw = _size_hw(people[0].amodal_mask if people else photograph)
    canvas, is_photographed = _on_canvas(photograph, offset_xy, size_hw)
    if any((person.modal_mask & ~is_photographed).any() for person in people):
        raise ValueError("nobody is seen outside the photograph; a modal mask says so")
    people_seen = np.zeros(size_hw, bool)
    for person in people:
        people_seen |= person.modal_mask

    layers = [_cut_out("background", "background", canvas, is_photographed & ~people_seen)]
    is_invented = np.zeros(size_hw, bool)  # in the layers so far, flattened
    for person in (people[index] for index in back_to_front):
        layers += _person_layers(person, canvas)
        is_invented = np.where(person.amodal_mask, person.invisible_mask, is_invented)
    layers += _repairs(people, canvas, is_invented & is_photographed, people_seen)
    beyond = int((is_invented & ~is_photographed).sum())
    return LayerStack(size_hw, tuple(layers), GeneratedMark(beyond, INVENTED_NAME.format("NAME")) if beyond else None)


def _person_layers(person: ScenePerson, canvas: np.ndarray) -> Iterator[Layer]:
    """The person and, hidden, which pixels of them were invented, if any."""
    x0, y0, x1, y1 = mask_box(person.amodal_mask) or (0, 0, 0, 0)
    here, offset_xy = np.s_[y0:y1, x0:x1], (x0, y0)
    amodal, invisible = person.amodal_mask[here], person.invisible_mask[here]
    # The visible pixels come from the photograph, not from the completed picture, which merely should agree.
    rgb = np.where(invisible[..., None], person.rgb[here], canvas[here])
    if not invisible.any():
        yield _cut_out(person.name, "person", rgb, amodal, offset_xy)
        return
    shown_by = INVENTED_NAME.format(person.name)
    mark = GeneratedMark(int(invisible.sum()), shown_by)
    yield _cut_out(person.name, "person", rgb, amodal, offset_xy, mark=mark)
    colour = np.broadcast_to(np.array(INVENTED_COLOUR, np.uint8), rgb.shape)
    yield _cut_out(shown_by, "invented", colour, invisible, offset_xy, is_visible=False)


def _repairs(
    people: Sequence[ScenePerson], canvas: np.ndarray, covered: np.ndarray, people_seen: np.ndarray
) -> Iterator[Layer]:
    """What belongs above everybody. covered: pixels of the photograph that somebody's invented part lies upon."""
    if (occluders := covered & ~people_seen).any():
        yield _cut_out("occluders", "occluders", canvas, occluders)
    for person in people:
        if (hidden := covered & person.modal_mask).any():
            yield _cut_out(f"{person.name}: visible parts", "visible parts", canvas, hidden)


def _cut_out(
    name: str,
    kind: Kind,
    rgb: np.ndarray,
    mask: np.ndarray,
    offset_xy: tuple[int, int] = (0, 0),
    *,
    is_visible: bool = True,
    mark: GeneratedMark | None = None,
) -> Layer:
    """The pixels of the mask as a layer, of a picture that lies at the offset; a transparent one for an empty mask."""
    x0, y0, x1, y1 = mask_box(mask) or (0, 0, 1, 1)
    alpha = mask[y0:y1, x0:x1, None].astype(np.uint8)
    rgba = np.concatenate([rgb[y0:y1, x0:x1] * alpha, alpha * 255], axis=-1)
    return Layer(name, kind, rgba, (offset_xy[0] + x0, offset_xy[1] + y0), is_visible, mark)


def _on_canvas(
    photograph: np.ndarray, offset_xy: tuple[int, int], size_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The photograph on a black canvas, uint8 (H, W, 3), and where it is, bool (H, W)."""
    if photograph.dtype != np.uint8 or photograph.ndim != 3 or photograph.shape[2] != 3:
        raise ValueError(f"a photograph is uint8 (h, w, 3); got {photograph.dtype} {photograph.shape}")
    (height, width), (x, y) = _size_hw(photograph), offset_xy
    if min(x, y) < 0 or y + height > size_hw[0] or x + width > size_hw[1]:
        place = f"{width}x{height} at {x},{y}"
        raise ValueError(f"the photograph, {place}, does not lie inside the masks of {size_hw[1]}x{size_hw[0]}")
    canvas, is_photographed = np.zeros((*size_hw, 3), np.uint8), np.zeros(size_hw, bool)
    canvas[y : y + height, x : x + width] = photograph
    is_photographed[y : y + height, x : x + width] = True
    return canvas, is_photographed


def _check_scene(people: Sequence[ScenePerson], back_to_front: Sequence[int]) -> None:
    if sorted(back_to_front) != list(range(len(people))):
        raise ValueError(f"back_to_front names each of {len(people)} people once; got {tuple(back_to_front)}")
    if len({person.name for person in people}) < len(people):
        raise ValueError("people of a scene have different names")
    if len({person.amodal_mask.shape for person in people}) > 1:
        raise ValueError("people of a scene have masks of one size")


def _size_hw(array: np.ndarray) -> tuple[int, int]:
    return array.shape[0], array.shape[1]
