"""Makes a network in snnTorch, counts its spikes and writes it as NIR: `snntorch_writes.py <folder> <settings>`."""

import json
import sys
from pathlib import Path

import nir
import numpy as np
import snntorch
import torch
from snntorch.export_nir import export_to_nir
from torch import nn

folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
torch.manual_seed(0)
layers = []
for size, threshold in ((40, 1.5), (10, 0.7)):
    neuron = snntorch.Leaky(
        beta=torch.full((size,), 0.95),
        threshold=torch.full((size,), threshold),
        init_hidden=True,
        reset_mechanism="zero",
        reset_delay=False,  # else a neuron is set back one step after it has fired, which NIR cannot say
    )
    layers.append(neuron)
network = nn.Sequential(nn.Linear(30, 40), layers[0], nn.Linear(40, 10), layers[1])
images = torch.from_numpy(np.load(folder / "images.npy"))
counts = [torch.zeros(len(images), 40), torch.zeros(len(images), 10)]
with torch.no_grad():
    for _ in range(settings["n_steps"]):
        hidden = network[:2](images)
        counts[0] += hidden
        counts[1] += network[2:](hidden)
nir.write(folder / "network.nir", export_to_nir(network, images[:1], ignore_dims=[0]))
np.savez(folder / "counts.npz", first=counts[0].numpy(), second=counts[1].numpy())
