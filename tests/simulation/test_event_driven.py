"""The event-driven engine against the reference: the same spikes, by other arithmetic."""

import contextlib
import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.neurons import LIF, Neuron, PoissonSpiking, SpikingRectifiedLinear
from ratespike.parameters import ParameterError
from ratespike.simulation import Simulation
from ratespike.synapses import Alpha, LowPass, NoFilter, Synapse


def pixels(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def both_engines(
    network: nn.Module, images: torch.Tensor, n_steps: int = 25, **options: object
) -> tuple[Simulation, Simulation]:
    layers = [name for name, module in network.named_modules(remove_duplicate=False) if isinstance(module, Neuron)]
    event_driven, torch_engine = (
        simulate(network, images, n_steps, record=layers, engine=engine, **options)  # type: ignore[arg-type]
        for engine in ("event_driven", "torch")
    )
    return event_driven, torch_engine


def assert_equal(event_driven: Simulation, torch_engine: Simulation) -> None:
    for layer, spikes in torch_engine.recordings.items():
        counts = torch_engine.spike_counts[layer]
        assert spikes.sum() > 10, f"{layer} hardly spikes: nothing would be compared"
        assert torch.equal(event_driven.recordings[layer], spikes), f"other spikes in {layer}"
        assert torch.equal(event_driven.spike_counts[layer], counts), f"equal spikes, but other counts in {layer}"
    assert torch.equal(event_driven.synaptic_operations, torch_engine.synaptic_operations), "other operations"
    for layer, operations in torch_engine.spike_operations.items():
        assert torch.equal(event_driven.spike_operations[layer], operations), f"other operations of {layer}"
    assert torch.equal(event_driven.multiply_accumulates, torch_engine.multiply_accumulates)
    assert event_driven.cost == torch_engine.cost
    assert torch.allclose(event_driven.outputs, torch_engine.outputs, rtol=0, atol=1e-9), "other outputs"
    assert event_driven.neurons == torch_engine.neurons


def spikes_and_differences(event_driven: Simulation, torch_engine: Simulation) -> tuple[int, int]:
    """How many spikes there are in the reference, and how many neurons and steps differ."""
    spikes = 0
    different = 0
    for layer, recorded in torch_engine.recordings.items():
        spikes += int(recorded.sum())
        different += int((event_driven.recordings[layer] != recorded).sum())
    return spikes, different


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("start", ["steady_phase", "half_phase", "zero", "uniform", "half"])
def test_every_start(conv_network: nn.Sequential, start: str, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_equal(*both_engines(conv_network.double(), pixels(9, 1, 13, 13), n_steps=60, start=start))
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "neuron",
    [
        LIF(max_rate=150, intercept=-0.2),
        LIF(max_rate=150, intercept=-0.2, tau_ref=0.001),
        LIF(max_rate=120, intercept=-0.2, tau_ref=0.0065, tau_rc=0.007, amplitude=0.02),
        SpikingRectifiedLinear(max_rate=200),
        SpikingRectifiedLinear(max_rate=4000, intercept=-0.5),
    ],
    ids=repr,
)
def test_every_compiled_neuron(neuron: Neuron) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(20, 70), neuron, nn.Linear(70, 33), neuron, nn.Linear(33, 3)).double()
    assert_equal(*both_engines(network, pixels(5, 20), n_steps=60))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*spikes will be fewer")
@pytest.mark.parametrize("tau_ref", [0.0, 0.0005])
def test_a_refractory_time_shorter_than_a_step(tau_ref: float) -> None:
    neuron = LIF(max_rate=150, intercept=-0.2, tau_ref=tau_ref)
    network = nn.Sequential(nn.Linear(20, 70), neuron, nn.Linear(70, 3)).double()
    assert_equal(*both_engines(network, 5 * pixels(5, 20), n_steps=60))


