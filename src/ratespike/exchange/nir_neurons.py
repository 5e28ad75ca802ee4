"""Which neurons NIR can say, and which come nearest to the others.

NIR 1.0 has two neurons that spike when they pass a threshold and are then set to `v_reset`, in continuous time:

    IF:   dv/dt = r * I          LIF:  tau * dv/dt = v_leak - v + r * I

In time steps its readers agree on the following, and so does this one: a spike is a 1 for one step; an IF adds `r * I` to its
voltage in each step; `tau` is in seconds. NIR has no refractory time and no floor for the voltage. That the threshold is taken
away from the voltage, in place of a reset, is a matter of the reader, not of the file (https://github.com/neuromorphs/NIR/pull/63).
"""

from ratespike.neurons import LIF, IntegrateAndFire, Neuron, SpikingRectifiedLinear
from ratespike.parameters import ParameterError

# what decides on the spikes of a neuron, together with its parameters
_OF_SPIKES = ("step", "initial_state", "forward", "current", "gain_and_bias", "current_for", "threshold_current", "scale")


def what_is_lost(neuron: Neuron) -> list[str]:
    """Why NIR cannot say exactly what a neuron does; empty if it can.

    Raises:
        ParameterError: a neuron that is like none of NIR's.

    Example:
        >>> what_is_lost(IntegrateAndFire(reset="zero")), what_is_lost(LIF(min_voltage=None))
        ([], ['tau_ref=0.002: NIR has no refractory time'])
    """
    lost: list[str] = []
    if is_integrate_and_fire(neuron):
        assert isinstance(neuron, IntegrateAndFire)
        if neuron.reset != "zero":
            lost.append(f"reset={neuron.reset}: in NIR a spike sets the voltage to v_reset")
        if neuron.negative_spikes:
            lost.append("negative_spikes=True: NIR has none")
        if neuron.min_voltage is not None:
            lost.append(_no_floor(neuron.min_voltage))
    elif is_leaky(neuron):
        assert isinstance(neuron, LIF)
        if neuron.tau_ref > 0:
            lost.append(f"tau_ref={neuron.tau_ref:g}: NIR has no refractory time")
        if neuron.min_voltage is not None:
            lost.append(_no_floor(neuron.min_voltage))
    elif type(neuron) is SpikingRectifiedLinear:
        lost.append("several spikes a step, a current that is never negative, and no reset: NIR's IF has another step")
    else:
        raise ParameterError(f"{type(neuron).__name__}: NIR has no such neuron, and none that is near it")
    return lost


def nearest(neuron: Neuron) -> Neuron:
    """The neuron that NIR can say exactly, with the same rate at the same intercept and at an input of 1.

    Args:
        neuron: one that `what_is_lost` knows.

    Example:
        >>> nearest(LIF(max_rate=200, tau_rc=0.01))
        LIF(max_rate=200, intercept=0.0, amplitude=0.005, tau_rc=0.01, tau_ref=0.0, sigma=0.0, min_voltage=None)
    """
    if isinstance(neuron, LIF):
        return LIF(
            max_rate=neuron.max_rate,
            intercept=neuron.intercept,
            amplitude=neuron.scale,
            tau_rc=neuron.tau_rc,
            tau_ref=0.0,
            min_voltage=None,
        )
    assert isinstance(neuron, IntegrateAndFire | SpikingRectifiedLinear)
    return IntegrateAndFire(
        max_rate=neuron.max_rate,
        intercept=neuron.intercept,
        amplitude=neuron.scale,
        threshold=getattr(neuron, "threshold", 1.0),
        reset="zero",
    )


def is_integrate_and_fire(neuron: Neuron) -> bool:
    """Whether a neuron does on spikes what `IntegrateAndFire` does; a subclass may have another rate."""
    return _spikes_like(neuron, IntegrateAndFire)


def is_leaky(neuron: Neuron) -> bool:
    """Whether a neuron does on spikes what `LIF` does; a subclass may have another rate."""
    return _spikes_like(neuron, LIF)


def _spikes_like(neuron: Neuron, known: type[Neuron]) -> bool:
    return isinstance(neuron, known) and all(getattr(type(neuron), name) is getattr(known, name) for name in _OF_SPIKES)


def _no_floor(min_voltage: float) -> str:
    return f"min_voltage={min_voltage:g}: NIR has no floor for the voltage (neuron.min_voltage=null has none either)"
