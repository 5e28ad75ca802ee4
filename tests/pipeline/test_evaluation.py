import torch
from torch import nn

from ratespike.pipeline.evaluation import _digest


def test_a_simulation_is_known_by_the_weights_that_it_was_of() -> None:
    """A checkpoint's file or a run's name may stand for another network later."""
    network = nn.Sequential(nn.Linear(3, 2), nn.Conv2d(1, 1, 3).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    before = _digest(network.state_dict())
    assert _digest({name: weights.clone() for name, weights in reversed(network.state_dict().items())}) == before
    with torch.no_grad():
        network[0].weight[0, 0] += 1e-6
    assert _digest(network.state_dict()) != before
