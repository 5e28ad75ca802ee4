"""Networks in ONNX: the rate mode, and one time step on spikes with its state as inputs and outputs.

Both are programs of `torch.export` (`ratespike.exchange.torch_export`) translated by PyTorch's exporter. ONNX has no `log1p`
and no `expm1`; in float32 `log(1 + x)` and `exp(x) - 1` lose the digits that decide in which step a neuron fires. So these two
are computed in float64 there.
"""

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ratespike.exchange.packages import needed
from ratespike.exchange.programs import SimulationStep
from ratespike.exchange.torch_export import rates_program, step_program
from ratespike.exchange.whole_file import whole_file
from ratespike.parameters import ParameterError
from ratespike.synapses import NoFilter, Synapse

METADATA = "ratespike"  # the key under which a step's description is kept, as JSON

_aten = torch.ops.aten


def write_rates(network: nn.Module, path: str | Path, images: Tensor) -> None:
    """Write the rate mode of a network to an ONNX file.

    Its input is `images`, its output `outputs`; the batch may have any size.

    Args:
        network: any network with neurons.
        path: of the file.
        images: some images, for their shape (batch, ...).

    Raises:
        ParameterError: a package is missing, or a forward that cannot be exported.

    Example:
        ```python
        write_rates(network, "rates.onnx", images)
        session = onnxruntime.InferenceSession("rates.onnx")
        (outputs,) = session.run(None, {"images": images.numpy()})
        ```
    """
    needed("onnxscript", "onnx")
    _write(rates_program(network, images), path, ["images"], ["outputs"], {})


def write_step(
    network: nn.Module,
    path: str | Path,
    images: Tensor,
    dt: float = 0.001,
    synapse: Synapse = NoFilter(),  # noqa: B008  # without state
) -> SimulationStep:
    """Write one time step of a network on spikes to an ONNX file.

    Inputs are `images` and the state before the step, such as `neuron1.voltage`; outputs are `outputs`, behind the filter, the
    spikes of each layer, such as `neuron1.spikes`, and the state after the step, such as `neuron1.voltage.next`. The file's
    metadata hold under `ratespike` the step's length and each state's shape and value at a start from zero, as JSON.

    Args:
        network: any network that can be simulated.
        path: of the file.
        images: some images, for their shape (batch, ...).
        dt: length of the step, seconds.
        synapse: the filter behind the network's output.

    Returns:
        The step, whose `state` says what comes in and goes out.

    Raises:
        ParameterError: a package is missing, random neurons, or something that cannot be exported.
    """
    needed("onnxscript", "onnx")
    step = SimulationStep(network, images, dt, synapse)
    state = [tensor.name for tensor in step.state]
    spikes = [f"{layer}.spikes" for layer in step.layers]
    described = [asdict(tensor) | {"dtype": str(tensor.dtype).removeprefix("torch.")} for tensor in step.state]
    _write(
        step_program(step, images),
        path,
        ["images", *state],
        ["outputs", *spikes, *[f"{name}.next" for name in state]],
        {"dt": dt, "layers": step.layers, "state": described},
    )
    return step


def _write(
    program: torch.export.ExportedProgram, path: str | Path, inputs: Sequence[str], outputs: Sequence[str], description: Any
) -> None:
    """Write a program to a file that is there as a whole or not at all."""
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):  # they log each step, and warn of packages that are not needed here
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            translated = torch.onnx.export(
                program.run_decompositions({_aten.log1p.default: _log1p, _aten.expm1.default: _expm1}),
                dynamo=True,
                input_names=list(inputs),
                output_names=list(outputs),
                verbose=False,
            )
        assert translated is not None
        if description:
            translated.model.metadata_props[METADATA] = json.dumps(description)
        with whole_file(path) as unfinished:
            translated.save(str(unfinished), external_data=False)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParameterError(f"network: PyTorch's exporter cannot write it as ONNX ({reason})") from None


def _log1p(x: Tensor) -> Tensor:
    return torch.log(1 + x.double()).to(x.dtype)


def _expm1(x: Tensor) -> Tensor:
    return (torch.exp(x.double()) - 1).to(x.dtype)
