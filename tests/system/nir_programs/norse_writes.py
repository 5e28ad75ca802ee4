"""Makes a network in Norse, counts its spikes and writes it as NIR: `norse_writes.py <folder> <settings>`."""

import json
import sys
from pathlib import Path

import nir
import norse.torch
import numpy as np
import torch
from norse.torch.functional.iaf import IAFParameters
from torch import nn

folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
torch.manual_seed(0)
first, second = nn.Linear(30, 40), nn.Linear(40, 10)
cells = [norse.torch.IAFCell(IAFParameters(v_th=torch.full((size,), threshold))) for size, threshold in ((40, 1.5), (10, 0.7))]
network = norse.torch.SequentialState(first, cells[0], second, cells[1])
images = torch.from_numpy(np.load(folder / "images.npy"))
counts = [torch.zeros(len(images), 40), torch.zeros(len(images), 10)]
states = [None, None]
with torch.no_grad():
    for _ in range(settings["n_steps"]):
        hidden, states[0] = cells[0](first(images), states[0])
        output, states[1] = cells[1](second(hidden), states[1])
        counts[0] += hidden
        counts[1] += output
nir.write(folder / "network.nir", norse.torch.to_nir(network, images[:1]))
np.savez(folder / "counts.npz", first=counts[0].numpy(), second=counts[1].numpy())