@pytest.mark.slow
@pytest.mark.parametrize("dt", [0.0005, 0.0025])
def test_every_length_of_step(conv_network: nn.Sequential, dt: float) -> None:
    with pytest.warns(UserWarning, match="fewer") if dt > 0.002 else contextlib.nullcontext():
        assert_equal(*both_engines(conv_network.double(), pixels(4, 1, 13, 13), n_steps=80, dt=dt))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("convolution", "size"),
    [
        (nn.Conv2d(3, 5, 1), 6),
        (nn.Conv2d(3, 5, (2, 3), stride=(2, 1)), 7),
        (nn.Conv2d(3, 37, 5, padding=2), 6),
        (nn.Conv2d(3, 9, 3, groups=3), 6),
        (nn.Conv2d(3, 3, 3, groups=3, stride=2, padding=1), 9),
        (nn.Conv2d(3, 8, 3, padding=1, bias=False), 6),
        (nn.Conv2d(3, 5, (3, 2), padding="same"), 6),
        (nn.Conv2d(3, 5, 2, padding="same", dilation=(1, 3)), 6),
        (nn.Conv2d(3, 5, 3, padding="valid", dilation=2, stride=2), 9),
    ],
    ids=repr,
)
@pytest.mark.parametrize("pool", [nn.AvgPool2d(3, stride=2, padding=1), None, nn.AvgPool2d(2)], ids=repr)
@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch: an even kernel may cost it a copy
def test_every_connection(convolution: nn.Conv2d, size: int, pool: nn.AvgPool2d | None) -> None:
    torch.manual_seed(0)
    pooling = [] if pool is None else [pool]
    front = [nn.Conv2d(2, 3, 3, padding=1), LIF(max_rate=200, intercept=-0.3), *pooling]
    images = pixels(4, 2, size * (1 if pool is None else 2), size * (1 if pool is None else 2))
    middle = nn.Sequential(*front, convolution, LIF(max_rate=200, intercept=-0.5), nn.AvgPool2d(2), nn.Flatten()).double()
    features = middle(images).shape[1]
    assert_equal(*both_engines(nn.Sequential(middle, nn.Linear(features, 4).double()), images))


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [LowPass(tau=0.004), Alpha(tau=0.003), NoFilter()], ids=repr)
@pytest.mark.parametrize("output", [LowPass(tau=0.1), Alpha(tau=0.02), NoFilter()], ids=repr)
def test_every_filter(hidden: Synapse, output: Synapse) -> None:
    torch.manual_seed(0)
    front = [nn.Conv2d(1, 6, 3), LIF(max_rate=150, intercept=-0.2), hidden, nn.AvgPool2d(2), nn.Flatten()]
    network = nn.Sequential(*front, nn.Linear(6 * 9, 20), LIF(intercept=-0.2), nn.Linear(20, 4)).double()
    assert_equal(*both_engines(network, pixels(6, 1, 8, 8), n_steps=40, synapse=output))


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["mean", "last", "mean_after_burn_in", "spike_count"])
def test_every_readout(conv_network: nn.Sequential, readout: str) -> None:
    assert_equal(*both_engines(conv_network.double(), pixels(5, 1, 13, 13), readout=readout))


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["last", "mean_after_burn_in", "spike_count"])
@pytest.mark.parametrize("hidden", [LowPass(tau=0.004), NoFilter()], ids=repr)
def test_early_exit(conv_network: nn.Sequential, readout: str, hidden: Synapse) -> None:
    network = nn.Sequential(*conv_network[:2], hidden, *conv_network[2:]).double()
    images = pixels(21, 1, 13, 13)
    whole = simulate(network, images, 33, readout=readout, engine="torch")
    lead = whole.outputs.topk(2).values.diff(dim=-1).abs().squeeze(-1)  # (33, 21)
    margin = float(lead[14].median())  # about half of the images are done by then
    event_driven, torch_engine = both_engines(network, images, n_steps=33, readout=readout, early_exit=margin)
    assert_equal(event_driven, torch_engine)
    assert torch.equal(event_driven.steps, torch_engine.steps)
    assert len(event_driven.steps.unique()) > 2, "the images stop at the same step: nothing moves in memory"
    for image, steps in enumerate(event_driven.steps.tolist()):
        checks = [step for step in range(1, 33) if lead[step - 1, image] >= margin]
        assert steps == min([*checks, 33]), f"image {image} stops at another step than its lead says"
        outputs = event_driven.outputs[:, image]
        assert torch.allclose(outputs[:steps], whole.outputs[:steps, image]), f"image {image}: other outputs before it stops"
        assert (outputs[steps - 1 :] == outputs[steps - 1]).all(), f"image {image}: the answer changes after it stops"
        assert event_driven.synaptic_operations[steps:, image].sum() == 0, f"image {image}: operations after it stops"
    first = next(iter(event_driven.neurons))
    seconds = float(event_driven.steps.sum()) * event_driven.dt * event_driven.neurons[first]
    assert abs(event_driven.firing_rates_hz()[first] - float(event_driven.recordings[first].sum()) / seconds) < 1e-9


