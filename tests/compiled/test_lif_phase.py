"""The compiled steady state of a LIF neuron against the same formulas in PyTorch's float64."""

import torch
from torch import Tensor

from ratespike.neurons.lif import lif_steady_state

CONSTANTS = {"dt": 0.001, "tau_rc": 0.02, "tau_ref": 0.002, "min_voltage": -0.5}


def drawn(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(len(shape)))


def test_values_of_every_layout() -> None:
    """More and fewer neurons than a vector has, with the channels last, and a current that all images share."""
    currents = {
        "rest": 4 * drawn(1_003) - 1,
        "few": 4 * drawn(5, 1) - 1,
        "channels last": (4 * drawn(3, 5, 7, 7) - 1).to(memory_format=torch.channels_last),
        "shared": (4 * drawn(1, 300) - 1).expand(4, 300),
    }
    for name, current in currents.items():
        phase = drawn(*current.shape)
        found = lif_steady_state(current, phase, **CONSTANTS)
        expected = lif_steady_state(current.double(), phase.double(), **CONSTANTS)
        for mine, precise in zip(found, expected, strict=True):
            assert mine.dtype == torch.float32
            assert torch.allclose(mine.double(), precise, rtol=0, atol=1e-6), name
        assert (found[0][found[1] > 0] == 0).all(), f"{name}: a neuron charges while it rests"


def test_extreme_currents() -> None:
    current = torch.tensor([torch.nan, torch.inf, 1e30, 1 + 2.0**-20, 1.0, -torch.inf])
    voltage, refractory_time = lif_steady_state(current, torch.full_like(current, 0.5), **CONSTANTS)
    assert voltage[0].isnan()
    assert voltage[1:].isfinite().all()
    assert refractory_time.isfinite().all()
    assert torch.allclose(voltage[3:], torch.tensor([1.0, 1.0, -0.5]), atol=2e-3)


def test_an_infinite_current_rests_and_a_phase_has_any_dtype() -> None:
    phase = torch.tensor([0.25, 0.5], dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        current = torch.tensor([torch.inf, 2.0], dtype=dtype)
        voltage, refractory_time = lif_steady_state(current, phase, **CONSTANTS)
        assert (voltage.dtype, refractory_time.dtype) == (dtype, dtype)
        assert voltage[0] == 0
        assert torch.allclose(refractory_time.double(), torch.tensor([0.75 * 0.002 + 0.001, 0], dtype=torch.float64))
