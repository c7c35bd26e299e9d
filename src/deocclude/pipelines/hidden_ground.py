"""Law 2: nothing visible is invented. A stage's answer, kept to where something can hide the person.

What a mask stage calls hidden must lie where something is in front of the person, or beyond the photograph, and hang
together with the visible body through such ground. What the evidence calls the person's own visible body is visible.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from deocclude.pipelines.compositing import grow

if TYPE_CHECKING:
    from deocclude.conditioning.occlusion_evidence import OcclusionEvidence
    from deocclude.types import MaskCompletion

FRONT = 0.6
"""Probability from which something counts as in front."""
VISIBLE = 0.5
"""Probability from which a pixel counts as the person's own visible body."""
FRONT_MARGIN = 2
"""Crop pixels by which that is grown: contours are found to a pixel or two."""


def on_hidden_ground(
    completion: MaskCompletion, evidence: OcclusionEvidence, frame_mask: np.ndarray, *, modal_is_exact: bool
) -> MaskCompletion:
    """One person's completion with only those hidden parts that something can hide.

    completion, evidence: a batch of one, on the same crop. frame_mask: bool (S, S), the photograph. modal_is_exact: the
    modal mask is the user's and stays; otherwise what of the amodal mask is visible is added to it.
    """
    modal, amodal = (_as_array(mask) for mask in (completion.modal_mask, completion.amodal_mask))
    front = _as_array(evidence.front)
    ground = front >= FRONT
    for _ in range(FRONT_MARGIN):
        ground = grow(ground)
    ground |= ~frame_mask
    if not modal_is_exact:
        missed = amodal & ~modal & frame_mask & (_as_array(evidence.visible) >= VISIBLE)
        modal = modal | _touching(missed, modal)
        ground &= ~missed
    hidden = amodal & ~modal & _touching(ground | modal, modal)
    return replace(
        completion,
        modal_mask=_as_tensor(modal, completion.modal_mask),
        amodal_mask=_as_tensor(modal | hidden, completion.modal_mask),
        occluder_mask=_as_tensor((front >= FRONT) & frame_mask & ~modal, completion.modal_mask),
    )


def _touching(mask: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """The connected pieces of a mask, bool (S, S), that share a pixel with the seed or lie beside it."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    return np.isin(labels, np.unique(labels[mask & grow(seed)]))


def _as_array(values: torch.Tensor) -> np.ndarray:
    return values[0, 0].cpu().numpy()


def _as_tensor(mask: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None].to(like.device)
