"""How well a person was painted, one picture at a time.

Pictures are float (H, W, 3) in [0, 1], masks bool (H, W). `scored` is bool (H, W), False on the pixels nobody
may judge; they are left out of every sum and of every denominator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deocclude.masks import invisible_mask


@dataclass(frozen=True)
class Share:
    """One error, means over the whole picture's scored pixels and channels.

    The sums inside the modal mask (`visible`) and everywhere else (`invisible`) are divided by the same
    number: whole = visible + invisible, as in every row of paper A's tables H to J.
    """

    whole: float
    visible: float
    invisible: float


@dataclass(frozen=True)
class PictureErrors:
    """L1 = mean |p - t|, MSE = mean (p - t)^2, PSNR = -10 log10 MSE in dB: infinite for equal pictures."""

    l1: Share
    mse: Share
    psnr: float


def on_white(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The person alone: `picture` inside `mask`, white (1, 1, 1) outside, float (H, W, 3)."""
    return np.where(mask[..., None], picture, 1.0)


def picture_errors(
    prediction: np.ndarray, target: np.ndarray, modal_mask: np.ndarray, *, scored: np.ndarray | None = None
) -> PictureErrors:
    """Compare two persons on white (paper A's RGB metrics). `modal_mask`, the true one, only splits the sums.

    Everything is NaN where no pixel is scored.
    """
    difference = np.asarray(prediction, np.float64) - np.asarray(target, np.float64)
    judged = np.ones(modal_mask.shape, bool) if scored is None else scored
    mse = _share(difference**2, modal_mask, judged)
    with np.errstate(divide="ignore"):
        psnr = float(-10 * np.log10(np.float64(mse.whole)))
    return PictureErrors(l1=_share(np.abs(difference), modal_mask, judged), mse=mse, psnr=psnr)


def content_l1(
    prediction: np.ndarray,
    whole_picture: np.ndarray,
    modal_mask: np.ndarray,
    amodal_mask: np.ndarray,
    *,
    scored: np.ndarray | None = None,
) -> float:
    """Mean |prediction - whole| inside the true invisible region, in [0, 1].

    It is what the RGB stage did, whatever the mask stage said. `modal_mask` and `amodal_mask` are the true
    ones. NaN for a person with nothing hidden.
    """
    hidden = invisible_mask(modal_mask, amodal_mask)
    if scored is not None:
        hidden = hidden & scored
    if not hidden.any():
        return float("nan")
    return float(np.abs(prediction[hidden].astype(np.float64) - whole_picture[hidden]).mean())


def _share(error: np.ndarray, modal_mask: np.ndarray, judged: np.ndarray) -> Share:
    count = int(judged.sum()) * error.shape[-1]
    if not count:
        return Share(float("nan"), float("nan"), float("nan"))
    visible = float(error[modal_mask & judged].sum()) / count
    invisible = float(error[~modal_mask & judged].sum()) / count
    return Share(whole=visible + invisible, visible=visible, invisible=invisible)
