"""Networks in NIR, the exchange format of neuromorphic hardware and simulators, and from it.

NIR describes neurons in continuous time and says nothing of time steps. What its readers agree on, and what NIR cannot say, is
written in `ratespike.exchange.nir_neurons`. A file is for one length of the time step: with another one its weights would be
wrong, because a spike here has the height `scale / dt` and there 1.

Source: Pedersen et al. 2024, "Neuromorphic intermediate representation: a unified instruction set for interoperable
brain-inspired computing", doi:10.1038/s41467-024-52259-9; its primitives at https://neuroir.org/docs/primitives.html.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ratespike.exchange.deviation import Deviation, deviation
from ratespike.exchange.nir_graph import GraphOf, as_nir
from ratespike.exchange.nir_network import Meaning, NIRNetwork
from ratespike.exchange.nir_neurons import is_leaky, nearest, what_is_lost
from ratespike.exchange.nir_reading import read_graph
from ratespike.exchange.packages import needed
from ratespike.exchange.whole_file import whole_file
from ratespike.neurons import LIF, Neuron, lif_rate
from ratespike.parameters import ParameterError
from ratespike.simulation.forward import evaluation_copy
from ratespike.simulation.network_analysis import analyse
from ratespike.simulation.tracing import Trace
from ratespike.synapses import LowPass

UPDATES = ("exact", "euler")
RESETS = ("zero", "subtract")

__all__ = ["NIRReport", "is_measured", "read_nir", "write_nir"]


@dataclass(frozen=True)
class NIRReport:
    """What a NIR file does not say of the network that it was made of.

    Attributes:
        lost: by neuron layer, what NIR cannot say of its neurons; empty if the file says everything.
        loss: by how much the file's network differs from the original for that; None if nothing is lost.
        euler: by how much the network differs in a simulator whose step is Euler's; None if there are no time constants, if one
            is not longer than a step, or if they are written for such a simulator.
    """

    lost: dict[str, list[str]]
    loss: Deviation | None
    euler: Deviation | None


def write_nir(
    network: nn.Module,
    path: str | Path,
    images: Float[Tensor, "batch ..."],
    *,
    dt: float = 0.001,
    update: str = "exact",
    lossy: bool = False,
    n_steps: int = 30,
) -> NIRReport:
    """Write a network to a NIR file.

    Gain and bias of neurons, the height of spikes, batch normalisation and the factor of average poolings go into the weights.
    Branches become edges. A read-out filter is no part of a network; `nn.Sequential(network, LowPass(tau=0.1))` has one.

    Args:
        network: any network that can be simulated, whose operations between neurons NIR has.
        path: of the file, which is there as a whole or not at all.
        images: some images, on which spikes are counted where something is lost; else their shape alone matters.
        dt: length of the time step, seconds, for which the file is.
        update: `exact` writes time constants as they are; `euler` those with which a simulator whose step is Euler's counts
            the same spikes as this one, at this `dt`.
        lossy: whether neurons that NIR does not have may be replaced by the nearest that it has (`nir_neurons.nearest`).
        n_steps: for how many steps spikes are counted.

    Raises:
        ParameterError: a package is missing; something that NIR cannot say; the network cannot be simulated.

    Example:
        >>> import tempfile
        >>> from ratespike.neurons import IntegrateAndFire
        >>> network = nn.Sequential(nn.Linear(4, 8), IntegrateAndFire(max_rate=1000, reset="zero"), nn.Linear(8, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_nir(network, f"{folder}/a.nir", torch.rand(2, 4))
        ...     again = read_nir(f"{folder}/a.nir")
        NIRReport(lost={}, loss=None, euler=None)
    """
    nir = needed("nir")
    _check_word("update", update, UPDATES)
    lost = _lost_of(network, images)
    if lost and not lossy:
        first, reasons = next(iter(lost.items()))
        others = f" (and {len(lost) - 1} more layers)" if len(lost) > 1 else ""
        remedy = "lossy=true writes the nearest neurons that NIR has and measures what is lost"
        raise ParameterError(f"{first}{others}: {'; '.join(reasons)}; {remedy}")
    sayable = _with_neurons(network, nearest) if lost else network
    found = analyse(sayable, images).trace
    graph = GraphOf(found, dt, _for_euler(dt) if update == "euler" else float)
    metadata = {"written_by": "ratespike", "dt": dt, "update": update, "start": "zero", "reset": "zero"}
    if lost:
        metadata["lost"] = "; ".join(f"{name}: {', '.join(reasons)}" for name, reasons in lost.items())
    as_graph = as_nir(graph, found.images.dtype, metadata)
    loss = deviation(network, sayable, images, n_steps, dt) if lost else None
    euler = None
    if update == "exact" and _has_euler_steps(found, dt):
        euler = deviation(sayable, _stepped_by_euler(sayable, dt), images, n_steps, dt)
    try:
        with whole_file(path) as unfinished:
            nir.write(str(unfinished), as_graph)
            nir.read(str(unfinished))  # as others will, with all shapes checked
    except (AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParameterError(f"network: NIR's own reader refuses its graph ({reason})") from None
    return NIRReport(lost, loss, euler)


def is_measured(network: nn.Module, images: Float[Tensor, "batch ..."], dt: float = 0.001) -> bool:
    """Whether `write_nir` counts spikes on its images: something is lost, or time constants play a part.

    Args:
        network: any network that can be simulated.
        images: some images, for their shape.
        dt: length of the time step, seconds.

    Raises:
        ParameterError: a neuron that is like none of NIR's; the network cannot be simulated.

    Example:
        >>> from ratespike.neurons import IntegrateAndFire
        >>> is_measured(LIF(), torch.rand(1, 4)), is_measured(IntegrateAndFire(reset="zero"), torch.rand(1, 4))
        (True, False)
    """
    return bool(_lost_of(network, images)) or _has_euler_steps(analyse(network, images).trace, dt)


def read_nir(
    path: str | Path,
    *,
    dt: float = 0.001,
    update: str = "exact",
    reset: str = "zero",
    dtype: torch.dtype = torch.float32,
) -> NIRNetwork:
    """A network from a NIR file, for `ratespike.simulate` with the same `dt`.

    Nothing in the file is trusted: its sizes are checked before anything is computed, and nothing in it can run.

    Args:
        path: of the file.
        dt: length of the time step, seconds, for which the file is.
        update: `exact` takes time constants as they are; `euler` as a simulator whose step is Euler's means them at this `dt`,
            such as snnTorch (whose files are for `dt=0.0001`).
        reset: of an IF, `zero` as NIR's formula says, or `subtract`, as Sinabs means it.
        dtype: of the network's numbers.

    Returns:
        The network in eval mode. Its layers have the names of the file's nodes.

    Raises:
        ParameterError: a package is missing; no such file, or one that cannot be read; neurons, or an order of neurons, that
            ratespike does not have; sizes that do not fit, or that no memory holds.
    """
    needed("nir")
    _check_word("update", update, UPDATES)
    _check_word("reset", reset, RESETS)
    if not (math.isfinite(dt) and dt > 0):
        raise ParameterError(f"dt={dt}: must be a number above 0 (s)")
    graph = read_graph(Path(path))
    meaning = Meaning(dt, _of_euler(dt) if update == "euler" else float, reset, dtype)
    try:
        return NIRNetwork(graph, meaning).to(dtype).eval()
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ParameterError(f"{path}: holds a graph that cannot be built ({type(error).__name__}: {reason})") from None


def _lost_of(network: nn.Module, images: Tensor) -> dict[str, list[str]]:
    """By neuron layer what NIR cannot say; raises `ParameterError` for a neuron that is like none of its neurons."""
    lost: dict[str, list[str]] = {}
    for call in analyse(network, images).trace.neurons:
        assert isinstance(call.module, Neuron)
        try:
            reasons = what_is_lost(call.module)
        except ParameterError as error:
            raise ParameterError(f"{call.name}: {error}") from None
        if reasons:
            lost[call.name] = reasons
    return lost


def _with_neurons(network: nn.Module, change: Callable[[Neuron], Neuron]) -> nn.Module:
    """A copy of a network with other neurons in the places of its own; one that is called twice stays one."""
    copied = evaluation_copy(network)
    if isinstance(copied, Neuron):
        return change(copied)
    changed: dict[Neuron, Neuron] = {}
    for module in list(copied.modules()):
        for name, child in module.named_children():
            if isinstance(child, Neuron):
                changed.setdefault(child, change(child))
                setattr(module, name, changed[child])
    return copied


def _stepped_by_euler(network: nn.Module, dt: float) -> nn.Module:
    """A copy whose exact steps are what Euler's are with the network's own time constants."""
    time_constant = _of_euler(dt)

    def change(neuron: Neuron) -> Neuron:
        if not is_leaky(neuron):
            return neuron
        assert isinstance(neuron, LIF)
        tau_rc = time_constant(neuron.tau_rc)
        gain, bias = neuron.gain_and_bias()  # stay, with other parameters
        current_at_one = torch.tensor(gain + bias, dtype=torch.float64)
        return LIF(
            max_rate=float(lif_rate(current_at_one, tau_rc, neuron.tau_ref)),
            intercept=(1 - bias) / gain,
            amplitude=neuron.scale,
            tau_rc=tau_rc,
            tau_ref=neuron.tau_ref,
            min_voltage=neuron.min_voltage,
        )

    changed = _with_neurons(network, change)
    for module in changed.modules():
        if isinstance(module, LowPass):
            module.tau = time_constant(module.tau)
    return changed


def _has_euler_steps(found: Trace, dt: float) -> bool:
    """Whether a network has time constants, all of which are longer than a step of Euler's."""
    constants: list[float] = []
    for call in found.calls:
        if isinstance(call.module, LIF):
            constants.append(call.module.tau_rc)
        elif isinstance(call.module, LowPass):
            constants.append(call.module.tau)
    return bool(constants) and min(constants) > dt


def _for_euler(dt: float) -> Callable[[float], float]:
    """The time constant with which Euler's step is the exact one of another: `1 - exp(-dt / tau) = dt / result`."""
    return lambda tau: -dt / math.expm1(-dt / tau)


def _of_euler(dt: float) -> Callable[[float], float]:
    """The time constant whose exact step is Euler's of another: `dt / tau = 1 - exp(-dt / result)`."""

    def exact(tau: float) -> float:
        if not tau > dt:
            raise ParameterError(f"a time constant of {tau:g} s: Euler's step needs one above dt={dt:g} s")
        return -dt / math.log1p(-dt / tau)

    return exact


def _check_word(name: str, word: str, allowed: Sequence[str]) -> None:
    if word not in allowed:
        raise ParameterError(f"{name}={word}: must be one of {', '.join(allowed)}")
