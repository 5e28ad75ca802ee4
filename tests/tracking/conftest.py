import pytest

from ratespike.tracking import store
from ratespike.tracking.runs import Client


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """One new database for the tests of this folder, because MLflow takes seconds to create one; their experiments differ."""
    folder = tmp_path_factory.mktemp("tracking")
    return store.connect(f"sqlite:///{folder}/mlflow.db")
