"""An SQLite file of MLflow's: made whole or not at all, shared by many processes, and found with its artifacts after a move."""

import functools
import sqlite3
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient
from sqlalchemy import Engine, event

from ratespike.execution.locks import Locks
from ratespike.parameters import ParameterError
from ratespike.tracking.moved import follow_artifacts

MLFLOW_WAITS = "PRAGMA busy_timeout = 20000;"  # MLflow's statement before each of its transactions
_WAIT = 300  # seconds, in place of MLflow's 20, for another program that has locked the database
_SAY_AFTER = 3  # seconds


def opened(path: Path) -> MlflowClient:
    """A client of the database, which is made or migrated if need be, and of which MLflow's address has been set.

    Raises:
        ParameterError: its folder cannot be written to, or another program keeps it locked.
    """
    # Two processes that make or migrate one file at the same time destroy it.
    with _locks_beside(path).hold("migration"):
        if not path.exists():
            _make(path)
        _wait_for_others(path)
        client = MlflowClient()
        client.search_experiments(max_results=1)  # the first use migrates an older one
        with closing(sqlite3.connect(path, timeout=_WAIT)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # readers and a writer work together; the file remembers it
            line = follow_artifacts(connection, path.parent)
    if line is not None:
        print(line, file=sys.stderr)
    return client


def _make(path: Path) -> None:
    """Make an empty database under another name first: a program that is killed here leaves none, and no half of one."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    _remove(path.parent.glob(f"{unfinished.name}*"))  # with the journal of a process that was killed
    try:
        MlflowClient(f"sqlite:///{unfinished}").search_experiments(max_results=1)
        with closing(sqlite3.connect(unfinished)) as connection:
            follow_artifacts(connection, path.parent)  # MLflow takes the current folder for those of its own experiment
        unfinished.rename(path)
    finally:
        _remove(path.parent.glob(f"{unfinished.name}*"))


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink()


def _wait_for_others(path: Path) -> None:
    """Wait until no other program has locked the database; says so when that takes long."""
    deadline = time.monotonic() + _WAIT
    has_said = False
    with closing(sqlite3.connect(path, timeout=_SAY_AFTER, isolation_level=None)) as connection:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
            if time.monotonic() > deadline:
                raise ParameterError(f"{path} has been locked by another program for {_WAIT} s; end that one")
            if not has_said:
                print(f"waiting for {path}, which another program has locked", file=sys.stderr, flush=True)
                has_said = True


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def _wait_longer_than_mlflow(
    connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, is_many: bool
) -> tuple[str, Any]:
    """MLflow gives up a database that is locked for 20 s, and no setting of its changes that."""
    if statement == MLFLOW_WAITS:
        statement = f"PRAGMA busy_timeout = {_WAIT * 1000};"
    return statement, parameters


@functools.cache  # closing a lock file releases its locks: one object for each file and process
def _locks_beside(path: Path) -> Locks:
    try:
        return Locks(path.with_name(f"{path.name}.lock"))
    except OSError as error:
        raise ParameterError(
            f"{path.parent} cannot be written to ({error.strerror}), where a lock of the database has to be"
        ) from None
