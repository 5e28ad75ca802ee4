import pytest

from ratespike.tracking import store
from ratespike.tracking.runs import Client


@pytest.fixture(scope="session")
def _address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One new database for the tests of this folder, because MLflow takes seconds to create one; their experiments differ."""
    address = f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db"
    store.connect(address)
    return address


@pytest.fixture(scope="module")
def client(_address: str) -> Client:
    """The database of this folder's tests, connected anew: another file may have connected to its own."""
    return store.connect(_address)
