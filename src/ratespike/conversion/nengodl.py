"""A network trained in NengoDL or Keras, here: the same weights, neurons and start.

Two orders meet: Keras keeps images as (height, width, channels) and kernels as (height, width, in, out), PyTorch has channels
first. All that is reordered is reordered here.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ratespike.checked_files import read_npz
from ratespike.network import build_network
from ratespike.neurons import Neuron, State, lif_rate
from ratespike.parameters import ParameterError, nearest

Arrays = Mapping[str, NDArray[Any]]
_CONSTANTS = ("gain", "bias", "tau_rc", "tau_ref", "amplitude", "min_voltage")
_ALIKE = 0.75  # of two names, as difflib measures it
_LARGEST_NUMBER = 8  # bytes


def load_nengodl(
    path_or_arrays: str | Path | Arrays, layers: Mapping[str, Mapping[str, Any]], image_shape: tuple[int, int, int]
) -> tuple[nn.Sequential, dict[str, State]]:
    """A network from the arrays of one that was trained in NengoDL with `nengo_dl.Layer`s of Keras and `nengo.LIF`.

    Keras keeps images as (height, width, channels) and kernels as (height, width, in, out); PyTorch has channels first.
    NengoDL numbers a layer's neurons in Keras's order; so are the start voltages and the inputs of a dense layer here.

    Save these arrays (an `.npz` file, or give them in a mapping); all but the weights may be left out:

    - `<layer>_kernel`, `<layer>_bias` for each convolution and dense layer of `layers`: Keras's `layer.get_weights()`,
      or in NengoDL `sim.keras_model.get_weights()`;
    - `gain`, `bias` (one number each, the same for all neurons): `sim.data[ensemble].gain` and `.bias`;
    - `tau_rc`, `tau_ref`, `amplitude`, `min_voltage` of the `nengo.LIF`; what is left out is Nengo's default, but
      100 Hz, intercept 0 and amplitude 0.01 where gain, bias or amplitude are;
    - `lif1_v0`, `lif2_v0`, ...: voltages before the first step, by number of the neuron layer, of any shape with
      height, width, channel in this order.

    Other arrays are not looked at, but one whose name is much like one of these is refused.

    NengoDL's filtered probes show our values one step later, because Nengo's synapses add a step of delay.

    Args:
        path_or_arrays: the file, or the arrays by name.
        layers: the network's layers by name, as in `conf/network/*.yaml`.
        image_shape: channels, height, width.

    Returns:
        The network, in eval mode, and the `start` for `ratespike.simulate`, empty if there are no voltages.

    Raises:
        ParameterError: no such file or a damaged one, an array missing, misspelt, of the wrong shape or not of finite numbers,
            layers that do not fit.

    Example:
        >>> from ratespike import simulate
        >>> arrays = {"dense_kernel": np.eye(4, dtype="f4"), "dense_bias": np.zeros(4, "f4"), "lif1_v0": np.ones(4) / 2}
        >>> network, start = load_nengodl(
        ...     arrays, {"dense": {"type": "Dense", "units": 4}, "neuron": {"type": "Neurons"}}, image_shape=(1, 2, 2)
        ... )
        >>> simulate(network, torch.ones(1, 1, 2, 2), start=start).firing_rates_hz()
        {'neuron': 100.0}
    """
    arrays = read_npz(Path(path_or_arrays)) if isinstance(path_or_arrays, str | Path) else path_or_arrays
    weighted = [name for name, layer in layers.items() if layer.get("type") in ("Conv", "Dense")]
    if not weighted:
        raise ParameterError("layers: no Conv and no Dense among them")
    neuron_layers = [name for name, layer in layers.items() if layer.get("type") == "Neurons"]
    _check_names(arrays, weighted, len(neuron_layers))
    classes = _array(arrays, f"{weighted[-1]}_bias").size
    network = build_network(layers, _neuron(arrays), image_shape, classes).eval()
    start: dict[str, State] = {}
    signal = torch.zeros(1, *image_shape)  # carries the shapes from layer to layer
    for name, module in network.named_children():
        if name in weighted:
            _copy_weights(module, name, arrays, signal.shape[1:])
        signal = module(signal)
        if isinstance(module, Neuron):
            key = _voltages(1 + neuron_layers.index(name))
            if key in arrays:
                start[name] = {"voltage": _channels_first(_array(arrays, key), signal.shape[1:], key)}
    return network, start


def _neuron(arrays: Arrays) -> dict[str, Any]:
    """The specification of the LIF of these constants: its max_rate and intercept are read back from gain and bias."""
    neuron: dict[str, Any] = {"type": "LIF", "amplitude": 0.01, "tau_rc": 0.02, "tau_ref": 0.002}
    for name in ("tau_rc", "tau_ref", "amplitude", "min_voltage"):
        if name in arrays:
            neuron[name] = _constant(arrays, name)
    if "gain" in arrays and "bias" in arrays:
        gain = _constant(arrays, "gain")
        bias = _constant(arrays, "bias")
        if gain == 0:
            raise ParameterError("array gain: is 0, with which no neuron has an input")
        current_at_one = torch.tensor(gain + bias, dtype=torch.float64)
        neuron["max_rate"] = float(lif_rate(current_at_one, neuron["tau_rc"], neuron["tau_ref"]))
        neuron["intercept"] = (1 - bias) / gain
    return neuron


@torch.no_grad()
def _copy_weights(module: nn.Module, name: str, arrays: Arrays, input_shape: torch.Size) -> None:
    """Copy kernel and bias of the layer `name` into its module, whose inputs have `input_shape` (without batch)."""
    layer = next(child for child in module.modules() if isinstance(child, nn.Conv2d | nn.Linear))
    kernel = torch.tensor(_array(arrays, f"{name}_kernel"))
    if kernel.dim() not in (2, 4):
        raise ParameterError(f"{name}_kernel: has the shape {tuple(kernel.shape)}; must have 2 or 4 axes, as Keras keeps it")
    if kernel.dim() == 4:
        kernel = kernel.permute(3, 2, 0, 1)  # (height, width, in, out) to (out, in, height, width)
    elif isinstance(layer, nn.Linear) and len(input_shape) == 3 and kernel.dim() == 2:
        channels, height, width = input_shape  # of the image that is flattened in front of the layer
        if len(kernel) != height * width * channels:
            raise ParameterError(f"{name}_kernel: has {len(kernel)} rows, but the layer {height * width * channels} inputs")
        kernel = kernel.reshape(height, width, channels, -1).permute(3, 2, 0, 1).flatten(1)
    else:
        kernel = kernel.T
    _copy(layer.weight, kernel, f"{name}_kernel")
    _copy(layer.bias, torch.tensor(_array(arrays, f"{name}_bias")), f"{name}_bias")


def _copy(parameter: Tensor | None, value: Tensor, name: str) -> None:
    """Overwrite a module's parameter; `name` is that of the array that the value is from."""
    assert parameter is not None
    if value.shape != parameter.shape:
        raise ParameterError(
            f"{name}: has shape {tuple(value.shape)} in PyTorch's order, but the layer {tuple(parameter.shape)}"
        )
    parameter.copy_(value)


