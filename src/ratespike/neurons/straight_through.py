"""Values with the slope of others: a step function is trained as if it were the smooth function beside it."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, smooth: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        return None, grad


def straight_through(values: Float[Tensor, "..."], smooth: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """`values`, exactly, with the slope of `smooth`.

    Source: Bengio, Léonard and Courville 2013, "Estimating or propagating gradients through stochastic neurons for
    conditional computation", arXiv:1308.3432.

    Args:
        values: any shape; no gradient goes to them.
        smooth: of the same shape and dtype.

    Example:
        >>> x = torch.tensor([0.3, 1.7], requires_grad=True)
        >>> rounded = straight_through(x.detach().round(), 2 * x)
        >>> rounded.sum().backward()
        >>> rounded, x.grad
        (tensor([0., 2.], grad_fn=<_StraightThroughBackward>), tensor([2., 2.]))
    """
    return _StraightThrough.apply(values, smooth)  # type: ignore[no-any-return, no-untyped-call]
