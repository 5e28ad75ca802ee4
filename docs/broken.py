"""Networks that are broken on purpose, one for each cause that a diagnosis knows; draws docs/why_accuracy_falls.md's pictures.

python docs/broken.py [cause ...]      draws the pictures of these causes, by the names in `BROKEN`; of all, if none is named
"""

import copy
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from ratespike.conversion.convert import convert
from ratespike.conversion.methods import Balanced
from ratespike.conversion.rescaling import rescale
from ratespike.diagnosis import Case, diagnose_case, draw
from ratespike.neurons import LIF, IntegrateAndFire
from ratespike.neurons.base import TunedNeuron
from ratespike.synapses import Alpha

DOCS = Path(__file__).parent
TRAINING = 1200  # of the 1797 digits of scikit-learn; the others are diagnosed
EPOCHS = 8


@dataclass(frozen=True)
class Trained:
    """A plain network that has learned the digits, and the digits.

    Attributes:
        network: with ReLUs.
        training: the images that it has learned from.
        images: others.
        labels: of these.
    """

    network: nn.Sequential
    training: Tensor
    images: Tensor
    labels: Tensor

    def case(self, network: nn.Module, **settings: object) -> Case:
        """A case with these images."""
        given = {"images": self.images, "labels": self.labels, "training": self.training, "readout": "mean", **settings}
        return Case(network=network, **given)  # type: ignore[arg-type]

    def spiking(self, **parameters: float) -> nn.Sequential:
        """The network with IntegrateAndFire neurons of 1000 Hz at the highest activation; or with other parameters."""
        network = _with_neurons(self.network, IntegrateAndFire(max_rate=1000))
        balanced = Balanced(percentile=99.9, per="layer").converted(network, self.training)
        assert isinstance(balanced, nn.Sequential)
        return _with_neurons(balanced, IntegrateAndFire(**{"max_rate": 1000.0, **parameters}))

    def leaky(self, **parameters: float) -> nn.Sequential:
        """The network with LIF neurons, its weights scaled so that rates are as near to the ReLUs as they come."""
        before = self.spiking()
        network = _with_neurons(before, LIF(**parameters))
        rescale(network, before, self.training)
        return network


def dense() -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10))


def convolutional() -> nn.Sequential:
    """Two convolutions with pooling behind each."""
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(128, 10))


