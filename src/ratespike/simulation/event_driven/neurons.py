"""Compiled neuron steps: what a row of neurons does with its currents over a few time steps.

To add a neuron, write the constants of its step (a NamedTuple) and a function with the arguments of `advance_row`, add both
to `COMPILED_STEPS`, and let `compiled_step` make the constants.
"""

from collections.abc import Callable
from math import exp, expm1, inf, log1p
from math import floor as round_down
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload

from ratespike.compiled.options import BORROW, INLINE, INNER
from ratespike.compiled.simd import (
    bits_above,
    floor,
    load,
    lowest_bit,
    maximum,
    minimum,
    quotient,
    repeat,
    store,
    where,
    width_of,
)
from ratespike.neurons import LIF, IntegrateAndFire, Neuron, SpikingRectifiedLinear
from ratespike.simulation.event_driven.errors import UnsupportedError

_ONE = np.uint64(1)
_ROUNDING = 1e-9  # of a step: a tau_ref this close to a multiple of dt counts as one


class LIFStep(NamedTuple):
    """Constants of a LIF step.

    In a step the voltage v goes a share of the way to the current J: 1 - exp(-t / tau_rc), where t is the part of the step in
    which the neuron integrates. That is the whole step, but for the step in which the neuron leaves its refractory time: there
    t depends on the moment of the spike. It takes neither a logarithm nor an exponential to find this share: if the step of
    the spike ended at v > 1, then it is

        1 - factor * (1 - (v - 1) / (J - 1)), with factor = exp((tau_ref - steps * dt) / tau_rc)

    `steps` is `refractory_steps` (the neuron leaves early) or, if the share is not above 0 then, one more (it leaves late).
    """

    share: Any  # 1 - exp(-dt / tau_rc): of a whole step
    min_voltage: Any  # minus infinity if there is none
    early: Any  # factor for refractory_steps
    early_missing: Any  # 1 - early
    late: Any  # factor for refractory_steps + 1
    late_missing: Any  # 1 - late
    refractory_steps: int
    late_exists: bool  # False if tau_ref is a multiple of dt
    ring: int  # words in the ring of steps in which neurons leave their refractory time: a power of two
    dt: float  # seconds

    @property
    def counts_spikes(self) -> bool:
        """Whether a neuron can spike several times in a step, or negatively."""
        return False

    @property
    def rests(self) -> bool:
        """Whether a neuron has a refractory time."""
        return True


class IntegrateAndFireStep(NamedTuple):
    """Constants of an IntegrateAndFire step."""

    dt: Any  # seconds, a scalar of the data type
    threshold: Any
    subtracts: bool  # at a spike the threshold is taken away; else the voltage becomes 0
    min_voltage: Any  # minus infinity if there is none
    ring: int  # 1: no neuron is ever refractory

    @property
    def counts_spikes(self) -> bool:
        """Whether a neuron can spike several times in a step."""
        return False

    @property
    def rests(self) -> bool:
        """Whether a neuron has a refractory time."""
        return False


class SignedStep(NamedTuple):
    """Constants of a step of an IntegrateAndFire neuron with negative spikes."""

    dt: Any  # seconds, a scalar of the data type
    threshold: Any
    min_voltage: Any  # minus infinity if there is none
    ring: int  # 1: no neuron is ever refractory

    @property
    def counts_spikes(self) -> bool:
        """Whether a neuron can spike several times in a step, or negatively."""
        return True

    @property
    def rests(self) -> bool:
        """Whether a neuron has a refractory time."""
        return False


class RectifiedStep(NamedTuple):
    """Constants of a SpikingRectifiedLinear step."""

    dt: Any  # seconds, a scalar of the data type
    ring: int  # 1: no neuron is ever refractory

    @property
    def counts_spikes(self) -> bool:
        """Whether a neuron can spike several times in a step."""
        return True

    @property
    def rests(self) -> bool:
        """Whether a neuron has a refractory time."""
        return False


CompiledStep = LIFStep | IntegrateAndFireStep | SignedStep | RectifiedStep


