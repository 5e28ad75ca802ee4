"""Artifacts of a database that was moved or copied with the folder `mlruns` beside it.

MLflow writes the whole path of an experiment's artifacts into its database, and from there into that of each run, model and
version. After a move these paths lead to the old folder. So they are rewritten once, for MLflow's own pages too.
"""

import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

ARTIFACTS = "mlruns"  # the folder beside a database
PATHS = {  # columns of MLflow's tables that hold the path of a file or folder
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def follow_artifacts(connection: sqlite3.Connection, folder: Path) -> str | None:
    """Rewrite the paths of experiments whose artifacts are beside the database now, and not where it says.

    An experiment is one of ours if its artifacts were in a folder `mlruns`. They have moved if the folder of its name is beside
    the database; if there is none, neither here nor there, what is written from now on is to be beside the database.

    Args:
        connection: to the database.
        folder: in which it lies.

    Returns:
        What was done, in a line; None if that concerns no run.
    """
    moves = {}
    for (location,) in connection.execute("SELECT artifact_location FROM experiments").fetchall():
        before = _local(location)
        if before is None or before.parent.name != ARTIFACTS:
            continue
        now = folder / ARTIFACTS / before.name
        if now != before and (now.is_dir() or not before.parent.is_dir()):
            moves[location] = now.as_uri() if location.startswith("file:") else str(now)
    if not moves:
        return None
    n_runs = 0
    with connection:
        for old, new in moves.items():
            n_runs += _rewrite(connection, old, new)
    if n_runs == 0:
        return None
    return f"this database was moved or copied: the artifacts of {n_runs} runs are in {folder / ARTIFACTS} now"


def _rewrite(connection: sqlite3.Connection, before: str, now: str) -> int:
    """Replace the beginning of every path that is this one or lies below it; returns of how many runs."""
    rewritten = {}
    for table, column in PATHS.items():
        is_or_lies_below = f"{column} = :before OR substr({column}, 1, length(:before) + 1) = :before || '/'"
        rewritten[table] = connection.execute(
            f"UPDATE {table} SET {column} = :now || substr({column}, length(:before) + 1) WHERE {is_or_lies_below}",
            {"before": before, "now": now},
        ).rowcount
    return rewritten["runs"]


def _local(location: str | None) -> Path | None:
    """The folder that a location names; None if it is not on this host."""
    parts = urlsplit(location or "")
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(parts.path) if parts.scheme == "" and parts.path.startswith("/") else None
