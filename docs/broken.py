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
EPOCHS = 10

Neurons = Callable[[], nn.Module]


@dataclass(frozen=True)
class Trained:
    """A plain network that has learned the digits, and the digits.

    Attributes:
        network: with ReLUs.
        leaky: the same layers, trained with LIF neurons of 150 Hz whose membranes have no lower limit.
        training: the images that it has learned from.
        images: others.
        labels: of these.
    """

    network: nn.Sequential
    leaky: nn.Sequential
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

    def nearly_linear(self, **parameters: float) -> nn.Sequential:
        """The network with LIF neurons whose rate is nearly linear, its weights scaled to them."""
        before = self.spiking()
        network = _with_neurons(before, LIF(**parameters))
        rescale(network, before, self.training)
        return network


def dense(neuron: Neurons) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), neuron(), nn.Linear(32, 24), neuron(), nn.Linear(24, 10))


def convolutional(neuron: Neurons) -> nn.Sequential:
    """Two convolutions with pooling behind each."""
    first = [nn.Conv2d(1, 8, 3, padding=1), neuron(), nn.AvgPool2d(2)]
    second = [nn.Conv2d(8, 16, 3, padding=1), neuron(), nn.AvgPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(64, 10))


def train(shape: Callable[[Neurons], nn.Sequential]) -> Trained:
    """Train two networks of a shape on digits; takes some seconds."""
    digits = load_digits()
    order = torch.randperm(len(digits.images), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(digits.images, dtype=torch.float32)[order, None] / 16
    labels = torch.tensor(digits.target)[order]
    networks = []
    for neuron in (nn.ReLU, lambda: LIF(max_rate=150, sigma=0.02, min_voltage=None)):
        torch.manual_seed(0)
        network = shape(neuron)
        _fit(network, images[:TRAINING], labels[:TRAINING])
        networks.append(network.eval())
    return Trained(*networks, images[:TRAINING], images[TRAINING:], labels[TRAINING:])


def _fit(network: nn.Sequential, images: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.Adam(network.parameters())
    steps = EPOCHS * len(images) // 50
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(50):
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def healthy(trained: Trained) -> Case:
    """Nothing is broken."""
    return trained.case(trained.spiking(), n_steps=32)


def healthy_and_leaky(trained: Trained) -> Case:
    """Nothing is broken, with leaky neurons and a filter behind the output."""
    return trained.case(trained.leaky, n_steps=60, readout="last")


def too_few_steps(trained: Trained) -> Case:
    """Two steps."""
    return trained.case(trained.spiking(), n_steps=2)


def start_at_zero(trained: Trained) -> Case:
    """Neurons that begin at rest, in a short simulation."""
    return trained.case(trained.spiking(), n_steps=4, start="zero")


def rate_beyond_step(trained: Trained) -> Case:
    """Neurons that would have to fire eight times in a step."""
    return trained.case(trained.spiking(max_rate=8000), n_steps=32)


def refractory_below_step(trained: Trained) -> Case:
    """Neurons that rest for no time, in steps about as long as the interval between two spikes."""
    return trained.case(trained.nearly_linear(max_rate=900, tau_ref=0), n_steps=40, start="steady_phase")


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
    """A neuron that always fires, whose mean the biases take back: a slow filter sees its first spikes, and not the mean."""
    network = _with_constant_neuron(trained.spiking(), -2, strength=200)
    return trained.case(network, n_steps=16, readout="last", synapse=Alpha(tau=1.0))


def uneven_input(trained: Trained) -> Case:
    """Neurons that always fire, pooled, whose mean the biases of the next layer take back: in a step they do not."""
    network = _with_constant_neuron(trained.spiking(), 0, strength=12)
    if isinstance(_weights(network)[0], nn.Linear):  # of dense layers pairs of equal neurons are pooled
        network = _with_pooled_pairs(network)
    return trained.case(network, n_steps=16, start="half")


def limited_membrane(trained: Trained) -> Case:
    """Neurons whose mean the biases of the next layer take back, and membranes there that cannot fall below 0."""
    network = _with_constant_neuron(trained.spiking(), 0, strength=4)
    return trained.case(_with_neurons(network, IntegrateAndFire(max_rate=1000, min_voltage=0)), n_steps=32)


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
    "uneven_input": ("uneven input", uneven_input),
    "limited_membrane": ("uneven input", limited_membrane),
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


def _with_constant_neuron(network: nn.Sequential, number: int, strength: float) -> nn.Sequential:
    """One neuron or channel more in a layer, which fires in every eighth step, and biases behind it that take its mean back.

    On rates nothing changes.

    Args:
        network: of IntegrateAndFire neurons of 1000 Hz.
        number: of the layer among those with weights, from 0; below 0 from the end.
        strength: of its weights.
    """
    network = copy.deepcopy(network)
    layers = _weights(network)
    place = number % len(layers) if number >= 0 else len(layers) + number
    before, behind = layers[place], layers[place + 1]
    with torch.no_grad():
        before.weight = nn.Parameter(torch.cat([before.weight, torch.zeros_like(before.weight[:1])]))
        before.bias = nn.Parameter(torch.cat([before.bias, torch.full((1,), 0.125)]))
        outputs = len(behind.weight)
        weights = torch.randn(outputs, generator=torch.Generator().manual_seed(0)) * strength
        if isinstance(behind, nn.Conv2d):
            added = torch.zeros(outputs, 1, *behind.weight.shape[2:])
            added[:, :, 1, 1] = weights[:, None]
        else:
            channels = len(before.weight) - 1
            places = behind.weight.shape[1] // channels
            added = (weights[:, None] / places).expand(outputs, places)
        behind.weight = nn.Parameter(torch.cat([behind.weight, added], 1))
        behind.bias.sub_(weights * 0.125)
    return network


def _with_pooled_pairs(network: nn.Sequential) -> nn.Sequential:
    """Each neuron of the first layer twice, and pairs pooled, which changes nothing."""
    first = _weights(network)[0]
    twice = nn.Linear(64, 2 * len(first.weight))
    with torch.no_grad():
        twice.weight.copy_(first.weight.repeat_interleave(2, 0))
        twice.bias.copy_(first.bias.repeat_interleave(2))
    flatten, _, neurons, *others = network
    return nn.Sequential(flatten, twice, neurons, nn.AvgPool1d(2), *others).eval()


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
