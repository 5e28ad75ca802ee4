"""On a GPU: the reference engine's spikes are the CPU's, and a training goes through the pipeline. `make test-gpu` runs it.

Each test prints the most GPU memory that it had allocated at a time, and records it for pytest's reports.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from program import metrics, run_here, run_ids, status
from torch import nn

from ratespike import simulate

GPU = torch.device("cuda")
LAYERS = ("neuron1", "neuron2", "neuron3")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: torch.cuda.is_available() is False"),
]


@pytest.fixture(autouse=True)
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


@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_a_training_goes_through_the_pipeline(checkout: Path) -> None:
    arguments = ("+experiment=mnist", "+debug=fast", "data.batch_size=50", "trainer.max_epochs=2", "n_steps=10")
    code, _, error = run_here(checkout, *arguments, "trainer.accelerator=gpu")
    assert code == 0, error
    (run_id,) = run_ids(checkout)
    assert status(checkout, run_id) == "FINISHED"
    logged = {key: float(str(value)) for key, value in metrics(checkout, run_id).items()}
    assert logged["train/loss", 2] < logged["train/loss", 1], "it has learned nothing"
    assert logged["test/rate_accuracy", 0] > 0.2, "no better than a guess"
    assert logged["test/spiking_accuracy", 0] > 0.2, "no better than a guess"
    assert logged["test/synaptic_operations", 0] > 0
