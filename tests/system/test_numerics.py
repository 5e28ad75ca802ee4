"""Numbers that do not depend on what they should not depend on, and that end where they are none.

Two processes of a training are in `test_ddp.py`, each neuron and start on both engines in `tests/simulation/`.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from bad_configurations import BASE
from program import metrics, run, run_here, run_ids, status, tags
from torch import nn

import ratespike
from ratespike.neurons import LIF, AdaptiveLIF, IntegrateAndFire, Neuron, SpikingRectifiedLinear

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]

Metrics = dict[tuple[object, object], object]
LONG = 100_000  # steps
TRAINING = (*BASE, "trainer.max_epochs=3", "data.train_images=600", "data.test_images=200", "n_steps=20")

UNBOUNDED = ("neuron=relu", "optimizer=sgd", "optimizer.lr=1e6")  # rates grow with the weights


@pytest.fixture(scope="module")
def trained(checkout: Path) -> str:
    """A run in the checkout, of one thread."""
    code, _, error = run_here(checkout, *TRAINING)
    assert code == 0, error
    return run_ids(checkout)[-1]


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def evaluated(checkout: Path, run_id: str, *settings: str) -> Metrics:
    """What a new evaluation of a run measures on the test images."""
    code, _, error = run_here(checkout, f"run={run_id}", *settings, program="evaluate.py")
    assert code == 0, error
    return of_test(checkout, run_ids(checkout)[-1])


def of_test(checkout: Path, run_id: str) -> Metrics:
    return {key: value for key, value in metrics(checkout, run_id).items() if str(key[0]).startswith("test/")}


@pytest.mark.parametrize("setting", ["data.batch_size=7", "data.batch_size=200", "simulation.engine=torch"])
def test_a_test_depends_on_neither_batches_nor_engine(checkout: Path, trained: str, setting: str) -> None:
    assert evaluated(checkout, trained, setting) == evaluated(checkout, trained, "simulation.engine=event_driven")


def test_a_test_of_two_threads_is_that_of_one(checkout: Path, trained: str, two_threads: None) -> None:
    assert evaluated(checkout, trained) == of_test(checkout, trained)


def test_a_training_of_two_threads_is_that_of_one_but_for_rounding(checkout: Path, trained: str, two_threads: None) -> None:
    """The gradient of a convolution is a sum over images, which each number of threads adds in an order of its own."""
    code, _, error = run_here(checkout, *TRAINING)
    assert code == 0, error
    of_one, of_two = (metrics(checkout, run_id) for run_id in (trained, run_ids(checkout)[-1]))
    largest = 0.0
    for epoch in (1, 2, 3):
        for name in ("train/loss", "val/loss"):
            one, two = (float(str(measured[name, epoch])) for measured in (of_one, of_two))
            largest = max(largest, abs(two / one - 1))
    print(f"\nlosses of one and two threads differ by {largest:.1e} at most")
    assert largest < 1e-4


@pytest.mark.parametrize("processes", [(), ("trainer.devices=2", "trainer.strategy=ddp_spawn")], ids=["one", "two"])
def test_a_loss_that_is_no_number_ends_a_training_in_a_line(checkout: Path, processes: tuple[str, ...]) -> None:
    code, out, error = run(checkout, *BASE, *UNBOUNDED, *processes)
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    print(f"\n{line}")
    assert code == 1
    assert "Traceback" not in out + error
    assert line.startswith("error: the loss is ")
    assert ": layer " in line and "try a smaller optimizer.lr" in line
    run_id = run_ids(checkout)[-1]
    assert status(checkout, run_id) == "FAILED"
    assert "the loss is " in tags(checkout, run_id)["ratespike.error"]


def network(neuron: Neuron) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), neuron, nn.Linear(16, 3))


IMAGES = torch.rand(2, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("neuron", "engine"),
    [
        (LIF(max_rate=150, intercept=-0.2), "event_driven"),
        (IntegrateAndFire(max_rate=150, intercept=-0.2), "event_driven"),
        (SpikingRectifiedLinear(max_rate=150, intercept=-0.2), "event_driven"),
        (SpikingRectifiedLinear(max_rate=150, intercept=-0.2), "torch"),
    ],
    ids=repr,
)
def test_a_hundred_thousand_steps_do_not_drift(neuron: Neuron, engine: str) -> None:
    """In single precision each neuron has the spikes of its rate, of which there is a formula, to one spike."""
    made = network(neuron)
    spikes = ratespike.simulate(made, IMAGES, LONG, engine=engine, record=["1"]).recordings["1"].double().sum(dim=0)
    with torch.no_grad():
        rates = made[:2](IMAGES).double() / neuron.scale  # Hz
    expected = rates * LONG * 0.001
    print(f"\nat most {float(spikes.max()):.0f} spikes, {float((spikes - expected).abs().max()):.2f} from the rate's")
    assert spikes.max() > 10_000
    assert (spikes - expected).abs().max() <= 1


def test_an_adaptation_does_not_drift() -> None:
    """There is no formula for its rate: the last quarter has the spikes of the one before."""
    spikes = ratespike.simulate(network(AdaptiveLIF()), IMAGES, LONG, record=["1"]).recordings["1"].double()
    third, last = spikes[LONG // 2 : LONG * 3 // 4].sum(dim=0), spikes[LONG * 3 // 4 :].sum(dim=0)
    assert last.max() > 1_000
    assert (third - last).abs().max() <= 1


@pytest.mark.parametrize("engine", ["event_driven", "torch"])
def test_a_hundred_thousand_steps_do_not_grow(engine: str) -> None:
    """Ten times the steps need the memory of their outputs besides: 22 MB of 64 images."""
    code = (
        "import resource, sys, torch, ratespike; from torch import nn; from ratespike.neurons import SpikingRectifiedLinear\n"
        "network = nn.Sequential(nn.Linear(4, 16), SpikingRectifiedLinear(), nn.Linear(16, 1)); images = torch.rand(64, 4)\n"
        "peaks = []\n"
        "for steps in (10_000, 100_000):\n"
        "    ratespike.simulate(network, images, steps, engine=sys.argv[1])\n"
        "    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        "print(peaks[1] - peaks[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, engine], capture_output=True, text=True, check=True)
    print(f"\n{engine}: {int(done.stdout) / 1024:.0f} MiB more")
    assert int(done.stdout) < 200 * 1024
