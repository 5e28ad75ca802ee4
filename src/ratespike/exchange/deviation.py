"""How far apart two networks are on spikes, on the same images, both from voltage 0."""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.simulation import simulate
from ratespike.simulation.mean_spikes import mean_spikes
from ratespike.simulation.network_analysis import analyse


@dataclass(frozen=True)
class Deviation:
    """By how much the spikes and answers of one network differ from those of another.

    Attributes:
        layers: by neuron layer, the sum over neurons and images of the differences between spike counts, relative to all spikes
            of the first network.
        other_answer: the part of the images whose largest output, on average over the steps, is another one.
        n_images: how many images.
        n_steps: how many steps.
    """

    layers: dict[str, float]
    other_answer: float
    n_images: int
    n_steps: int

    def in_words(self) -> str:
        """In one line."""
        layers = ", ".join(f"{name} {part:.2%}" for name, part in self.layers.items())
        return (
            f"spike counts differ by {layers}, and {self.other_answer:.1%} of the answers, "
            f"on {self.n_images} images for {self.n_steps} steps from zero"
        )


def deviation(
    network: nn.Module, other: nn.Module, images: Float[Tensor, "batch ..."], n_steps: int = 30, dt: float = 0.001
) -> Deviation:
    """Simulate two networks from voltage 0 and compare them.

    Args:
        network: the one that counts.
        other: with layers of neurons of the same names.
        images: shape (batch, ...).
        n_steps: how many steps.
        dt: length of a step, seconds.

    Raises:
        ParameterError: a network or images that cannot be simulated.

    Example:
        >>> from ratespike.neurons import IntegrateAndFire
        >>> subtracts, forgets = IntegrateAndFire(max_rate=1000), IntegrateAndFire(max_rate=1000, reset="zero")
        >>> found = deviation(nn.Sequential(subtracts), nn.Sequential(forgets), torch.tensor([[0.75]]), n_steps=8)
        >>> found.layers  # 6 spikes and 4
        {'0': 0.3333333333333333}
    """
    layers = [call.name for call in analyse(network, images).trace.neurons]
    spikes: list[list[Tensor]] = []
    answers: list[Tensor] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of steps that are long for a rate, which does not matter here
        for one in (network, other):
            spikes.append([rate * n_steps for rate in mean_spikes(one, images, n_steps, dt, layers, start="zero")])
            means = simulate(one, images, n_steps, dt, start="zero", readout="mean").outputs[-1]
            answers.append(means.flatten(1).argmax(1))
    differences: dict[str, float] = {}
    for name, first, second in zip(layers, *spikes, strict=True):
        total = float(first.abs().sum(dtype=torch.float64))
        differences[name] = float((first - second).abs().sum(dtype=torch.float64)) / max(total, 1.0)
    return Deviation(differences, float((answers[0] != answers[1]).double().mean()), len(images), n_steps)
