import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.store.db import utils
from sqlalchemy import create_engine, text

from ratespike.parameters import ParameterError
from ratespike.tracking import database as module_of_files
from ratespike.tracking import store


def test_a_database_that_is_locked_is_waited_for(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module_of_files, "_SAY_AFTER", 0.2)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", check_same_thread=False, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(1, other.execute, ("ROLLBACK",)).start()
        run = store.open_run(store.connect(database), "locked", "run", {})
        assert f"waiting for {tmp_path}/mlflow.db, which another program has locked" in capfd.readouterr().err

        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(1, other.execute, ("ROLLBACK",)).start()
        run.metrics({"loss": 1.0})
    assert run.history("loss") == {0: 1.0}


def test_a_database_that_stays_locked_is_reported(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_of_files, "_SAY_AFTER", 0.1)
    monkeypatch.setattr(module_of_files, "_WAIT", 0.3)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ParameterError, match=r"has been locked by another program for 0\.3 s"):
            store.connect(database)


def test_mlflow_s_own_limit_is_replaced() -> None:
    """It stands in MLflow's code alone: an upgrade that writes it otherwise fails here."""
    assert module_of_files.MLFLOW_WAITS in Path(utils.__file__).read_text()
    with create_engine("sqlite://").connect() as connection:
        connection.execute(text(module_of_files.MLFLOW_WAITS))
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 300_000


def test_a_database_is_made_whole_or_not_at_all(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed while it makes one leaves nothing by the database's name."""
    (tmp_path / "mlflow.db").rename(tmp_path / "whole.db")

    class Client:
        """Makes a database as MLflow's does, in a hundredth of the time; the first one is killed then."""

        is_killed = True

        def __init__(self, uri: str = database) -> None:
            self.path = Path(uri.removeprefix("sqlite:///"))

        def search_experiments(self, max_results: int) -> None:
            journal = self.path.with_name(f"{self.path.name}-journal")
            if not self.path.exists():
                journal.write_text("of a transaction that was under way")
                shutil.copy(tmp_path / "whole.db", self.path)
                if Client.is_killed:
                    os._exit(9)
                journal.unlink()

    monkeypatch.setattr(module_of_files, "MlflowClient", Client)
    killed = os.fork()
    if killed == 0:
        store.connect(database)
    os.waitpid(killed, 0)
    assert len(list(tmp_path.glob("*unfinished*"))) == 2
    assert not (tmp_path / "mlflow.db").exists()
    Client.is_killed = False
    store.connect(database)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        assert connection.execute("select name from experiments").fetchall() == [("Default",)]
    assert not list(tmp_path.glob("*unfinished*"))


def test_a_folder_in_which_no_lock_can_be_is_reported_in_a_line(tmp_path: Path) -> None:
    """A folder stands where the lock has to be, as permissions do not stop root."""
    (tmp_path / "mlflow.db.lock").mkdir()
    with pytest.raises(ParameterError, match=rf"tracking.uri=sqlite:.*: {tmp_path} cannot be written to \(Is a directory\)"):
        store.connect(f"sqlite:///{tmp_path}/mlflow.db")
