"""What `simulate` refuses, each in one line that says what was given and what is allowed; and what it warns of."""

import warnings
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError, nearest


def check_ranges(n_steps: int, dt: float, burn_in: float, early_exit: float | None) -> None:
    """Raise `ParameterError` for a number out of its range; a NaN is out of each."""
    if n_steps < 1:
        raise ParameterError(f"n_steps={n_steps}: must be a whole number at least 1")
    if not dt > 0:
        raise ParameterError(f"dt={dt}: must be a number above 0 (s)")
    if not burn_in >= 0:
        raise ParameterError(f"burn_in={burn_in}: must be a number at least 0 (s)")
    if early_exit is not None and not early_exit > 0:
        raise ParameterError(f"early_exit={early_exit}: must be a number above 0, or none")


def check_word(name: str, word: str, known: Sequence[str]) -> None:
    """Raise `ParameterError` if `word`, the argument `name`, is none of the known words."""
    if word not in known:
        raise ParameterError(f"{name}={word}: {nearest(word, known)}")


def check_layer_names(names: Iterable[str], neurons: Mapping[str, Neuron]) -> None:
    """Raise `ParameterError` for a name that is none of the network's neuron layers."""
    for name in names:
        if name not in neurons:
            raise ParameterError(f"no neuron layer {name}: {nearest(name, neurons)}")


def check_tensors(network: nn.Module, images: Tensor) -> None:
    """Raise `ParameterError` if images and weights differ in dtype, or if there is a NaN or an infinite value.

    A spiking neuron would hide a NaN: it stays silent.
    """
    for name, tensor in (("images", images), *network.named_parameters()):
        if tensor.dtype != images.dtype:
            raise ParameterError(f"images are {images.dtype}, but {name} is {tensor.dtype}: convert one with .to(dtype)")
        if not _is_finite(tensor):
            wrong = int((~tensor.isfinite()).sum())
            raise ParameterError(f"{name}: {wrong} of {tensor.numel()} values are NaN or infinite")


def _is_finite(tensor: Tensor) -> bool:
    """Whether all values are finite."""
    if bool(tensor.sum().isfinite()):  # quick, and of finite values as a rule; but they may overflow
        return True
    return bool(tensor.isfinite().all())


def check_has_classes(outputs: Tensor, early_exit: float) -> None:
    """Raise `ParameterError` if `outputs`, of one image, are not two classes or more, of which one can lead."""
    if outputs.dim() != 2 or outputs.shape[1] < 2:
        shape = tuple(outputs.shape[1:])
        raise ParameterError(
            f"early_exit={early_exit}: needs two classes or more to tell a lead, but an answer has the shape {shape}"
        )


def warn_of_long_steps(neurons: Mapping[str, Neuron], dt: float) -> None:
    """Warn of each neuron layer that cannot fire at its rate in steps of `dt` seconds."""
    for name, neuron in neurons.items():
        reason = neuron.step_warning(dt)
        if reason is not None:
            warnings.warn(
                f"{name}: spikes will be fewer than its rate says: {reason}",
                stacklevel=4,  # the line that calls simulate(), which torch.no_grad() wraps
            )
