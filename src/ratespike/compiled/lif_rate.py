"""The LIF's rate and its slope in one pass over memory: float32, on a CPU."""

import functools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

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


class Constants(NamedTuple):
    """One LIF and what stands around it: the activation is `scale * rate(gain * x + bias)`."""

    gain: np.float32
    distance: np.float32  # bias - 1: from the threshold at x = 0
    scale: np.float32
    tau_rc: np.float32
    tau_ref: np.float32
    sigma: np.float32
    log_sigma: np.float32
    slope_clamp: np.float32


@njit(**INLINE)
def _vector(value):
    return repeat(np.float32(value), _LANES)


@njit(**INLINE)
def _bounded(x):
    return minimum(maximum(x, _vector(-_LARGEST)), _vector(_LARGEST))


@njit(**INLINE)
def _rate(log_term, constants):
    return quotient(_vector(1), _vector(constants.tau_ref) + _vector(constants.tau_rc) * log_term)


@njit(**INLINE)
def _slope(rate, change, constants):
    """`change` is d(log z)/dx over z + 1. What is NaN or too large is 0."""
    slope = rate * (rate * change) * _vector(constants.scale * constants.gain * constants.tau_rc)
    finite = bits_above(_vector(_LARGEST), maximum(slope, _vector(0) - slope))
    return where(finite, slope, _vector(0))


@njit(**INLINE)
def _soft(above, constants):
    one, zero = _vector(1), _vector(0)
    x = _bounded(above * _vector(np.float32(1) / constants.sigma))
    e = exp_of_negative(minimum(x, zero - x))
    softplus = maximum(x, zero) + log1p(e)
    z = maximum(_vector(constants.sigma) * softplus, _vector(_SMALLEST))
    tail = bits_above(zero - x, _vector(_FAR))
    rate = _rate(where(tail, zero - x - _vector(constants.log_sigma), log1p(quotient(one, z))), constants)
    sigmoid = where(bits_above(x, zero), one, e)  # times 1 + e
    relative = where(tail, one, quotient(sigmoid, (one + e) * softplus))
    change = quotient(relative, z + one) * _vector(np.float32(1) / constants.sigma)
    return rate, _slope(rate, change, constants)


@njit(**INLINE)
def _hard(above, constants):
    one, zero = _vector(1), _vector(0)
    above = _bounded(above)
    fires = bits_above(above, zero)
    rate = _rate(log1p(quotient(one, maximum(above, _vector(_SMALLEST)))), constants)
    rate = where(fires, rate, minimum(maximum(above, zero), zero))  # a NaN stays
    held = maximum(above, _vector(constants.slope_clamp))
    return rate, _slope(rate, quotient(quotient(one, held), held + one), constants)


@njit(**BORROW)
def _advance_soft(x, activation, slope, first, last, constants):
    for place in range(first, last, width_of(_LANES)):
        above = load(x, place, _LANES) * _vector(constants.gain) + _vector(constants.distance)
        rate, change = _soft(above, constants)
        store(activation, place, rate * _vector(constants.scale))
        store(slope, place, change)


@njit(**BORROW)
def _advance_hard(x, activation, slope, first, last, constants):
    for place in range(first, last, width_of(_LANES)):
        above = load(x, place, _LANES) * _vector(constants.gain) + _vector(constants.distance)
        rate, change = _hard(above, constants)
        store(activation, place, rate * _vector(constants.scale))
        store(slope, place, change)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "lif_rate")


os.register_at_fork(after_in_child=_pool.cache_clear)


def rate_and_slope(
    x: Tensor, gain: float, bias: float, scale: float, tau_rc: float, tau_ref: float, sigma: float, slope_clamp: float
) -> tuple[Tensor, Tensor]:
    """`scale * rate(gain * x + bias)` and its derivative, in the order of memory of `x`, in as many threads as PyTorch uses.

    Args:
        x: float32, on the CPU, any shape.
        gain: current per input.
        bias: current at `x = 0`, threshold 1.
        scale: activation per Hz.
        tau_rc: membrane time constant, seconds.
        tau_ref: refractory time, seconds.
        sigma: smoothness of the rate; 0 for the hard one.
        slope_clamp: distance from threshold within which the hard rate's slope does not grow.
    """
    log_sigma = math.log(sigma) if sigma > 0 else 0.0
    constants = Constants(*map(np.float32, (gain, bias - 1, scale, tau_rc, tau_ref, sigma, log_sigma, slope_clamp)))
    advance = _advance_soft if constants.sigma > 0 else _advance_hard
    activation, slope = torch.empty_like(x), torch.empty_like(x)
    if activation.stride() != x.stride():  # not dense: empty_like has chosen another order
        x = activation.copy_(x).clone()
    flat = [_flat(tensor) for tensor in (x, activation, slope)]
    whole = x.numel() - x.numel() % _WIDTH
    threads = torch.get_num_threads()
    if threads == 1 or whole <= _CHUNK:
        advance(*flat, 0, whole, constants)
    else:
        parts = [(first, min(first + _CHUNK, whole)) for first in range(0, whole, _CHUNK)]
        list(_pool(threads).map(lambda part: advance(*flat, *part, constants), parts))
    if whole < x.numel():
        padded = [np.zeros(_WIDTH, np.float32) for _ in flat]
        padded[0][: x.numel() - whole] = flat[0][whole:]
        advance(*padded, 0, _WIDTH, constants)
        for array, rest in zip(flat[1:], padded[1:], strict=True):
            array[whole:] = rest[: x.numel() - whole]
    return activation, slope


def _flat(tensor: Tensor) -> np.ndarray:
    """The storage of a dense tensor, as an array."""
    return tensor.as_strided((tensor.numel(),), (1,)).numpy()
