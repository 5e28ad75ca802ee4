"""SpikingJelly's conversion of a network of `plain_row.py`.

Arguments: weights (.pt), calibration images, images, labels, steps and layers (.npz), the recipe, threads. Prints a line
of JSON.
"""

import json
import sys
import time

import numpy as np
import torch
from plain_row import plain_row
from spikingjelly.activation_based import ann2snn, functional

BATCH = 100

torch.set_num_threads(int(sys.argv[4]))
task = np.load(sys.argv[2])
network = plain_row(task["layers"].tolist(), task["labels"].max() + 1)
images, labels, steps = torch.tensor(task["images"]), torch.tensor(task["labels"]), task["steps"].tolist()
network(images[:2])
network.load_state_dict(torch.load(sys.argv[1], weights_only=True))
network.eval()
calibration = torch.tensor(task["calibration"]).split(BATCH)
recipes = {
    "robust norm": lambda: ann2snn.RateCodingRecipe(dataloader=calibration, mode="99.9%"),
    "local thresholds": lambda: ann2snn.LocalThresholdBalancingRecipe(dataloader=calibration),
}
spiking = ann2snn.Converter(recipe=recipes[sys.argv[3]]()).convert(network).eval()
right = [0] * len(steps)
right_on_rates = 0
began = time.perf_counter()
with torch.no_grad():
    for batch, wanted in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        right_on_rates += int((network(batch).argmax(1) == wanted).sum())
        functional.reset_net(spiking)
        total = torch.zeros(len(batch), network[-1].out_features)
        for step in range(1, steps[-1] + 1):
            total += spiking(batch)
            if step in steps:
                right[steps.index(step)] += int((total.argmax(1) == wanted).sum())
answer = {"rates": right_on_rates / len(images), "accuracy": [count / len(images) for count in right]}
print(json.dumps(answer | {"seconds": time.perf_counter() - began}))
