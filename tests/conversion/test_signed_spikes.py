"""Negative spikes: the neuron's rule step by step, what they mend, and the same spikes from both engines."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from ratespike import simulate
from ratespike.conversion.methods import SignedSpikes
from ratespike.neurons import LIF, IntegrateAndFire, Neuron
from ratespike.parameters import ParameterError


def spikes_of(neuron: Neuron, currents: list[float], voltage: float = 0.5) -> list[float]:
    state = neuron.initial_state(torch.tensor([voltage]))
    spikes = []
    for current in currents:
        spiked, state = neuron.step(torch.tensor([1000 * current]), state, 0.001)
        spikes.append(float(spiked))
    return spikes


def test_a_spike_is_taken_back_where_one_was_sent() -> None:
    """V = 0.5: 1.5 fires and leaves 0.5; -0.75 takes it back and leaves 0.25; at -0.75 nothing is left to take back."""
    signed = IntegrateAndFire(negative_spikes=True)
    assert spikes_of(signed, [1.0, -1.25, -1.0, -1.0, 3.0]) == [1, -1, 0, 0, 1]
    assert spikes_of(IntegrateAndFire(), [1.0, -1.25, -1.0, -1.0, 3.0]) == [1, 0, 0, 0, 0]
    high = IntegrateAndFire(negative_spikes=True, threshold=2)
    assert spikes_of(high, [2.0, -2.5, -2.0], voltage=0.5) == [1, -1, 0]


def test_late_inhibition_no_longer_leaves_spikes() -> None:
    """The count nears T * max(mean, 0), whatever the order of the inputs: half a spike is the largest error."""
    torch.manual_seed(0)
    currents = torch.randn(40, 500) * 0.3 + torch.linspace(-0.2, 0.2, 500)
    errors = []
    for negative in (False, True):
        neuron = IntegrateAndFire(negative_spikes=negative)
        state = neuron.initial_state(torch.full((500,), 0.5))
        count = torch.zeros(500)
        for current in currents:
            spiked, state = neuron.step(1000 * current, state, 0.001)
            count += spiked
        errors.append((count - currents.sum(0).clamp(min=0)).abs().mean())
    assert errors[1] < 0.7 * errors[0]


class Skipping(nn.Module):
    """Two layers of neurons of which the second sees max-pooled and plain spikes of the first."""

    def __init__(self, neuron: Neuron):
        super().__init__()
        torch.manual_seed(2)
        self.a, self.n1, self.pool = nn.Conv2d(1, 5, 3), neuron, nn.MaxPool2d(2)
        self.b, self.n2, self.out = nn.Conv2d(5, 6, 2), deepcopy(neuron), nn.Linear(24, 3)
        self.plain = nn.Conv2d(5, 6, 4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.n1(self.a(x))
        return self.out(self.n2(self.b(self.pool(h)) + 3 * self.plain(h)).flatten(1))


@pytest.mark.slow
@pytest.mark.parametrize("early_exit", [None, 0.4])
def test_both_engines_send_the_same(early_exit: float | None) -> None:
    trained = Skipping(IntegrateAndFire(max_rate=1000, threshold=0.7))
    with torch.no_grad():
        trained.a.weight.mul_(3)
    network = SignedSpikes().converted(trained, torch.zeros(0))
    images = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    results = []
    for engine in ("torch", "event_driven"):
        options = {"record": ["n1", "n2"], "engine": engine, "early_exit": early_exit}
        results.append(simulate(network, images, 25, **options))  # type: ignore[arg-type]
    right, found = results
    assert (right.recordings["n2"] < 0).sum() > 20, "nothing was taken back"
    for layer in ("n1", "n2"):
        assert torch.equal(found.recordings[layer], right.recordings[layer])
        assert torch.equal(found.spike_counts[layer], right.spike_counts[layer])
        assert torch.equal(right.spike_counts[layer], right.recordings[layer].abs().flatten(2).sum(2))
    assert torch.equal(found.synaptic_operations, right.synaptic_operations)
    assert torch.allclose(found.outputs, right.outputs, atol=1e-5)


def test_what_cannot_take_back_is_refused() -> None:
    with pytest.raises(ParameterError, match="0: is a LIF; only IntegrateAndFire has negative spikes"):
        SignedSpikes().check(nn.Sequential(LIF()))
    with pytest.raises(ParameterError, match="0: has reset=zero; negative spikes need reset=subtract"):
        SignedSpikes().check(nn.Sequential(IntegrateAndFire(reset="zero")))
    with pytest.raises(ParameterError, match="negative_spikes=True: needs reset=subtract, not reset=zero"):
        IntegrateAndFire(reset="zero", negative_spikes=True)
