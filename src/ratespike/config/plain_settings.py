"""Settings that a file holds, checked to be data before Hydra composes anything from them.

A checkpoint or a run may come from a stranger. Hydra would follow a `defaults` list, instantiate a `_target_` and resolve
`${...}`, each of which reaches code or the environment. So settings from a file may hold the schema's keys and plain values
only; everything else is refused, not repaired.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any

from ratespike.config.schemas import Config, EvaluateConfig, RunConfig
from ratespike.parameters import ParameterError, check_parameters, is_name, nearest

_MOST_VALUES = 10_000  # far more than any network's; an alias in YAML can repeat itself without end
_DEEPEST = 20
_SCALARS = (str, int, float, bool, type(None))


def plain_settings(settings: object, where: str) -> dict[str, Any]:
    """Settings of a run as nested dictionaries of plain values; what they lack has the schema's default.

    Args:
        settings: what a file held.
        where: the file or run, as the user knows it, for the error message.

    Raises:
        ParameterError: they hold a key that the schema does not have, a key or value that means something to Hydra, an object,
            or a value out of range.

    Example:
        >>> settings = plain_settings({"n_steps": 60, "neuron": {"type": "LIF"}}, "a.ckpt")
        >>> settings["n_steps"], settings["neuron"], settings["seed"]
        (60, {'type': 'LIF'}, 0)
        >>> plain_settings({"neuron": {"_target_": "os.system"}}, "a.ckpt")
        Traceback (most recent call last):
            ...
        ratespike.parameters.ParameterError: a.ckpt: its settings are not plain data: neuron holds the key '_target_'
    """
    try:
        if not isinstance(settings, Mapping):
            raise ParameterError(f"they are {_shown(settings)}, not keys and values")
        plain: dict[str, Any] = _Copier().copy(settings, "")
        _check_keys(plain)
    except ParameterError as error:
        raise ParameterError(f"{where}: its settings are not plain data: {error}") from None
    try:
        _check_values(plain)
    except ParameterError as error:
        raise ParameterError(f"{where}: {error}") from None
    return _with_defaults(plain)


def _with_defaults(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the schema's defaults where they lack a key: an older version may not have had it."""
    complete: dict[str, Any] = asdict(RunConfig())
    for key, value in plain.items():
        if isinstance(value, Mapping) and isinstance(complete.get(key), Mapping):
            complete[key] = {**complete[key], **value}
        else:
            complete[key] = value
    return complete


class _Copier:
    """Copies nested mappings and lists, and refuses whatever is not plain."""

    def __init__(self) -> None:
        self.values_left = _MOST_VALUES

    def copy(self, value: object, path: str, depth: int = 0) -> Any:
        self.values_left -= 1
        if self.values_left < 0 or depth > _DEEPEST:
            raise ParameterError(f"{path[:60]} holds more than {_MOST_VALUES} values, or is nested more than {_DEEPEST} deep")
        if isinstance(value, Mapping):
            return {key: self.copy(item, self._below(path, key), depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.copy(item, path, depth + 1) for item in value]
        if type(value) not in _SCALARS:
            raise ParameterError(f"{path} is {_shown(value)}")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ParameterError(f"{path} is a whole number of more than 64 bits")
        if isinstance(value, str) and ("${" in value or value == "???"):
            raise ParameterError(f"{path} is {_shown(value)}, which Hydra would replace")
        return value

    def _below(self, path: str, key: object) -> str:
        if not is_name(key):
            raise ParameterError(f"{path or 'the top'} holds the key {_shown(key)}")
        return f"{path}.{key}" if path else str(key)


def _check_keys(plain: Mapping[str, Any]) -> None:
    """Every key at the top, and of the groups with a schema, is the schema's."""
    known = {field.name: field for field in (*fields(Config), *fields(EvaluateConfig))}
    _check_known(plain, known, "")
    for name, value in plain.items():
        if known[name].default_factory is MISSING:  # a scalar
            continue
        _items(value, name)
        schema = known[name].type
        if is_dataclass(schema):
            _check_known(value, {field.name for field in fields(schema)}, f"{name}.")
    layers = plain.get("network", {}).get("layers", {})
    for name, layer in _items(layers, "network.layers"):
        _items(layer, f"network.layers.{name}")


def _items(group: object, path: str) -> Any:
    if not isinstance(group, Mapping):
        raise ParameterError(f"{path} is {_shown(group)}, not keys and values")
    return group.items()


def _check_known(group: Mapping[str, Any], known: Any, prefix: str) -> None:
    for key in group:
        if key not in known:
            raise ParameterError(f"{prefix}{key}: no such key; {nearest(key, known)}")


def _check_values(plain: Mapping[str, Any]) -> None:
    """Values of the schema lie in their ranges; those of groups with a `type` are checked by the class of that name."""
    scalars = {}
    for field in fields(EvaluateConfig):
        if field.name not in plain:
            continue
        if not is_dataclass(field.type):
            scalars[field.name] = plain[field.name]
            continue
        assert isinstance(field.type, type)
        try:
            check_parameters(field.type(**plain[field.name]))
        except ParameterError as error:
            raise ParameterError(f"{field.name}.{error}") from None
    check_parameters(EvaluateConfig(**scalars))


def _shown(value: object) -> str:
    """A value in few characters, of an object its type alone."""
    return repr(value)[:60] if type(value) in _SCALARS else f"a {type(value).__name__}"
