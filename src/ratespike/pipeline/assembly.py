"""From a configuration to the objects of a run: built and checked before Lightning and MLflow are imported."""

import functools
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ratespike.available_memory import check_fits
from ratespike.config.job import Job
from ratespike.config.schemas import Config, RunConfig, TrackingConfig, TrainerConfig, is_registered, training_config
from ratespike.config.stages import stages_of
from ratespike.conversion.convert import convert
from ratespike.conversion.methods import Conversion
from ratespike.conversion.plain_model import load_weights_of_plain_model, plain_model
from ratespike.data import Augmentation, DataSet, Splits
from ratespike.execution import distributed
from ratespike.execution.devices import n_cores
from ratespike.network import build_network
from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError, build
from ratespike.pipeline import memory_needed
from ratespike.pipeline.check_neurons import check_neurons, simulated_otherwise
from ratespike.pipeline.forwards import Forward, Rates
from ratespike.pipeline.losses import Loss
from ratespike.pipeline.optimizers import Optimizer
from ratespike.pipeline.rate_control import RateControl
from ratespike.pipeline.simulator import Simulator
from ratespike.pipeline.start_from import check_can_start_with, first_images, start_from_kept
from ratespike.synapses import Synapse
from ratespike.tracking import address

_CALIBRATION_IMAGES = 2000
_logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from ratespike.pipeline.classifier import Classifier


@dataclass(frozen=True)
class Components:
    """Everything that a run is made of.

    Attributes:
        data: the data set's description.
        splits: its images.
        augmentation: of the training images.
        network: as it is before training.
        converted: the trained plain network of a conversion, with neurons; None of a training.
        neurons: by neuron layer, how many.
        forward: of the training.
        loss: of it.
        rate_control: of it.
        optimizer: before it knows its parameters.
        simulator: the spiking mode.
    """

    data: DataSet
    splits: Splits
    augmentation: Augmentation
    network: nn.Module
    converted: nn.Module | None
    neurons: dict[str, int]
    forward: Forward
    loss: Loss
    rate_control: RateControl
    optimizer: Optimizer
    simulator: Simulator


def check_and_build(job: Job[RunConfig]) -> Components:
    """The components of a job whose result can be kept.

    Raises:
        ParameterError: a value that cannot be, devices that are not there, a place for results that cannot be reached.
    """
    config = job.config
    is_resumed = False
    if isinstance(config, Config):
        is_resumed = config.resume is not None
        if config.objective is not None and job.number is None:
            raise ParameterError(f"objective={config.objective}: only a search has one; add -m hydra/sweeper=optuna")
    _check_devices(config.trainer, config.simulation.engine)
    _check_system_metrics(config.tracking)
    address.check(address.resolve(config.tracking.uri, job.root), exists=is_resumed)
    components = build_components(config, job.root)
    for difference in simulated_otherwise(components.network, config):
        _logger.warning("%s", difference)
    return components


