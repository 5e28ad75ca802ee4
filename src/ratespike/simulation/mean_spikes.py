"""How often each neuron spikes in a step, on average over a simulation."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from ratespike.parameters import ParameterError
from ratespike.simulation import simulate
from ratespike.simulation.settings import Start


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
    try:
        result = simulate(network, images, n_steps, dt, engine="event_driven", **options)  # type: ignore[arg-type]
    except ParameterError:  # on a GPU, or with a neuron or layer that this engine does not have
        result = simulate(network, images, n_steps, dt, engine="torch", **options)  # type: ignore[arg-type]
    return [result.recordings[layer].mean(0) for layer in layers]
