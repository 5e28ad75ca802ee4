"""A trained plain network run on spikes: converted by ratespike and by SpikingJelly, on the same images.

python benchmarks/conversion.py [test images]

The network of `peers/residual_cnn.py` is trained in plain PyTorch, the first time only (on two cores 5 minutes), and kept below
.benchmarks/. Both libraries take the same training images for the scales of the layers. SpikingJelly is installed into an
environment of its own (see `simulation.py`).
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from problem import ROOT
from simulation import environment
from torch import Tensor, nn
from torch.nn import functional as F

from ratespike import convert, simulate
from ratespike.data import MNIST
from ratespike.neurons import LIF, IntegrateAndFire, Neuron

sys.path.append(str(Path(__file__).parent / "peers"))
from residual_cnn import residual_cnn

EPOCHS, BATCH, LEARNING_RATE = 8, 200, 4e-3
STEPS = (4, 8, 16, 32, 64)
CALIBRATION_IMAGES = 2000
PEER_RECIPES = ("robust norm", "local thresholds")
WEIGHTS = ROOT / ".benchmarks" / "residual_cnn.pt"


def train() -> nn.Sequential:
    """The network after the last epoch: nothing is chosen."""
    torch.manual_seed(0)
    network = residual_cnn().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if WEIGHTS.exists():
        network.load_state_dict(torch.load(WEIGHTS, weights_only=True))
        return network.eval()
    splits = MNIST(dir="data/mnist", validation_images=5000).load(ROOT)
    images, labels = splits.train.pixels.float() / 255, splits.train.labels
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        began = time.perf_counter()
        for index in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(network.train()(_shifted(images[index])), labels[index])
            loss.backward()
            optimizer.step()
            schedule.step()
        validation = _accuracy(_outputs(network.eval(), splits.validation.pixels.float() / 255), splits.validation.labels)
        print(f"epoch {epoch + 1}: validation {100 * validation:.2f} %, {time.perf_counter() - began:.0f} s", flush=True)
    WEIGHTS.parent.mkdir(exist_ok=True)
    torch.save(network.state_dict(), WEIGHTS)
    return network


def _shifted(images: Tensor) -> Tensor:
    """Each image moved by up to two pixels."""
    padded = F.pad(images, (2, 2, 2, 2))
    down, right = torch.randint(5, (2, len(images), 1, 1))
    rows = (torch.arange(28).reshape(1, 28, 1) + down).expand(-1, 28, 28)
    columns = (torch.arange(28).reshape(1, 1, 28) + right).expand(-1, 28, 28)
    return padded[torch.arange(len(images)).reshape(-1, 1, 1), 0, rows, columns].unsqueeze(1)


def _accuracy(outputs: Tensor, labels: Tensor) -> float:
    return float((outputs.argmax(1) == labels).double().mean())


@torch.no_grad()
def _outputs(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([network(batch) for batch in images.split(500)])


@torch.no_grad()
def with_ratespike(network: nn.Module, neuron: Neuron, start: str, calibration: Tensor, images: Tensor, labels: Tensor) -> None:
    """Convert, and print what the conversion costs in accuracy, on rates and on spikes."""
    original = _outputs(network, images)
    spiking = convert(network, neuron=neuron, images=calibration)
    rates = _outputs(spiking, images)
    difference = float((rates - original).abs().max() / original.abs().max())
    name = type(neuron).__name__
    print(
        f"ratespike, {name}: rates {100 * _accuracy(rates, labels):.2f} %, "
        f"outputs differ by {difference:.1e} of the largest from the original's"
    )
    began = time.perf_counter()
    right = torch.zeros(len(STEPS), dtype=torch.float64)
    operations = 0.0
    for first in range(0, len(images), BATCH):
        batch = slice(first, first + BATCH)
        index = torch.arange(first, first + len(images[batch]))
        result = simulate(
            spiking, images[batch], STEPS[-1], start=start, readout="mean", engine="event_driven", image_index=index
        )
        at_steps = result.outputs[torch.tensor(STEPS) - 1]
        right += (at_steps.argmax(2) == labels[batch]).sum(1)
        operations += float(result.synaptic_operations.sum())
    _print_row(f"ratespike, {name}", (right / len(images)).tolist(), time.perf_counter() - began)
    print(f"    {operations / len(images) / 1e6:.1f} million operations an image in {STEPS[-1]} steps")


def with_spikingjelly(calibration: Tensor, images: Tensor, labels: Tensor) -> None:
    """The same by SpikingJelly's recipes."""
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task.npz"
        np.savez(task, calibration=calibration, images=images, labels=labels, steps=np.array(STEPS))
        script = Path(__file__).parent / "peers" / "convert_with_spikingjelly.py"
        for recipe in PEER_RECIPES:
            command = [environment("spikingjelly"), script, WEIGHTS, task, recipe]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            answer = json.loads(done.stdout.splitlines()[-1])
            _print_row(f"SpikingJelly, {recipe}", answer["accuracy"], answer["seconds"])


def _print_row(name: str, accuracy: list[float], seconds: float) -> None:
    at_steps = "  ".join(f"{steps}: {100 * value:.2f}" for steps, value in zip(STEPS, accuracy, strict=True))
    print(f"{name:32s} {at_steps}  % in {seconds:.0f} s", flush=True)


def main() -> None:
    """Train, convert, simulate and print."""
    network = train()
    splits = MNIST(dir="data/mnist", validation_images=5000).load(ROOT)
    calibration = splits.train.pixels[:CALIBRATION_IMAGES].float() / 255
    n_images = int(sys.argv[1]) if len(sys.argv) > 1 else len(splits.test.pixels)
    images, labels = splits.test.pixels[:n_images].float() / 255, splits.test.labels[:n_images]
    print(f"plain PyTorch: {100 * _accuracy(_outputs(network, images), labels):.2f} % of {n_images} test images")
    with_ratespike(network, IntegrateAndFire(max_rate=1000), "half", calibration, images, labels)
    with_ratespike(network, LIF(max_rate=800, tau_ref=0.0005), "steady_phase", calibration, images, labels)
    with_spikingjelly(calibration, images, labels)


if __name__ == "__main__":
    main()
