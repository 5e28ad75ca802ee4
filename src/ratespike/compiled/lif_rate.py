"""The LIF's rate and its derivative, or its current and its rate, in one pass over memory: float32, on a CPU.

The formulas are those of `ratespike.neurons.lif_rates`, where z is the distance to threshold: hard or soft.
"""

import functools
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ratespike.compiled.elementary import exp_of_negative, log1p
from ratespike.compiled.options import BORROW, INLINE
from ratespike.compiled.simd import bits_above, lanes_of, load, maximum, minimum, quotient, repeat, store, where, width_of

_WIDTH = 64
_LANES = lanes_of(_WIDTH)
_CHUNK = 1 << 15  # elements that a thread takes at a time
_FAR = np.float32(20)  # beyond it softplus(x) is x, and softplus(-x) is exp(-x), in float32
_LARGEST = np.float32(1e30)  # stands for infinity, so that the arithmetic stays finite
_SMALLEST = np.float32(1e-37)


@dataclass(frozen=True)
class LIFActivation:
    """The function `scale * rate(gain * x + bias)`.

    Attributes:
        gain: current per input.
        bias: current at `x = 0`, threshold 1.
        scale: activation per Hz.
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds.
        sigma: smoothness of the rate; 0 for the hard one.
        slope_clamp: distance from threshold within which the hard rate's slope does not grow.
    """

    gain: float
    bias: float
    scale: float
    tau_rc: float
    tau_ref: float
    sigma: float
    slope_clamp: float


class _Constants(NamedTuple):
    """A `LIFActivation` as the kernels use it, in float32."""

    gain: np.float32
    bias: np.float32
    distance: np.float32  # bias - 1: from the threshold at x = 0
    scale: np.float32
    tau_rc: np.float32
    tau_ref: np.float32
    sigma: np.float32
    log_sigma: np.float32
    slope_clamp: np.float32


class _Arrays(NamedTuple):
    """Flat arrays of one size."""

    x: Any
    activation: Any  # written
    other: Any  # written: the slope or the current


_Run = Callable[[_Arrays, int, int, _Constants], None]  # a kernel, for the elements from one number to another


@njit(**INLINE)
def _vector(value):
    """A vector with this number in every lane."""
    return repeat(np.float32(value), _LANES)


@njit(**INLINE)
def _bounded(x):
    """The values with infinities replaced by large numbers; a NaN stays."""
    return minimum(maximum(x, _vector(-_LARGEST)), _vector(_LARGEST))


@njit(**INLINE)
def _rate(log_term, constants):
    """The rate in Hz from `log1p(1 / z)`."""
    return quotient(_vector(1), _vector(constants.tau_ref) + _vector(constants.tau_rc) * log_term)


@njit(**INLINE)
def _slope(rate, change, constants):
    """The slope of the activation from the rate and `change`, d(log z)/dJ / (z + 1). What is NaN or too large becomes 0."""
    slope = rate * (rate * change) * _vector(constants.scale * constants.gain * constants.tau_rc)
    finite = bits_above(_vector(_LARGEST), maximum(slope, _vector(0) - slope))
    return where(finite, slope, _vector(0))


@njit(**INLINE)
def _soft(above, constants):
    """The soft rate and the activation's slope, from the current's distance to threshold."""
    one = _vector(1)
    zero = _vector(0)
    x = _bounded(above * _vector(np.float32(1) / constants.sigma))
    e = exp_of_negative(minimum(x, zero - x))  # of -|x|
    softplus = maximum(x, zero) + log1p(e)
    z = maximum(_vector(constants.sigma) * softplus, _vector(_SMALLEST))
    far_below = bits_above(zero - x, _vector(_FAR))  # there z is sigma * exp(x)
    log_term = where(far_below, zero - x - _vector(constants.log_sigma), log1p(quotient(one, z)))
    rate = _rate(log_term, constants)
    sigmoid = where(bits_above(x, zero), one, e)  # times 1 + e
    relative = where(far_below, one, quotient(sigmoid, (one + e) * softplus))  # d(log z)/dx
    change = quotient(relative, z + one) * _vector(np.float32(1) / constants.sigma)
    return rate, _slope(rate, change, constants)


@njit(**INLINE)
def _hard(above, constants):
    """The hard rate and the activation's slope, from the current's distance to threshold."""
    one = _vector(1)
    zero = _vector(0)
    above = _bounded(above)
    fires = bits_above(above, zero)
    rate = _rate(log1p(quotient(one, maximum(above, _vector(_SMALLEST)))), constants)
    rate = where(fires, rate, minimum(maximum(above, zero), zero))  # 0 below threshold, but a NaN stays
    z = maximum(above, _vector(constants.slope_clamp))
    return rate, _slope(rate, quotient(quotient(one, z), z + one), constants)


@njit(**BORROW)
def _run_soft(arrays, first, last, constants):
    """Write activation and slope of the elements first … last - 1, whole vectors, for the soft rate."""
    for place in range(first, last, width_of(_LANES)):
        above = load(arrays.x, place, _LANES) * _vector(constants.gain) + _vector(constants.distance)
        rate, slope = _soft(above, constants)
        store(arrays.activation, place, rate * _vector(constants.scale))
        store(arrays.other, place, slope)


