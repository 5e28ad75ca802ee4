"""The spiking mode: `simulate(network, images, n_steps)`.

`simulate` checks its arguments, finds out what the network's forward does (`tracing`), has an engine run it on spikes and makes
answers of the outputs. There are two engines with the same spikes: the reference in PyTorch, and an event-driven one for CPUs.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ratespike.available_memory import check_fits
from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError
from ratespike.simulation import reference
from ratespike.simulation.checks import (
    check_early_exit,
    check_event_height,
    check_has_classes,
    check_image_index,
    check_images,
    check_kinds,
    check_layer_names,
    check_ranges,
    check_start,
    check_tensors,
    check_word,
    warn_of_long_steps,
)
from ratespike.simulation.cost import network_cost
from ratespike.simulation.early_exit import EarlyExit
from ratespike.simulation.fan_out import FanOut
from ratespike.simulation.max_pooling import check_max_poolings
from ratespike.simulation.network_analysis import analyse
from ratespike.simulation.readout import READOUTS, Answers
from ratespike.simulation.replay import CHOICES
from ratespike.simulation.result import Simulation
from ratespike.simulation.settings import Settings, Start
from ratespike.simulation.start import STARTS
from ratespike.simulation.tracing import Operation, Trace
from ratespike.synapses import LowPass, Synapse

ENGINES = ("auto", "event_driven", "torch", "torch_compiled")

_logger = logging.getLogger(__name__)

__all__ = ["ENGINES", "READOUTS", "STARTS", "EngineError", "Simulation", "simulate"]


class EngineError(ParameterError):
    """The engine that was asked for cannot run this network, which the reference engine can."""


@torch.inference_mode(False)  # in which max pooling and others are operations of another name than in the trace
@torch.no_grad()
def simulate(
    network: nn.Module,
    images: Float[Tensor, " batch *shape"],
    n_steps: int = 30,
    dt: float = 0.001,
    *,
    synapse: Synapse = LowPass(tau=0.1),  # noqa: B008  # without state
    start: Start = "uniform",
    readout: str = "last",
    burn_in: float = 0.01,
    early_exit: float | None = None,
    exit_by: str = "margin",
    record: Sequence[str] = (),
    engine: str = "auto",
    seed: int = 0,
    image_index: Int[Tensor, " batch"] | None = None,
    images_over_time: bool = False,
    event_height: float | None = None,
) -> Simulation:
    """Run a network on spikes: each image is shown for `n_steps` steps of `dt` seconds.

    What is computed is what the network's own `forward` says, with each neuron replaced by its spikes. Each call of a neuron
    has a state of its own, and all its steps come before the next call: there is no feedback between layers. The one exception
    is max pooling behind neurons, which goes by the sums over time (see `ratespike.simulation.max_pooling`).

    The network is not changed; what is found out about it is kept for its next simulation, and found out anew where something
    has changed (see `ratespike.simulation.network_analysis`). Dropout and the like are as in eval mode. In a half-precision
    network the layers compute in half precision, neurons and filters in float32.

    Args:
        network: any feed-forward network with neurons where activations would stand.
        images: what the network's `forward` takes, shape (batch, ...); with `images_over_time` shape (time, batch, ...).
        n_steps: how many steps.
        dt: length of a step, seconds.
        synapse: the filter behind the network's output.
        start: the neurons before the first step. Membrane voltages in units of the threshold: `zero`; `uniform`, drawn
            from [0, 1), Nengo's; `half`. Or `steady_phase`: each neuron somewhere in its firing cycle, drawn uniformly, as
            if it had fired for long. For that the currents must be known: the first layer's is, the others' are
            estimated by one pass of the network on rates, which costs as much as `network(images)`. `half_phase`: in the
            middle of that cycle, so that the first spike comes after half a period. Or states by layer
            name, such as `{"neuron1": {"voltage": tensor}}`, which broadcast over the batch.
        readout: what the outputs are after each step: `last`, the filtered output; `mean`, `mean_after_burn_in` or
            `spike_count` of the unfiltered outputs so far (see `ratespike.simulation.readout`).
        burn_in: what `mean_after_burn_in` leaves out, seconds.
        early_exit: an image is done as soon as this threshold is reached, after any step. By default every image takes all
            steps. The event-driven engine alone saves the operations.
        exit_by: what has to reach it: `margin`, by how much the largest answer leads the second, in the read-out's unit;
            `softmax`, the highest probability in the softmax of the answers; `stability`, for how many steps on end the
            predicted class has been the same (see `ratespike.simulation.early_exit`).
        record: names of neuron layers whose spikes and voltages are kept.
        engine: `torch`, the reference, for any device, dtype and layer; `event_driven`, whose cost follows the spikes, for
            networks that are linear between LIF, SpikingRectifiedLinear and IntegrateAndFire neurons on a CPU (it records no
            voltages); `torch_compiled`, the reference with the neurons' steps fused by `torch.compile`, which needs a
            compiler and takes some seconds at first. `auto` picks the event-driven one where it can and nothing is recorded,
            else the reference.
        seed: of a random start and of random neurons.
        image_index: which image each row is, so that nothing random depends on the batching; by default 0, 1, 2, ...
        images_over_time: the images change: those of each step stand one after the other, as many as `n_steps` at least. On
            rates the network sees their mean.
        event_height: the images over time are events, such as those of an event camera, and this is the value of one, in the
            images' unit: each event is counted as a spike is, by the weights it meets. By default every value of a changing
            image is.

    Returns:
        The answer, the spikes and the operations of each step (see `Simulation`).

    Raises:
        ParameterError: an argument that cannot be; images or weights that are NaN or infinite; a network whose forward cannot
            be simulated, such as one that looks at the values that it computes (the message names the module).

    Warns:
        UserWarning: a neuron cannot fire at its rate in steps as long as `dt`.

    Example:
        >>> from ratespike.neurons import LIF
        >>> network = nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 3))
        >>> result = simulate(network, torch.rand(2, 4), n_steps=30)
        >>> result.outputs.shape, result.spike_counts["1"].shape
        (torch.Size([30, 2, 3]), torch.Size([30, 2]))
    """
    check_kinds(network, synapse, start, record)
    check_ranges(n_steps, dt, burn_in, seed)
    check_early_exit(early_exit, exit_by)
    check_word("engine", engine, ENGINES)
    check_word("readout", readout, READOUTS)
    if isinstance(start, str):
        check_word("start", start, STARTS)
    check_images(images, n_steps, images_over_time)
    check_event_height(event_height, images_over_time)
    if images.is_inference():
        images = images.clone()  # a forward may overwrite them
    check_tensors(network, images)
    shown = images[:n_steps] if images_over_time else images.unsqueeze(0)
    image_index = check_image_index(image_index, shown[0])

    _let_forked_processes_simulate()
    analysis = analyse(network, shown[0])
    found = analysis.trace
    check_max_poolings(found)
    neurons = {call.name: call.module for call in found.neurons if isinstance(call.module, Neuron)}
    check_layer_names(record, neurons)
    if not isinstance(start, str):
        check_layer_names(start, neurons)
        check_start(start)
    warn_of_long_steps(neurons, dt)
    if early_exit is not None:
        check_has_classes(found.output.shape[1:], early_exit)

    check_fits(_bytes_kept(found, record, n_steps, shown.shape[1]), f"n_steps={n_steps}")

    answers_of = partial(Answers, readout, synapse=synapse, dt=dt, burn_in=burn_in, scale=_output_scale(found))
    stop_early = None if early_exit is None else EarlyExit(exit_by, early_exit, answers_of)
    settings = Settings(n_steps, dt, start, tuple(record), seed, stop_early)
    result = _run(engine, reference.PreparedNetwork(analysis, settings), shown, image_index)
    answers = answers_of().extend(result.outputs)
    result = replace(result, outputs=answers, cost=analysis.made(network_cost, dt))
    result = _with_images(result, analysis.fan_out, shown, event_height)
    if stop_early is not None:
        result = result.stopped(stop_early.steps(answers))
    return result


def _with_images(result: Simulation, fan_out: FanOut, shown: Tensor, event_height: float | None) -> Simulation:
    """A simulation of spikes with what the images cost besides.

    Args:
        result: its synaptic operations are changed.
        fan_out: of the network.
        shown: the images in each step, or in one.
        event_height: the value of an event in images of events.
    """
    operations = torch.zeros_like(result.synaptic_operations, dtype=torch.float64)  # (time, batch)
    if event_height is None:
        operations[: len(shown)] = fan_out.value_operations(shown)
        result.synaptic_operations[: len(shown)] += fan_out.image_operations
    else:
        operations += fan_out.event_operations(shown, event_height)
        result.synaptic_operations.add_(operations)
    return replace(result, image_operations=operations, images_are_events=event_height is not None)


def _bytes_kept(found: Trace, record: Sequence[str], n_steps: int, batch: int) -> int:
    """What a simulation keeps of all steps: outputs and answers, two counts of each layer, and what is recorded."""
    of_image = 2 * found.output.shape[1:].numel() * found.output.dtype.itemsize
    for call in found.neurons:
        of_image += 2 * 8
        if call.name in record:
            of_image += call.shape.numel()
    return n_steps * batch * of_image


@cache
def _let_forked_processes_simulate() -> None:
    """From now on a forked process has PyTorch's thread pool without its threads; it would wait for them for ever."""
    if hasattr(os, "register_at_fork"):  # not on Windows, where no process is forked
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def _run(engine: str, prepared: reference.PreparedNetwork, shown: Tensor, image_index: Tensor) -> Simulation:
    """The network's unfiltered outputs, its spikes and their operations, by the engine of this name."""
    if _is_for_reference(engine, shown, prepared.settings):
        return reference.run(replace(prepared, compiled=engine == "torch_compiled"), shown, image_index)
    from ratespike.simulation import event_driven  # imports Numba

    try:
        return event_driven.run(prepared, shown, image_index)
    except event_driven.UnsupportedError as error:
        if engine == "event_driven":
            raise EngineError(f"engine=event_driven: cannot run {error}; try engine=torch") from None
        _logger.info("simulated by the torch engine, because the event-driven one cannot run %s", error)
        return reference.run(prepared, shown, image_index)


def _is_for_reference(engine: str, shown: Tensor, settings: Settings) -> bool:
    """Whether the reference engine was asked for, or the event-driven one need not be tried."""
    if engine == "auto":
        return shown.device.type != "cpu" or len(settings.record) > 0
    return engine in ("torch", "torch_compiled")


def _output_scale(found: Trace) -> float:
    """A spike's height times dt if nothing but filters and choices of places is behind the last neurons, else 1."""
    value = found.output
    modules = {call.output: call for call in found.calls}
    operations = {operation.results[0]: operation for operation in found.operations}
    while True:
        if value in modules:
            call = modules[value]
            if isinstance(call.module, Neuron):
                return call.module.scale
            value = call.signal
        elif value in operations and _is_choice(operations[value]):
            (value,) = operations[value].inputs
        else:
            return 1.0


def _is_choice(operation: Operation) -> bool:
    """Whether an operation puts the places of one value elsewhere."""
    return len(operation.inputs) == 1 and operation.function.overloadpacket in CHOICES