def compiled_step(neuron: Neuron, dt: float, dtype: Any) -> CompiledStep:
    """The constants of a neuron's compiled step.

    Raises:
        UnsupportedError: it has none.
    """
    if type(neuron) is SpikingRectifiedLinear:
        return RectifiedStep(dt=dtype(dt), ring=1)
    if isinstance(neuron, IntegrateAndFire) and type(neuron).step is IntegrateAndFire.step:
        lowest = -inf if neuron.min_voltage is None else neuron.min_voltage
        if neuron.negative_spikes:
            return SignedStep(dtype(dt), dtype(neuron.threshold), dtype(lowest), ring=1)
        return IntegrateAndFireStep(dtype(dt), dtype(neuron.threshold), neuron.reset == "subtract", dtype(lowest), ring=1)
    if not isinstance(neuron, LIF) or type(neuron).step is not LIF.step:
        raise UnsupportedError(f"the neuron {type(neuron).__name__}, which has no compiled step")
    steps = max(1, round_down(neuron.tau_ref / dt + _ROUNDING))
    early = (neuron.tau_ref - steps * dt) / neuron.tau_rc
    late = (neuron.tau_ref - (steps + 1) * dt) / neuron.tau_rc
    return LIFStep(
        share=dtype(-expm1(-dt / neuron.tau_rc)),
        min_voltage=dtype(neuron.lowest_voltage),
        early=dtype(exp(early)),
        early_missing=dtype(-expm1(early)),
        late=dtype(exp(late)),
        late_missing=dtype(-expm1(late)),
        refractory_steps=steps,
        late_exists=neuron.tau_ref - steps * dt > _ROUNDING * dt,
        ring=1 << (steps + 1).bit_length(),
        dt=dt,
    )


def longest_refractory_time(neuron: CompiledStep) -> float:
    """The longest refractory time, plus one step, with which a simulation may start, in seconds."""
    return neuron.ring * neuron.dt


