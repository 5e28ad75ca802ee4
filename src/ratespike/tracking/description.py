"""What a run keeps of its origin: configuration, code, hardware, packages, and a note for whoever opens it."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ratespike.parameters import flat
from ratespike.tracking.runs import Run

PACKAGES = ("ratespike", "torch", "pytorch-lightning", "hydra-core", "mlflow", "torchmetrics", "numpy")


def describe(run: Run, plain: Mapping[str, Any], root: Path, *, is_slice: bool) -> None:
    """Log the configuration as parameters and as artifact, and where and with what the run is made.

    Args:
        run: the run; one that is resumed keeps the parameters that it has.
        plain: its configuration as nested dictionaries.
        root: the folder whose git commit is logged.
        is_slice: whether the run uses a part of the data, so that it does not count as a result.
    """
    run.parameters({name: str(value) for name, value in flat(plain)})
    run.text("config.yaml", OmegaConf.to_yaml(dict(plain)))
    tags = _hardware_and_packages()
    commit = _git_commit(root)
    if commit:
        tags["mlflow.source.git.commit"] = commit
    if is_slice:
        tags["ratespike.debug"] = "true"
    run.tags(tags)


def note(run: Run, text: str) -> None:
    """Set the text, in Markdown, that the MLflow UI shows on top of the run."""
    run.tags({"mlflow.note.content": text})


def _hardware_and_packages() -> dict[str, str]:
    """Tags."""
    import torch

    tags = {
        "ratespike.hardware": f"{platform.machine()}, {os.cpu_count()} CPUs, {torch.cuda.device_count()} GPUs",
        "ratespike.packages": " ".join(f"{name}=={version(name)}" for name in PACKAGES),
    }
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        tags["ratespike.cuda_visible_devices"] = os.environ["CUDA_VISIBLE_DEVICES"]
    return tags


def _git_commit(root: Path) -> str | None:
    """The commit that is checked out in `root`; None outside a repository."""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
