"""SpikingJelly's conversion of a network of `plain_row.py`.

Arguments: weights (.pt), calibration images, images, labels, steps and layers (.npz), the recipe, threads. Prints a line
of JSON.
"""

import sys

import numpy as np
import torch
from plain_row import plain_row
from spikingjelly_conversion import report

torch.set_num_threads(int(sys.argv[4]))
task = np.load(sys.argv[2])
network = plain_row(task["layers"].tolist(), task["labels"].max() + 1)
network(torch.tensor(task["images"][:2]))  # which gives the dense layer its size
network.load_state_dict(torch.load(sys.argv[1], weights_only=True))
report(network, task, sys.argv[3])
