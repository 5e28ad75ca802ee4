"""A training that begins from the weights of another one, perhaps with other neurons."""

import logging
from pathlib import Path

from torch import Tensor, nn

from ratespike.conversion.rescaling import rescale
from ratespike.neurons import Neuron
from ratespike.parameters import ParameterError
from ratespike.pipeline.checkpoint import Checkpoint, build_trained, checkpoint_of_run, load_weights, read_checkpoint

_logger = logging.getLogger(__name__)


def take_weights(network: nn.Module, start_from: str, uri: str | None, root: Path, images: Tensor) -> None:
    """Put the weights of a trained network into another one; for other neurons they are rescaled (see `rescale`).

    Args:
        network: changed.
        start_from: the id of a run, or the path of a checkpoint file.
        uri: of the tracking server, as the configuration has it.
        root: the repository root.
        images: of the training, on which scales for other neurons are found.

    Raises:
        ParameterError: no such run or file, or a network with other layers.
    """
    where = f"start_from={start_from}"
    started = _checkpoint(start_from, where, uri, root)
    load_weights(network, started, where)
    trained = build_trained(started, where)
    if _neurons(network) == _neurons(trained):
        return
    assert isinstance(network, nn.Sequential)
    for name, scales in rescale(network, trained, images).items():
        _logger.info("%s: inputs of other neurons, divided by %.3g to %.3g", name, float(scales.min()), float(scales.max()))


def _checkpoint(start_from: str, where: str, uri: str | None, root: Path) -> Checkpoint:
    if Path(start_from).suffix == ".ckpt":
        return read_checkpoint(Path(start_from))
    run_id, started = checkpoint_of_run(start_from, uri, root)
    if run_id != start_from:
        raise ParameterError(f"{where}: is the name of a run, which others may have too; give its id, {run_id}")
    return started


def _neurons(network: nn.Module) -> list[dict[str, object]]:
    return [module.training_values() for module in network.modules() if isinstance(module, Neuron)]
