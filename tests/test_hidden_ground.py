"""Law 2: what is called hidden lies where something can hide it, and nothing visible is painted."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from deocclude.conditioning.occlusion_evidence import OcclusionEstimator, OcclusionEvidence
from deocclude.models.occlusion import OcclusionConfig, OcclusionNetwork
from deocclude.pipelines.hidden_ground import FRONT_MARGIN, on_hidden_ground
from deocclude.types import MaskCompletion

SIDE = 12
masks = arrays(bool, (SIDE, SIDE), elements=st.booleans())
blocks = st.tuples(*[st.integers(0, SIDE)] * 4).map(lambda corners: block(*corners))


def block(x0: int, x1: int, y0: int, y1: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[min(y0, y1) : max(y0, y1), min(x0, x1) : max(x0, x1)] = True
    return mask


def tensor(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None]


def kept_to_ground(
    modal: np.ndarray,
    amodal: np.ndarray,
    front: np.ndarray,
    visible: np.ndarray,
    frame: np.ndarray,
    *,
    modal_is_exact: bool,
) -> MaskCompletion:
    completion = MaskCompletion(tensor(modal), tensor(amodal | modal), tensor(amodal.astype(np.float32)))
    evidence = OcclusionEvidence(*(tensor(one.astype(np.float32)) for one in (visible, amodal, front)))
    return on_hidden_ground(completion, evidence, frame, modal_is_exact=modal_is_exact)


@given(modal=blocks, amodal=masks | blocks, front=masks | blocks, visible=masks, frame=blocks, exact=st.booleans())
def test_what_is_hidden_lies_on_ground_that_reaches_the_visible_body(
    modal: np.ndarray,
    amodal: np.ndarray,
    front: np.ndarray,
    visible: np.ndarray,
    frame: np.ndarray,
    exact: bool,
) -> None:
    result = kept_to_ground(modal, amodal, front, visible, frame, modal_is_exact=exact)
    found, whole = result.modal_mask[0, 0].numpy(), result.amodal_mask[0, 0].numpy()
    hidden = whole & ~found
    assert (found & modal == modal).all() and (whole | found == whole).all()
    assert not (whole & ~(amodal | modal)).any(), "nothing is added to what the stage said"
    eight = np.ones((3, 3), bool)
    ground = ndimage.binary_dilation(front, eight, iterations=FRONT_MARGIN) | ~frame
    assert not (hidden & ~ground).any()
    labels, _ = ndimage.label(ground | found, structure=eight)
    assert np.isin(labels[hidden], labels[found]).all()
    if exact:
        assert (found == modal).all()
    else:
        assert not (hidden & visible & frame).any(), "what is visible is not painted"


def test_a_pixel_that_the_mask_missed_is_visible_and_not_painted() -> None:
    modal, arm, behind = block(2, 6, 2, 10), block(6, 8, 4, 6), block(6, 8, 7, 9)
    nothing, everything = block(0, 0, 0, 0), block(0, SIDE, 0, SIDE)
    result = kept_to_ground(modal, modal | arm | behind, behind, arm, everything, modal_is_exact=False)
    assert (result.modal_mask[0, 0].numpy() == (modal | arm)).all()
    assert (result.amodal_mask[0, 0].numpy() == (modal | arm | behind)).all()
    whole = kept_to_ground(modal, modal | arm | behind, nothing, nothing, everything, modal_is_exact=False)
    assert (whole.amodal_mask[0, 0].numpy() == modal).all(), "nothing in front, nothing invented (law 3)"


def test_a_body_goes_on_beyond_the_frame_only_where_it_touches_it() -> None:
    frame = block(0, SIDE, 0, 8)
    touching, apart = block(4, 8, 2, 8), block(4, 8, 1, 5)
    legs, nothing = block(4, 8, 8, 12), block(0, 0, 0, 0)
    cut = kept_to_ground(touching, touching | legs, nothing, nothing, frame, modal_is_exact=True)
    assert (cut.amodal_mask[0, 0].numpy() == (touching | legs)).all()
    whole = kept_to_ground(apart, apart | legs, nothing, nothing, frame, modal_is_exact=True)
    assert (whole.amodal_mask[0, 0].numpy() == apart).all()


def test_the_estimator_answers_at_the_crop_s_size_and_mirrored_crops_alike() -> None:
    torch.manual_seed(0)
    network = OcclusionNetwork(OcclusionConfig(decoder_channels=(8, 8, 8)))
    estimator = OcclusionEstimator(network, size=64)
    generator = torch.Generator().manual_seed(1)
    image = torch.rand((2, 3, 96, 96), generator=generator)
    mask = torch.rand((2, 1, 96, 96), generator=generator) > 0.5
    frame, joints = torch.ones_like(mask), torch.rand((2, 25, 3), generator=generator) * 90
    joints[..., 2] = 1.0
    evidence = estimator(image, mask, frame, joints)
    mirrored_joints = joints * torch.tensor([-1.0, 1, 1]) + torch.tensor([96.0, 0, 0])
    mirrored = estimator(image.flip(-1), mask.flip(-1), frame, mirrored_joints)
    for name, probability in vars(evidence).items():
        assert probability.shape == (2, 1, 96, 96) and probability.dtype == torch.float32
        assert probability.min() >= 0 and probability.max() <= 1
        torch.testing.assert_close(getattr(mirrored, name).flip(-1), probability, atol=2e-3, rtol=0)
