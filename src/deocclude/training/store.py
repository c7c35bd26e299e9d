"""The training photographs and the occluders as tensors that live on the training device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from deocclude.crops import crop_around, extract
from deocclude.data.ccp import CcpRecord, read_ccp
from deocclude.data.coco import CocoImage, CocoInstance, body_25_from_coco, hidden_body_25, read_coco
from deocclude.data.occluders import OccluderBank
from deocclude.errors import InputError
from deocclude.images import open_image
from deocclude.parsing import IGNORE_LABEL
from deocclude.skeletons import NUM_JOINTS

PHOTO_SIZE = 384
"""Side of a stored photograph: 1,896 of them are 1.4 GB, and a half-length view is still sharp."""
PATCH_SIZE = 192
"""Side of a stored occluder: as sharp as the people it is pasted on, or a network learns that occluders are blurred."""

MIN_COCO_SIDE = 80
"""Pixels. A person of a COCO picture with a smaller box is a blur at the stored size."""

COCO_MARGIN = 2.0
"""Side of the stored square over the longer side of a COCO person's box: what surrounds them tells what hides them."""

BACKGROUND, PERSON, NOT_SCORED, OTHER, IN_FRONT = 0, 1, 2, 3, 4
"""Labels of a pixel. OTHER is another annotated person or object: surely not a visible part of this person, who may go
on behind it; IN_FRONT is one of those that is known to hide this person."""


@dataclass(frozen=True)
class PhotoStore:
    """N letterboxed photographs, one person of interest in each.

    images: uint8 (N, 3, P, P). labels: uint8 (N, 1, P, P), one of the five above; a carried bag and a crowd are not
    scored. parsing: uint8 (N, 1, P, P), LIP-20, 255 without annotation. joints: float32 (N, 25, 3), x and y in [-1, 1]
    (the square's edges), confidence. hidden: bool (N, 25), joints that something hides in the photograph itself. boxes:
    float32 (N, 4), the person's x0, y0, x1, y1 in [-1, 1]; frames: the same of the photograph itself, outside which the
    square is black. whole: bool (N,), the person is wholly visible, so that PERSON is the amodal mask.
    """

    images: Tensor
    labels: Tensor
    parsing: Tensor
    joints: Tensor
    hidden: Tensor
    boxes: Tensor
    frames: Tensor
    whole: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> PhotoStore:
        return PhotoStore(*(tensor.to(device) for tensor in vars(self).values()))

    def select(self, indices: Tensor) -> PhotoStore:
        return PhotoStore(*(tensor[indices] for tensor in vars(self).values()))


def load_photos(root: Path, *, limit: int | None = None) -> PhotoStore:
    """CCP's `train` split, every photograph of it or the first `limit`. Raises InputError where there is none."""
    records = read_ccp(root, "train")[:limit]
    if not records:
        raise InputError(f"{root / 'index.csv'}: gives no photograph to the split 'train'")
    stores = [_load_photo(record) for record in tqdm(records, desc="photographs", unit="")]
    return PhotoStore(*(torch.stack(tensors) for tensors in zip(*stores, strict=True)))


def _load_photo(record: CcpRecord) -> tuple[Tensor, ...]:
    sample = record.load()
    labels = np.where(sample.person, PERSON, np.where(sample.not_scored, NOT_SCORED, BACKGROUND)).astype(np.uint8)
    parsing = sample.parsing if sample.parsing is not None else np.full(labels.shape, IGNORE_LABEL, np.uint8)
    height, width = labels.shape
    scale = PHOTO_SIZE / max(height, width)
    offset = (PHOTO_SIZE - np.array([width, height]) * scale) / 2
    joints = record.joints.copy()
    joints[:, :2] = (joints[:, :2] * scale + offset) / PHOTO_SIZE * 2 - 1
    # Outside the photograph there is nothing to label: background for mask and parsing.
    return _as_tensors(
        letterbox(sample.image, PHOTO_SIZE, Image.Resampling.BOX),
        letterbox(labels, PHOTO_SIZE, Image.Resampling.NEAREST),
        letterbox(parsing, PHOTO_SIZE, Image.Resampling.NEAREST),
        joints,
        np.concatenate([offset, PHOTO_SIZE - offset]),
        is_whole=True,
    )


def _as_tensors(
    image: np.ndarray,
    labels: np.ndarray,
    parsing: np.ndarray,
    joints: np.ndarray,
    frame: np.ndarray,
    *,
    is_whole: bool,
    hidden: np.ndarray | None = None,
) -> tuple[Tensor, ...]:
    """One letterboxed photograph as the fields of a store; frame: its x0, y0, x1, y1 in pixels of the square."""
    rows, columns = np.nonzero(labels == PERSON)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / PHOTO_SIZE * 2 - 1
    return (
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        torch.from_numpy(labels)[None],
        torch.from_numpy(parsing)[None],
        torch.from_numpy(joints.astype(np.float32)),
        torch.from_numpy(np.zeros(NUM_JOINTS, bool) if hidden is None else hidden),
        torch.from_numpy(box.astype(np.float32)),
        torch.from_numpy((frame / PHOTO_SIZE * 2 - 1).astype(np.float32)),
        torch.tensor(is_whole),
    )


