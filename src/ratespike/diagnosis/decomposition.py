"""The error of a layer on spikes, split into parts: each is what the error loses when one thing in the simulation is mended.

The error of a layer is `e = s - r`, for each image and neuron: s its spikes in T steps, each of the height `scale / dt`, on
average over the steps; r its activation on rates. Its size is the mean of `e**2` over images and neurons. A chain of
simulations leads from s to r, of which each differs from the one before in one thing:

| part | simulation | what is different |
| --- | --- | --- |
| | as it was: the layer's own spikes | |
| start | from a steady phase | each neuron starts in its cycle, or as where its rate is a count of spikes from there |
| uneven input | on a current that stands still | each neuron gets the mean over time of its current in every step |
| silence | without an end, of neurons that have fired no spike | their rate in steps of dt at that current |
| finite count | without an end, of all others | the same for these |
| saturation | in steps of almost no length, of neurons at their ceiling | their rate at that current |
| refractory loss | in steps of almost no length, of all others | the same for these |
| inherited | behind layers on rates | the current that arrives on rates |
| smooth rate | on the rate that was trained on | that rate, which is smooth around threshold, in place of that of spikes |

A part is the mean square before the change minus that behind it, relative to the first one. What is left is the rest, the
rounding of two ways to compute one rate, so that all parts and the rest add up to 1. A part is below 0 where the change makes
the error larger. Simulations without an end, and in steps of almost no length, are known in closed form
(`Neuron.firing_rate_in_steps`), where a neuron has one; without it their difference is 0.

Of the network's answer, relative to what the read-out makes of a constant 1, the chain is: as it was; the mean over all steps
without a filter (read-out); on rates (inherited).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ratespike.diagnosis.case import Case
from ratespike.diagnosis.layers import Layer, Slice
from ratespike.neurons import IntegrateAndFire, Neuron, StaircaseIntegrateAndFire, WindowCountLIF
from ratespike.simulation.readout import Answers

START = "start"
UNEVEN = "uneven input"
SILENCE = "silence"
COUNT = "finite count"
SATURATION = "saturation"
REFRACTORY = "refractory loss"
READOUT = "read-out"
INHERITED = "inherited"
SMOOTH = "smooth rate"
PARTS = (START, UNEVEN, SILENCE, COUNT, SATURATION, REFRACTORY, READOUT, INHERITED, SMOOTH)  # in the order of the chain
OUTPUT = "output"  # the name of the row of the network's answer
ANSWER = "answer"  # the same where a layer of neurons has that name
NEAR_CEILING = 0.95  # of the highest rate in steps: a neuron above it is saturated
_SHORT = 1e-6  # seconds: a step of almost no length
_NO_ERROR = 1e-6  # root mean square relative to the rates, below which there is nothing to split
_HUGE = 1e9  # a current at which every neuron that has a ceiling is at it


@dataclass(frozen=True)
class LayerError:
    """The error of one layer, or of the output.

    Attributes:
        name: of the layer.
        size: root mean square of the error, relative to that of the activations on rates.
        parts: by name, in the order of the chain, what each makes of the mean square; they and `rest` add up to 1.
        rest: what is left where everything is mended.
    """

    name: str
    size: float
    parts: dict[str, float]
    rest: float


def ceiling(neuron: Neuron, dt: float) -> float:
    """The highest rate of neurons in steps of dt, Hz; a huge number of those that have no limit."""
    huge = torch.tensor([_HUGE], dtype=torch.float64)
    return float(neuron.firing_rate_in_steps(huge, dt).detach())


def rate_without_end(neuron: Neuron, current: Tensor, dt: float) -> Tensor:
    """The rate of a simulation without an end in steps of dt, Hz; of neurons that train on a window, that of their window."""
    return neuron.firing_rate(current) if isinstance(neuron, WindowCountLIF) else neuron.firing_rate_in_steps(current, dt)


def rate_in_short_steps(neuron: Neuron, current: Tensor) -> Tensor:
    """The rate in steps of almost no length, Hz; of neurons that train on what steps leave, the rate that they train on."""
    has_steps = isinstance(neuron, WindowCountLIF | StaircaseIntegrateAndFire) or _has_levels(neuron)
    return neuron.firing_rate(current) if has_steps else neuron.firing_rate_in_steps(current, _SHORT)


def _has_levels(neuron: Neuron) -> bool:
    return isinstance(neuron, IntegrateAndFire) and neuron.levels is not None


def _steady_start(neuron: Neuron) -> str:
    """The start that a neuron's rate takes for granted: a steady phase, or the one whose counts it was trained on."""
    if isinstance(neuron, WindowCountLIF):
        return neuron.start
    return "half" if _has_levels(neuron) else "steady_phase"


