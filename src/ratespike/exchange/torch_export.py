"""Networks as programs of `torch.export`, in `.pt2` files that run without ratespike.

The files hold no pickle. PyTorch's `torch.export.load` would read one all the same, so a `.pt2` file of a stranger can run
code.
"""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ratespike.exchange.programs import Rates, SimulationStep
from ratespike.exchange.whole_file import whole_file
from ratespike.parameters import ParameterError
from ratespike.synapses import NoFilter, Synapse

_EXAMPLE_IMAGES = 2  # of one, the exporter would conclude that a batch always has one


def rates_program(network: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """The rate mode of a network, for batches of any size.

    Args:
        network: any network with neurons.
        images: some images, for their shape (batch, ...).

    Raises:
        ParameterError: a forward that `torch.export` cannot follow.

    Example:
        >>> from ratespike.neurons import LIF
        >>> network = nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 3)).eval()
        >>> program = rates_program(network, torch.rand(2, 4))
        >>> images = torch.rand(5, 4)
        >>> bool(torch.allclose(program.module()(images), network(images), atol=1e-6))
        True
    """
    return _exported(Rates(network), (_example(images),))


def step_program(step: SimulationStep, images: Tensor) -> torch.export.ExportedProgram:
    """One time step of a network on spikes, for batches of any size.

    Args:
        step: the step; the program takes and returns what it does.
        images: some images, for their shape (batch, ...).

    Raises:
        ParameterError: a forward, or a neuron's step, that `torch.export` cannot follow.
    """
    example = _example(images)
    return _exported(step, (example, *[tensor.start(len(example)) for tensor in step.state]))


def write_rates(network: nn.Module, path: str | Path, images: Tensor) -> None:
    """Write the rate mode of a network to a `.pt2` file, which `torch.export.load` reads.

    Args:
        network: any network with neurons.
        path: of the file.
        images: some images, for their shape (batch, ...).

    Raises:
        ParameterError: a forward that `torch.export` cannot follow.

    Example:
        ```python
        write_rates(network, "rates.pt2", images)
        rates = torch.export.load("rates.pt2").module()(images)
        ```
    """
    save(rates_program(network, images), path)


def write_step(
    network: nn.Module,
    path: str | Path,
    images: Tensor,
    dt: float = 0.001,
    synapse: Synapse = NoFilter(),  # noqa: B008  # without state
) -> SimulationStep:
    """Write one time step of a network on spikes to a `.pt2` file, which `torch.export.load` reads.

    Args:
        network: any network that can be simulated.
        path: of the file.
        images: some images, for their shape (batch, ...).
        dt: length of the step, seconds.
        synapse: the filter behind the network's output.

    Returns:
        The step, whose `state` says what the program takes and returns.

    Raises:
        ParameterError: random neurons, or something that `torch.export` cannot follow.
    """
    step = SimulationStep(network, images, dt, synapse)
    save(step_program(step, images), path)
    return step


def save(program: torch.export.ExportedProgram, path: str | Path) -> None:
    """Write a program to a file that is there as a whole or not at all.

    PyTorch would keep example inputs in a pickle. They are left out: the file has a graph as JSON and numbers, and no pickle.
    """
    examples, written = program.example_inputs, io.BytesIO()
    try:
        program.example_inputs = None
        torch.export.save(program, written)
    finally:
        program.example_inputs = examples
    with whole_file(path) as unfinished:
        unfinished.write_bytes(written.getvalue())


def _example(images: Tensor) -> Tensor:
    return images.new_zeros(_EXAMPLE_IMAGES, *images.shape[1:])


@torch.no_grad()
def _exported(module: Rates | SimulationStep, arguments: Sequence[Tensor]) -> torch.export.ExportedProgram:
    """The program of a module, the first axis of whose arguments and results is a batch of any size."""
    batch = torch.export.Dim("batch", min=1)
    first, *others = ({0: batch} for _ in arguments)
    shapes: tuple[object, ...] = (first,) if isinstance(module, Rates) else (first, tuple(others))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module.eval(), tuple(arguments), dynamic_shapes=shapes)
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:200] if lines else type(error).__name__
        raise ParameterError(f"network: torch.export cannot follow its forward ({type(error).__name__}: {reason})") from None
