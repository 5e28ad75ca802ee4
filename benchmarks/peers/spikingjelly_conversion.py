"""A plain network converted by SpikingJelly, and its accuracy on spikes, for processes that have SpikingJelly."""

import json
import sys
import time

import torch
from spikingjelly.activation_based import ann2snn, functional
from torch import nn

BATCH = 100


def report(network: nn.Sequential, task, recipe: str) -> None:
    """Convert, simulate and print a line of JSON.

    Args:
        network: trained, whose activations are ReLUs.
        task: arrays `calibration` and `images` (image, …), `labels` (image,), and `steps`, behind which answers are counted.
        recipe: of SpikingJelly, by the name that `benchmarks/conversion.py` gives it.
    """
    network.eval()
    calibration = torch.tensor(task["calibration"]).split(BATCH)
    recipes = {
        "robust norm": lambda: ann2snn.RateCodingRecipe(dataloader=calibration, mode="99.9%"),
        "local thresholds": lambda: ann2snn.LocalThresholdBalancingRecipe(dataloader=calibration),
    }
    spiking = ann2snn.Converter(recipe=recipes[recipe]()).convert(network).eval()
    images, labels, steps = torch.tensor(task["images"]), torch.tensor(task["labels"]), task["steps"].tolist()
    right = dict.fromkeys(steps, 0)
    right_on_rates = 0
    seconds = 0.0
    with torch.no_grad():
        for batch, wanted in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            on_rates = network(batch)
            right_on_rates += int((on_rates.argmax(1) == wanted).sum())
            began = time.perf_counter()
            functional.reset_net(spiking)
            total = torch.zeros_like(on_rates)
            for step in range(1, steps[-1] + 1):
                total += spiking(batch)
                if step in right:
                    right[step] += int((total.argmax(1) == wanted).sum())
            seconds += time.perf_counter() - began
    accuracy = [count / len(images) for count in right.values()]
    json.dump({"rates": right_on_rates / len(images), "accuracy": accuracy, "seconds": seconds}, sys.stdout)
    print()
