"""What `simulate` refuses, each in one line that says what was given and what is allowed; and what it warns of."""

import math
import numbers
import warnings
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ratespike.neurons import Neuron, State
from ratespike.parameters import ParameterError, Range, nearest
from ratespike.simulation.early_exit import CRITERIA
from ratespike.synapses import Synapse

RANGES = {
    "n_steps": {"at_least": 1, "at_most": 2147483647},  # a step's number is one of 32 bits (see `ratespike.random`)
    "dt": {"at_least": 1e-9, "at_most": 1000, "unit": "s"},
    "burn_in": {"at_least": 0, "at_most": 1e6, "unit": "s"},
    "seed": {"at_least": 0, "at_most": 9223372036854775807},  # 63 bits
}
"""By argument of `simulate`, where a number may lie (see `ratespike.parameters.Range`)."""


def check_kinds(network: object, synapse: object, start: object, record: object) -> None:
    """Raise `ParameterError` for arguments of another kind."""
    if not isinstance(network, nn.Module):
        raise ParameterError(f"network: must be a torch.nn.Module, not {_kind(network)}")
    if not isinstance(synapse, Synapse):
        raise ParameterError(f"synapse: must be a filter such as LowPass(tau=0.1) or NoFilter(), not {_kind(synapse)}")
    if not isinstance(start, str | Mapping):
        raise ParameterError(f"start: must be a word or states by layer name, not {_kind(start)}")
    if isinstance(record, str) or not isinstance(record, Sequence):
        raise ParameterError(f"record: must be a list of layer names, not {_kind(record)}")


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def check_ranges(n_steps: int, dt: float, burn_in: float, seed: int) -> None:
    """Raise `ParameterError` for a number out of its range; a NaN is out of each."""
    for name, number in {"n_steps": n_steps, "seed": seed}.items():
        if not _is_whole(number) or not _range(name).allows(int(number)):
            raise ParameterError(f"{name}={number}: must be {_range(name).describe('a whole number')}")
    for name, value in {"dt": dt, "burn_in": burn_in}.items():
        if not _is_number(value) or not _range(name).allows(float(value)):
            raise ParameterError(f"{name}={value}: must be {_range(name).describe('a number')}")


def _range(name: str) -> Range:
    return Range(**RANGES[name])  # type: ignore[arg-type]  # bounds and a unit


def check_early_exit(early_exit: float | None, exit_by: str) -> None:
    """Raise `ParameterError` for a criterion that there is not, or a threshold that it does not allow."""
    check_word("exit_by", exit_by, tuple(CRITERIA))
    allowed = Range(**CRITERIA[exit_by])  # type: ignore[arg-type]  # bounds alone
    if early_exit is not None and (not _is_number(early_exit) or not allowed.allows(float(early_exit))):
        words = allowed.describe("a number", early_exit)
        raise ParameterError(f"early_exit={early_exit}: must be {words}, or none, with exit_by={exit_by}")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(number: object) -> bool:
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def check_images(images: Tensor, n_steps: int, images_over_time: bool) -> None:
    """Raise `ParameterError` if `images` is no batch of numbers, or is shorter than the simulation."""
    if not isinstance(images, Tensor):
        kind = type(images).__name__
        raise ParameterError(f"images: must be a torch.Tensor (batch, ...), not {kind}; try torch.as_tensor(images)")
    if images.layout != torch.strided or images.device.type == "meta":
        raise ParameterError(f"images: must be a dense tensor with values, not {images.layout} on {images.device}")
    if not images.is_floating_point():
        raise ParameterError(f"images: have the dtype {images.dtype}; must be real numbers; try images.float()")
    axes = ("time", "batch") if images_over_time else ("batch",)
    if images.dim() <= len(axes):
        raise ParameterError(f"images: have the shape {tuple(images.shape)}; must be ({', '.join(axes)}, ...)")
    if images_over_time and len(images) < n_steps:
        raise ParameterError(f"images_over_time: {len(images)} steps of images are fewer than n_steps={n_steps}")