def letterbox(array: np.ndarray, size: int, resampling: Image.Resampling) -> np.ndarray:
    """uint8 (H, W[, 3]) resized to fit a square of `size`, centred, the rest 0."""
    height, width = array.shape[:2]
    scale = size / max(height, width)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.zeros((size, size, *array.shape[2:]), np.uint8)
    left, top = (size - new_width) // 2, (size - new_height) // 2
    resized = Image.fromarray(array).resize((new_width, new_height), resampling)
    canvas[top : top + new_height, left : left + new_width] = np.asarray(resized)
    return canvas


def is_hand_drawn(photos: PhotoStore) -> Tensor:
    """Whose masks people drew, bool (N,): CCP has a parsing for those alone."""
    is_part = (photos.parsing > 0) & (photos.parsing != IGNORE_LABEL)  # the letterbox's bars are background
    return is_part.flatten(1).any(dim=1)


def load_coco_people(coco_json: Path, coco_images: Path) -> list[PhotoStore]:
    """People of a COCO file as they are: often occluded already, so the labels of most are modal.

    One square round each person whose box has a side of at least `MIN_COCO_SIDE`; no parsing. boxes are those of the
    visible part. One store, or none where the file has no such person.
    """
    stores = []
    for image in tqdm(read_coco(coco_json, coco_images), desc="COCO people", unit=""):
        people = [instance for instance in image.instances if instance.category == "person"]
        if not people:
            continue
        picture = open_image(image.path)
        for person in people:
            x0, y0, x1, y1 = person.box_xyxy
            if max(x1 - x0, y1 - y0) >= MIN_COCO_SIDE and (fields := _coco_person(picture, image, person)) is not None:
                stores.append(fields)
    return [PhotoStore(*(torch.stack(tensors) for tensors in zip(*stores, strict=True)))] if stores else []


def _coco_person(picture: np.ndarray, image: CocoImage, person: CocoInstance) -> tuple[Tensor, ...] | None:
    """One person of a photograph uint8 (H, W, 3) as the fields of a store; None where the polygon has no pixel."""
    x0, y0, x1, y1 = person.box_xyxy
    crop = crop_around((int(x0), int(y0), int(x1) + 1, int(y1) + 1), picture.shape[:2], margin=COCO_MARGIN)
    labels = np.zeros((PHOTO_SIZE, PHOTO_SIZE), np.uint8)
    for others, label in (([one for one in image.instances if one is not person], OTHER), (image.crowds, NOT_SCORED)):
        for other in others:
            mask = other.mask()
            in_front = label == OTHER and _hides(mask, person)
            labels[extract(mask, crop, PHOTO_SIZE, nearest=True)] = IN_FRONT if in_front else label
    inside = extract(person.mask(), crop, PHOTO_SIZE, nearest=True)
    if not inside.any():
        return None
    labels[inside] = PERSON
    joints, hidden = np.zeros((NUM_JOINTS, 3), np.float32), None
    if person.keypoints is not None:
        joints, hidden = body_25_from_coco(person.keypoints), hidden_body_25(person.keypoints)
        joints[:, :2] = (joints[:, :2] - (crop.left, crop.top)) / crop.side * 2 - 1
    return _as_tensors(
        extract(picture, crop, PHOTO_SIZE, nearest=False),
        labels,
        np.full(labels.shape, IGNORE_LABEL, np.uint8),
        joints,
        (np.array(crop.inside(picture.shape[:2])) - (crop.left, crop.top) * 2) * PHOTO_SIZE / crop.side,
        is_whole=person.is_whole,
        hidden=hidden,
    )


def _hides(other: np.ndarray, person: CocoInstance) -> bool:
    """Whether a hidden keypoint of the person lies inside another's mask, bool (H, W)."""
    if person.keypoints is None:
        return False
    columns, rows, visibility = person.keypoints.T.astype(int)
    height, width = other.shape
    within = (visibility == 1) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return bool(other[rows[within], columns[within]].any())


def join(stores: list[PhotoStore]) -> PhotoStore:
    """Several stores as one, in their order."""
    fields = zip(*(vars(store).values() for store in stores), strict=True)
    return PhotoStore(*(torch.cat(tensors) for tensors in fields))


@dataclass(frozen=True)
class Occluders:
    """What is pasted. patches: uint8 (M, 4, P, P), RGBA. is_person: bool (M,)."""

    patches: Tensor
    is_person: Tensor

    def __len__(self) -> int:
        return len(self.patches)

    def to(self, device: torch.device) -> Occluders:
        return Occluders(self.patches.to(device), self.is_person.to(device))