def train(shape: Callable[[], nn.Sequential]) -> Trained:
    """Train a network of a shape on digits; takes a second or two."""
    digits = load_digits()
    order = torch.randperm(len(digits.images), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(digits.images, dtype=torch.float32)[order, None] / 16
    labels = torch.tensor(digits.target)[order]
    torch.manual_seed(0)
    network = shape()
    optimizer = torch.optim.Adam(network.parameters())
    steps = EPOCHS * TRAINING // 50
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(TRAINING).split(50):
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return Trained(network.eval(), images[:TRAINING], images[TRAINING:], labels[TRAINING:])


def healthy(trained: Trained) -> Case:
    """Nothing is broken."""
    return trained.case(trained.spiking(), n_steps=32)


def too_few_steps(trained: Trained) -> Case:
    """Two steps."""
    return trained.case(trained.spiking(), n_steps=2)


def start_at_zero(trained: Trained) -> Case:
    """Leaky neurons that begin at rest, in a short simulation."""
    return trained.case(trained.leaky(max_rate=150), n_steps=10, start="zero")


def rate_beyond_step(trained: Trained) -> Case:
    """Neurons that would have to fire eight times in a step."""
    return trained.case(trained.spiking(max_rate=8000), n_steps=32)


def refractory_below_step(trained: Trained) -> Case:
    """Neurons that rest for no time, in steps about as long as the interval between two spikes."""
    return trained.case(trained.leaky(max_rate=900, tau_ref=0.0005), n_steps=40, start="steady_phase")


def silent_neurons(trained: Trained) -> Case:
    """Neurons that fire less than once in the whole simulation."""
    return trained.case(trained.spiking(max_rate=20), n_steps=20)


def saturated_neurons(trained: Trained) -> Case:
    """A layer whose weights are ten times as large as its neurons stand, and those of the next layer as small."""
    network = trained.spiking()
    first, second = _weights(network)[:2]
    with torch.no_grad():
        first.weight.mul_(10)
        first.bias.mul_(10)
        second.weight.div_(10)
    return trained.case(network, n_steps=32)


def slow_readout(trained: Trained) -> Case:
    """An Alpha filter of a second behind a simulation of some steps: the last ones hardly arrive."""
    return trained.case(trained.leaky(max_rate=150), n_steps=12, start="half", readout="last", synapse=Alpha(tau=1.0))


def uneven_input(trained: Trained) -> Case:
    """Pooled spikes that excite a neuron and others that inhibit it as much: on rates they cancel out, in a step not."""
    return trained.case(_with_opposed_inputs(trained.spiking()), n_steps=16)


def unbalanced_layers(trained: Trained) -> Case:
    """Converted on images of which some are far too bright, so that all others make hardly a spike."""
    images = trained.training.clone()
    images[:200] *= 40
    return trained.case(convert(trained.network, neuron=IntegrateAndFire(max_rate=1000), images=images), n_steps=16)


def scale_of_inputs(trained: Trained) -> Case:
    """Pixels thirty times as bright as in training."""
    return replace(healthy(trained), images=trained.images * 30)


def batch_norm_statistics(trained: Trained) -> Case:
    """Batch normalisations whose statistics are of signals a seventh as large as those that arrive."""
    network = _with_batch_norms(trained)
    for norm in network:
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            assert norm.running_var is not None
            norm.running_var.mul_(0.02)
    return trained.case(network, n_steps=32)


BROKEN: dict[str, tuple[str, Callable[[Trained], Case]]] = {  # by the name of the picture: the cause's name, and what breaks
    "too_few_steps": ("too few steps", too_few_steps),
    "start_at_zero": ("start at zero", start_at_zero),
    "rate_beyond_step": ("max rate beyond 1/dt", rate_beyond_step),
    "refractory_below_step": ("refractory time below dt", refractory_below_step),
    "silent_neurons": ("silent neurons", silent_neurons),
    "saturated_neurons": ("saturated neurons", saturated_neurons),
    "slow_readout": ("read-out filter slower than T dt", slow_readout),
    "uneven_input": ("uneven input behind pooling", uneven_input),
    "unbalanced_layers": ("unbalanced layers after convert", unbalanced_layers),
    "scale_of_inputs": ("pixels or batch-norm statistics of another scale", scale_of_inputs),
    "batch_norm_statistics": ("pixels or batch-norm statistics of another scale", batch_norm_statistics),
}


def _with_neurons(network: nn.Sequential, neuron: TunedNeuron) -> nn.Sequential:
    """A copy with other neurons in place of ReLUs or neurons."""
    layers = []
    for layer in copy.deepcopy(network):
        layers.append(copy.deepcopy(neuron) if isinstance(layer, nn.ReLU | TunedNeuron) else layer)
    return nn.Sequential(*layers).eval()


def _weights(network: nn.Sequential) -> list[nn.Linear | nn.Conv2d]:
    return [layer for layer in network if isinstance(layer, nn.Linear | nn.Conv2d)]


def _with_batch_norms(trained: Trained) -> nn.Sequential:
    """The spiking network with a batch normalisation in front of each layer of neurons that changes nothing."""
    layers: list[nn.Module] = []
    signal = trained.training
    for layer in trained.spiking():
        if isinstance(layer, IntegrateAndFire):
            kind = nn.BatchNorm2d if signal.dim() == 4 else nn.BatchNorm1d
            norm = kind(signal.shape[1], momentum=None)
            norm(signal)  # takes its statistics
            with torch.no_grad():
                norm.weight.copy_((norm.running_var + norm.eps).sqrt())
                norm.bias.copy_(norm.running_mean)
            layers.append(norm)
        layers.append(layer)
        signal = layer(signal).detach()
    return nn.Sequential(*layers).eval()


def _with_opposed_inputs(network: nn.Sequential, strength: float = 10.0) -> nn.Sequential:
    """Twice the neurons of the first layer, pooled; the second layer adds to one half's weights what it takes of the other's."""
    first, second = _weights(network)[:2]
    noise = torch.randn(second.weight.shape, generator=torch.Generator().manual_seed(1)) * second.weight.std() * strength
    opposed = torch.cat([second.weight + noise, -noise], 1)
    if isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d):
        twice = nn.Conv2d(1, 32, 3, padding=1)
        behind: nn.Module = nn.Conv2d(32, 32, 3, padding=1)
        rows = torch.cat([first.weight, first.weight]), torch.cat([first.bias, first.bias])
        layers = [twice, *network[1:3], behind, *network[4:]]
    else:  # of dense layers pairs of equal neurons are pooled
        twice = nn.Linear(64, 4 * 96)
        behind = nn.Linear(2 * 96, 64)
        rows = first.weight.repeat_interleave(2, 0).repeat(2, 1), first.bias.repeat_interleave(2).repeat(2)
        layers = [network[0], twice, network[2], nn.AvgPool1d(2), behind, *network[4:]]
    with torch.no_grad():
        twice.weight.copy_(rows[0])
        twice.bias.copy_(rows[1])
        behind.weight.copy_(opposed)
        behind.bias.copy_(second.bias)
    return nn.Sequential(*layers).eval()


def main(drawn: list[str]) -> None:
    """Draw the pictures of the causes in `drawn`, or of all if it is empty, and print each sentence."""
    warnings.simplefilter("ignore", UserWarning)  # of steps that are too long, which is what is shown
    trained = train(convolutional)
    folder = DOCS / "images" / "why_accuracy_falls"
    folder.mkdir(parents=True, exist_ok=True)
    for name in drawn or BROKEN:
        found = diagnose_case(BROKEN[name][1](trained))
        draw(found).savefig(folder / f"{name}.png", dpi=70)
        print(f"{name}: {found.advice}")


if __name__ == "__main__":
    main(sys.argv[1:])