def build_components(config: RunConfig, root: Path) -> Components:
    """Build and try everything that can be wrong, with one simulated step of an image; raises `ParameterError`."""
    data = build(DataSet, config.data, "data")  # type: ignore[type-abstract]
    augmentation = build(Augmentation, config.augmentation, "augmentation")
    forward = build(Forward, config.forward, "forward")  # type: ignore[type-abstract]
    loss = build(Loss, config.loss, "loss")  # type: ignore[type-abstract]
    if loss.needs_rates and isinstance(forward, Rates):
        raise ParameterError(f"loss={config.loss['type']}: compares spikes with rates; add forward=spikes, or leave it out")
    rate_control = build(RateControl, config.rate_control, "rate_control")  # type: ignore[type-abstract]
    optimizer = build(Optimizer, config.optimizer, "optimizer")  # type: ignore[type-abstract]
    synapse = build(Synapse, config.synapse, "synapse")  # type: ignore[type-abstract]
    conversion = build(Conversion, config.conversion, "conversion")  # type: ignore[type-abstract]
    if isinstance(config, Config):
        _check_conversion(config)
        _check_can_be_registered(config, data)
    splits = _load(data, root).shown_for(config.n_steps, config.dt)
    if isinstance(config, Config):
        augmentation.check_colours(splits.train)
    torch.manual_seed(config.seed)
    network, converted = _networks(config, splits)
    if isinstance(config, Config):
        check_neurons(network, config, forward)
        if config.start_from is not None and not config.stages:
            start_from_kept(network, config.start_from, config.tracking.uri, root, first_images(splits))
        _check_stages(config, network, root)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on CPUs
    simulator = Simulator(config.simulation, config.dt, synapse, splits.test.event_height, conversion)
    simulator.check(network, config.n_steps)
    simulated = simulator.tried(network, splits)
    _check_memory(config, network, splits, simulated.neurons)
    if simulated.outputs.shape[2:] != (splits.classes,):
        shape = tuple(simulated.outputs.shape[2:])
        raise ParameterError(
            f"model={config.model}: its output has the shape {shape}, but the data have {splits.classes} classes"
        )
    return Components(
        data=data,
        splits=splits,
        augmentation=augmentation,
        network=network,
        converted=converted,
        neurons=simulated.neurons,
        forward=forward,
        loss=loss,
        rate_control=rate_control,
        optimizer=optimizer,
        simulator=simulator,
    )


def _check_stages(config: Config, network: nn.Module, root: Path) -> None:
    """Raise `ParameterError` if a stage cannot be trained, or its weights cannot be used by the training behind it."""
    stages = stages_of(asdict(config))
    if stages and config.model is not None:
        raise ParameterError(f"stages.{stages[0][0]}: model={config.model} is converted, not trained; leave the stages out")
    following = network
    for name, settings in reversed(stages):
        try:
            trained = build_components(training_config({**settings, "stages": {}}), root).network
            check_can_start_with(following, trained)
        except ParameterError as error:
            raise ParameterError(f"stages.{name}: {error}") from None
        following = trained


def _check_conversion(config: Config) -> None:
    """Raise `ParameterError` if a conversion lacks its model or weights, or has layers besides."""
    if (config.model is None) != (config.checkpoint is None):
        raise ParameterError(
            f"model={config.model} checkpoint={config.checkpoint}: a conversion needs both, "
            "as in +experiment=convert model=<file.py>:<name> checkpoint=<file>"
        )
    if config.checkpoint is not None and not Path(config.checkpoint).is_file():
        raise ParameterError(f"checkpoint={config.checkpoint}: there is no such file")
    if config.model is not None and config.start_from is not None:
        raise ParameterError(
            f"start_from={config.start_from}: a conversion has the weights of checkpoint={config.checkpoint}; leave it out"
        )
    if config.model is not None and config.network.layers:
        raise ParameterError(
            f"model={config.model}: has layers of its own; add network=plain_model, or take +experiment=convert"
        )


def _check_can_be_registered(config: Config, data: DataSet) -> None:
    """Raise `ParameterError` for a run whose model the registry must not have."""
    if config.register is None:
        return
    if config.model is not None:
        raise ParameterError(f"register={config.register}: model={config.model} is code of yours, which a model does not hold")
    if data.is_slice:
        raise ParameterError(
            f"register={config.register}: this run uses a slice of the data (data.train_images, data.test_images) and is no "
            "result; leave out +debug, or register="
        )


def _networks(config: RunConfig, splits: Splits) -> tuple[nn.Module, nn.Module | None]:
    """The network before training; and of a conversion the trained one, whose scales come from some training images."""
    if config.model is None or is_registered(config.model):
        return _build_network(config, splits), None
    neuron = build(Neuron, config.neuron, "neuron")  # type: ignore[type-abstract]
    images = splits.some_training_images(_CALIBRATION_IMAGES).as_inputs()
    plain = plain_model(config.model)
    untrained = convert(plain, neuron=neuron, images=images)
    if not isinstance(config, Config):  # an evaluation has the weights of its run
        return untrained, None
    load_weights_of_plain_model(plain, Path(str(config.checkpoint)))
    converted = convert(plain, neuron=neuron, images=images)
    for layer in converted.report:
        _logger.info("%s: max_rate at an activation of %.3g, error %.2g", layer.name, layer.scale, layer.error)
    return untrained, converted


