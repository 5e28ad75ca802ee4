"""On a GPU: spikes, memory, trainings, leases, and the benchmark. `make test-gpu` runs it.

Each test of this process prints the most GPU memory that it had allocated at a time, and records it for pytest's reports.
"""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from program import ROOT, metrics, query, run, run_here, run_ids, status
from torch import nn

from ratespike import simulate
from ratespike.simulation import slices

GPU = torch.device("cuda")
LAYERS = ("neuron1", "neuron2", "neuron3")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: torch.cuda.is_available() is False"),
]


in_this_process = pytest.mark.usefixtures("peak_memory")


@pytest.fixture
def peak_memory(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Records and prints what a test has allocated; it fails if the GPU has not been used."""
    torch.cuda.reset_peak_memory_stats()
    yield
    peak = torch.cuda.max_memory_allocated()
    record_property("peak_gpu_memory_bytes", peak)
    with capsys.disabled():
        print(f"\n{request.node.name}: at most {peak / 2**20:.1f} MiB of GPU memory at a time")
    assert peak > 0, "nothing was allocated on the GPU"


@in_this_process
@pytest.mark.parametrize("start", ["uniform", "steady_phase"])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float64, 0.0), (torch.float32, 1e-5)], ids=["float64", "float32"])
def test_the_spikes_are_those_of_the_cpu(conv_network: nn.Sequential, dtype: torch.dtype, allowed: float, start: str) -> None:
    """In float32 the two devices round exponentials and logarithms differently: a spike may come a step later."""
    if dtype == torch.float32:
        del conv_network.filter2  # sums of spikes are exact in any order, sums of what a filter makes of them are not
    network = conv_network.to(dtype)
    images = torch.rand(400, 1, 13, 13, generator=torch.Generator().manual_seed(1)).to(dtype)

    def spikes_on(device: torch.device) -> dict[str, torch.Tensor]:
        copied = deepcopy(network).to(device)
        result = simulate(copied, images.to(device), 50, start=start, record=LAYERS, engine="torch")
        return {layer: spikes.cpu() for layer, spikes in result.recordings.items()}  # (time, images, ...)

    on_cpu = spikes_on(torch.device("cpu"))
    on_gpu = spikes_on(GPU)
    n_spikes = {layer: int(spikes.sum()) for layer, spikes in on_cpu.items()}
    n_different = {layer: int((on_gpu[layer] != spikes).sum()) for layer, spikes in on_cpu.items()}
    print(f"{n_different} of {n_spikes} spikes differ")
    assert min(n_spikes.values()) > 10_000, "a layer hardly spikes: little would be compared"
    assert sum(n_spikes.values()) > 500_000, "too few spikes to see one in 100 000"
    assert sum(n_different.values()) <= allowed * sum(n_spikes.values())


@in_this_process
def test_a_simulation_keeps_to_its_budget_of_memory(conv_network: nn.Sequential) -> None:
    """However many images there are, only their own and their outputs are added.

    The budget is for currents and spikes of the largest layer; what a step makes on the way is several times as large.
    """
    network = conv_network.to(GPU)
    most = 10 * slices._GPU.n_bytes

    def taken(n_images: int) -> int:
        images = torch.rand(n_images, 1, 13, 13, device=GPU)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = simulate(network, images, 30, engine="torch")
        kept = result.outputs.numel() * result.outputs.element_size()
        return torch.cuda.max_memory_allocated() - before - 4 * kept

    of_some, of_many = taken(2_000), taken(20_000)
    shown = [f"{n_bytes / 2**20:.0f} MiB" for n_bytes in (of_some, of_many, slices._GPU.n_bytes)]
    print("of 2 000 images {}, of 20 000 {}; the budget is {}".format(*shown))
    assert of_some <= most
    assert of_many <= max(1.2 * of_some, of_some + 64 * 2**20)


@in_this_process
@pytest.mark.filterwarnings("ignore")  # Lightning's advice
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_goes_through_the_pipeline(checkout: Path, precision: str) -> None:
    arguments = ("+experiment=mnist", "+debug=fast", "data.batch_size=50", "trainer.max_epochs=2", "n_steps=10")
    code, _, error = run_here(checkout, *arguments, "trainer.accelerator=gpu", f"trainer.precision={precision}")
    assert code == 0, error
    run_id = run_ids(checkout)[-1]
    assert status(checkout, run_id) == "FINISHED"
    logged = {key: float(str(value)) for key, value in metrics(checkout, run_id).items()}
    assert logged["train/loss", 2] < logged["train/loss", 1], "it has learned nothing"
    assert logged["test/rate_accuracy", 0] > 0.2, "no better than a guess"
    assert logged["test/spiking_accuracy", 0] > 0.2, "no better than a guess"
    assert logged["test/synaptic_operations", 0] > 0


def test_jobs_of_a_sweep_lease_the_gpus(checkout: Path) -> None:
    """Three jobs at a time: each sees one GPU, and none sees it while another does."""
    data = ("data.train_images=200", "data.test_images=20", "data.validation_images=20", "trainer.accelerator=gpu")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=3")
    code, _, error = run(checkout, "-m", "+experiment=mnist", "+debug=fast", *data, "n_steps=2", "seed=11,12,13", *launcher)
    assert code == 0, error
    rows = query(
        checkout,
        "select t.value, r.start_time, r.end_time from runs r join tags t on t.run_uuid = r.run_uuid "
        "where t.key = 'ratespike.cuda_visible_devices' order by r.start_time",
    )
    assert len(rows) == 3
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = given.split(",") if given else [str(number) for number in range(torch.cuda.device_count())]
    assert {gpu for gpu, _, _ in rows} <= set(known)
    for gpu in known:
        times = [(int(str(began)), int(str(ended))) for seen, began, ended in rows if seen == gpu]
        for (_, ended), (began, _) in itertools.pairwise(times):
            assert ended <= began, "two jobs saw one GPU at the same time"


def test_the_benchmark_says_how_fast_and_how_much() -> None:
    command = [sys.executable, "benchmarks/gpu.py", "--images", "400", "--rounds", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    _, *lines = done.stdout.splitlines()
    assert len(lines) == 4
    for line in lines:
        speed, memory = re.fullmatch(r".* (\d+) images/s .* at most (\d+) MiB", line).groups()  # type: ignore[union-attr]
        assert int(speed) > 0 and int(memory) > 0, line
