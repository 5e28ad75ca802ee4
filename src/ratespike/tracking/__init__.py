"""MLflow: where it keeps runs, one run and its status, what Lightning writes into it."""