@dataclass(frozen=True)
class Scenes:
    """Pictures without people. images: uint8 (K, 3, P, P). objects: uint8 (K, 1, P, P), 0 or an object's number."""

    images: Tensor
    objects: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Scenes:
        return Scenes(self.images.to(device), self.objects.to(device))


def load_occluders(
    sources: Sequence[tuple[Path, Path]],
    stores: Sequence[PhotoStore],
    *,
    num_people: int,
    num_shapes: int,
    seed: int,
) -> Occluders:
    """COCO objects (and people among them), `num_people` people of each store, textured shapes.

    sources: COCO files and their image folders. Shapes (bars, discs, half-planes cut out of COCO pictures) stand for
    the walls, tables and poles that an object bank has none of.
    """
    rng = np.random.default_rng((seed, 1))
    banks = [OccluderBank.from_coco(*source) for source in sources]
    objects = [bank.to_patches(PATCH_SIZE) for bank in banks]
    people = [
        _person_patch(photos, int(index))
        for photos in stores
        for index in rng.choice(len(photos), min(num_people, len(photos)), replace=False)
    ]
    paths = [image.path for source in sources for image in read_coco(*source)]
    # Opened one by one as they are drawn: COCO has 118,000 pictures.
    shapes = [_shape_patch(open_image(paths[int(rng.integers(len(paths)))]), rng) for _ in range(num_shapes)]
    patches = np.concatenate([*objects, *(np.stack(extra) for extra in (people, shapes) if extra)])
    is_person = [one.name == "person" for bank in banks for one in bank.sources]
    is_person += [True] * len(people) + [False] * len(shapes)
    return Occluders(torch.from_numpy(patches).permute(0, 3, 1, 2).contiguous(), torch.tensor(is_person))


def load_scenes(sources: Sequence[tuple[Path, Path]]) -> Scenes:
    """The pictures of COCO files that show no person: the middle square of each, with its objects. May be empty."""
    pictures, objects = [], []
    for image in (image for source in sources for image in read_coco(*source)):
        if any(instance.category == "person" for instance in (*image.instances, *image.crowds)):
            continue
        picture, size = Image.fromarray(open_image(image.path)), (PHOTO_SIZE, PHOTO_SIZE)
        numbers = np.zeros((picture.height, picture.width), np.uint8)
        # Large ones first: a cup stands on a table, not behind it.
        largest_first = sorted(image.instances, key=lambda one: -one.area)[:255]
        for number, instance in enumerate(largest_first, start=1):
            numbers[instance.mask()] = number
        pictures.append(np.asarray(ImageOps.fit(picture, size, Image.Resampling.BOX)))
        objects.append(np.asarray(ImageOps.fit(Image.fromarray(numbers), size, Image.Resampling.NEAREST)))
    if not pictures:
        empty = torch.zeros((0, 3, PHOTO_SIZE, PHOTO_SIZE), dtype=torch.uint8)
        return Scenes(empty, empty[:, :1])
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return Scenes(images, torch.from_numpy(np.stack(objects))[:, None])


def _person_patch(photos: PhotoStore, index: int) -> np.ndarray:
    """One stored person as an RGBA patch, uint8 (P, P, 4)."""
    x0, y0, x1, y1 = ((photos.boxes[index] + 1) / 2 * PHOTO_SIZE).round().int().tolist()
    rgb = photos.images[index, :, y0:y1, x0:x1].permute(1, 2, 0).numpy()
    labels = photos.labels[index, 0, y0:y1, x0:x1]
    alpha = ((labels == PERSON) | (labels == NOT_SCORED)).numpy().astype(np.uint8) * 255
    return np.dstack(
        [letterbox(rgb, PATCH_SIZE, Image.Resampling.BOX), letterbox(alpha, PATCH_SIZE, Image.Resampling.BOX)]
    )


def _shape_patch(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bar, a disc or a half-plane cut out of a random square of a picture, uint8 (P, P, 4)."""
    height, width = picture.shape[:2]
    side = int(rng.integers(min(height, width) // 4, min(height, width) + 1))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    square = Image.fromarray(picture[top : top + side, left : left + side]).resize((PATCH_SIZE, PATCH_SIZE))
    y, x = np.mgrid[-1 : 1 : PATCH_SIZE * 1j, -1 : 1 : PATCH_SIZE * 1j]
    kind = rng.integers(3)
    if kind == 0:
        inside = (np.abs(x) < rng.uniform(0.08, 1)) & (np.abs(y) < 0.97)
    elif kind == 1:
        inside = (x / rng.uniform(0.4, 1)) ** 2 + y**2 < 0.95
    else:
        inside = np.abs(x + rng.uniform(-0.6, 0.6) * y) < 0.7
    return np.dstack([np.asarray(square), inside.astype(np.uint8) * 255])
