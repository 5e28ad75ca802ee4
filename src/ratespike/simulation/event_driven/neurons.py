"""Compiled neuron steps: what a row of neurons does with its currents over a few time steps.

To add a neuron, write its parameters (a NamedTuple) and a function with the arguments of `advance_row`, and put the two
into `COMPILED_STEPS`.

Arguments common to all steps, for one image and one group of up to 64 channels ("tile"):

- `current` (steps, pixels, width): `current_step` is the stride of its first axis (0 if constant in time).
- `first_pixel`, `pixels`: the row of pixels to advance; `tile` of `tiles`.
- `step`, `steps`: time steps step … step + steps - 1 counted from the start of the simulation; `row` is the first one's
  place in `spikes`.
- `voltage`, `memory` (pixels of the layer, tiles, width): state; `pending` (pixels, tiles, ring): one word of bits for
  each of the steps to come; `resting` (pixels, tiles): one word.
- `spikes` (rows, pixels of the layer, tiles): one bit a neuron, written. `counts` (rows, pixels of the layer, tiles *
  width): spikes in the step; None for neurons that spike at most once in a step.
"""

from collections.abc import Callable
from math import exp, expm1
from math import floor as round_down
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from ratespike.compiled.options import BORROW
from ratespike.compiled.simd import (
    bits_above,
    floor,
    load,
    maximum,
    minimum,
    quotient,
    repeat,
    store,
    where,
    width_of,
)
from ratespike.neurons import LIF, Neuron, SpikingRectifiedLinear
from ratespike.simulation.event_driven.connection import UnsupportedError

_ROUNDING = 1e-9  # of a step: tau_ref this close to a multiple of dt is one


class LIFStep(NamedTuple):
    """Constants of a LIF step: scalars of the data type, and integers."""

    drive: Any  # 1 - exp(-dt / tau_rc)
    lowest: Any  # min_voltage
    early: Any  # exp((tau_ref - rest dt) / tau_rc)
    early_missing: Any  # 1 - early
    late: Any  # exp((tau_ref - (rest + 1) dt) / tau_rc)
    late_missing: Any  # 1 - late
    rest: int  # steps after a spike until the neuron can integrate again; one more if late
    late_exists: bool  # False if tau_ref is a multiple of dt
    ring: int  # length of the ring of words that say who wakes when: a power of two
    dt: float  # seconds

    @property
    def multiple(self) -> bool:
        """Whether it can spike several times in a step."""
        return False


class RectifiedStep(NamedTuple):
    """Constants of a SpikingRectifiedLinear step."""

    dt: Any  # seconds, a scalar of the data type
    ring: int  # unused: 1

    @property
    def multiple(self) -> bool:
        """Whether it can spike several times in a step."""
        return True


def compiled_step(neuron: Neuron, dt: float, dtype: Any) -> Any:
    """The constants of a neuron's compiled step.

    Raises:
        UnsupportedError: it has none.
    """
    if type(neuron) is SpikingRectifiedLinear:
        return RectifiedStep(dt=dtype(dt), ring=1)
    if type(neuron) is not LIF:
        raise UnsupportedError(f"the neuron {type(neuron).__name__}, which has no compiled step")
    rest = max(1, round_down(neuron.tau_ref / dt + _ROUNDING))
    early, late = ((neuron.tau_ref - steps * dt) / neuron.tau_rc for steps in (rest, rest + 1))
    return LIFStep(
        drive=dtype(-expm1(-dt / neuron.tau_rc)),
        lowest=dtype(neuron.min_voltage),
        early=dtype(exp(early)),
        early_missing=dtype(-expm1(early)),
        late=dtype(exp(late)),
        late_missing=dtype(-expm1(late)),
        rest=rest,
        late_exists=neuron.tau_ref - rest * dt > _ROUNDING * dt,
        ring=1 << (rest + 1).bit_length(),
        dt=dt,
    )


def longest_rest(neuron: LIFStep | RectifiedStep) -> float:
    """The longest refractory time, plus a step, with which a simulation may start, in seconds."""
    return neuron.ring * neuron.dt


def rest(neuron: LIFStep, refractory_time: np.ndarray, pending: np.ndarray, resting: np.ndarray, memory: np.ndarray) -> None:
    """Let LIF neurons begin a simulation in their refractory time; their voltage is 0.

    Args:
        neuron: constants of the step.
        refractory_time: what is left of it plus one step, seconds, shape (images, pixels * tiles, width).
        pending: of each image, shape (images, pixels * tiles * ring), written.
        resting: of each image, shape (images, pixels * tiles), written.
        memory: of each image, shape (images, neurons), written.
    """
    images, words, width = refractory_time.shape
    steps = np.floor(refractory_time / neuron.dt).astype(np.int64) - 1  # wakes in this one
    free = np.minimum((steps + 2) - refractory_time / neuron.dt, 1)  # part of that step
    memory[:images] = -np.expm1(free * np.log1p(-neuron.drive)).reshape(images, -1)
    rests = refractory_time > neuron.dt
    ring = pending[:images].reshape(images, words, neuron.ring)
    for step in range(neuron.ring):
        bits = np.zeros((images, words, 64), np.uint8)
        bits[:, :, :width] = rests & (steps == step)
        ring[:, :, step] = np.packbits(bits, axis=-1, bitorder="little").view(np.uint64)[:, :, 0]
    resting[:images] = np.bitwise_or.reduce(ring, axis=2)


