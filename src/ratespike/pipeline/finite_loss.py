"""A loss that is no number ends a training, in a line that names the layer where that began.

Without this a training would go on to its last epoch and keep weights that are no numbers.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ratespike.parameters import ParameterError


def check_finite(loss: Tensor, network: nn.Module, images: Tensor) -> None:
    """Raise `ParameterError` if a loss is NaN or infinite.

    Args:
        loss: of a batch, any shape.
        network: that it is of.
        images: of the batch, shape (images, channels, height, width).

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> weights = network[1].weight.data.fill_(float("nan"))
        >>> images = torch.ones(1, 1, 2, 2)
        >>> check_finite(network(images).sum(), network, images)
        Traceback (most recent call last):
            ...
        ratespike.parameters.ParameterError: the loss is nan: layer 1: 8 of 8 values of its weight are NaN or infinite; \
try a smaller optimizer.lr
    """
    if bool(loss.detach().isfinite().all()):
        return
    reason = _wrong_weights(network) or _wrong_outputs(network, images) or "the outputs of all layers on rates are finite"
    raise ParameterError(f"the loss is {float(loss.detach().sum())}: {reason}; try a smaller optimizer.lr")


def _wrong_weights(network: nn.Module) -> str | None:
    for name, values in network.state_dict().items():
        wrong = int((~values.isfinite()).sum())
        if wrong:
            layer, _, kind = name.rpartition(".")
            return f"layer {layer}: {wrong} of {values.numel()} values of its {kind} are NaN or infinite"
    return None


def _wrong_outputs(network: nn.Module, images: Tensor) -> str | None:
    """Which layer is the first whose outputs are not finite; None if those of all layers are."""
    found: list[str] = []
    handles = []
    for name, module in network.named_modules():
        if next(module.children(), None) is None:
            handles.append(module.register_forward_hook(_adding_if_wrong(name, found)))
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return f"layer {found[0]}: its outputs are NaN or infinite" if found else None


def _adding_if_wrong(name: str, found: list[str]) -> Callable[[nn.Module, object, object], None]:
    """A hook that adds a layer's name if an output is not finite."""

    def hook(module: nn.Module, inputs: object, outputs: object) -> None:
        if isinstance(outputs, Tensor) and not bool(outputs.isfinite().all()):
            found.append(name)

    return hook