def check_event_height(event_height: float | None, images_over_time: bool) -> None:
    """Raise `ParameterError` if this cannot be the value of an event, or images that stand still are to be events."""
    if event_height is None:
        return
    if not _is_number(event_height) or not 0 < event_height < math.inf:
        raise ParameterError(f"event_height={event_height}: must be a number above 0, or none")
    if not images_over_time:
        raise ParameterError(f"event_height={event_height}: needs images_over_time; images that stand still are no events")


def check_image_index(image_index: Tensor | None, images: Tensor) -> Tensor:
    """The number of each image; raises `ParameterError` if there is not one for each, or they are no whole numbers."""
    if image_index is None:
        return torch.arange(len(images), device=images.device)
    whole = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    if isinstance(image_index, Tensor) and image_index.is_meta:
        raise ParameterError("image_index: is on the device meta, where tensors have no values")
    if not isinstance(image_index, Tensor) or image_index.shape != (len(images),) or image_index.dtype not in whole:
        given = tuple(image_index.shape) if isinstance(image_index, Tensor) else type(image_index).__name__
        raise ParameterError(f"image_index: must be a tensor of {len(images)} whole numbers, one for each image, not {given}")
    return image_index.to(images.device)


def check_start(start: Mapping[str, State]) -> None:
    """Raise `ParameterError` for a given state that is no tensor, or in which a value is NaN or infinite."""
    for layer, state in start.items():
        if not isinstance(state, Mapping):
            raise ParameterError(f"start[{layer}]: must be values by name, such as {{'voltage': tensor}}, not {_kind(state)}")
        for name, values in state.items():
            if not isinstance(values, Tensor):
                raise ParameterError(f"start[{layer}][{name}]: must be a torch.Tensor, not {type(values).__name__}")
            if values.is_meta:
                raise ParameterError(f"start[{layer}][{name}]: is on the device meta, where tensors have no values")
            if not values.is_floating_point():
                raise ParameterError(f"start[{layer}][{name}]: has the dtype {values.dtype}; must be real numbers")
            if not _is_finite(values):
                raise ParameterError(f"start[{layer}][{name}]: a value is NaN or infinite")


def check_word(name: str, word: str, known: Sequence[str]) -> None:
    """Raise `ParameterError` if `word`, the argument `name`, is none of the known words."""
    if word not in known:
        raise ParameterError(f"{name}={word}: {nearest(word, known)}")


def check_layer_names(names: Iterable[str], neurons: Iterable[str]) -> None:
    """Raise `ParameterError` for a name that is none of the network's neuron layers."""
    known = list(neurons)
    for name in names:
        if name not in known:
            raise ParameterError(f"no neuron layer {name}: {nearest(name, known)}")


def check_tensors(network: nn.Module, images: Tensor) -> None:
    """Raise `ParameterError` if images and weights differ in dtype or device, or if there is a NaN or an infinite value.

    A spiking neuron would hide a NaN: it stays silent.
    """
    for name, tensor in (("images", images), *network.named_parameters(), *network.named_buffers()):
        if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
            raise ParameterError(f"{name}: is not initialised; call the network once")
        if not tensor.is_floating_point():
            continue
        if tensor.device != images.device:
            raise ParameterError(f"images are on {images.device}, but {name} is on {tensor.device}: move one with .to(device)")
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


def check_has_classes(shape: torch.Size, early_exit: float) -> None:
    """Raise `ParameterError` if an answer of this shape is not two classes or more."""
    if len(shape) != 1 or shape[0] < 2:
        raise ParameterError(f"early_exit={early_exit}: needs two classes or more, but an answer has the shape {tuple(shape)}")


def warn_of_long_steps(neurons: Mapping[str, Neuron], dt: float) -> None:
    """Warn of each neuron layer that cannot fire at its rate in steps of `dt` seconds."""
    for name, neuron in neurons.items():
        reason = neuron.step_warning(dt)
        if reason is not None:
            warnings.warn(
                f"{name}: spikes will be fewer than its rate says: {reason}",
                stacklevel=4,  # the line that calls simulate(), which torch.no_grad() wraps
            )
