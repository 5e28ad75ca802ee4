"""MLflow's model of a run, as `mlflow models serve` and `mlflow models predict` load it.

MLflow copies this file beside a checkpoint and runs the copy where the model is loaded. So the file has no code of the
network: that is in the installed ratespike.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, REQUEST_LIMIT_EXCEEDED
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from ratespike.parameters import ParameterError
from ratespike.pipeline.service import Service, TooLongError

_PART_OF_TIMEOUT = 0.5  # the rest is for reading the request, and for the batch that is under way when the time is over


class ServedModel(PythonModel):
    """The network of the checkpoint; its inputs, parameters and outputs are described in docs/serving.md."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the network; raises `MlflowException` for one that cannot be served."""
        try:
            self._service = Service(Path(context.artifacts["checkpoint"]))
        except ParameterError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> list[dict[str, object]]:
        """The answers to images of shape (images, channels, height, width)."""
        asked = params or {}
        try:
            answers = self._service(model_input, seconds=_seconds(), **asked)
        except ParameterError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None
        except TooLongError as error:
            raise MlflowException(str(error), REQUEST_LIMIT_EXCEEDED) from None
        return [
            {"class": answer.class_name, "confidence": answer.confidence, "decision_step": answer.decision_step}
            for answer in answers
        ]


def _seconds() -> float | None:
    """How long an answer may take: less than MLflow's server waits; None where there is no server."""
    timeout = os.environ.get("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT")
    return _PART_OF_TIMEOUT * float(timeout) if timeout else None


set_model(ServedModel())