@njit(**BORROW)
def _run_hard(arrays, first, last, constants):
    """Write activation and slope of the elements first … last - 1, whole vectors, for the hard rate."""
    for place in range(first, last, width_of(_LANES)):
        above = load(arrays.x, place, _LANES) * _vector(constants.gain) + _vector(constants.distance)
        rate, slope = _hard(above, constants)
        store(arrays.activation, place, rate * _vector(constants.scale))
        store(arrays.other, place, slope)


@njit(**BORROW)
def _run_soft_current(arrays, first, last, constants):
    """Write activation and current of the elements first … last - 1, whole vectors, for the soft rate."""
    for place in range(first, last, width_of(_LANES)):
        driven = load(arrays.x, place, _LANES) * _vector(constants.gain)
        rate, _ = _soft(driven + _vector(constants.distance), constants)
        store(arrays.activation, place, rate * _vector(constants.scale))
        store(arrays.other, place, driven + _vector(constants.bias))


@njit(**BORROW)
def _run_hard_current(arrays, first, last, constants):
    """Write activation and current of the elements first … last - 1, whole vectors, for the hard rate."""
    for place in range(first, last, width_of(_LANES)):
        driven = load(arrays.x, place, _LANES) * _vector(constants.gain)
        rate, _ = _hard(driven + _vector(constants.distance), constants)
        store(arrays.activation, place, rate * _vector(constants.scale))
        store(arrays.other, place, driven + _vector(constants.bias))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """The threads that all calls share."""
    return ThreadPoolExecutor(threads, "lif_rate")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def rate_and_slope(x: Tensor, function: LIFActivation) -> tuple[Tensor, Tensor]:
    """The activation and its derivative by `x`, in as many threads as PyTorch uses.

    Args:
        x: float32, on the CPU, any shape; an infinite value counts as 1e30.
        function: of `x`.

    Returns:
        Activation and derivative, in the shape of `x`. They have its order of memory too, if it is dense.
    """
    return _computed(x, function, _run_soft if function.sigma > 0 else _run_hard)


def rate_and_current(x: Tensor, function: LIFActivation) -> tuple[Tensor, Tensor]:
    """The activation and the current `gain * x + bias`; the rest is as in `rate_and_slope`."""
    return _computed(x, function, _run_soft_current if function.sigma > 0 else _run_hard_current)


def _computed(x: Tensor, function: LIFActivation, run: _Run) -> tuple[Tensor, Tensor]:
    """The two tensors that a kernel writes."""
    activation = torch.empty_like(x)
    other = torch.empty_like(x)
    if activation.stride() != x.stride():  # x is not dense: empty_like has chosen another order
        x = activation.copy_(x).clone()
    arrays = _Arrays(_flat(x), _flat(activation), _flat(other))
    constants = _constants(function)
    whole = x.numel() - x.numel() % _WIDTH
    _run_vectors(run, arrays, whole, constants)
    if whole < x.numel():
        _run_rest(run, arrays, whole, constants)
    return activation, other


def _constants(function: LIFActivation) -> _Constants:
    return _Constants(
        gain=np.float32(function.gain),
        bias=np.float32(function.bias),
        distance=np.float32(function.bias - 1),
        scale=np.float32(function.scale),
        tau_rc=np.float32(function.tau_rc),
        tau_ref=np.float32(function.tau_ref),
        sigma=np.float32(function.sigma),
        log_sigma=np.float32(math.log(function.sigma) if function.sigma > 0 else 0),
        slope_clamp=np.float32(function.slope_clamp),
    )


def _run_vectors(run: _Run, arrays: _Arrays, end: int, constants: _Constants) -> None:
    """Compute the elements before `end`, a multiple of the vectors' width."""
    threads = torch.get_num_threads()
    if threads == 1 or end <= _CHUNK:
        run(arrays, 0, end, constants)
        return

    def run_chunk(first: int) -> None:
        run(arrays, first, min(first + _CHUNK, end), constants)

    list(_pool(threads).map(run_chunk, range(0, end, _CHUNK)))


def _run_rest(run: _Run, arrays: _Arrays, first: int, constants: _Constants) -> None:
    """Compute the elements from `first` to the end, fewer than a vector has."""
    count = arrays.x.size - first
    padded = _Arrays(np.zeros(_WIDTH, np.float32), np.zeros(_WIDTH, np.float32), np.zeros(_WIDTH, np.float32))
    padded.x[:count] = arrays.x[first:]
    _run_vectors(run, padded, _WIDTH, constants)
    arrays.activation[first:] = padded.activation[:count]
    arrays.other[first:] = padded.other[:count]


def _flat(tensor: Tensor) -> np.ndarray:
    """The storage of a dense tensor, as an array."""
    return tensor.as_strided((tensor.numel(),), (1,)).numpy()
