"""The columns of scores and tables: what each is called, how it is printed, which way is better."""

from __future__ import annotations

import math
from dataclasses import dataclass

UNKNOWN = "–"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One score.

    key: its name in scores.csv, and in scores.json before `_mean`. scale: a factor for what is printed. network: whose
    features it looks at; figures of two networks are two measures, though papers give them one name.
    """

    key: str
    name: str
    digits: int = 3
    scale: float = 1
    higher_is_better: bool = False
    network: str = ""

    @property
    def title(self) -> str:
        """The head of the column, with the network and the factor."""
        times = f" ×{self.scale:g}" if self.scale != 1 else ""
        return f"{self.name}{times}" + (f" ({self.network})" if self.network else "")

    def text(self, value: float | None, *, signed: bool = False) -> str:
        """A value as it stands in a table; a dash where there is none."""
        if value is None or not math.isfinite(value):
            return UNKNOWN
        return f"{value * self.scale:{'+' if signed else ''}.{self.digits}f}"

    def interval_text(self, interval: tuple[float, float], *, signed: bool = False) -> str:
        """`0.93 to 0.95`, at the column's scale."""
        low, high = (self.text(end, signed=signed) for end in interval)
        return f"{low} to {high}"


EFFICIENTNET, ALEXNET, INCEPTION = "EfficientNet-Lite0", "AlexNet", "InceptionV3"
PICTURE_COLUMNS = (
    "rgb_l1", "rgb_l1_visible", "rgb_l1_invisible", "rgb_mse", "rgb_mse_visible", "rgb_mse_invisible", "psnr",
)  # fmt: skip
BEST_OF_N_COLUMNS = ("content_l1_best_of_n", "rgb_l1_best_of_n", "psnr_best_of_n")
INVENTION_COLUMNS = (
    "modal_iou_from_80", "self_invention", "self_invention_above_5", "invented", "whole_invented",
    "whole_invented_above_3", "invented_background", "keypoints_reached", "islands", "has_islands",
)  # fmt: skip
"""What can be measured in ordinary photographs, the truth behind real occluders being unknown. Columns with a limit
in their name are 1 or 0 a person: their mean is a fraction of people."""
NETWORK_COLUMNS = ("lpips_alexnet", "feature_distance_efficientnet_lite0")
SCORE_COLUMNS = (
    "modal_iou", "iou", "invisible_iou", "mask_l1", *INVENTION_COLUMNS, "content_l1",
    *PICTURE_COLUMNS, *(f"{column}_true_mask" for column in PICTURE_COLUMNS),
    *BEST_OF_N_COLUMNS, *NETWORK_COLUMNS, "seconds",
)  # fmt: skip
"""Everything that is scored a person. The pictures' columns put the prediction on white outside the mask the method
predicted and the truth outside the true one; with `_true_mask` both are cut by the true amodal mask: only the colours
are judged. `_best_of_n`: of the candidate picture that is nearest to the truth, which only somebody who has the truth
can choose; all other columns are of the method's own first."""

SET_COLUMNS = ("fid_inception_v3", "kid_inception_v3", "kid_efficientnet_lite0")
"""Figures of all pictures together, in scores.json alone: `mean`, and KID's `std` over subsets."""

COLUMNS = {
    column.key: column
    for column in (
        Column(key="modal_iou", name="modal IoU", higher_is_better=True),
        Column(key="iou", name="mIoU", higher_is_better=True),
        Column(key="invisible_iou", name="mIoU-inv", higher_is_better=True),
        Column(key="mask_l1", name="mask L1"),
        Column(key="modal_iou_from_80", name="modal IoU ≥ .8", higher_is_better=True),
        Column(key="self_invention", name="self-invention"),
        Column(key="self_invention_above_5", name="self-invention > 5 %"),
        Column(key="invented", name="invented"),
        Column(key="whole_invented", name="whole people: invented"),
        Column(key="whole_invented_above_3", name="whole people: > 3 %"),
        Column(key="invented_background", name="invented on background"),
        Column(key="keypoints_reached", name="hidden keypoints reached", higher_is_better=True),
        Column(key="islands", name="islands"),
        Column(key="has_islands", name="people with islands"),
        Column(key="content_l1", name="content L1"),
        Column(key="rgb_l1", name="RGB L1", scale=1000, digits=2),
        Column(key="rgb_l1_visible", name="RGB L1 visible", scale=1000, digits=2),
        Column(key="rgb_l1_invisible", name="RGB L1 invisible", scale=1000, digits=2),
        Column(key="rgb_mse", name="RGB MSE", scale=1000, digits=2),
        Column(key="rgb_mse_visible", name="RGB MSE visible", scale=1000, digits=2),
        Column(key="rgb_mse_invisible", name="RGB MSE invisible", scale=1000, digits=2),
        Column(key="psnr", name="PSNR", digits=2, higher_is_better=True),
        Column(key="rgb_l1_true_mask", name="RGB L1, true mask", scale=1000, digits=2),
        Column(key="psnr_true_mask", name="PSNR, true mask", digits=2, higher_is_better=True),
        Column(key="content_l1_best_of_n", name="content L1, best of N"),
        Column(key="rgb_l1_best_of_n", name="RGB L1, best of N", scale=1000, digits=2),
        Column(key="psnr_best_of_n", name="PSNR, best of N", digits=2, higher_is_better=True),
        Column(key="lpips_alexnet", name="LPIPS", scale=1000, digits=2, network=ALEXNET),
        Column(key="fid_inception_v3", name="FID", digits=2, network=INCEPTION),
        Column(key="kid_inception_v3", name="KID", scale=1000, digits=2, network=INCEPTION),
        Column(
            key="feature_distance_efficientnet_lite0",
            name="feature distance",
            scale=1000,
            digits=2,
            network=EFFICIENTNET,
        ),
        Column(key="kid_efficientnet_lite0", name="KID", scale=1000, digits=2, network=EFFICIENTNET),
        Column(key="seconds", name="seconds", digits=2),
    )
}
"""Those that tables print, by key."""

MASK_TABLE = ("modal_iou", "iou", "invisible_iou", "mask_l1")
PICTURE_TABLE = ("content_l1", "rgb_l1", "psnr")
"""The columns that every table of methods has."""
SHARES_TABLE = (
    "rgb_l1", "rgb_l1_visible", "rgb_l1_invisible", "rgb_mse", "rgb_mse_visible", "rgb_mse_invisible",
)  # fmt: skip
NETWORK_TABLE = (*NETWORK_COLUMNS, *SET_COLUMNS)
