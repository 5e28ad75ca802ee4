"""Counts in Norse the spikes of a NIR file's neurons: `norse_reads.py <folder> <settings>`."""

import json
import sys
from pathlib import Path

import nir
import norse.torch
import numpy as np
import torch
from norse.torch.module.snn import SNNCell

folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
graph = nir.read(folder / "network.nir")
network = norse.torch.from_nir(graph, dt=settings["dt"])
steps: dict[str, list[torch.Tensor]] = {}
for name, module in network.named_modules():
    if isinstance(module, SNNCell):
        module.register_forward_hook(lambda _, __, result, name=name: steps.setdefault(name, []).append(result[0].detach()))

counts = []
with torch.no_grad():
    for image in torch.from_numpy(np.load(folder / "images.npy")):  # Norse takes NIR's Flatten to flatten the batch too
        steps.clear()
        state = None
        for _ in range(settings["n_steps"]):
            _, state = network(image, state)
        counts.append({name: torch.stack(spikes).sum(0).numpy() for name, spikes in steps.items()})
np.savez(folder / "counts.npz", **{name: np.stack([of_image[name] for of_image in counts]) for name in counts[0]})