def build_classifier(components: Components, job: Job[RunConfig], n_steps: int) -> "Classifier":
    """The LightningModule of a job, whose tests simulate `n_steps` steps."""
    from ratespike.metrics import RateVsSpike
    from ratespike.pipeline.classifier import Classifier

    data, splits = components.data, components.splits
    description: dict[str, Any] = {
        "config": job.plain,
        "image_shape": list(splits.image_shape),
        "classes": splits.classes,
        "class_names": list(splits.class_names),
        "value_range": list(splits.train.value_range),
    }
    image = torch.zeros(1, *splits.image_shape)
    return Classifier(
        network=components.network,
        forward=components.forward,
        layers=list(components.neurons),
        loss=components.loss,
        optimizer=components.optimizer,
        simulator=components.simulator,
        n_steps=n_steps,
        comparison=RateVsSpike(n_steps, job.config.dt, splits.classes, components.neurons, data.report_first),
        seed=job.config.seed,
        description=description,
        class_weights=splits.balanced_weights if data.class_weights == "balanced" else None,
        held_rates=components.rate_control.of(components.network, image, job.config.dt),
    )


def _check_memory(config: RunConfig, network: nn.Module, splits: Splits, neurons: Mapping[str, int]) -> None:
    """Raise `ParameterError` if a run needs more memory than there is; what a GPU has is not counted."""
    results = memory_needed.of_results(config.n_steps, splits.classes, len(splits.test))
    check_fits(results, f"n_steps={config.n_steps}")
    if not isinstance(config, Config):
        return
    weights = sum(parameter.numel() for parameter in network.parameters())
    batch = min(config.data.get("batch_size", 1), len(splits.train))
    on_host = 0 if _n_gpus(config.trainer) else batch
    check_fits(
        memory_needed.of_training(weights, sum(neurons.values()), on_host), f"network, data.batch_size={batch}: a training"
    )


def _n_gpus(trainer: TrainerConfig) -> int:
    """How many GPUs of this host a run may use."""
    return 0 if trainer.accelerator == "cpu" else torch.cuda.device_count()


def _check_system_metrics(tracking: TrackingConfig) -> None:
    """Raise `ParameterError` if MLflow lacks what it measures the load of processors by."""
    if tracking.system_metrics and util.find_spec("psutil") is None:
        raise ParameterError("tracking.system_metrics=true: MLflow measures them by psutil; pip install psutil")


def _check_devices(trainer: TrainerConfig, engine: str) -> None:
    """Of this host; where a sweep is started there may be others."""
    n_gpus = torch.cuda.device_count()
    if trainer.accelerator == "gpu" and not n_gpus and not torch.backends.mps.is_available():
        raise ParameterError("trainer.accelerator=gpu: there is none here; take auto or cpu")
    if trainer.accelerator != "cpu" and 0 < n_gpus < trainer.devices:
        raise ParameterError(f"trainer.devices={trainer.devices}: there are {n_gpus} GPUs here")
    if not _n_gpus(trainer) and distributed.n_ranks() == 1 and trainer.devices > n_cores():
        raise ParameterError(f"trainer.devices={trainer.devices}: there are {n_cores()} cores here")
    if _n_gpus(trainer) and engine == "event_driven":
        raise ParameterError("simulation.engine=event_driven: is for CPUs, and there is a GPU; add trainer.accelerator=cpu")


def _build_network(config: RunConfig, splits: Splits) -> nn.Sequential:
    if not config.network.layers:
        raise ParameterError(
            "network.layers: there are none; give some, or a trained network by model=<file.py>:<name> checkpoint="
        )
    return build_network(
        config.network.layers, config.neuron, splits.image_shape, splits.classes, config.network.initialisation
    )


@functools.lru_cache(maxsize=1)  # the jobs of a sweep are checked one after the other
def _load(data: DataSet, root: Path) -> Splits:
    return data.load(root)
