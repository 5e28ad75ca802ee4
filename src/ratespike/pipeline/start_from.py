"""A training that begins from the weights of another one, perhaps with other neurons."""

import copy
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from ratespike.config.schemas import is_registered
from ratespike.conversion.rescaling import rescale
from ratespike.conversion.row import neuron_layers
from ratespike.data import Splits
from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError
from ratespike.pipeline.checkpoint import (
    Checkpoint,
    build_trained,
    checkpoint_of_model,
    checkpoint_of_run,
    is_checkpoint,
    load_weights,
    read_checkpoint,
)

_RESCALING_IMAGES = 200
_logger = logging.getLogger(__name__)


def start_from_kept(network: nn.Module, start_from: str, uri: str | None, root: Path, images: Tensor) -> None:
    """Put the weights of a run or of a checkpoint file into a network (see `start_with`).

    Args:
        network: changed.
        start_from: the id of a run, or the path of a checkpoint file.
        uri: of the tracking server, as the configuration has it.
        root: where relative paths start.
        images: of the training, on which scales for other neurons are found.

    Raises:
        ParameterError: no such run or file, or a network with other layers.
    """
    where = f"start_from={start_from}"
    started = _checkpoint(start_from, where, uri, root)
    load_weights(network, started, where)
    start_with(network, build_trained(started, where), images)


def start_with(network: nn.Module, trained: nn.Module, images: Tensor) -> None:
    """Put the weights of a trained network into another one with the same layers.

    For other neurons they are rescaled (see `ratespike.conversion.rescaling`).

    Args:
        network: changed.
        trained: the trained one.
        images: of the training, on which scales for other neurons are found.

    Raises:
        ParameterError: other neurons, in a network whose weights cannot be rescaled for them.
    """
    network.load_state_dict(trained.state_dict())
    if _neurons(network) == _neurons(trained):
        return
    # Sums depend on the order in memory: the same for a stage that was just trained as for one that was kept.
    in_rows = copy.deepcopy(trained).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    assert isinstance(network, nn.Sequential)
    assert isinstance(in_rows, nn.Sequential)
    scales_of_layers = rescale(network, in_rows, images)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, scales in scales_of_layers.items():
        _logger.info("%s: inputs of other neurons, divided by %.3g to %.3g", name, float(scales.min()), float(scales.max()))


def check_can_start_with(network: nn.Module, trained: nn.Module) -> None:
    """Raise `ParameterError` if a network has other neurons than another one, and weights that cannot be rescaled for them."""
    if _neurons(network) != _neurons(trained):
        try:
            neuron_layers(network)
        except ParameterError as error:
            raise ParameterError(f"the training behind it has other neurons, for which weights are rescaled; {error}") from None


def first_images(splits: Splits) -> Tensor:
    """The images of the training on which scales for other neurons are found."""
    return splits.some_training_images(_RESCALING_IMAGES).as_inputs()


def _checkpoint(start_from: str, where: str, uri: str | None, root: Path) -> Checkpoint:
    if is_checkpoint(start_from):
        if not Path(start_from).is_file():
            raise ParameterError(f"{where}: no such file; give the path of a checkpoint or the id of a run")
        return read_checkpoint(Path(start_from))
    if is_registered(start_from):
        run_of_model, _ = checkpoint_of_model(start_from, uri, root)
        raise ParameterError(f"{where}: may name another model tomorrow; give the id of its run, {run_of_model}")
    run_id, started = checkpoint_of_run(start_from, uri, root)
    if run_id != start_from:
        raise ParameterError(f"{where}: is the name of a run, which others may have too; give its id, {run_id}")
    return started


def _neurons(network: nn.Module) -> list[dict[str, object]]:
    return [module.training_values() for module in network.modules() if isinstance(module, Neuron)]
