"""The random numbers of `ratespike.simulation.random`, compiled."""

import numpy as np
from numba import njit

from ratespike.compiled.options import KERNEL

_U32, _U64 = np.uint32, np.uint64
_LOW = np.uint64(0xFFFFFFFF)
_MULTIPLIER = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEP = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_SHIFT = np.uint64(32)


@njit(**KERNEL, inline="always")
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Four random 32-bit words (as uint64) of counter (c0, c1, c2, c3) under key (k0, k1), all uint64 below 2**32."""
    for _ in range(10):
        first, second = c0 * _MULTIPLIER[0], c2 * _MULTIPLIER[1]
        c0, c1, c2, c3 = (second >> _SHIFT) ^ c1 ^ k0, second & _LOW, (first >> _SHIFT) ^ c3 ^ k1, first & _LOW
        k0, k1 = (k0 + _KEY_STEP[0]) & _LOW, (k1 + _KEY_STEP[1]) & _LOW
    return c0, c1, c2, c3


@njit(**KERNEL)
def fill_uniform(values, seed, images, layer, purpose):
    """Draw `values` (images, neurons) from [0, 1), multiples of 2**-24; the number of neurons is a multiple of 4."""
    k0, k1 = _U64(seed) & _LOW, _U64(seed) >> _SHIFT
    scale = values.dtype.type(2.0**-24)
    drop = _U64(8)
    for row in range(images.size):
        image = _U64(images[row]) & _LOW
        for block in range(values.shape[1] // 4):
            words = philox4x32(_U64(block), image, _U64(layer), _U64(purpose), k0, k1)
            for place in range(4):
                values[row, 4 * block + place] = values.dtype.type(np.int32(words[place] >> drop)) * scale
