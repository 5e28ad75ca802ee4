"""Which engine counts the spikes of a batch."""

import pytest
import torch
from torch import nn

from ratespike import simulate
from ratespike.neurons import LIF, AdaptiveLIF, Neuron
from ratespike.parameters import ParameterError
from ratespike.simulation import Simulation
from ratespike.simulation.mean_spikes import mean_spikes


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engines that are asked, one after the other."""
    asked: list[str] = []

    def noting(*arguments: object, engine: str, **options: object) -> Simulation:
        asked.append(engine)
        return simulate(*arguments, engine=engine, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("ratespike.simulation.mean_spikes.simulate", noting)
    return asked


def network(neuron: Neuron) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), neuron, nn.Linear(4, 2))


def test_a_network_without_a_compiled_step_is_tried_once(engines: list[str]) -> None:
    adaptive = network(AdaptiveLIF(intercept=-0.5))
    for _ in range(2):  # as in a training, whose weights are others in each batch
        (mean,) = mean_spikes(adaptive, torch.ones(2, 3), 5, 0.001, ["1"])
        expected = simulate(adaptive, torch.ones(2, 3), 5, 0.001, record=["1"], engine="torch").recordings["1"].mean(0)
        assert torch.equal(mean, expected)
        nn.init.ones_(adaptive[0].weight)
    assert engines == ["event_driven", "torch", "torch"]


def test_what_no_engine_can_simulate_is_not_tried_again(engines: list[str]) -> None:
    with pytest.raises(ParameterError, match="images"):
        mean_spikes(network(LIF()), torch.full((2, 3), torch.nan), 5, 0.001, ["1"])
    assert engines == ["event_driven"]
