import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ratespike.parameters import ParameterError
from ratespike.tracking import store
from ratespike.tracking.runs import Client


def test_a_run_is_found_by_id_or_name(client: Client) -> None:
    run = store.open_run(client, "a", "it's", {})
    for word in ("it's", run.id):
        found = store.find_run(client, word)
        assert (found.id, found.experiment) == (run.id, "a")
    with pytest.raises(ParameterError, match="run its: not found in sqlite"):
        store.find_run(client, "its")


def test_a_name_of_several_runs_is_refused(client: Client) -> None:
    for experiment in ("a", "b"):
        store.open_run(client, experiment, "twice", {})
    with pytest.raises(ParameterError, match=r"run twice: 2 runs have this name; give an id: \w+, \w+"):
        store.find_run(client, "twice")


def test_a_deleted_experiment_is_refused(client: Client) -> None:
    run = store.open_run(client, "deleted", "run", {})
    client.delete_experiment(client.get_run(run.id).info.experiment_id)
    with pytest.raises(ParameterError, match=r"tracking\.experiment=deleted: is deleted; restore it in MLflow"):
        store.open_run(client, "deleted", "run", {})


def test_a_file_that_is_no_database_is_refused(client: Client, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but a text of some length")
    with pytest.raises(ParameterError, match=r"tracking.uri=sqlite:///.*: cannot be used \("):
        store.connect(f"sqlite:///{tmp_path}/mlflow.db")
    store.connect(client.tracking_uri)  # where MLflow's active run is kept in this process


def test_a_database_of_a_newer_mlflow_is_refused_in_a_line(database: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute("update alembic_version set version_num = 'fedcba987654'")
    with pytest.raises(ParameterError, match=r"tracking.uri=sqlite:///.*: cannot be used \(") as refused:
        store.connect(database)
    assert "\n" not in str(refused.value)


def test_a_database_that_is_damaged_in_its_middle_is_refused_in_a_line(database: str, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=r"tracking.uri=sqlite:///.*: cannot be used \(") as refused:
        store.connect(database)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["../up", "/tmp/elsewhere", "a/b", ".."])
def test_an_experiment_does_not_choose_the_folder_of_its_artifacts(database: str, name: str) -> None:
    """The name may come from a stranger's checkpoint."""
    with pytest.raises(ParameterError, match="give a name without slashes"):
        store.open_run(store.connect(database), name, "run", {})
