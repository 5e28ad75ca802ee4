"""Thirty spiking steps against one dense forward pass, and against other libraries: interleaved runs, ratios of one round.

python benchmarks/simulation.py [rounds] [peer ...]

The peers are snntorch, spikingjelly, norse, sinabs and nengodl; all, if none is named. Each is installed into an environment
of its own below .benchmarks/ (the first time only) and runs in a process of its own, which waits while others run. A peer's way
with the best time (batch size, layout, single or multi step) is found before. ReLUs and ratespike run all 2 000 images in each
round; the peers run them once, for their accuracy, and 200 in each round.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from problem import BATCH, IMAGES, ROOT, STEPS, WEIGHTS, Problem, load

from ratespike import simulate
from ratespike.metrics import RateVsSpike

PEER_IMAGES = 200
TORCH = ("torch", "numpy")  # in the versions of constraints.txt
PEERS: dict[str, tuple[tuple[str, ...], ...]] = {  # what pip is given, one call after the other
    "snntorch": ((*TORCH, "snntorch"),),
    "spikingjelly": ((*TORCH, "spikingjelly"),),
    "norse": ((*TORCH, "norse"),),
    "sinabs": ((*TORCH, "sinabs"),),
    "nengodl": (
        ("tensorflow-cpu==2.12.1", "nengo<4"),
        ("--no-deps", "nengo-dl==3.6.0"),
        ("progressbar2", "python-utils", "jinja2", "packaging"),
    ),
}
DISTRIBUTIONS = {"nengodl": "nengo-dl"}  # where the package index knows a peer by another name


@dataclass(frozen=True)
class Run:
    """One timed run."""

    milliseconds_per_image: float
    accuracy: float
    spikes: float


class Peer:
    """Another library in a process of its own."""

    def __init__(self, name: str, task: Path) -> None:
        script = Path(__file__).parent / "peers" / f"with_{name}.py"
        command = [environment(name), script, WEIGHTS, task, str(STEPS)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.way = self._answer()["way"]
        self.version = subprocess.run(
            [environment(name), "-c", f"import importlib.metadata as m; print(m.version({DISTRIBUTIONS.get(name, name)!r}))"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()

    def run(self, images: int) -> Run:
        """Time `images` images."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{images}\n")
        self.process.stdin.flush()
        answer = self._answer()
        return Run(1000 * answer["seconds"] / images, answer["accuracy"], answer["spikes"])

    def stop(self) -> None:
        """End it; it has nothing to lose."""
        self.process.kill()
        self.process.wait()

    def _answer(self) -> dict:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self.process.args[1]} ended with exit code {self.process.wait()}")


def environment(name: str) -> Path:
    """The interpreter of a peer's environment, made if it is not there."""
    folder = ROOT / ".benchmarks" / name
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"installing {name} ...", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pinned = {line.split("==")[0]: line for line in (ROOT / "constraints.txt").read_text().split()}
        for packages in PEERS[name]:
            wanted = [pinned[package] if package in TORCH else package for package in packages]
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True)
        (folder / "complete").touch()
    return python


def relu(problem: Problem) -> Run:
    """One forward pass."""
    began = time.perf_counter()
    with torch.no_grad():
        answers = torch.cat([problem.relu_network(batch).argmax(1) for batch in problem.images.split(BATCH)])
    took = time.perf_counter() - began
    return Run(1000 * took / len(answers), float((answers == problem.labels).double().mean()), 0.0)


def ratespike(problem: Problem, rates: torch.Tensor) -> Run:
    """Spikes with all statistics of `test`; `rates` are the rate mode's outputs, which they are compared with."""
    parts = range(0, len(problem.images), BATCH)
    neurons = simulate(problem.network, problem.images[:1], 1).neurons
    comparison = RateVsSpike(STEPS, 0.001, 10, neurons)
    began = time.perf_counter()
    for first in parts:
        batch = slice(first, first + BATCH)
        images, index = problem.images[batch], torch.arange(first, first + len(problem.images[batch]))
        comparison.update(
            rates[batch], simulate(problem.network, images, STEPS, image_index=index), problem.labels[batch], index
        )
    results = comparison.compute()
    took = time.perf_counter() - began
    spikes = sum(float(per_neuron.sum()) * neurons[name] for name, per_neuron in results.spikes_per_neuron.items())
    print(f"ratespike: {float(results.synaptic_operations.sum()) / 1e6:.2f} M multiply-adds an image", end="\r")
    return Run(1000 * took / len(problem.images), float(results.spiking_accuracy[-1]), spikes)


def main() -> None:
    """Print the table."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    names = [word for word in sys.argv[1:] if not word.isdigit()] or list(PEERS)
    rounds = numbers[0] if numbers else 7
    problem = load()
    with torch.no_grad():
        rates = torch.cat([problem.network(batch) for batch in problem.images.split(BATCH)])
    peers: dict[str, Peer] = {}
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task.npz"
        np.savez(task, images=problem.images.numpy(), labels=problem.labels.numpy())
        try:
            for name in names:
                peers[name] = Peer(name, task)
                print(f"{name} {peers[name].version}: {peers[name].way}", flush=True)
            _table(problem, rates, peers, rounds)
        finally:
            for peer in peers.values():
                peer.stop()


def _table(problem: Problem, rates: torch.Tensor, peers: dict[str, Peer], rounds: int) -> None:
    ways: dict[str, Callable[[], Run]] = {
        "one ReLU forward pass": lambda: relu(problem),
        "ratespike": lambda: ratespike(problem, rates),
    }
    first = {name: run() for name, run in ways.items()} | {name: peer.run(IMAGES) for name, peer in peers.items()}
    ways |= {name: (lambda peer=peer: peer.run(PEER_IMAGES)) for name, peer in peers.items()}  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            times[name].append(run().milliseconds_per_image)
    dense, ours = times["one ReLU forward pass"], times["ratespike"]
    print(f"{STEPS} steps, first {IMAGES} test images, {rounds} rounds, {torch.get_num_threads()} threads          ")
    ratios = f"{'x ReLU pass (range)':24s} {'x ratespike (range)':24s}"
    print(f"{'':22s} {'ms/image':>8s} {'images/s':>8s}  {ratios} accuracy spikes/image")
    for name, mine in times.items():
        middle = statistics.median(mine)
        print(
            f"{name:22s} {middle:8.3f} {1000 / middle:8.0f}  {_ratios(mine, dense):24s} {_ratios(mine, ours):24s} "
            f"{100 * first[name].accuracy:7.2f}% {first[name].spikes:10.0f}"
        )


def _ratios(mine: list[float], reference: list[float]) -> str:
    ratios = sorted(a / b for a, b in zip(mine, reference, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"


if __name__ == "__main__":
    main()
