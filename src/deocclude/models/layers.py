"""Layers that more than one network may use."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedFeatures(NamedTuple):
    """A feature map and the pixels of it that are known.

    features: float (B, C, H, W). Where the mask is 0 they are arbitrary but finite: a partial convolution
        multiplies them by 0.
    mask: float32 (B, 1, H, W) of 0 and 1, shared by all channels.
    """

    features: Tensor
    mask: Tensor


class PartialConv2d(nn.Module):
    """Convolution over the known pixels alone (Liu et al. 2018, "Image inpainting for irregular holes").

    With S the sum of the mask over a window of k*k*C values, the output is `conv(x * mask) * (k*k*C / S) +
    bias` where S > 0, which is then known, and 0 elsewhere. Zero padding counts as unknown, so a border is
    renormalised too.

    `renormalise=False` is the variant in the code of paper B's authors, `conv(x * mask) / S + bias`: the
    constant k*k*C is missing, which matters only where no batch normalisation follows.

    All channels of one input share one mask, so S is a box filter of a one-channel map instead of a
    convolution with frozen ones; inputs with masks of their own are joined along the channels and counted in
    proportion. These are the same sums of integers, hence the same result to the last bit, for one C-th of
    the work.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        bias: bool = False,
        renormalise: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, self.padding, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.renormalise = renormalise
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, *inputs: MaskedFeatures) -> MaskedFeatures:
        """Convolve the inputs, joined along the channels; their sizes in pixels must agree."""
        counts = self._window_counts(inputs)
        known = counts > 0
        window = self.conv.weight[0].numel() if self.renormalise else 1
        scale = torch.where(known, window / counts.clamp(min=1), 0)

        masked = [features * mask.to(features.dtype) for features, mask in inputs]
        features = self.conv(masked[0] if len(masked) == 1 else torch.cat(masked, dim=1))
        features = features * scale.to(features.dtype)
        if self.bias is not None:
            features = features + self.bias.view(1, -1, 1, 1) * known
        return MaskedFeatures(features, known.float())

    def _window_counts(self, inputs: tuple[MaskedFeatures, ...]) -> Tensor:
        """Known values under each window, float32 (B, 1, H', W'): integers up to k*k*C."""
        counts = torch.stack([features.shape[1] * mask.float() for features, mask in inputs]).sum(dim=0)
        return F.avg_pool2d(counts, self.kernel_size, self.stride, self.padding, divisor_override=1)


class _ClampKeepingGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.low, ctx.high = low, high
        return values.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (values,), (gradient,) = ctx.saved_tensors, gradients
        # A step goes against the gradient: above the range a positive one leads back, below a negative one.
        leads_further_out = ((values > ctx.high) & (gradient < 0)) | ((values < ctx.low) & (gradient > 0))
        return gradient.masked_fill(leads_further_out, 0), None, None


def clamp_keeping_gradient(values: Tensor, low: float, high: float) -> Tensor:
    """`values.clamp(low, high)` whose gradient can lead a value outside the range back into it.

    A plain clamp has no gradient there, so a pixel that once left the range would never be corrected.
    Gradients that would push a value further out are dropped.
    """
    return _ClampKeepingGradient.apply(values, low, high)
