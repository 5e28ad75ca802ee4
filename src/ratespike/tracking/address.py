"""Where runs are kept, checked before MLflow is imported."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from ratespike.parameters import ParameterError

_SECONDS = 2  # to answer, for a server


def resolve(uri: str | None, root: Path) -> str:
    """The tracking URI: the one given, else `MLFLOW_TRACKING_URI`, else `mlflow.db` in `root`."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def database_file(uri: str) -> Path | None:
    """The file of an SQLite database; None for anything else."""
    _, is_sqlite, path = uri.partition("sqlite:///")
    return Path(path).resolve() if is_sqlite else None


def check(uri: str, *, exists: bool) -> None:
    """Check that runs can be kept there.

    Args:
        uri: of an SQLite file, another database or a tracking server.
        exists: the database must be there already.

    Raises:
        ParameterError: no folder for the database, no database, no such server, or no URI at all.
    """
    path, parts = database_file(uri), urlsplit(uri)
    if path:
        needed = path if exists else path.parent
        if not needed.exists():
            raise ParameterError(f"tracking.uri={uri}: {needed} does not exist")
    elif parts.scheme in ("http", "https"):
        try:
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
            socket.create_connection((parts.hostname or "", port), timeout=_SECONDS).close()
        except (OSError, ValueError) as error:
            raise ParameterError(f"tracking.uri={uri}: cannot be reached ({error}); `mlflow server` starts a server") from None
    elif not parts.scheme:
        raise ParameterError(f"tracking.uri={uri}: must be a URI such as sqlite:///mlflow.db or http://127.0.0.1:5000")