def _advance_lif(
    neuron,
    current,
    current_step,
    first_pixel,
    pixels,
    tile,
    tiles,
    step,
    steps,
    row,
    voltage,
    memory,
    pending,
    resting,
    spikes,
    counts,
    lanes,
):
    # exp(-δ/τ) in the step in which a neuron wakes is 1 - (v - 1)/(J - 1) of the step in which it spiked, times a constant:
    # no logarithm, no exponential. `memory` keeps 1 - exp(-δ/τ) for it. The share is the part of the way from v to J that v
    # goes in a step: 0 while a neuron rests, so that v stays 0, `memory` in the step in which it wakes, `drive` otherwise. A
    # neuron's steps wait for each other, a row's neurons do not: so the row is the inner loop.
    width = width_of(lanes)
    dtype = voltage.dtype.type
    zero, one = repeat(dtype(0), lanes), repeat(dtype(1), lanes)
    drive, lowest = repeat(neuron.drive, lanes), repeat(neuron.lowest, lanes)
    early, early_missing = repeat(neuron.early, lanes), repeat(neuron.early_missing, lanes)
    late, late_missing = repeat(neuron.late, lanes), repeat(neuron.late_missing, lanes)
    last = np.uint64(neuron.ring - 1)
    for k in range(steps):
        now = np.uint64(step + k)
        wake = now + np.uint64(neuron.rest)
        for pixel in range(pixels):
            place = (first_pixel + pixel) * tiles + tile
            words = np.uint64(place * neuron.ring)
            v = load(voltage, place * width, lanes)
            j = load(current, k * current_step + pixel * width, lanes)
            waking, rests = pending[words + (now & last)], resting[place]
            share = drive
            if rests != 0:
                share = where(rests, where(waking, load(memory, place * width, lanes), zero), drive)
            v = maximum(v + (j - v) * share, lowest)
            spiked = bits_above(v, one)
            spikes[np.uint64(row + k), first_pixel + pixel, tile] = spiked
            if spiked | rests != 0:
                pending[words + (now & last)] = 0
                resting[place] = (rests & ~waking) | spiked
                overshoot = quotient(v - one, j - one)
                share = early_missing + overshoot * early
                if neuron.late_exists:
                    too_late = ~bits_above(share, zero) & spiked
                    share = where(too_late, late_missing + overshoot * late, share)
                    pending[words + ((wake + np.uint64(1)) & last)] |= too_late
                    pending[words + (wake & last)] |= spiked & ~too_late
                else:
                    pending[words + (wake & last)] |= spiked
                store(memory, place * width, where(spiked, minimum(share, drive), load(memory, place * width, lanes)))
                v = where(spiked, zero, v)
            store(voltage, place * width, v)


def _advance_rectified(
    neuron,
    current,
    current_step,
    first_pixel,
    pixels,
    tile,
    tiles,
    step,
    steps,
    row,
    voltage,
    memory,
    pending,
    resting,
    spikes,
    counts,
    lanes,
):
    width = width_of(lanes)
    zero, dt = repeat(voltage.dtype.type(0), lanes), repeat(neuron.dt, lanes)
    for pixel in range(pixels):
        place = (first_pixel + pixel) * tiles + tile
        v = load(voltage, place * width, lanes)
        for k in range(steps):
            v = v + maximum(load(current, k * current_step + pixel * width, lanes), zero) * dt
            whole = floor(v)
            v = v - whole
            spikes[row + k, first_pixel + pixel, tile] = bits_above(whole, zero)
            store(counts[row + k, first_pixel + pixel], tile * width, whole)
        store(voltage, place * width, v)


COMPILED_STEPS: dict[type, Callable[..., None]] = {LIFStep: _advance_lif, RectifiedStep: _advance_rectified}


def advance_row(
    neuron,
    current,
    current_step,
    first_pixel,
    pixels,
    tile,
    tiles,
    step,
    steps,
    row,
    voltage,
    memory,
    pending,
    resting,
    spikes,
    counts,
    lanes,
):
    """Advance a row of neurons by some time steps with the compiled step of the type of `neuron`."""
    raise NotImplementedError("only compiled code calls this")


@overload(advance_row, jit_options=BORROW)  # type: ignore[arg-type]
def _choose_step(
    neuron,
    current,
    current_step,
    first_pixel,
    pixels,
    tile,
    tiles,
    step,
    steps,
    row,
    voltage,
    memory,
    pending,
    resting,
    spikes,
    counts,
    lanes,
):
    return COMPILED_STEPS[neuron.instance_class]
