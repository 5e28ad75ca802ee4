"""NeuroBench's own counts of a network whose neurons send recorded spikes; run in an environment that has NeuroBench.

Reads from a folder `network.pt`, a plain `nn.Sequential` with identities where neurons stand, and `recorded.npz`: images,
and of the n-th neuron layer `spikes<n>` and `voltages<n>`, shape (time, batch, ...). Writes `counts.json`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import snntorch as snn
import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.workload import ActivationSparsity, MembraneUpdates, SynapticOperations
from neurobench.models import TorchModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Recorded(snn.SpikingNeuron):  # the class that NeuroBench looks for
    """Sends what was recorded, a step at a call. It has no buffers: those of snnTorch's neurons would be memory too."""

    def __init__(self, spikes: Tensor, voltages: Tensor) -> None:
        nn.Module.__init__(self)
        self.init_hidden = True
        self.output = False
        self.spikes = spikes
        self.voltages = voltages
        self.calls = 0
        self.mem = torch.zeros_like(voltages[0])

    def forward(self, signal: Tensor) -> Tensor:
        self.mem = self.voltages[self.calls]
        self.calls += 1
        return self.spikes[self.calls - 1]


class Steps(TorchModel):
    """Shows images for some steps, or in the first one alone."""

    def __init__(self, net: nn.Module, n_steps: int, image_once: bool) -> None:
        super().__init__(net)
        self.add_activation_module(Recorded)
        self.n_steps = n_steps
        self.image_once = image_once

    def __call__(self, images: Tensor) -> Tensor:
        for step in range(self.n_steps):
            shown = torch.zeros_like(images) if self.image_once and step else images
            output = self.net(shown)
        return output


def main(folder: Path, image_once: bool) -> None:
    network = torch.load(folder / "network.pt", weights_only=False)
    with np.load(folder / "recorded.npz") as file:
        recorded = {name: torch.from_numpy(values) for name, values in file.items()}
    layers = [place for place, module in enumerate(network) if isinstance(module, nn.Identity)]
    for number, place in enumerate(layers):
        network[place] = Recorded(recorded[f"spikes{number}"], recorded[f"voltages{number}"])
    images = recorded["images"]
    batches = DataLoader(TensorDataset(images, torch.zeros(len(images))), batch_size=len(images))
    metrics = [[Footprint, ConnectionSparsity], [ActivationSparsity, SynapticOperations, MembraneUpdates]]
    model = Steps(network, len(recorded["spikes0"]), image_once)
    counts = Benchmark(model, batches, [], [], metrics).run(quiet=True)
    (folder / "counts.json").write_text(json.dumps(counts))


main(Path(sys.argv[1]), bool(int(sys.argv[2])))
