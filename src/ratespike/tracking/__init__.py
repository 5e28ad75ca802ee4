"""MLflow: where it keeps runs, one run and its status, what Lightning writes into it, which runs are alive."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow would report its use over the network
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
