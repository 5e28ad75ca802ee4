"""Programs in `.pt2` files: reloaded by PyTorch alone they compute what the network and the simulation do."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import every_layer, some_images
from test_programs import stepped
from torch import Tensor, nn

from ratespike.exchange.programs import SimulationStep
from ratespike.exchange.torch_export import write_rates, write_step
from ratespike.neurons import LIF
from ratespike.parameters import ParameterError
from ratespike.synapses import LowPass

LEAKS: dict[str, Any] = {"max_rate": 300, "intercept": -0.2}


@pytest.mark.slow
def test_programs_compute_the_same_for_batches_of_any_size(tmp_path: Path) -> None:
    network = every_layer(LIF, **LEAKS)
    write_rates(network, tmp_path / "rates.pt2", some_images())
    step = write_step(network, tmp_path / "step.pt2", some_images(), 0.001, LowPass(tau=0.01))
    rates = torch.export.load(tmp_path / "rates.pt2").module()
    reloaded = torch.export.load(tmp_path / "step.pt2").module()
    for batch in (1, 2, 7):
        images = some_images(batch)
        assert torch.allclose(rates(images), network(images), atol=1e-5)
        state = [tensor.start(batch) for tensor in step.state]
        in_python = state
        for _ in range(10):
            output, *rest = reloaded(images, *state)
            expected, *rest_in_python = step(images, *in_python)
            state, in_python = rest[len(step.layers) :], rest_in_python[len(step.layers) :]
            assert torch.allclose(output, expected, atol=1e-5)
            assert all(torch.equal(*pair) for pair in zip(rest[:4], rest_in_python[:4], strict=True))
    spikes, _ = stepped(step, some_images(), 10)
    assert min(float(counts.sum()) for counts in spikes.values()) > 5
    for name in ("rates.pt2", "step.pt2"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            begins = {member: archive.read(member)[:2] for member in archive.namelist()}
        assert any(member.endswith("model.json") for member in begins)
        assert not {b"PK", b"\x80\x02", b"\x80\x04"} & set(begins.values()), "a pickle, or a zip that may hold one"


class Looks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.neuron = LIF()

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(x * 2 if x.sum() > 0 else x)


def test_a_forward_that_cannot_be_followed_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"network: torch\.export cannot follow its forward") as error:
        write_rates(Looks(), tmp_path / "rates.pt2", torch.rand(2, 4))
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_step_keeps_the_networks_own_state_out(tmp_path: Path) -> None:
    network = every_layer(LIF, **LEAKS)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stepped(SimulationStep(network, some_images()), some_images(), 3)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
