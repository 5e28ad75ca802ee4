"""Addresses, checked before MLflow is imported: of the store that runs are kept in, and of models in its registry."""

import json
import os
import re
import socket
import sqlite3
import ssl
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import Request, urlopen

from ratespike.config.schemas import REGISTRY
from ratespike.parameters import ParameterError

_CONNECT_WITHIN = 2  # seconds, to whatever listens at an address
_ANSWER_WITHIN = 5  # seconds, a tracking server that has accepted the connection
_COMES_BACK_WITHIN = 300  # seconds
_LOOK_AGAIN = 2  # seconds
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_QUESTION = (
    "/api/2.0/mlflow/experiments/get?experiment_id=0"  # any server answers it: with the experiment, or that it is not there
)
_LONGEST_ANSWER = 2**20  # bytes
_OF_MLFLOW = {"experiments", "runs"}  # tables, of whichever version
_IN_MEMORY = re.compile(r"sqlite[^:]*:(?!///)|sqlite[^:]*:///?$|.*(:memory:|mode=memory)")
_REGISTERED = re.compile(rf"{REGISTRY}(?P<name>[^/:@'\"]+)(?:/(?P<version>[1-9][0-9]*)|@(?P<alias>[\w-]+))")


def resolve(uri: str | None, root: Path) -> str:
    """The tracking URI: the one given, else `MLFLOW_TRACKING_URI`, else `mlflow.db` in `root`.

    Example:
        >>> resolve("http://127.0.0.1:5000", Path("/project"))
        'http://127.0.0.1:5000'
    """
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def database_file(uri: str) -> Path | None:
    """The file of an SQLite database; None for any other store.

    Example:
        >>> database_file("sqlite:////project/mlflow.db"), database_file("http://127.0.0.1:5000")
        (PosixPath('/project/mlflow.db'), None)
    """
    _, separator, path = uri.partition("sqlite:///")
    if not separator:
        return None
    return Path(path).resolve()


def check(uri: str, *, exists: bool) -> None:
    """Check that runs can be kept there.

    Args:
        uri: of an SQLite file, another database or a tracking server.
        exists: whether an SQLite file has to be there already.

    Raises:
        ParameterError: no folder for the file, no file, one that is no database of MLflow, or a path that MLflow would read as
            another; nobody at a server's address, or one that does not answer as a tracking server does; a database in memory,
            or no URI at all.
    """
    if _IN_MEMORY.match(uri):
        raise ParameterError(f"tracking.uri={uri}: is in memory, where runs end with the program; give sqlite:///<file>")
    path = database_file(uri)
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if path is not None:
        if unquote(str(path)) != str(path) or "?" in str(path):
            raise ParameterError(
                f"tracking.uri={uri}: MLflow takes codes such as %20 and a ? for something else; rename the folder"
            )
        needed = path if exists else path.parent
        if not needed.exists():
            raise ParameterError(f"tracking.uri={uri}: {needed} does not exist")
        if path.exists():
            _check_is_of_mlflow(uri, path)
    elif scheme in _PORTS and parts.hostname:
        _check_listens(uri, parts, _PORTS[scheme])
        if scheme.startswith("http"):
            _check_answers(uri, parts)
    elif not scheme:
        raise ParameterError(f"tracking.uri={uri}: must be a URI such as sqlite:///mlflow.db or http://127.0.0.1:5000")


def wait_for_server(uri: str) -> None:
    """Wait for a server that is away, as one that is started again, and say so.

    Raises:
        ParameterError: it does not come back.
    """
    if urlsplit(uri).scheme.partition("+")[0] not in _PORTS:
        return
    deadline = time.monotonic() + _COMES_BACK_WITHIN
    has_said = False
    while True:
        try:
            check(uri, exists=True)
            return
        except ParameterError as error:
            if time.monotonic() > deadline:
                raise
            if not has_said:
                print(f"waiting: {error}", file=sys.stderr, flush=True)
                has_said = True
        time.sleep(_LOOK_AGAIN)


