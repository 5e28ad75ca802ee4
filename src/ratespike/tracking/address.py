"""Addresses, checked before MLflow is imported: of the store that runs are kept in, and of models in its registry."""

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from ratespike.config.schemas import REGISTRY
from ratespike.parameters import ParameterError

_ANSWER_WITHIN = 2  # seconds, for a server
_PORTS = {"http": 80, "https": 443}
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
        ParameterError: no folder for the file, no file, no answer from the server, or no URI at all.
    """
    path = database_file(uri)
    parts = urlsplit(uri)
    if path is not None:
        needed = path if exists else path.parent
        if not needed.exists():
            raise ParameterError(f"tracking.uri={uri}: {needed} does not exist")
    elif parts.scheme in _PORTS:
        _check_answers(uri, parts)
    elif not parts.scheme:
        raise ParameterError(f"tracking.uri={uri}: must be a URI such as sqlite:///mlflow.db or http://127.0.0.1:5000")


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


def _check_answers(uri: str, parts: SplitResult) -> None:
    """Raise `ParameterError` if nobody listens at the address of a server."""
    try:
        port = parts.port or _PORTS[parts.scheme]
        socket.create_connection((parts.hostname or "", port), timeout=_ANSWER_WITHIN).close()
    except (OSError, ValueError) as error:
        raise ParameterError(f"tracking.uri={uri}: cannot be reached ({error}); `mlflow server` starts a server") from None