def _answer(case: Case, outputs: Tensor) -> Tensor:
    """What the read-out makes of outputs after the last step."""
    answers = Answers(case.readout, synapse=case.synapse, dt=case.dt, burn_in=case.burn_in, scale=1.0)
    return answers.extend(outputs)[-1]


class Decomposition:
    """Sums of squared errors over images, of which the parts are made; images come some at a time."""

    def __init__(self) -> None:
        self._squares: dict[str, dict[str, float]] = {}  # by layer, behind each part: "" as it was

    def add(self, layer: Layer, rate: Tensor, currents: Float[Tensor, "time batch ..."], pulses: Tensor) -> None:
        """Take in a layer of some images.

        Args:
            layer: of neurons.
            rate: its activation on rates, shape (batch, ...).
            currents: in each step of the simulation, shape (time, batch, ...).
            pulses: what left the neurons in each step, of the same shape.
        """
        scale = layer.neuron.scale
        mean = currents.mean(0)
        start = _steady_start(layer.neuron)
        counted = layer.mean_activation(layer.fired(mean.expand_as(currents), start, mean))
        in_steps = rate_without_end(layer.neuron, mean, layer.case.dt)
        endless = in_steps * scale
        exact = rate_in_short_steps(layer.neuron, mean) * scale
        saturated = in_steps >= NEAR_CEILING * ceiling(layer.neuron, layer.case.dt)
        chain = {
            "": pulses.mean(0),
            START: layer.mean_activation(layer.fired(currents, start, mean)),
            UNEVEN: counted,
            SILENCE: torch.where(counted == 0, endless, counted),
            COUNT: endless,
            SATURATION: torch.where(saturated, exact, endless),
            REFRACTORY: exact,
            INHERITED: rate_in_short_steps(layer.neuron, layer.steady) * scale,
            SMOOTH: layer.neuron.firing_rate(layer.steady) * scale,
        }
        self._add(layer.call.name, rate, chain)

    def add_outputs(self, part: Slice, outputs: Float[Tensor, "time batch classes"]) -> None:
        """Take in the network's unfiltered outputs in each step for some images."""
        answer = _answer(part.case, outputs) / _answer(part.case, torch.ones_like(outputs[:, :1, :1]))
        name = ANSWER if OUTPUT in {layer.call.name for layer in part.layers} else OUTPUT
        self._add(name, part.rates.outputs, {"": answer, READOUT: outputs.mean(0), INHERITED: part.rates.outputs})

    def errors(self) -> list[LayerError]:
        """The error of each layer and of the output, of all images so far."""
        return [_error(name, squares) for name, squares in self._squares.items()]

    def _add(self, name: str, rate: Tensor, chain: dict[str, Tensor]) -> None:
        sums = self._squares.setdefault(name, {})
        sums["rate"] = sums.get("rate", 0.0) + float(rate.double().square().sum())
        for behind, values in chain.items():
            sums[behind] = sums.get(behind, 0.0) + float((values - rate).double().square().sum())


def _error(name: str, squares: dict[str, float]) -> LayerError:
    """The parts of a layer's error from the sums of squares behind each of them."""
    first = squares[""]
    size = (first / squares["rate"]) ** 0.5 if squares["rate"] else 0.0
    has_error = size > _NO_ERROR
    parts: dict[str, float] = {}
    before = first
    for part in PARTS:
        if part in squares:
            parts[part] = (before - squares[part]) / first if has_error else 0.0
            before = squares[part]
    return LayerError(name, size, parts, before / first if has_error else 0.0)
