"""A trained network back from a run or a checkpoint."""

from pathlib import Path

import torch
from torch import nn

from ratespike.network import build_network
from ratespike.parameters import ParameterError
from ratespike.tracking import address

_PREFIX = "network."


def load(run_or_checkpoint: str | Path) -> nn.Sequential:
    """The trained network of a run (its best epoch), or the one in a checkpoint file, in eval mode, on the CPU.

    Args:
        run_or_checkpoint: an MLflow run id, looked up in `MLFLOW_TRACKING_URI` or `mlflow.db` in the current folder; or
            the path of a `.ckpt` file.

    Raises:
        ParameterError: no such run or file, or a file that is no checkpoint of ratespike.

    Example:
        ```python
        network = ratespike.load("best.ckpt")
        result = ratespike.simulate(network, images, n_steps=60)
        ```
    """
    if Path(run_or_checkpoint).suffix == ".ckpt":
        return _from_file(Path(run_or_checkpoint))
    from ratespike.tracking import runs  # imports MLflow, which a file does not need

    uri = address.resolve(None, Path.cwd())
    address.check(uri, exists=True)
    run = runs.find_run(runs.connect(uri), str(run_or_checkpoint))
    with run.artifact(runs.BEST) as path:
        if path is None:
            raise ParameterError(f"run {run.id} has no checkpoint: it ended before its first epoch did")
        return _from_file(path)


def _from_file(path: Path) -> nn.Sequential:
    if not path.is_file():
        raise ParameterError(f"checkpoint {path}: no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        description, state = checkpoint["ratespike"], checkpoint["state_dict"]
    except Exception as error:
        raise ParameterError(f"checkpoint {path}: not a checkpoint of ratespike ({type(error).__name__})") from None
    config = description["config"]
    network = build_network(
        config["network"]["layers"], config["neuron"], tuple(description["image_shape"]), description["classes"]
    )
    network.load_state_dict({key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)})
    return network.eval()
