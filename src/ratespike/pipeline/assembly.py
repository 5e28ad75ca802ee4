"""What the configuration describes, built and checked, before Lightning and MLflow are imported."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ratespike.config.job import Job
from ratespike.config.schemas import Config, RunConfig, TrainerConfig
from ratespike.data import DataSet, Splits
from ratespike.network import build_network
from ratespike.parameters import ParameterError, build
from ratespike.pipeline.optimizers import Optimizer
from ratespike.simulation import Simulation, simulate
from ratespike.synapses import Synapse
from ratespike.tracking import address

if TYPE_CHECKING:
    from ratespike.pipeline.classifier import Classifier

STRATEGIES = ("auto", "ddp_spawn")


@dataclass(frozen=True)
class Components:
    """Everything that a run is made of.

    Attributes:
        data: the data set's description.
        splits: its images.
        network: as it is before training.
        neurons: by neuron layer, how many.
        optimizer: before it knows its parameters.
        simulate: the simulation with its settings, but for `n_steps`.
    """

    data: DataSet
    splits: Splits
    network: nn.Sequential
    neurons: dict[str, int]
    optimizer: Optimizer
    simulate: functools.partial[Simulation]


def check_and_build(job: Job[RunConfig]) -> Components:
    """The components of a job whose result can be kept; raises `ParameterError`."""
    resumed = isinstance(job.config, Config) and job.config.resume is not None
    if isinstance(job.config, Config) and job.config.objective is not None and job.number is None:
        raise ParameterError(f"objective={job.config.objective}: only a search has one; add -m hydra/sweeper=optuna")
    _check_devices(job.config.trainer)
    address.check(address.resolve(job.config.tracking.uri, job.root), exists=resumed)
    return build_components(job.config, job.root)


def build_components(config: RunConfig, root: Path) -> Components:
    """Build and try everything that can be wrong; raises `ParameterError`."""
    _check_strategy(config.trainer.strategy)
    data = build(DataSet, config.data, "data")  # type: ignore[type-abstract]
    optimizer = build(Optimizer, config.optimizer, "optimizer")  # type: ignore[type-abstract]
    synapse = build(Synapse, config.synapse, "synapse")  # type: ignore[type-abstract]
    torch.manual_seed(config.seed)
    network = build_network(config.network.layers, config.neuron, data.image_shape, data.classes, config.network.initialisation)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on CPUs
    run_simulation = functools.partial(_simulate, dt=config.dt, synapse=synapse, **vars(config.simulation))
    neurons = simulate(network, torch.zeros(1, *data.image_shape), n_steps=1, dt=config.dt, engine="torch").neurons
    return Components(data, _load(data, root), network, neurons, optimizer, run_simulation)


def build_classifier(components: Components, config: RunConfig, plain: Mapping[str, Any], n_steps: int) -> "Classifier":
    """The LightningModule, whose tests simulate `n_steps` steps."""
    from ratespike.metrics import Comparison
    from ratespike.pipeline.classifier import Classifier

    comparison = Comparison(n_steps, config.dt, components.data.classes, components.neurons, components.data.report_first)
    description = {"config": plain, "image_shape": list(components.data.image_shape), "classes": components.data.classes}
    simulation = functools.partial(components.simulate, n_steps=n_steps)
    return Classifier(
        components.network, components.optimizer, simulation, comparison, components.data.classes, config.seed, description
    )


def _check_devices(trainer: TrainerConfig) -> None:
    """Of this host; where a sweep is started there may be others."""
    n_gpus = torch.cuda.device_count()
    if trainer.accelerator == "gpu" and not n_gpus and not torch.backends.mps.is_available():
        raise ParameterError("trainer.accelerator=gpu: there is none here; take auto or cpu")
    if trainer.accelerator != "cpu" and 0 < n_gpus < trainer.devices:
        raise ParameterError(f"trainer.devices={trainer.devices}: there are {n_gpus} GPUs here")


def _check_strategy(strategy: str) -> None:
    if strategy == "ddp":
        reason = "starts the whole program again for each device, which makes a run of each, and of a sweep a sweep of each"
        raise ParameterError(f"trainer.strategy=ddp: {reason}; leave it out, or take ddp_spawn")
    if strategy not in STRATEGIES:
        raise ParameterError(f"trainer.strategy={strategy}: must be one of {', '.join(STRATEGIES)}")


@functools.lru_cache(maxsize=1)  # the jobs of a sweep are checked one after the other
def _load(data: DataSet, root: Path) -> Splits:
    return data.load(root)


def _simulate(network: nn.Module, images: torch.Tensor, image_index: torch.Tensor, **settings: Any) -> Simulation:
    return simulate(network, images, image_index=image_index, **settings)