@njit(**BORROW)
def start_refractory(neuron, state, refractory_time, lanes):
    """Let LIF neurons begin a simulation in their refractory time; their voltage is 0.

    Args:
        neuron: constants of its step, a `LIFStep`.
        state: `NeuronState` of the neurons, of which none is refractory; written.
        refractory_time: what is left of it plus one step, seconds, shape (images, neurons); at most one step: none is left.
        lanes: of the vectors.
    """
    width = width_of(lanes)
    one_step = repeat(refractory_time.dtype.type(neuron.dt), lanes)
    exponent = log1p(-np.float64(neuron.share))  # of what is missing after a whole step
    for image in range(refractory_time.shape[0]):
        for word in range(refractory_time.shape[1] // width):
            resting = bits_above(load(refractory_time[image], word * width, lanes), one_step)
            while resting != 0:
                bit = lowest_bit(resting)
                resting &= resting - _ONE
                steps = np.float64(refractory_time[image, word * width + bit]) / neuron.dt
                leaves_in = max(0, np.int64(steps) - 1)  # counted from the first step
                part_of_step = min(leaves_in + 2 - steps, 1.0)  # in which the neuron integrates then
                share = -expm1(part_of_step * exponent)
                state.waking_share[image, word * width + bit] = share
                state.waking[image, word * neuron.ring + leaves_in] |= _ONE << np.uint64(bit)
                state.refractory[image, word] |= _ONE << np.uint64(bit)


@njit(**INLINE)
def _enter_refractory(neuron, state, word, now, spiked, overshoot, lanes):
    """Note in the ring when the neurons that spiked leave their refractory time; returns the share of that step."""
    last = np.uint64(neuron.ring - 1)
    ring = np.uint64(word * neuron.ring)
    early = now + np.uint64(neuron.refractory_steps)
    share = repeat(neuron.early_missing, lanes) + overshoot * repeat(neuron.early, lanes)
    if not neuron.late_exists:
        state.waking[ring + (early & last)] |= spiked
        return share
    zero = repeat(state.voltage.dtype.type(0), lanes)
    late = ~bits_above(share, zero) & spiked
    state.waking[ring + ((early + np.uint64(1)) & last)] |= late
    state.waking[ring + (early & last)] |= spiked & ~late
    return where(late, repeat(neuron.late_missing, lanes) + overshoot * repeat(neuron.late, lanes), share)


def _advance_lif(neuron, currents, row, steps, state, spikes):
    # The share is 0 while a neuron is refractory, so that its voltage stays 0. A neuron's steps wait for each other, the
    # neurons of a row do not: so the row is the inner loop.
    lanes = row.lanes
    width = width_of(lanes)
    zero = repeat(state.voltage.dtype.type(0), lanes)
    one = repeat(state.voltage.dtype.type(1), lanes)
    whole_share = repeat(neuron.share, lanes)
    min_voltage = repeat(neuron.min_voltage, lanes)
    for k in range(steps.count):
        now = np.uint64(steps.chunk_start + steps.first + k)
        for x in range(row.pixels):
            pixel = row.y * row.pixels + x
            word = pixel * row.tiles + row.tile
            place = word * width
            slot = np.uint64(word * neuron.ring) + (now & np.uint64(neuron.ring - 1))
            v = load(state.voltage, place, lanes)
            j = load(currents.values, k * currents.step_stride + x * width, lanes)
            waking = state.waking[slot]
            refractory = state.refractory[word]
            share = whole_share
            if refractory != 0:
                share = where(refractory, where(waking, load(state.waking_share, place, lanes), zero), whole_share)
            v = maximum(v + (j - v) * share, min_voltage)
            spiked = bits_above(v, one)
            spikes.bits[np.uint64(steps.first + k), pixel, row.tile] = spiked
            if spiked | refractory != 0:
                state.waking[slot] = 0
                state.refractory[word] = (refractory & ~waking) | spiked
                share = _enter_refractory(neuron, state, word, now, spiked, quotient(v - one, j - one), lanes)
                kept = load(state.waking_share, place, lanes)
                store(state.waking_share, place, where(spiked, minimum(share, whole_share), kept))
                v = where(spiked, zero, v)
            store(state.voltage, place, v)


def _advance_rectified(neuron, currents, row, steps, state, spikes):
    lanes = row.lanes
    width = width_of(lanes)
    zero = repeat(state.voltage.dtype.type(0), lanes)
    dt = repeat(neuron.dt, lanes)
    for x in range(row.pixels):
        pixel = row.y * row.pixels + x
        place = (pixel * row.tiles + row.tile) * width
        v = load(state.voltage, place, lanes)
        for k in range(steps.count):
            v = v + maximum(load(currents.values, k * currents.step_stride + x * width, lanes), zero) * dt
            count = floor(v)
            v = v - count
            spikes.bits[steps.first + k, pixel, row.tile] = bits_above(count, zero)
            store(spikes.counts[steps.first + k, pixel], row.tile * width, count)
        store(state.voltage, place, v)


def _advance_integrate_and_fire(neuron, currents, row, steps, state, spikes):
    lanes = row.lanes
    width = width_of(lanes)
    zero = repeat(state.voltage.dtype.type(0), lanes)
    dt = repeat(neuron.dt, lanes)
    threshold = repeat(neuron.threshold, lanes)
    min_voltage = repeat(neuron.min_voltage, lanes)
    neurons = bits_above(threshold, zero)
    for x in range(row.pixels):
        pixel = row.y * row.pixels + x
        place = (pixel * row.tiles + row.tile) * width
        v = load(state.voltage, place, lanes)
        for k in range(steps.count):
            v = v + load(currents.values, k * currents.step_stride + x * width, lanes) * dt
            spiked = ~bits_above(threshold, v) & neurons
            spikes.bits[steps.first + k, pixel, row.tile] = spiked
            v = where(spiked, v - threshold if neuron.subtracts else zero, v)
            v = maximum(v, min_voltage)
        store(state.voltage, place, v)


def _advance_signed(neuron, currents, row, steps, state, spikes):
    lanes = row.lanes
    width = width_of(lanes)
    zero = repeat(state.voltage.dtype.type(0), lanes)
    one = repeat(state.voltage.dtype.type(1), lanes)
    dt = repeat(neuron.dt, lanes)
    threshold = repeat(neuron.threshold, lanes)
    min_voltage = repeat(neuron.min_voltage, lanes)
    neurons = bits_above(threshold, zero)
    for x in range(row.pixels):
        pixel = row.y * row.pixels + x
        place = (pixel * row.tiles + row.tile) * width
        v = load(state.voltage, place, lanes)
        sent = load(state.sent, place, lanes)
        for k in range(steps.count):
            v = v + load(currents.values, k * currents.step_stride + x * width, lanes) * dt
            positive = ~bits_above(threshold, v) & neurons
            negative = bits_above(zero, v) & bits_above(sent, zero)
            count = where(positive, one, where(negative, zero - one, zero))
            spikes.bits[steps.first + k, pixel, row.tile] = positive | negative
            store(spikes.counts[steps.first + k, pixel], row.tile * width, count)
            v = maximum(v - count * threshold, min_voltage)
            sent = sent + count
        store(state.voltage, place, v)
        store(state.sent, place, sent)


COMPILED_STEPS: dict[type, Callable[..., None]] = {
    LIFStep: _advance_lif,
    IntegrateAndFireStep: _advance_integrate_and_fire,
    RectifiedStep: _advance_rectified,
    SignedStep: _advance_signed,
}


def advance_row(neuron, currents, row, steps, state, spikes):
    """Advance a row of neurons by some time steps, with the function that `COMPILED_STEPS` has for the type of `neuron`.

    Args:
        neuron: constants of its step, such as `LIFStep`.
        currents: `Currents` of the row.
        row: a `Row`: which neurons.
        steps: `Steps`: which time steps.
        state: `NeuronState` of one image's layer, changed.
        spikes: `Spikes` of one image's layer in the chunk; the row's spikes in these steps are written.
    """
    raise NotImplementedError("only compiled code calls this")


@overload(advance_row, jit_options=INNER)  # type: ignore[arg-type]
def _choose_step(neuron, currents, row, steps, state, spikes):
    return COMPILED_STEPS[neuron.instance_class]
