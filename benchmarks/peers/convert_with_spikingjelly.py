"""SpikingJelly's conversion of the network in `residual_cnn.py`.

Arguments: weights (.pt), calibration images, images, labels and steps (.npz), the recipe. Prints a line of JSON.
"""

import json
import sys
import time

import numpy as np
import torch
from residual_cnn import residual_cnn
from spikingjelly.activation_based import ann2snn, functional

BATCH = 200

task = np.load(sys.argv[2])
network = residual_cnn().eval()
network.load_state_dict(torch.load(sys.argv[1], weights_only=True))
calibration = torch.tensor(task["calibration"]).split(BATCH)
recipes = {
    "robust norm": lambda: ann2snn.RateCodingRecipe(dataloader=calibration, mode="99.9%"),
    "local thresholds": lambda: ann2snn.LocalThresholdBalancingRecipe(dataloader=calibration),
}
spiking = ann2snn.Converter(recipe=recipes[sys.argv[3]]()).convert(network).eval()
images, labels, steps = torch.tensor(task["images"]), torch.tensor(task["labels"]), task["steps"].tolist()
right = [0] * len(steps)
began = time.perf_counter()
with torch.no_grad():
    for batch, wanted in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        functional.reset_net(spiking)
        total = torch.zeros(len(batch), 10)
        for step in range(1, steps[-1] + 1):
            total += spiking(batch)
            if step in steps:
                right[steps.index(step)] += int((total.argmax(1) == wanted).sum())
print(json.dumps({"accuracy": [count / len(images) for count in right], "seconds": time.perf_counter() - began}))
