"""The training photographs and the occluders as tensors that live on the training device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from deocclude.crops import crop_around, extract
from deocclude.data.ccp import CcpRecord, read_ccp
from deocclude.data.coco import body_25_from_coco, read_coco
from deocclude.data.occluders import OccluderBank
from deocclude.errors import InputError
from deocclude.images import open_image
from deocclude.parsing import IGNORE_LABEL
from deocclude.skeletons import NUM_JOINTS

PHOTO_SIZE = 384
"""Side of a stored photograph: 1,896 of them are 1.4 GB, and a half-length view is still sharp."""
PATCH_SIZE = 192
"""Side of a stored occluder: as sharp as the people it is pasted on, or a network learns that occluders are blurred."""

MIN_COCO_HEIGHT = 80
"""Pixels. A smaller person of a COCO picture is a blur at the stored size."""

BACKGROUND, PERSON, NOT_SCORED = 0, 1, 2


@dataclass(frozen=True)
class PhotoStore:
    """N letterboxed photographs of one unoccluded person each.

    images: uint8 (N, 3, P, P). labels: uint8 (N, 1, P, P), background, person or not scored (a carried bag).
    parsing: uint8 (N, 1, P, P), LIP-20, 255 where nobody labelled. joints: float32 (N, 25, 3), x and y in [-1, 1]
    (the square's edges), confidence. boxes: float32 (N, 4), the person's x0, y0, x1, y1 in [-1, 1]; frames: the same
    of the photograph itself, outside which the square is black.
    """

    images: Tensor
    labels: Tensor
    parsing: Tensor
    joints: Tensor
    boxes: Tensor
    frames: Tensor

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
    )


def _as_tensors(
    image: np.ndarray, labels: np.ndarray, parsing: np.ndarray, joints: np.ndarray, frame: np.ndarray
) -> tuple[Tensor, ...]:
    """One letterboxed photograph as the fields of a store; frame: its x0, y0, x1, y1 in pixels of the square."""
    rows, columns = np.nonzero(labels == PERSON)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / PHOTO_SIZE * 2 - 1
    return (
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        torch.from_numpy(labels)[None],
        torch.from_numpy(parsing)[None],
        torch.from_numpy(joints.astype(np.float32)),
        torch.from_numpy(box.astype(np.float32)),
        torch.from_numpy((frame / PHOTO_SIZE * 2 - 1).astype(np.float32)),
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


def load_coco_people(coco_json: Path, coco_images: Path, *, score_others: bool) -> list[PhotoStore]:
    """People of a COCO file as they are: often occluded already, so their labels are modal.

    One square round each person who is at least `MIN_COCO_HEIGHT` tall and the largest person in that square; crowds
    are not scored, nobody labelled a parsing. boxes are those of the visible part.
    score_others: score what other objects cover as not this person, which is true of the modal mask. For an amodal mask
        it is left out: the person may go on behind them.
    One store, or none where there is nobody.
    """
    stores = []
    for image in tqdm(read_coco(coco_json, coco_images), desc="COCO people", unit=""):
        people = [instance for instance in image.instances if instance.category == "person"]
        if not people:
            continue
        picture, masks = open_image(image.path), [person.mask() for person in people]
        unsure = [region.mask() for region in (*image.crowds, *(() if score_others else image.instances))]
        not_scored = np.any(unsure, axis=0) if unsure else np.zeros_like(masks[0])
        for person, mask in zip(people, masks, strict=True):
            x0, y0, x1, y1 = person.box_xyxy
            crop = crop_around((int(x0), int(y0), int(x1) + 1, int(y1) + 1), mask.shape, margin=1.6)
            largest = max(extract(other, crop, PHOTO_SIZE, nearest=True).sum() for other in masks)
            inside = extract(mask, crop, PHOTO_SIZE, nearest=True)
            if y1 - y0 < MIN_COCO_HEIGHT or inside.sum() < largest or not inside.any():
                continue
            labels = inside.astype(np.uint8) * PERSON
            labels[extract(not_scored, crop, PHOTO_SIZE, nearest=True) & ~inside] = NOT_SCORED
            joints = np.zeros((NUM_JOINTS, 3), np.float32)
            if person.keypoints is not None:
                joints = body_25_from_coco(person.keypoints)
                joints[:, :2] = (joints[:, :2] - (crop.left, crop.top)) / crop.side * 2 - 1
            stores.append(
                _as_tensors(
                    extract(picture, crop, PHOTO_SIZE, nearest=False),
                    labels,
                    np.full(labels.shape, IGNORE_LABEL, np.uint8),
                    joints,
                    (np.array(crop.inside(mask.shape)) - (crop.left, crop.top) * 2) * PHOTO_SIZE / crop.side,
                )
            )
    return [PhotoStore(*(torch.stack(tensors) for tensors in zip(*stores, strict=True)))] if stores else []


def join(stores: list[PhotoStore]) -> PhotoStore:
    """Several stores as one, in their order."""
    fields = zip(*(vars(store).values() for store in stores), strict=True)
    return PhotoStore(*(torch.cat(tensors) for tensors in fields))


def load_occluders(
    coco_json: Path, coco_images: Path, photos: PhotoStore, *, num_people: int, num_shapes: int, seed: int
) -> Tensor:
    """The occluder patches, uint8 (M, 4, P, P): COCO objects, people of other photographs, textured shapes.

    Shapes (bars, discs, half-planes cut out of COCO pictures) stand for the walls, tables and poles that an object
    bank has none of.
    """
    rng = np.random.default_rng((seed, 1))
    objects = OccluderBank.from_coco(coco_json, coco_images).to_patches(PATCH_SIZE)
    people = [_person_patch(photos, int(i)) for i in rng.choice(len(photos), min(num_people, len(photos)), False)]
    paths = [image.path for image in read_coco(coco_json, coco_images)]
    # Opened one by one as they are drawn: COCO has 118,000 pictures.
    shapes = [_shape_patch(open_image(paths[int(rng.integers(len(paths)))]), rng) for _ in range(num_shapes)]
    patches = np.concatenate([objects, *(np.stack(extra) for extra in (people, shapes) if extra)])
    return torch.from_numpy(patches).permute(0, 3, 1, 2).contiguous()


def load_backgrounds(coco_json: Path, coco_images: Path) -> Tensor:
    """The pictures of a COCO file that show nobody, uint8 (K, 3, P, P): the middle square of each. K may be 0."""
    squares = []
    for image in read_coco(coco_json, coco_images):
        if any(instance.category == "person" for instance in (*image.instances, *image.crowds)):
            continue
        picture = Image.fromarray(open_image(image.path))
        squares.append(np.asarray(ImageOps.fit(picture, (PHOTO_SIZE, PHOTO_SIZE), Image.Resampling.BOX)))
    pictures = np.stack(squares) if squares else np.zeros((0, PHOTO_SIZE, PHOTO_SIZE, 3), np.uint8)
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def _person_patch(photos: PhotoStore, index: int) -> np.ndarray:
    """One stored person as an RGBA patch, uint8 (P, P, 4)."""
    x0, y0, x1, y1 = ((photos.boxes[index] + 1) / 2 * PHOTO_SIZE).round().int().tolist()
    rgb = photos.images[index, :, y0:y1, x0:x1].permute(1, 2, 0).numpy()
    alpha = (photos.labels[index, 0, y0:y1, x0:x1] != BACKGROUND).numpy().astype(np.uint8) * 255
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
