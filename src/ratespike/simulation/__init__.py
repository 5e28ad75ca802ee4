"""The spiking mode: `simulate(network, images, n_steps)`."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError, nearest
from ratespike.simulation import torch_engine
from ratespike.simulation.result import Settings, Simulation
from ratespike.simulation.stages import evaluation_mode, stages
from ratespike.simulation.start import Start, check_start
from ratespike.synapses import LowPass, Synapse

ENGINES = ("auto", "torch")

__all__ = ["ENGINES", "Simulation", "simulate"]


@torch.no_grad()
def simulate(
    network: nn.Module,
    images: Float[Tensor, " batch *shape"],
    n_steps: int = 30,
    dt: float = 0.001,
    *,
    synapse: Synapse = LowPass(tau=0.1),  # noqa: B008  # without state
    start: Start = "uniform",
    record: Sequence[str] = (),
    engine: str = "auto",
    seed: int = 0,
    image_index: Int[Tensor, " batch"] | None = None,
) -> Simulation:
    """Run a network on spikes: each image is shown for `n_steps` steps of `dt` seconds.

    The network is not changed and keeps nothing; dropout and the like are as in eval mode.

    Args:
        network: a `nn.Sequential` (nested ones too) of stateless layers, neurons and filters.
        images: what the network's `forward` takes.
        n_steps: how many steps.
        dt: length of a step, seconds.
        synapse: the filter behind the network's output.
        start: membrane voltages before the first step: `zero`; `uniform`, drawn from [0, 1); or states by layer name,
            such as `{"neuron1": {"voltage": tensor}}`, which broadcast over the batch.
        record: names of neuron layers whose spikes are kept.
        engine: `torch`, the reference; `auto` picks the fastest that can run this network.
        seed: of a random start.
        image_index: which image each row is, so that a random start does not depend on the batching; by default
            0, 1, 2, ...

    Raises:
        ParameterError: an argument that cannot be.
        ValueError: a network that cannot be simulated.

    Example:
        >>> from ratespike.neurons import LIF
        >>> network = nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 3))
        >>> result = simulate(network, torch.rand(2, 4), n_steps=30)
        >>> result.outputs.shape, result.spike_counts["1"].shape
        (torch.Size([30, 2, 3]), torch.Size([30, 2]))
    """
    if n_steps < 1:
        raise ParameterError(f"n_steps={n_steps}: must be a whole number at least 1")
    if not dt > 0:
        raise ParameterError(f"dt={dt}: must be a number above 0 (s)")
    if engine not in ENGINES:
        raise ParameterError(f"engine={engine}: {nearest(engine, ENGINES)}")
    check_start(start)
    names = [stage.name for stage in stages(network) if isinstance(stage.ending, Neuron)]
    for name in (*record, *(() if isinstance(start, str) else start)):
        if name not in names:
            raise ParameterError(f"no neuron layer {name}: {nearest(name, names)}")
    if image_index is None:
        image_index = torch.arange(len(images), device=images.device)
    with evaluation_mode(network):
        return torch_engine.run(network, images, image_index, Settings(n_steps, dt, synapse, start, tuple(record), seed))
