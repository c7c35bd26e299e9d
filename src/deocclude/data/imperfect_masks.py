"""Modal masks as a detector gives them: wrong in the ways in which detectors are wrong.

Paper B feeds its first stage a detector's mask whose IoU with the true modal mask is 0.775 on average (its
Table 4, the row without a modal branch). Paper A trains on masks that are grown by 5-30 % with probability 10 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from deocclude.masks import mask_box

SPREAD = 10.0
"""Concentration of the Beta distribution of one mask's IoU: at mean 0.775 its standard deviation is 0.126."""
WORST_IOU = 0.3
"""A detector's mask with less overlap than this would not have been matched to the person."""
SEARCH_SIZE = 96
"""Side of the small mask on which the strength of the errors is searched for."""
SEARCH_STEPS = 7
MAX_STRENGTH = 4.0


@dataclass(frozen=True, eq=False)
class _Errors:
    """The errors of one mask at strength 1, as coarse maps over its window; they scale with the strength."""

    bend: np.ndarray
    """(2, 5, 5) displacement of rows and columns, in shares of the window."""
    shift: np.ndarray
    """(2,) of the whole mask, in shares of the window."""
    stretch: np.ndarray
    """(2,) relative change of height and width."""
    roughness: np.ndarray
    """(14, 14), added to the blurred mask before the threshold."""
    bias: float
    """The same for the whole boundary: negative shrinks the mask, positive grows it."""
    lost: np.ndarray
    """(7, 7): where it is large, pieces go missing."""
    gained: np.ndarray
    """(9, 9): where it is large, pieces near the person (rather: of the occluder) come in."""
    cut_direction: np.ndarray
    """(2,) unit vector, row and column; limbs farthest along it are cut off."""
    cut_share: float
    cells: int
    """Cells of the coarse grid on which the detector draws the mask."""


def simulate_detector_mask(
    modal: np.ndarray,
    rng: np.random.Generator,
    *,
    target_iou: float = 0.775,
    occluder: np.ndarray | None = None,
) -> np.ndarray:
    """A wrong modal mask, bool (H, W), whose IoU with `modal` is `target_iou` on average.

    The IoU of one mask is drawn from a Beta distribution with that mean; then the kinds of error are drawn
    (shifted, stretched, bent, a rough and coarse boundary, lost limbs and pieces, added pieces) and made
    stronger until the mask is as wrong as that. An empty mask stays empty; a mask that is not comes back not empty.

    modal: bool (H, W). target_iou: between 0.4 and 1; 1 changes nothing. occluder: bool (H, W); errors leak into it.
    """
    if not 0.4 <= target_iou <= 1:
        raise ValueError(f"target_iou must be in [0.4, 1], got {target_iou}")
    box = mask_box(modal)
    if box is None or target_iou == 1:
        return modal.copy()
    wanted = max(WORST_IOU, rng.beta(SPREAD * target_iou, SPREAD * (1 - target_iou)))
    errors = _draw_errors(rng)
    rows, columns = _window(box, modal.shape)
    mask = modal[rows, columns]
    hiding = np.zeros_like(mask) if occluder is None else occluder[rows, columns]
    strength = _search_strength(_shrunk(mask), _shrunk(hiding), errors, wanted)
    result = np.zeros_like(modal)
    result[rows, columns] = _spoil(mask, hiding, errors, strength)
    return result if result.any() else modal.copy()


def grow_boundary(
    mask: np.ndarray,
    rng: np.random.Generator,
    probability: float = 0.1,
    low: float = 0.05,
    high: float = 0.30,
) -> np.ndarray:
    """With `probability`, the mask grown by `low` to `high` of its own area; otherwise the mask. Bool (H, W).

    Paper A's inaccurate modal masks. The nearest pixels are added first; noise of half a pixel decides among
    equals, since one ring of pixels round a small person is more than the 5 % that may be wanted.
    """
    from scipy.ndimage import distance_transform_edt

    if rng.random() >= probability or not mask.any():
        return mask.copy()
    added = round(rng.uniform(low, high) * int(mask.sum()))
    distance = distance_transform_edt(~mask) + 0.25 * _over(rng.standard_normal((24, 24)), mask.shape)
    distance[mask] = -np.inf
    count = min(mask.size, int(mask.sum()) + added)
    grown = np.zeros(mask.size, bool)
    grown[np.argpartition(distance, count - 1, axis=None)[:count]] = True
    return grown.reshape(mask.shape)


