"""Neurons against the rest of a run: some are trained for one simulation, and some do not go with every forward."""

from collections.abc import Iterator

from torch import nn

from ratespike.config.schemas import Config, RunConfig
from ratespike.neurons import Neuron, WindowCountLIF
from ratespike.parameters import ParameterError
from ratespike.pipeline.forwards import Forward, NoisyRates


def check_neurons(network: nn.Module, config: Config, forward: Forward) -> None:
    """Check that a training's neurons go with its steps and its forward.

    Raises:
        ParameterError: a neuron whose rate is that of steps of another length than the simulation's; neurons with random
            spikes and a forward that has the noise of regular ones.
    """
    for name, neuron in _neurons(network):
        dt = _dt_of_rate(neuron)
        if dt not in (None, config.dt):
            raise ParameterError(
                f"neuron.dt={dt:g}: must be dt={config.dt:g}, the step of the simulation (layer {name}); "
                "give both the same number"
            )
        if neuron.random and isinstance(forward, NoisyRates):
            raise ParameterError(
                f"forward={config.forward['type']}: its noise is that of regular spikes, and {type(neuron).__name__} has "
                f"noise of its own (layer {name}); take forward=rates or forward=spikes"
            )


def simulated_otherwise(network: nn.Module, config: RunConfig) -> Iterator[str]:
    """In words, how the simulation differs from that for which neurons were trained, whose rates then differ from spikes."""
    for name, neuron in _neurons(network):
        dt = _dt_of_rate(neuron)
        if dt not in (None, config.dt):
            yield f"layer {name} has rates of steps of {dt:g} s, but is simulated in steps of {config.dt:g} s"
        if isinstance(neuron, WindowCountLIF) and neuron.start != config.simulation.start:
            start = config.simulation.start
            yield f"layer {name} counts spikes from neuron.start={neuron.start}, but is simulated from simulation.start={start}"


def _neurons(network: nn.Module) -> Iterator[tuple[str, Neuron]]:
    """By name; those whose rates others have are among them."""
    for name, module in network.named_modules():
        if isinstance(module, Neuron):
            yield name, module


def _dt_of_rate(neuron: Neuron) -> float | None:
    """The steps that a neuron's rate is of, seconds; None of a neuron whose rate does not depend on them."""
    return getattr(neuron, "dt", None)
