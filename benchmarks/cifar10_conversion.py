"""A network that ratespike has trained on CIFAR-10, converted by SpikingJelly from its weights.

python benchmarks/cifar10_conversion.py <run or checkpoint> [test images, spread over all] [recipe ...]

The neurons become ReLUs, everything else stays: such a network SpikingJelly's converter takes. It is installed into an
environment of its own (see `simulation.py`) and takes 2 000 training images for the scales of the layers.
"""

import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from conversion import CALIBRATION_IMAGES, PEER_RECIPES, STEPS
from problem import ROOT
from simulation import environment
from torch import nn

from ratespike import load
from ratespike.data import DataSet
from ratespike.neurons import Neuron
from ratespike.parameters import build


def plain(network: nn.Sequential) -> nn.Sequential:
    """The same network with ReLUs, a row of PyTorch's own layers."""
    row: list[nn.Module] = []
    for layer in network:
        if isinstance(layer, Neuron):
            row.append(nn.ReLU())
        elif isinstance(layer, nn.Sequential):  # a dense layer behind an image
            row.extend(copy.deepcopy(layer))
        else:
            row.append(copy.deepcopy(layer))
    return nn.Sequential(*row)


def layers_of(row: nn.Sequential) -> list[list[int]]:
    """What `plain_row` makes the same network from: channels of each convolution, zeros for a pooling."""
    layers = []
    for layer in row:
        if isinstance(layer, nn.Conv2d):
            layers.append([layer.in_channels, layer.out_channels])
        elif isinstance(layer, nn.AvgPool2d):
            layers.append([0, 0])
    return layers


def main() -> None:
    """Convert, simulate and print."""
    options = yaml.safe_load((ROOT / "conf" / "data" / "cifar10_jpeg.yaml").read_text())
    base = yaml.safe_load((ROOT / "conf" / "data" / "image_folder.yaml").read_text())
    del options["defaults"]
    splits = build(DataSet, base | options, "data").load(ROOT)  # type: ignore[type-abstract]
    row = plain(load(sys.argv[1]))
    words = sys.argv[2:]
    n_images = int(words.pop(0)) if words and words[0].isdigit() else len(splits.test)
    spread = torch.arange(n_images) * len(splits.test) // n_images  # the test images stand class by class
    test = splits.test[spread]
    with tempfile.TemporaryDirectory() as folder:
        task, weights = Path(folder) / "task.npz", Path(folder) / "weights.pt"
        torch.save(row.state_dict(), weights)
        calibration = splits.train[:CALIBRATION_IMAGES].as_inputs()
        np.savez(task, calibration=calibration, images=test.as_inputs(), labels=test.labels, steps=STEPS, layers=layers_of(row))
        for recipe in words or PEER_RECIPES:
            script = Path(__file__).parent / "peers" / "convert_plain_row.py"
            command = [environment("spikingjelly"), script, weights, task, recipe, str(torch.get_num_threads())]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            answer = json.loads(done.stdout.splitlines()[-1])
            at_steps = "  ".join(f"{steps}: {100 * value:.2f}" for steps, value in zip(STEPS, answer["accuracy"], strict=True))
            print(
                f"SpikingJelly, {recipe}: ReLUs {100 * answer['rates']:.2f}; {at_steps} % of {n_images} test images "
                f"in {answer['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
