"""What runs in a peer's own environment: the network of `problem.py` in its terms, timed when the benchmark asks.

Arguments: weights (.npz of NengoDL's network), images and labels (.npz), time steps. The best of a peer's ways (batch size,
layout, single or multi step) is found first, on few images. Then, for each line on stdin, which says how many images to run,
a line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

TRIAL_IMAGES = 200
AMPLITUDE_PER_STEP = 10.0  # amplitude 0.01 over dt 0.001 s
FILTER_DECAY = float(np.exp(-0.001 / 0.1))

Way = Callable[[np.ndarray], tuple[np.ndarray, float]]  # images -> (filtered outputs of the last step, spikes of all images)


@dataclass(frozen=True)
class Task:
    """What a peer is given.

    Attributes:
        weights: NengoDL's arrays.
        images: (n, 1, 28, 28) in 0 ... 1.
        labels: (n,).
        steps: time steps.
    """

    weights: dict[str, np.ndarray]
    images: np.ndarray
    labels: np.ndarray
    steps: int

    def layer(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias in PyTorch's order; they make currents (threshold 1) from spikes that are 0 or 1."""
        kernel, bias = self.weights[f"{name}_kernel"], self.weights[f"{name}_bias"]
        height = 1.0 if name == "conv1" else AMPLITUDE_PER_STEP
        if name == "dense":
            return height * kernel.reshape(5, 5, 128, 10).transpose(3, 2, 0, 1).reshape(10, -1), bias
        gain = float(self.weights["gain"])
        return gain * height * kernel.transpose(3, 2, 0, 1), gain * bias + float(self.weights["bias"])


def read_task() -> Task:
    """From the command line."""
    data = np.load(sys.argv[2])
    return Task(dict(np.load(sys.argv[1])), data["images"], data["labels"], int(sys.argv[3]))


def serve(task: Task, ways: dict[str, Way]) -> None:
    """Find the fastest way, then answer."""
    seconds = {}
    for name, way in ways.items():
        way(task.images[:TRIAL_IMAGES])
        seconds[name] = min(_timed(way, task.images[:TRIAL_IMAGES])[0] for _ in range(2))
    best = min(seconds, key=lambda name: seconds[name])
    print(json.dumps({"way": best, "of": len(ways)}), flush=True)
    for line in sys.stdin:
        images = task.images[: int(line)]
        took, (outputs, spikes) = _timed(ways[best], images)
        right = float(np.mean(outputs.argmax(1) == task.labels[: len(images)]))
        print(
            json.dumps({"seconds": took, "images": len(images), "accuracy": right, "spikes": spikes / len(images)}), flush=True
        )


def _timed(way: Way, images: np.ndarray) -> tuple[float, Any]:
    began = time.perf_counter()
    result = way(images)
    return time.perf_counter() - began, result
