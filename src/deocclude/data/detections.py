"""People of one picture for other programs: `supervision.Detections` and the fields of a FiftyOne sample.

Both libraries are optional. With results of `Deoccluder` for one photograph:

    supervision_detections([r.modal_mask for r in results], [r.amodal_mask for r in results])
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from deocclude.masks import mask_box, occlusion_ratio

Masks = Sequence[np.ndarray] | np.ndarray


def supervision_detections(modal_masks: Masks, amodal_masks: Masks) -> Any:
    """`supervision.Detections` of N people: `mask` is the amodal one, `class_id` 0, `xyxy` the amodal mask's box.

    `data` has `modal`, bool (N, H, W), and `occlusion_ratio`, float32 (N,).

    modal_masks, amodal_masks: N of bool (H, W) each. Raises ModuleNotFoundError where supervision is not installed.
    """
    supervision = _library("supervision")
    people = _pairs(modal_masks, amodal_masks)
    if not people:
        return supervision.Detections.empty()
    modal, amodal = (np.stack(masks) for masks in zip(*people, strict=True))
    return supervision.Detections(
        xyxy=np.array([mask_box(mask) or (0, 0, 0, 0) for mask in amodal], np.float32),
        mask=amodal,
        class_id=np.zeros(len(people), int),
        data={"modal": modal, "occlusion_ratio": np.array([occlusion_ratio(*pair) for pair in people], np.float32)},
    )


def fiftyone_fields(modal_masks: Masks, amodal_masks: Masks) -> dict[str, Any]:
    """Fields of a FiftyOne sample of N people: `fiftyone.Sample(filepath=…, **fiftyone_fields(…))`.

    `modal` and `amodal` are `fiftyone.Detections`, labelled "person", with the attribute `occlusion_ratio`; `index`
    says who belongs to whom. `occlusion_ratio` is the list of all. A person whose mask is empty has no detection in
    that field.

    modal_masks, amodal_masks: N of bool (H, W) each. Raises ModuleNotFoundError where FiftyOne is not installed.
    """
    fiftyone = _library("fiftyone")
    people = _pairs(modal_masks, amodal_masks)
    ratios = [occlusion_ratio(modal, amodal) for modal, amodal in people]
    fields: dict[str, Any] = {"occlusion_ratio": ratios}
    for field, masks in (("modal", [modal for modal, _ in people]), ("amodal", [amodal for _, amodal in people])):
        shown = [
            fiftyone.Detection(label="person", index=index, occlusion_ratio=ratio, **_cut_mask(mask))
            for index, (mask, ratio) in enumerate(zip(masks, ratios, strict=True))
            if mask.any()
        ]
        fields[field] = fiftyone.Detections(detections=shown)
    return fields


def _pairs(modal_masks: Masks, amodal_masks: Masks) -> list[tuple[np.ndarray, np.ndarray]]:
    people = list(zip(modal_masks, amodal_masks, strict=True))
    for modal, amodal in people:
        if modal.dtype != bool or amodal.dtype != bool or modal.shape != amodal.shape or modal.ndim != 2:
            raise ValueError(
                f"masks must be bool (H, W), modal and amodal of one size; got {modal.dtype} {modal.shape} and "
                f"{amodal.dtype} {amodal.shape}"
            )
    return people


def _cut_mask(mask: np.ndarray) -> dict[str, Any]:
    """FiftyOne's form: the mask inside its box, and the box as [x, y, width, height] in shares of the picture."""
    x0, y0, x1, y1 = mask_box(mask) or (0, 0, 0, 0)
    height, width = mask.shape
    return {
        "bounding_box": [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height],
        "mask": mask[y0:y1, x0:x1],
    }


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ModuleNotFoundError(f"this needs the package '{name}'; pip install {name}", name=name) from error
