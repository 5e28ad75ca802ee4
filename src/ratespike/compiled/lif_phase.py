"""The state of a LIF neuron at a phase of its firing cycle, in one pass over memory: float32, on a CPU.

The formulas are those of `ratespike.neurons.lif.lif_steady_state`. Both engines of a simulation start with what is computed
here, so that they start alike to the last bit.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ratespike.compiled.elementary import expm1_of_negative, log1p
from ratespike.compiled.options import BORROW, INLINE
from ratespike.compiled.simd import bits_above, lanes_of, load, maximum, minimum, quotient, repeat, store, where, width_of

_WIDTH = 64
_LANES = lanes_of(_WIDTH)
_LARGEST = np.float32(1e30)  # stands for infinity, so that the arithmetic stays finite
_SMALLEST = np.float32(1e-37)


class _Constants(NamedTuple):
    """Of the neuron and the step that follows, in float32; seconds and units of the threshold."""

    dt: np.float32
    tau_rc: np.float32
    tau_ref: np.float32
    min_voltage: np.float32


class _Arrays(NamedTuple):
    """Flat arrays of one size."""

    current: Any
    phase: Any
    voltage: Any  # written
    refractory_time: Any  # written


@njit(**INLINE)
def _vector(value):
    """A vector with this number in every lane."""
    return repeat(np.float32(value), _LANES)


@njit(**BORROW)
def _run(arrays, constants):
    """Write voltage and refractory time of all neurons, whole vectors."""
    zero = _vector(0)
    one = _vector(1)
    tau_ref = _vector(constants.tau_ref)
    for place in range(0, arrays.current.size, width_of(_LANES)):
        current = load(arrays.current, place, _LANES)
        fires = bits_above(current, one)
        voltage = maximum(current, _vector(constants.min_voltage))
        refractory_time = zero
        if fires != 0:
            bounded = minimum(current, _vector(_LARGEST))
            charging = log1p(quotient(one, maximum(bounded - one, _vector(_SMALLEST)))) * _vector(constants.tau_rc)
            since_spike = load(arrays.phase, place, _LANES) * (tau_ref + charging)
            resting = fires & bits_above(tau_ref, since_spike)
            charged_for = maximum(since_spike - tau_ref, zero) * _vector(np.float32(1) / constants.tau_rc)
            charged = zero - bounded * expm1_of_negative(zero - charged_for)
            voltage = where(fires, minimum(charged, one), voltage)
            refractory_time = where(resting, tau_ref - since_spike + _vector(constants.dt), zero)
        store(arrays.voltage, place, voltage)
        store(arrays.refractory_time, place, refractory_time)


def steady_state(
    current: Tensor, phase: Tensor, *, dt: float, tau_rc: float, tau_ref: float, min_voltage: float
) -> tuple[Tensor, Tensor]:
    """Voltage and refractory time (seconds) of LIF neurons that have passed the part `phase` of their firing cycle.

    Args:
        current: constant, float32, on the CPU, any shape; an infinite one counts as 1e30.
        phase: in [0, 1), of the same shape.
        dt: length of the step that follows, seconds.
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds.
        min_voltage: the membrane cannot fall below it.
    """
    voltage = torch.empty_like(current)
    refractory_time = torch.empty_like(voltage)
    constants = _Constants(np.float32(dt), np.float32(tau_rc), np.float32(tau_ref), np.float32(min_voltage))
    tensors = (_ordered_as(voltage, current), _ordered_as(voltage, phase), voltage, refractory_time)
    arrays = _Arrays(*(tensor.as_strided((tensor.numel(),), (1,)).numpy() for tensor in tensors))
    rest = current.numel() % _WIDTH
    _run(_Arrays(*(array[: array.size - rest] for array in arrays)), constants)
    if rest:
        _run_rest(_Arrays(*(array[-rest:] for array in arrays)), constants)
    return voltage, refractory_time


def _ordered_as(dense: Tensor, values: Tensor) -> Tensor:
    """The values in the order of memory of another tensor of their shape, which has no gaps."""
    return values if values.stride() == dense.stride() else torch.empty_like(dense).copy_(values)


def _run_rest(arrays: _Arrays, constants: _Constants) -> None:
    """Compute fewer neurons than a vector has."""
    size = arrays.current.size
    padded = _Arrays(*(np.resize(array, _WIDTH) for array in arrays))
    _run(padded, constants)
    arrays.voltage[:] = padded.voltage[:size]
    arrays.refractory_time[:] = padded.refractory_time[:size]
