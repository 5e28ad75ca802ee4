"""How often each neuron spikes in a step, on average over a simulation."""

from collections.abc import Sequence
from weakref import WeakSet

from jaxtyping import Float
from torch import Tensor, nn

from ratespike.simulation import EngineError, simulate
from ratespike.simulation.settings import Start

_for_reference: WeakSet[nn.Module] = WeakSet()  # networks that the event-driven engine could not run


def mean_spikes(
    network: nn.Module,
    images: Float[Tensor, "batch ..."],
    n_steps: int,
    dt: float,
    layers: Sequence[str],
    *,
    start: Start = "uniform",
    seed: int = 0,
) -> list[Float[Tensor, "batch ..."]]:
    """The spikes of each neuron in a step, on average over `n_steps` steps, by the event-driven engine where it can.

    A network that this engine cannot run, as it lacks a neuron or layer, is run by the reference from then on.

    Args:
        network: in which the images go.
        images: shape (batch, ...).
        n_steps: length of the simulation.
        dt: length of a step, seconds.
        layers: the names of the neuron layers.
        start: how the simulation starts (see `ratespike.simulate`).
        seed: of a random start and of random neurons.

    Raises:
        ParameterError: a network or images that cannot be simulated.

    Example:
        >>> import torch
        >>> from ratespike.neurons import IntegrateAndFire
        >>> network = nn.Sequential(IntegrateAndFire(max_rate=1000))
        >>> mean_spikes(network, torch.tensor([[0.25, 1.0]]), n_steps=8, dt=0.001, layers=["0"], start="half")
        [tensor([[0.2500, 1.0000]])]
    """
    options = {"start": start, "seed": seed, "record": list(layers)}
    result = None
    if images.device.type == "cpu" and network not in _for_reference:
        try:
            result = simulate(network, images, n_steps, dt, engine="event_driven", **options)  # type: ignore[arg-type]
        except EngineError:
            _for_reference.add(network)
    if result is None:
        result = simulate(network, images, n_steps, dt, engine="torch", **options)  # type: ignore[arg-type]
    return [result.recordings[layer].mean(0) for layer in layers]
