"""A checkpoint file: its content, read without running any code in it, and the trained network that it holds.

Lightning writes the file during training. It holds the network's weights and, under `ratespike`, what it takes to build that
network again: the configuration, the shape of an image, the number of classes;
beside them the classes' names, and between which values the training images were, for readers of the file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ratespike.available_memory import check_fits
from ratespike.checked_files import check_archive
from ratespike.config.invocation import started_by
from ratespike.config.plain_settings import plain_settings
from ratespike.config.schemas import is_registered
from ratespike.exchange.safetensors import read_safetensors
from ratespike.network import build_network
from ratespike.parameters import ParameterError
from ratespike.tracking import address

SAFETENSORS = ".safetensors"
_PREFIX = "network."
_MOST_VALUES = 2**26  # of an image


def load(run_or_checkpoint: str | Path) -> nn.Sequential:
    """The trained network of a run (its best epoch), of a model in MLflow's registry, or in a checkpoint file.

    It is in eval mode, on the CPU. Nothing that is read runs code.

    Args:
        run_or_checkpoint: an MLflow run id, or a model's address in the registry (`models:/<name>@<alias>` or
            `models:/<name>/<version>`), looked up in `MLFLOW_TRACKING_URI` or `mlflow.db` in the current folder; or the path
            of a `.ckpt` file, or of a `.safetensors` file that an export has written.

    Raises:
        ParameterError: no such run, model or file, or a file that is no checkpoint of ratespike.

    Example:
        ```python
        network = ratespike.load("best.ckpt")
        result = ratespike.simulate(network, images, n_steps=60)
        ```
    """
    if is_checkpoint(run_or_checkpoint):
        return build_trained(read_checkpoint(Path(run_or_checkpoint)), f"checkpoint {run_or_checkpoint}")
    if is_registered(run_or_checkpoint):
        _, trained = checkpoint_of_model(str(run_or_checkpoint), None, Path.cwd())
        return build_trained(trained, str(run_or_checkpoint))
    run_id, trained = checkpoint_of_run(str(run_or_checkpoint), None, Path.cwd())
    return build_trained(trained, f"run {run_id}")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        config: the configuration of the run that wrote it.
        image_shape: channels, height, width.
        class_names: the name of each class, by its number; in files of earlier versions the numbers.
        state: the network's parameters by name.
        value_range: the least and the largest value of the training images, before their normalisation; in files of earlier
            versions 0 and 1.
    """

    config: dict[str, Any]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    state: dict[str, Tensor]
    value_range: tuple[float, float]

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    def description(self) -> dict[str, Any]:
        """What a file holds beside the weights, as plain data."""
        return {
            "config": self.config,
            "image_shape": list(self.image_shape),
            "classes": self.classes,
            "class_names": list(self.class_names),
            "value_range": list(self.value_range),
        }