def confidence_by_hand(answers: np.ndarray) -> list[float]:
    """The highest probability of a softmax; shape (time, classes)."""
    powers = np.exp(answers - answers.max(axis=1, keepdims=True))
    return list((powers / powers.sum(axis=1, keepdims=True)).max(axis=1))


def stability_by_hand(answers: np.ndarray) -> list[int]:
    """For how many steps the class with the largest output has been the same; 0 where two have it."""
    lengths: list[int] = []
    for step, answer in enumerate(answers):
        winners = np.flatnonzero(answer == answer.max())
        goes_on = step > 0 and answers[step - 1].argmax() == winners[0]
        lengths.append(0 if len(winners) > 1 else 1 + (lengths[-1] if goes_on else 0))
    return lengths


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exit_by", "threshold", "by_hand"), [("softmax", 0.35, confidence_by_hand), ("stability", 4, stability_by_hand)]
)
@pytest.mark.parametrize("ends_in_neurons", [False, True])
def test_both_engines_exit_at_the_step_that_the_criterion_says(
    exit_by: str, threshold: float, by_hand: Callable[[np.ndarray], list[float]], ends_in_neurons: bool
) -> None:
    torch.manual_seed(0)
    last = [LIF(intercept=-0.5)] if ends_in_neurons else []  # their counts are equal at first
    network = nn.Sequential(nn.Linear(6, 20), LIF(intercept=-0.2), nn.Linear(20, 4), *last).double()
    images = torch.rand(40, 6).double()
    readout = "spike_count" if ends_in_neurons else "mean"
    answers = simulate(network, images, 25, readout=readout, engine="torch").outputs.numpy()
    scores = np.array([by_hand(answers[:, image]) for image in range(40)])  # (images, time)
    expected = [min([*(np.flatnonzero(own >= threshold) + 1), 25]) for own in scores]
    options = {"readout": readout, "early_exit": threshold, "exit_by": exit_by}
    event_driven, torch_engine = both_engines(network, images, **options)
    assert event_driven.steps.tolist() == torch_engine.steps.tolist() == expected
    assert len(set(expected)) > 4, "the images stop at few steps: little moves in memory"
    assert_equal(event_driven, torch_engine)


@pytest.mark.slow
def test_a_last_layer_with_places_and_an_empty_batch() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), LIF(intercept=-0.5), nn.Conv2d(4, 3, 3)).double()
    event_driven, torch_engine = both_engines(network, pixels(4, 1, 8, 8))
    assert_equal(event_driven, torch_engine)
    assert event_driven.outputs.shape == torch_engine.outputs.shape == (25, 4, 3, 4, 4)
    for engine in ("event_driven", "torch"):
        for start in ("uniform", "steady_phase"):
            assert simulate(network, pixels(0, 1, 8, 8), 7, start=start, engine=engine).outputs.shape == (7, 0, 3, 4, 4)


