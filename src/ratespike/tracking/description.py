"""What a run says of itself: configuration, origin, hardware, and a note for whoever opens it."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlflow.entities import Param
from omegaconf import OmegaConf

from ratespike.parameters import flat
from ratespike.tracking.runs import Run

PACKAGES = ("ratespike", "torch", "pytorch-lightning", "hydra-core", "mlflow", "torchmetrics", "numpy")


def describe(run: Run, plain: Mapping[str, Any], root: Path, *, is_slice: bool) -> None:
    """Log the configuration as parameters and artifact, and where and with what the run was made."""
    import torch

    known = run.client.get_run(run.id).data.params if run.resumed else {}
    run.client.log_batch(run.id, params=[Param(key, str(value)) for key, value in flat(plain) if key not in known])
    run.text("config.yaml", OmegaConf.to_yaml(dict(plain)))
    tags = {
        "ratespike.hardware": f"{platform.machine()}, {os.cpu_count()} CPUs, {torch.cuda.device_count()} GPUs",
        "ratespike.packages": " ".join(f"{name}=={version(name)}" for name in PACKAGES),
    }
    if commit := _git_commit(root):
        tags["mlflow.source.git.commit"] = commit
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        tags["ratespike.cuda_visible_devices"] = os.environ["CUDA_VISIBLE_DEVICES"]
    if is_slice:
        tags["ratespike.debug"] = "true"
    run.tags(tags)


def note(run: Run, text: str) -> None:
    """The text, in Markdown, that the MLflow UI shows on top of the run."""
    run.tags({"mlflow.note.content": text})


def _git_commit(root: Path) -> str | None:
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
