"""A start in the middle of the firing cycle: voltages and first spikes in closed form."""

import torch
from torch import nn

from ratespike import simulate
from ratespike.neurons import LIF, IntegrateAndFire

DT = 0.0001


def test_the_first_spike_of_a_lif_comes_after_half_a_period() -> None:
    neuron = LIF()
    gain, bias = neuron.gain_and_bias()
    currents = torch.tensor([1.5, 3.03, 10.0, 40.0], dtype=torch.float64)
    period = neuron.tau_ref + neuron.tau_rc * torch.log1p(1 / (currents - 1))
    inputs = ((currents - bias) / gain)[None]
    result = simulate(nn.Sequential(neuron), inputs, 400, DT, start="half_phase", record=["0"], engine="torch")
    first_spikes = result.recordings["0"][:, 0].argmax(0) + 1  # in which step
    assert first_spikes.tolist() == (period / 2 / DT).ceil().tolist()

    v0 = currents - (currents - 1) * torch.exp(period / 2 / neuron.tau_rc)
    first_voltages = currents + (v0 - currents) * torch.exp(torch.tensor(-DT / neuron.tau_rc))
    assert torch.allclose(result.voltages["0"][0, 0, :3], first_voltages[:3])  # the last one rests at first


def test_a_neuron_without_leak_starts_at_half() -> None:
    network = nn.Sequential(nn.Linear(3, 4), IntegrateAndFire(max_rate=1000), nn.Linear(4, 2))
    outputs = [simulate(network, torch.ones(1, 3), 6, start=start, engine="torch").outputs for start in ("half", "half_phase")]
    assert torch.equal(*outputs)
