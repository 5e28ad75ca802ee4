"""SpikingJelly's conversion of the network in `residual_cnn.py`.

Arguments: weights (.pt), calibration images, images, labels and steps (.npz), the recipe. Prints a line of JSON.
"""

import sys

import numpy as np
import torch
from residual_cnn import residual_cnn
from spikingjelly_conversion import report

network = residual_cnn()
network.load_state_dict(torch.load(sys.argv[1], weights_only=True))
report(network, np.load(sys.argv[2]), sys.argv[3])