def _draw_errors(rng: np.random.Generator) -> _Errors:
    angle = rng.uniform(0, 2 * np.pi)
    # Limbs end above and below more often than at the sides.
    direction = np.array([np.sin(angle) * 1.8, np.cos(angle)])
    return _Errors(
        bend=rng.normal(0, 0.02, (2, 5, 5)),
        shift=rng.normal(0, 0.006, 2),
        stretch=rng.normal(0, 0.03, 2),
        roughness=rng.normal(0, 0.15, (14, 14)),
        bias=rng.normal(0, 0.08),
        lost=rng.standard_normal((7, 7)),
        gained=rng.standard_normal((9, 9)),
        cut_direction=direction / np.linalg.norm(direction),
        cut_share=rng.uniform(0.02, 0.2) if rng.random() < 0.4 else 0.0,
        cells=int(rng.integers(20, 57)),
    )


def _window(box: tuple[int, int, int, int], size_hw: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the box with a quarter of its longer side round it, inside the picture."""
    x0, y0, x1, y1 = box
    margin = max(2, max(x1 - x0, y1 - y0) // 4)
    return (
        slice(max(0, y0 - margin), min(size_hw[0], y1 + margin)),
        slice(max(0, x0 - margin), min(size_hw[1], x1 + margin)),
    )


def _search_strength(mask: np.ndarray, occluder: np.ndarray, errors: _Errors, wanted_iou: float) -> float:
    """The strength that gives the wanted IoU, by bisection: the stronger the errors, the smaller it is."""
    low, high = 0.0, MAX_STRENGTH
    for _ in range(SEARCH_STEPS):
        strength = (low + high) / 2
        spoiled = _spoil(mask, occluder, errors, strength)
        if (spoiled & mask).sum() > wanted_iou * (spoiled | mask).sum():
            low = strength
        else:
            high = strength
    return (low + high) / 2


def _spoil(mask: np.ndarray, occluder: np.ndarray, errors: _Errors, strength: float) -> np.ndarray:
    """The mask with its errors, bool (h, w). The result looks alike at every size of the window."""
    from scipy.ndimage import gaussian_filter

    shape = mask.shape
    unit = max(shape)
    mask = _moved(mask, errors, strength)
    mask = _cut(mask, errors, strength)
    coarseness = min(1.0, strength)
    soft = gaussian_filter(_coarse(mask, errors.cells / coarseness), 0.012 * unit * coarseness)
    near = gaussian_filter(mask.astype(np.float32), 0.04 * unit, truncate=2.0) > 0.02
    edge = strength * (errors.bias + _over(errors.roughness, shape))
    spoiled = soft > 0.5 - np.clip(edge, -0.45, 0.45)
    spoiled &= _over(errors.lost, shape) < 3.2 - 0.8 * strength
    gained = _over(errors.gained, shape)
    return spoiled | (near & (gained > 3.2 - 0.5 * strength)) | (near & occluder & (gained > 2.4 - 0.8 * strength))


def _moved(mask: np.ndarray, errors: _Errors, strength: float) -> np.ndarray:
    """Shifted, stretched about the window's middle and bent; the nearest pixel is taken."""
    height, width = mask.shape
    unit = max(mask.shape)
    positions = []
    for axis, length in enumerate(mask.shape):
        places = np.arange(length, dtype=np.float32) - length / 2
        straight = places * (1 + strength * errors.stretch[axis]) + length / 2 + strength * errors.shift[axis] * unit
        bend = strength * unit * _over(errors.bend[axis], mask.shape)
        moved = bend + (straight[:, None] if axis == 0 else straight[None])
        positions.append(np.rint(moved).astype(np.intp))
    rows, columns = positions
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return mask[rows.clip(0, height - 1), columns.clip(0, width - 1)] & inside


def _cut(mask: np.ndarray, errors: _Errors, strength: float) -> np.ndarray:
    """Without the part that lies farthest along the cut direction."""
    share = min(0.6, errors.cut_share * strength)
    if not share or not mask.any():
        return mask
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    along = rows * errors.cut_direction[0] + columns * errors.cut_direction[1]
    return mask & (along <= np.quantile(along[mask], 1 - share))


def _coarse(mask: np.ndarray, cells: float) -> np.ndarray:
    """Averaged over a grid of `cells` on the longer side and interpolated back, float32 in [0, 1]."""
    height, width = mask.shape
    scale = min(1.0, cells / max(mask.shape))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def _over(coarse: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A coarse map interpolated over a window, float32 (h, w)."""
    picture = Image.fromarray(coarse.astype(np.float32))
    return np.asarray(picture.resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC))


def _shrunk(mask: np.ndarray) -> np.ndarray:
    """At most `SEARCH_SIZE` on the longer side."""
    scale = SEARCH_SIZE / max(mask.shape)
    if scale >= 1:
        return mask
    size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX)) >= 0.5