def is_checkpoint(name: str | Path) -> bool:
    """Whether a name is that of a checkpoint file, and not of a run.

    Example:
        >>> is_checkpoint("best.ckpt"), is_checkpoint("network.safetensors"), is_checkpoint("mnist seed=0")
        (True, True, False)
    """
    return Path(name).suffix in (".ckpt", SAFETENSORS)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file; nothing in it is trusted: neither the weights' pickle nor the settings run any code.

    Args:
        path: of a checkpoint as PyTorch writes it, or of a `.safetensors` file with the same content.

    Raises:
        ParameterError: no file at `path`, not a checkpoint of ratespike, or one whose settings are not plain data.
    """
    if not path.is_file():
        raise ParameterError(f"checkpoint {path}: no such file")
    try:
        weights, description = read_safetensors(path) if path.suffix == SAFETENSORS else _weights_and_description(path)
        config = description["config"]
        classes = description["classes"]
        image_shape = tuple(description["image_shape"])
    except ParameterError as error:
        raise ParameterError(f"checkpoint {error}") from None
    except Exception as error:
        raise ParameterError(f"checkpoint {path}: not a checkpoint of ratespike ({type(error).__name__})") from None
    sizes = (*image_shape, classes)
    if len(image_shape) != 3 or any(type(size) is not int or size < 1 for size in sizes):
        raise ParameterError(f"checkpoint {path}: image_shape={image_shape} classes={classes}: must be whole numbers above 0")
    _check_sizes(image_shape, classes, weights, f"checkpoint {path}")
    names = description["class_names"] if "class_names" in description else [str(number) for number in range(classes)]
    if not isinstance(names, list) or len(names) != classes or not all(isinstance(name, str) for name in names):
        raise ParameterError(f"checkpoint {path}: its class_names are not one word for each of {classes} classes")
    ends = description.get("value_range", [0.0, 1.0])
    if not isinstance(ends, list) or [type(end) for end in ends] != [float, float]:
        raise ParameterError(f"checkpoint {path}: its value_range is not two floating-point numbers")
    settings = plain_settings(config, f"checkpoint {path}")
    return Checkpoint(settings, image_shape, tuple(names), weights, (ends[0], ends[1]))


def _check_sizes(image_shape: tuple[int, int, int], classes: int, weights: Mapping[str, Tensor], where: str) -> None:
    """Refuse sizes for which nothing in the file stands, before memory of these sizes is asked for."""
    numbers = max((_numbers_kept(tensor) for tensor in weights.values()), default=0)
    if classes > numbers:
        raise ParameterError(
            f"{where}: classes={classes}: the largest of its weights have {numbers} numbers, at least one a class"
        )
    values = math.prod(image_shape)
    if values > _MOST_VALUES:
        raise ParameterError(f"{where}: image_shape={image_shape}: has {values} values; must have {_MOST_VALUES} at most")


def _numbers_kept(tensor: object) -> int:
    """How many numbers of a tensor are in memory, which may stand for more."""
    if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        return 0
    return min(tensor.numel(), tensor.untyped_storage().nbytes())


def _weights_and_description(path: Path) -> tuple[dict[str, Tensor], Any]:
    """The weights by name and the description in a file of PyTorch's."""
    check_archive(path)
    check_fits(path.stat().st_size, str(path))
    content = torch.load(path, map_location="cpu", weights_only=True)
    state = content["state_dict"]
    weights = {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
    return weights, content["ratespike"]


def checkpoint_of_run(id_or_name: str, uri: str | None, root: Path) -> tuple[str, Checkpoint]:
    """The id of a run, and the checkpoint of its best epoch.

    Args:
        id_or_name: of the run.
        uri: of the tracking server, as a configuration has it.
        root: the folder in which the database is, without `uri`.

    Raises:
        ParameterError: no such run, or it ended before its first epoch did.
    """
    from ratespike.tracking import kept_files, runs, store  # imports MLflow, which a file does not need

    resolved = address.resolve(uri, root)
    address.check(resolved, exists=True)
    run = store.find_run(store.connect(resolved), id_or_name)
    with kept_files.signed(run, runs.BEST) as path:
        if path is None:
            raise ParameterError(f"run {run.id} has no checkpoint: it ended before its first epoch did")
        return run.id, read_checkpoint(path)


def checkpoint_of_model(model: str, uri: str | None, root: Path) -> tuple[str | None, Checkpoint]:
    """The id of the run that a model in the registry is of, None if the registry does not say, and the model's checkpoint.

    Args:
        model: its address (`models:/<name>@<alias>` or `models:/<name>/<version>`).
        uri: of the tracking server, as a configuration has it.
        root: the folder in which the database is, without `uri`.

    Raises:
        ParameterError: no such model, or one that ratespike has not made.
    """
    address.registered_model(model)  # a wrong one is reported before MLflow is imported
    resolved = address.resolve(uri, root)
    address.check(resolved, exists=True)
    from ratespike.tracking import registry, store

    with registry.from_registry(store.connect(resolved), model) as found:
        return found.run_id, read_checkpoint(found.checkpoint)


def write_checkpoint(path: Path, network: nn.Module, description: Mapping[str, Any]) -> None:
    """Write the file that Lightning would write of a classifier with this network and description."""
    state = {_PREFIX + name: weights for name, weights in network.state_dict().items()}
    torch.save({"state_dict": state, "ratespike": dict(description)}, path)


def load_weights(network: nn.Module, checkpoint: Checkpoint, where: str) -> None:
    """Put a checkpoint's weights into a network; raises `ParameterError` if they are not that network's."""
    try:
        network.load_state_dict(checkpoint.state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParameterError(f"{where}: its weights do not fit the network of its settings ({reason})") from None


def build_trained(checkpoint: Checkpoint, where: str) -> nn.Sequential:
    """The trained network of a checkpoint, in eval mode.

    Args:
        checkpoint: what the file holds.
        where: names it in an error line.

    Raises:
        ParameterError: a network that cannot be built, or one that was converted, whose code a checkpoint does not hold.
    """
    if checkpoint.config["model"] is not None:
        raise ParameterError(f"{where}: is of a plain network that was converted; `{started_by('evaluate')}` simulates it")
    layers = checkpoint.config["network"]["layers"]
    build = partial(build_network, layers, checkpoint.config["neuron"], checkpoint.image_shape, checkpoint.classes)
    try:
        with torch.device("meta"):  # without memory for what the settings claim
            planned = build()
        _check_holds(checkpoint, planned)
        network = build()
    except ParameterError as error:
        raise ParameterError(f"{where}: {error}") from None
    load_weights(network, checkpoint, where)
    return network.eval()


def _check_holds(checkpoint: Checkpoint, planned: nn.Module) -> None:
    """Raise `ParameterError` if the network of a checkpoint's settings has more numbers than the file."""
    wanted = sum(tensor.numel() for tensor in planned.state_dict().values())
    held = sum(_numbers_kept(tensor) for tensor in checkpoint.state.values())
    if wanted > held:
        raise ParameterError(f"its weights do not fit the network of its settings ({held} numbers, not {wanted})")
