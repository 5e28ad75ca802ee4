"""Counts in snnTorch the spikes of a NIR file's neurons: `snntorch_reads.py <folder> <settings>`."""

import json
import sys
from pathlib import Path

import nir
import numpy as np
import snntorch
import torch
from snntorch.import_nir import import_from_nir

folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
network = import_from_nir(nir.read(folder / "network.nir"))
steps: dict[str, list[torch.Tensor]] = {}
layers = [module for _, module in network.named_modules() if isinstance(module, snntorch.Leaky)]
names = [name for name, module in network.named_modules() if isinstance(module, snntorch.Leaky)]
for name, module in zip(names, layers, strict=True):
    module.register_forward_hook(lambda _, __, spikes, name=name: steps.setdefault(name, []).append(spikes.detach()))

counts = []
with torch.no_grad():
    for image in torch.from_numpy(np.load(folder / "images.npy")):  # snnTorch takes NIR's Flatten to flatten the batch too
        steps.clear()
        for module in layers:
            module.reset_mem()
        for _ in range(settings["n_steps"]):
            network(image)
        counts.append({name: torch.stack(spikes).sum(0).numpy() for name, spikes in steps.items()})
np.savez(folder / "counts.npz", **{name: np.stack([of_image[name] for of_image in counts]) for name in counts[0]})
