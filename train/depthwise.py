"""Depthwise convolutions whose gradients are computed by kernels that are fast on a CPU.

For two of the gradients oneDNN 3.12 has only its reference code: that of the input at stride 2 in bfloat16 (40 times
slower than the convolution itself), and that of a 5 x 5 kernel on small maps. The first is the convolution of the
gradient, spread out, with the turned kernel; the second is faster in float32. EfficientNet-Lite0 at 112 x 96 pixels
learns in 7.4 instead of 14.0 ms a photograph.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 3
"""The largest kernel whose gradient is fast in bfloat16."""


class Depthwise(torch.autograd.Function):
    """`conv2d` with one kernel for each channel: (n, c, h, w) and (c, 1, k, k) to (n, c, h', w')."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, kernels: Tensor, stride: int, padding: int) -> Tensor:
        """Return the convolution, and keep what its gradients need."""
        ctx.save_for_backward(values, kernels)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(values, kernels, stride=stride, padding=padding, groups=len(kernels))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradients of values and kernels."""
        values, kernels = ctx.saved_tensors
        stride, padding, size = ctx.stride, ctx.padding, kernels.shape[2]
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        spread = gradient
        if stride > 1:
            rows, columns = (side + 2 * padding - size + 1 for side in values.shape[2:])
            spread = gradient.new_zeros(len(values), len(kernels), rows, columns).to(memory_format=torch.channels_last)
            spread[:, :, ::stride, ::stride] = gradient
        of_values = F.conv2d(spread, kernels.flip(2, 3), padding=size - 1 - padding, groups=len(kernels))
        kind = gradient.dtype if size <= SMALL else torch.float32
        of_kernels = torch.ops.aten.convolution_backward(
            gradient.to(kind),
            values.to(kind),
            kernels.to(kind),
            None,
            [stride, stride],
            [padding, padding],
            [1, 1],
            False,
            [0, 0],
            len(kernels),
            [False, True, False],
        )[1]
        return of_values, of_kernels.to(kernels.dtype), None, None


def learn_fast(model: nn.Module) -> None:
    """Let the depthwise convolutions of ``model`` that have no bias learn so, in this process, on a CPU."""
    for part in model.modules():
        if not isinstance(part, nn.Conv2d) or part.bias is not None:
            continue
        if part.groups == part.in_channels == part.out_channels > 1:
            part.forward = MethodType(_forward, part)  # type: ignore[method-assign]


def _forward(self: nn.Conv2d, values: Tensor) -> Tensor:
    if not (self.training and torch.is_grad_enabled() and values.device.type == "cpu"):
        return self._conv_forward(values, self.weight, None)  # type: ignore[no-any-return]
    kernels = self.weight
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        values, kernels = values.to(kind), kernels.to(kind)
    padding = {"same": self.kernel_size[0] // 2, "valid": 0}.get(str(self.padding), self.padding[0])
    return Depthwise.apply(values, kernels, self.stride[0], padding)  # type: ignore[no-any-return,no-untyped-call]