def _channels_first(array: NDArray[Any], shape: torch.Size, name: str) -> Tensor:
    """Values in the order height, width, channel, as a tensor of `shape`, which is (channels, height, width) or (features,)."""
    values = torch.tensor(array, dtype=torch.float32)
    _check_size(values, shape.numel(), name)
    channels, *place = shape
    return values.reshape(*place, channels).movedim(-1, 0)


def _check_size(values: Tensor, size: int, name: str) -> None:
    if values.numel() != size:
        raise ParameterError(f"{name}: has {values.numel()} values, but the layer {size}")


def _check_names(arrays: Arrays, weighted: Sequence[str], neuron_layers: int) -> None:
    """Raise `ParameterError` for an array that looks like one of ours by another name, which would silently not be used."""
    known = [*_CONSTANTS, *(f"{name}_{what}" for name in weighted for what in ("kernel", "bias"))]
    known += [_voltages(number) for number in range(1, neuron_layers + 1)]
    for name in arrays:
        alike = difflib.get_close_matches(name.lower(), known, n=1, cutoff=_ALIKE)
        if name not in known and alike:
            raise ParameterError(f"array {name}: is none of the network's; did you mean {alike[0]}? else leave it out")


def _voltages(number: int) -> str:
    """The array of the voltages of a neuron layer, by its number from 1."""
    return f"lif{number}_v0"


def _array(arrays: Arrays, name: str) -> NDArray[Any]:
    """The numbers in the array of this name; raises `ParameterError` if there is none, or they are not finite numbers."""
    if name not in arrays:
        raise ParameterError(f"no array {name}: {nearest(name, arrays)}")
    array = np.asarray(arrays[name])
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > _LARGEST_NUMBER or not np.isfinite(array).all():
        raise ParameterError(f"array {name}: holds {array.dtype}; must be finite numbers of at most 64 bits")
    return array.astype(np.float32 if array.dtype.itemsize < _LARGEST_NUMBER and array.dtype.kind == "f" else np.float64)


def _constant(arrays: Arrays, name: str) -> float:
    """The one number of an array, or of one whose numbers are all the same."""
    array = _array(arrays, name)
    if array.size == 0 or (array != array.flat[0]).any():
        raise ParameterError(f"array {name}: has the shape {array.shape}; must be one number, the same for all neurons")
    return float(array.flat[0])
