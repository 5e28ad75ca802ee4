"""Fixtures, and the order of the tests. What takes seconds to import is imported where it is used.

So the process that starts the others starts them at once.
"""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the tests run in as many processes as there are cores

from program import ROOT, Held

if TYPE_CHECKING:
    from torch import nn

    from ratespike.analysis import Record
    from ratespike.metrics import Results


def pytest_configure() -> None:
    """Collect garbage rarely: most of what is there are imported modules, which stay."""
    gc.set_threshold(100_000)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile what most programs need while the processes that share the tests start, of which each would compile it."""
    if session.config.getoption("numprocesses", None) and not hasattr(session.config, "workerinput"):
        threading.Thread(target=_compile).start()


def _compile() -> None:
    import torch
    from torch import nn

    from ratespike import simulate
    from ratespike.neurons import LIF

    neuron = LIF(sigma=0.02)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), neuron, nn.Conv2d(8, 8, 3), neuron, nn.Flatten(), nn.Linear(4608, 10))
    images = torch.rand(2, 1, 28, 28)
    network(images).sum().backward()
    simulate(network, images, 3, engine="event_driven")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the chosen tests, files with whole programs come first, then those with slow tests: so both processes end together."""
    for mark in ("slow", "program"):
        first = {item.path for item in items if item.get_closest_marker(mark)}
        items.sort(key=lambda item: item.path not in first)


def pytest_collection_finish() -> None:
    """Leave the modules out of later collections, of which each took half a second."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed() -> None:
    """What a test draws without a seed of its own is the same in every run, in whichever process and order."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository root of its own, so that a program's database and outputs stay apart."""
    folder = tmp_path_factory.mktemp("checkout")
    for program in (*ROOT.glob("*.py"), ROOT / "tests/train_held.py"):
        shutil.copy(program, folder)
    shutil.copytree(ROOT / "conf", folder / "conf")
    (folder / "data").symlink_to(ROOT / "data")
    return folder


@pytest.fixture
def held(checkout: Path) -> Iterator[Held]:
    """Trainings that `train_held.py` begins in the checkout stand still in their second epoch until they are released."""
    held = Held(checkout)
    held.hold.touch()
    yield held
    held.release()


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, which takes seconds to make."""
    from ratespike.tracking import store

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    store.connect(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")  # the file alone holds everything
    return path


@pytest.fixture
def database(_empty_database: Path, tmp_path: Path) -> str:
    """The address of a new MLflow database, `mlflow.db` in the test's folder."""
    shutil.copy(_empty_database, tmp_path)
    return f"sqlite:///{tmp_path}/{_empty_database.name}"


@pytest.fixture(scope="session")
def database_of_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database: in experiment `mnist` a sweep `night` (2 tau_rc, 2 seeds), another run, and some that do not count.

    A run on a slice of the data, one that is still running, a deleted one, and in `other` one that was never tested on spikes.
    """
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("runs") / "mlflow.db"
    client = MlflowClient(f"sqlite:///{path}")

    def add(experiment: str, name: str, accuracy: float | None, parent: str | None = None, **tags: str) -> str:
        run = client.create_run(experiment, run_name=name).info.run_id
        settings = dict(word.split("=") for word in name.split() if "=" in word)
        parameters = {"neuron.tau_rc": "0.02", "n_steps": "30", "seed": "0", **settings}
        metrics = [Metric("test/rate_accuracy", 0.99, 0, 0), Metric("train/loss", 0.1, 0, 1)]
        if accuracy is not None:
            metrics += [Metric("test/spiking_accuracy", accuracy, 0, 0), Metric("test/synaptic_operations", 1e6, 0, 0)]
            metrics += [Metric("test/spiking_accuracy_at", accuracy * step / 30, 0, step) for step in range(1, 31)]
        found = [RunTag(key.replace("__", "."), value) for key, value in tags.items()]
        found += [RunTag("mlflow.parentRunId", parent)] if parent else []
        client.log_batch(run, metrics, [Param(key, value) for key, value in parameters.items()], found)
        client.set_terminated(run)
        return run

    mnist, other = (client.create_experiment(name, str(path.parent / "mlruns" / name)) for name in ("mnist", "other"))
    night = client.create_run(mnist, run_name="night").info.run_id
    client.set_terminated(night)
    for tau_rc, accuracy in (("0.02", 0.98), ("0.020", 0.97), ("0.05", 0.90), ("0.050", 0.91)):
        add(mnist, f"neuron.tau_rc={tau_rc} seed={int(len(tau_rc) == 5)}", accuracy, night)
    add(mnist, "alone seed=7", 0.96, note="0.50")
    add(mnist, "slice seed=8", 0.5, ratespike__debug="true")
    client.update_run(add(mnist, "running seed=9", 0.4), "RUNNING")
    client.delete_run(add(mnist, "deleted seed=10", 0.3))
    add(other, "rates only", None)
    return path


@pytest.fixture
def conv_network() -> nn.Sequential:
    """Two convolutions with pooling, borders and every kind of layer, with firing neurons."""
    import torch

    from ratespike.network import build_network

    torch.manual_seed(0)
    layers = {
        "conv1": {"type": "Conv", "filters": 8, "kernel": 3, "padding": 1},
        "neuron1": {"type": "Neurons"},
        "pool1": {"type": "AveragePool", "size": 2},
        "drop1": {"type": "Dropout", "p": 0.5},
        "conv2": {"type": "Conv", "filters": 16, "kernel": 3, "stride": 2, "groups": 2},
        "neuron2": {"type": "Neurons", "neuron": {"type": "SpikingRectifiedLinear", "intercept": -0.1}},
        "filter2": {"type": "Filter", "synapse": {"type": "LowPass", "tau": 0.005}},
        "dense1": {"type": "Dense", "units": 20},
        "neuron3": {"type": "Neurons"},
        "dense": {"type": "Dense", "units": 10},
    }
    return build_network(layers, {"type": "LIF", "intercept": -0.2}, (1, 13, 13), 10)


@pytest.fixture
def make_run() -> Callable[..., Record]:
    """A run with a number of its own, given its spiking accuracy, some parameters and more metrics (without `test/`)."""
    from ratespike.analysis import Record

    made: list[Record] = []

    def make(spiking: float, operations: float | None = 1e6, *, started: int | None = None, **parameters: object) -> Record:
        number = len(made)
        settings = {"n_steps": "30", **{name.replace("__", "."): str(value) for name, value in parameters.items()}}
        metrics = {"test/rate_accuracy": 0.99, "test/spiking_accuracy": spiking}
        if operations is not None:
            metrics["test/synaptic_operations"] = operations
        made.append(Record(f"id{number}", f"run {number}", number if started is None else started, 60.0, settings, metrics))
        return made[-1]

    return make


@pytest.fixture
def results() -> Results:
    """Of ten images of two classes, two steps, one layer."""
    import torch

    from ratespike.metrics import Results

    return Results(
        rate_accuracy=0.9,
        spiking_accuracy=torch.tensor([0.6, 0.8]),
        agreement=torch.tensor([0.7, 0.9]),
        spikes_per_neuron={"neuron1": torch.tensor([0.1, 0.3])},
        synaptic_operations=torch.tensor([1e6, 2e6]),
        confusion=torch.tensor([[[5, 0], [4, 1]], [[5, 0], [2, 3]]]),
        rate_confusion=torch.tensor([[5, 0], [1, 4]]),
        running=torch.ones(2),
        dt=0.001,
        first=0,
        first_rate_accuracy=0.0,
        first_spiking_accuracy=torch.zeros(0),
        image_means={"spiking_loss": torch.tensor([2.0, 0.5])},
    )