def test_half_precision_outputs_are_summed_in_single_precision() -> None:
    network = nn.Sequential(nn.Linear(2, 300), LIF(), nn.Linear(300, 2)).bfloat16()
    images = torch.ones(3, 2, dtype=torch.bfloat16)
    raw = simulate(network, images, 600, synapse=NoFilter()).outputs.double()
    mean = simulate(network, images, 600, readout="mean").outputs
    assert torch.allclose(mean[-1].double(), raw.mean(0), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_single_precision_hardly_ever_differs() -> None:
    """The sums are exact, the steps the same: only the moment of waking is computed in two ways."""
    torch.manual_seed(0)
    front = [nn.Conv2d(1, 16, 3), LIF(max_rate=200, intercept=-0.5), nn.AvgPool2d(2), nn.Conv2d(16, 24, 3, padding=1)]
    network = nn.Sequential(
        *front, LIF(max_rate=200, intercept=-0.5), nn.Flatten(), nn.Linear(24 * 36, 50), LIF(), nn.Linear(50, 3)
    )
    event_driven, torch_engine = both_engines(network, pixels(100, 1, 14, 14, dtype=torch.float32))
    spikes, different = spikes_and_differences(event_driven, torch_engine)
    assert spikes > 200_000, "too few spikes to see a difference"
    assert different <= 1e-5 * spikes


@pytest.mark.slow
def test_single_precision_with_a_hidden_filter_differs_by_next_to_nothing(conv_network: nn.Sequential) -> None:
    event_driven, torch_engine = both_engines(conv_network, pixels(100, 1, 13, 13, dtype=torch.float32))
    spikes, different = spikes_and_differences(event_driven, torch_engine)
    assert spikes > 100_000, "too few spikes to see a difference"
    assert different <= 2e-4 * spikes
    assert (event_driven.predictions == torch_engine.predictions).float().mean() > 0.99


def test_a_layer_without_a_spike(conv_network: nn.Sequential) -> None:
    with torch.no_grad():
        conv_network.conv2.bias.fill_(-1e6)
    event_driven = simulate(conv_network, pixels(3, 1, 13, 13, dtype=torch.float32), 10, engine="event_driven")
    torch_engine = simulate(conv_network, pixels(3, 1, 13, 13, dtype=torch.float32), 10, engine="torch")
    assert not event_driven.spike_counts["neuron2"].any() and event_driven.spike_counts["neuron1"].any()
    assert torch.allclose(event_driven.outputs, torch_engine.outputs, atol=1e-6)


def test_a_neuron_without_a_compiled_step_runs_on_the_reference(caplog: pytest.LogCaptureFixture) -> None:
    network = nn.Sequential(nn.Linear(4, 6), PoissonSpiking(neuron=LIF(intercept=-0.5)), nn.Linear(6, 2))
    images = pixels(3, 4, dtype=torch.float32)
    with caplog.at_level(logging.INFO, "ratespike"):
        chosen = simulate(network, images, 10)
    assert "simulated by the torch engine, because the event-driven one cannot run" in caplog.text
    assert torch.equal(chosen.outputs, simulate(network, images, 10, engine="torch").outputs)
    with pytest.raises(ParameterError, match=r"engine=event_driven: cannot run .*; try engine=torch"):
        simulate(network, images, 10, engine="event_driven")


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([LowPass(tau=0.01), nn.Linear(4, 6), LIF(), nn.Linear(6, 2)], "0, a filter that is not directly behind neurons"),
        ([nn.Linear(4, 6), LIF(), nn.Linear(6, 2), LowPass(tau=0.01)], "3, a filter that is not directly behind neurons"),
        ([nn.Linear(4, 6), LIF(), nn.LayerNorm(6), nn.Linear(6, 2)], "native_layer_norm in 2"),
        ([nn.Linear(4, 6), LIF(), nn.MaxPool1d(2), nn.Linear(3, 2)], "max_pool2d_with_indices in 2"),
    ],
    ids=["filter first", "filter behind weights", "not linear", "max pooling"],
)
def test_what_it_cannot_run_is_named(layers: list[nn.Module], reason: str) -> None:
    with pytest.raises(ParameterError, match=f"engine=event_driven: cannot run {reason}"):
        simulate(nn.Sequential(*layers), pixels(3, 4, dtype=torch.float32), 10, engine="event_driven")