@dataclass(frozen=True)
class RegisteredModel:
    """What an address in the registry names: a version of a model, by its number or by an alias.

    Attributes:
        name: of the model.
        version: its number; None where an alias is given.
        alias: None where a number is given.
    """

    name: str
    version: str | None
    alias: str | None


def registered_model(address: str) -> RegisteredModel:
    """The parts of an address in the registry.

    Raises:
        ParameterError: not such an address.

    Example:
        >>> registered_model("models:/mnist@champion")
        RegisteredModel(name='mnist', version=None, alias='champion')
        >>> registered_model("models:/mnist/3")
        RegisteredModel(name='mnist', version='3', alias=None)
    """
    found = _REGISTERED.fullmatch(address)
    if found is None:
        raise ParameterError(f"{address}: must be {REGISTRY}<name>@<alias> or {REGISTRY}<name>/<number of a version>")
    return RegisteredModel(**found.groupdict())


def _check_is_of_mlflow(uri: str, path: Path) -> None:
    """Raise `ParameterError` for a file that MLflow would fill with its tables, or could not open."""
    where = f"tracking.uri={uri}: {path}"
    if not path.is_file():
        raise ParameterError(f"{where} is no file; give sqlite:///<folder>/mlflow.db")
    if path.stat().st_size == 0:
        raise ParameterError(f"{where} is an empty file; delete it, or name another")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_CONNECT_WITHIN)) as database:
            tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
    except sqlite3.OperationalError:  # locked, or in a folder that is read-only: who opens it waits, or reports it
        return
    except sqlite3.DatabaseError as error:
        raise ParameterError(f"{where} cannot be used ({error})") from None
    if not tables >= _OF_MLFLOW:
        words = ", ".join(sorted(tables)[:3]) or "none"
        raise ParameterError(f"{where} is a database of another program (its tables: {words}); name another file")


def _check_listens(uri: str, parts: SplitResult, usual_port: int) -> None:
    """Raise `ParameterError` if nobody listens at the address of a server."""
    try:
        port = parts.port or usual_port
        socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_WITHIN).close()
    except (OSError, ValueError) as error:
        raise ParameterError(f"tracking.uri={uri}: cannot be reached ({error}); `mlflow server` starts a server") from None


def _check_answers(uri: str, parts: SplitResult) -> None:
    """Raise `ParameterError` if what listens is no tracking server, or one that is out of order.

    A thread asks, as a server may send a byte now and then for ever.
    """
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(_complaint(parts)), daemon=True)
    thread.start()
    thread.join(_ANSWER_WITHIN)
    complaint = answers[0] if answers else f"does not answer within {_ANSWER_WITHIN} s"
    if complaint is not None:
        raise ParameterError(f"tracking.uri={uri}: {complaint}; look at the server's log, or give another address")


def _complaint(parts: SplitResult) -> str | None:
    """What is wrong with a server; None if it answers as MLflow's does, be it that it wants a password."""
    host = parts.netloc.rpartition("@")[2]
    address = f"{parts.scheme}://{host}{parts.path.rstrip('/')}{_QUESTION}"
    unverified = ssl.create_default_context()  # nothing secret is sent; MLflow itself verifies, or not, as it is set up
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        with urlopen(Request(address), timeout=_ANSWER_WITHIN, context=unverified) as answer:
            content = answer.read(_LONGEST_ANSWER)
    except HTTPError as error:
        if error.code >= 500:
            return f"answers {error.code} {error.reason}"
        if error.code in (401, 403):
            return None
        content = error.read(_LONGEST_ANSWER)
    except (OSError, HTTPException) as error:
        return f"does not answer as a tracking server ({' '.join(str(error).split())[:100] or type(error).__name__})"
    try:
        is_of_mlflow = isinstance(json.loads(content), dict)
    except ValueError:
        is_of_mlflow = False
    return None if is_of_mlflow else "does not answer as a tracking server"
