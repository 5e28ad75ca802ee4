"""A trained network in a format of other programs: read from top to bottom, it is all of `export.py`.

find -> build -> convert -> write -> say what the files are, and what is lost
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ratespike.config.invocation import started_by
from ratespike.config.job import Job
from ratespike.config.schemas import EXPORT_FORMATS, ExportConfig, is_registered
from ratespike.conversion.methods import Conversion
from ratespike.data import DataSet, Splits
from ratespike.exchange import nir, onnx, safetensors, torch_export
from ratespike.exchange.programs import SimulationStep
from ratespike.exchange.whole_file import whole_file
from ratespike.parameters import ParameterError, build
from ratespike.pipeline.answers import converted_without_images, simulator_of
from ratespike.pipeline.assembly import build_components
from ratespike.pipeline.checkpoint import Checkpoint, build_trained, load_weights
from ratespike.pipeline.saved_settings import trained_network
from ratespike.pipeline.simulator import Simulator
from ratespike.synapses import NoFilter, Synapse

_SAMPLE = 100  # validation images on which it is measured what NIR loses
_SETTINGS = ("network", "neuron", "synapse", "simulation", "conversion", "n_steps", "dt")  # that may be given anew


@dataclass(frozen=True)
class Exported:
    """A trained network that is to be written.

    Attributes:
        config: what the user asked for.
        trained: what the checkpoint holds, with the settings that the user gave.
        network: the network on rates.
        spiking: the network that runs on spikes, converted if the settings say so.
        simulator: the spiking mode of the settings.
        images: for their shape (batch, channels, height, width); validation images where spikes are counted on them.
    """

    config: ExportConfig
    trained: Checkpoint
    network: nn.Module
    spiking: nn.Module
    simulator: Simulator
    images: Tensor

    @property
    def folder(self) -> Path:
        """Where its files go."""
        return Path(self.config.folder)

    @property
    def filter(self) -> Synapse:
        """The filter behind the outputs; none where the read-out looks at unfiltered ones."""
        if self.config.simulation.readout != "last":
            return NoFilter()
        return self.simulator.synapse


def export_network(job: Job[ExportConfig]) -> None:
    """Write a trained network in the format that `to` names.

    Raises:
        ParameterError: no format, a missing package, a network that cannot be used, or something that the format cannot say.
    """
    config = job.config
    if job.number is not None:
        raise ParameterError("-m: this program does not sweep; call it once for each format")
    if config.to is None:
        raise ParameterError(f"to=null: give the format, one of {', '.join(EXPORT_FORMATS)}")
    if config.lossy and config.to != "nir":
        raise ParameterError(f"lossy=true: nothing is lost with to={config.to}; leave it out")
    trained = trained_network(config, job.plain, job.root)
    given = {key: job.plain[key] for key in _SETTINGS}
    trained = replace(trained, config=trained.config | given)
    where = config.source
    if config.model is None or is_registered(config.model):
        network: nn.Module = build_trained(trained, where)
    else:
        network = build_components(config, job.root).network.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        load_weights(network, trained, where)
    simulator = simulator_of(trained.config)
    spiking = _converted(network, simulator, config, job.root)
    images = _images(spiking, trained, config, job.root)
    exported = Exported(config, trained, network, spiking, simulator, images)
    try:
        exported.folder.mkdir(parents=True, exist_ok=True)
        _WRITERS[config.to](exported)
    except ParameterError as error:
        raise ParameterError(f"to={config.to}: {error}") from None
    except OSError as error:
        raise ParameterError(f"folder={config.folder}: cannot be written to ({error.strerror or error})") from None


def _converted(network: nn.Module, simulator: Simulator, config: ExportConfig, root: Path) -> nn.Module:
    """The network that runs on spikes; of safetensors, which hold the trained weights and the settings, the same one."""
    conversion = simulator.conversion
    if config.to == "safetensors":
        return network
    if type(conversion).simulate is not Conversion.simulate:
        kind = type(conversion).__name__
        raise ParameterError(f"conversion.type={kind}: is a way to simulate, which no file holds; give conversion=none")
    conversion.check(network)
    if not conversion.n_images:
        return converted_without_images(network, simulator)
    return simulator.converted(network, _splits(config, root))


def _images(spiking: nn.Module, trained: Checkpoint, config: ExportConfig, root: Path) -> Tensor:
    """An image of zeros, or some validation images where it is measured on them what NIR loses."""
    zeros = torch.zeros(1, *trained.image_shape)
    if config.to != "nir":
        return zeros
    try:
        is_measured = nir.is_measured(spiking, zeros, config.dt)
    except ParameterError as error:
        raise ParameterError(f"to=nir: {error}") from None
    return _splits(config, root).validation[:_SAMPLE].as_inputs() if is_measured else zeros


def _splits(config: ExportConfig, root: Path) -> Splits:
    data = build(DataSet, config.data, "data")  # type: ignore[type-abstract]
    return data.load(root).shown_for(config.n_steps, config.dt)


def _write_nir(exported: Exported) -> None:
    config = exported.config
    path = exported.folder / "network.nir"
    described = path.with_suffix(".json")
    with whole_file(path) as network, whole_file(described) as description:
        report = nir.write_nir(
            exported.spiking, network, exported.images, dt=config.dt, lossy=config.lossy, n_steps=config.n_steps
        )
        description.write_text(json.dumps({"dt": config.dt, **asdict(report)}, indent=2) + "\n", encoding="utf-8")
    print(f"{path}: for time steps of {config.dt:g} s; {described} has what follows")
    for name, reasons in report.lost.items():
        print(f"lost: {name}: {'; '.join(reasons)}")
    if report.loss is not None:
        print(f"for that {report.loss.in_words()}")
    if report.euler is not None:
        print(f"in a simulator whose step is Euler's {report.euler.in_words()}")
    if config.simulation.start != "zero":
        print(f"other simulators start at voltage 0, these settings at simulation.start={config.simulation.start}")
    print(_filter_in_words(exported, "is not in the file"))


def _write_onnx(exported: Exported) -> None:
    _write_programs(exported, ".onnx", onnx.write_rates, onnx.write_step)


def _write_torch_export(exported: Exported) -> None:
    _write_programs(exported, ".pt2", torch_export.write_rates, torch_export.write_step)


def _write_programs(
    exported: Exported, suffix: str, write_rates: Callable[..., None], write_step: Callable[..., SimulationStep]
) -> None:
    """Both files or, if one cannot be written, none: a step beside the rates of another network would mislead."""
    rates_path, step_path = exported.folder / f"rates{suffix}", exported.folder / f"step{suffix}"
    with whole_file(rates_path) as rates, whole_file(step_path) as one_step:
        write_rates(exported.network, rates, exported.images)
        step = write_step(exported.spiking, one_step, exported.images, exported.config.dt, exported.filter)
    print(f"{rates_path}: images -> outputs on rates")
    print(f"{step_path}: a time step of {step.dt:g} s on spikes, with {len(step.state)} tensors of state")
    print(_filter_in_words(exported, "is in the step"))


def _filter_in_words(exported: Exported, what: str) -> str:
    """A line on the filter behind the outputs."""
    if isinstance(exported.filter, NoFilter):
        return f"the outputs are unfiltered; simulation.readout={exported.config.simulation.readout} is to be made of them"
    return f"the read-out filter {exported.filter} {what}"


def _write_safetensors(exported: Exported) -> None:
    path = exported.folder / "network.safetensors"
    safetensors.write_safetensors(path, exported.network.state_dict(), exported.trained.description())
    evaluation = f"{started_by('evaluate')} checkpoint={path}"
    is_of_user_file = exported.trained.config["model"] is not None
    readers = f"{evaluation} model={exported.config.model}" if is_of_user_file else f'ratespike.load("{path}") and {evaluation}'
    print(f"{path}: weights and settings, for {readers}")


_WRITERS: dict[str, Callable[[Exported], None]] = {
    "nir": _write_nir,
    "onnx": _write_onnx,
    "torch_export": _write_torch_export,
    "safetensors": _write_safetensors,
}
