"""The random numbers of `ratespike.simulation.random`, compiled."""

import numpy as np
from numba import njit

from ratespike.compiled.options import INLINE, KERNEL

_LOW = np.uint64(0xFFFFFFFF)
_MULTIPLIER = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEP = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_SHIFT = np.uint64(32)
_ROUNDS = 10


@njit(**INLINE)
def philox4x32(counter, key):
    """Four random 32-bit words for a counter of four and a key of two words, all of them uint64 below 2**32."""
    for _ in range(_ROUNDS):
        first = counter[0] * _MULTIPLIER[0]
        second = counter[2] * _MULTIPLIER[1]
        counter = (
            (second >> _SHIFT) ^ counter[1] ^ key[0],
            second & _LOW,
            (first >> _SHIFT) ^ counter[3] ^ key[1],
            first & _LOW,
        )
        key = ((key[0] + _KEY_STEP[0]) & _LOW, (key[1] + _KEY_STEP[1]) & _LOW)
    return counter


@njit(**KERNEL)
def fill_uniform(values, seed, images, layer, purpose):
    """Draw `values` (images, neurons) from [0, 1), multiples of 2**-24; the number of neurons is a multiple of 4."""
    key = (np.uint64(seed) & _LOW, np.uint64(seed) >> _SHIFT)
    scale = values.dtype.type(2.0**-24)
    drop = np.uint64(8)  # the lowest bits of a word: 24 are left, which float32 holds exactly
    for row in range(images.size):
        image = np.uint64(images[row]) & _LOW
        for block in range(values.shape[1] // 4):
            words = philox4x32((np.uint64(block), image, np.uint64(layer), np.uint64(purpose)), key)
            for place in range(4):
                values[row, 4 * block + place] = values.dtype.type(np.int32(words[place] >> drop)) * scale
