"""Parameters that know their own range, and objects built from configuration.

A class declares each parameter once, as a dataclass field with its default, range and unit. Making an object checks the
values; `build` makes an object of the right class from a mapping such as a YAML file gives.
"""

import dataclasses
import difflib
import inspect
import math
import re
import types
import typing
from abc import ABC
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

T = typing.TypeVar("T")
_NAME = re.compile(r"[A-Za-z0-9][\w .-]*")


class ParameterError(ValueError):
    """A value that a user gave and that cannot be: says what was given and what is allowed, in one line."""


@dataclasses.dataclass(frozen=True)
class Range:
    """What a parameter may be. Numbers are finite and inside the bounds; `choices` lists the allowed words."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""

    def allows(self, value: Any) -> bool:
        """Whether `value`, of the right type already, lies in the range."""
        if self.choices and value not in self.choices:
            return False
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def describe(self, kind: str) -> str:
        """The range in words, for example `a number above 0 (s)`."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        bounds = {"above": self.above, "at least": self.at_least, "below": self.below, "at most": self.at_most}
        limits = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
        return " ".join(part for part in (kind, limits, f"({self.unit})" if self.unit else "") if part)


def parameter(default: Any = dataclasses.MISSING, *, training: bool = True, **limits: Any) -> Any:
    """A dataclass field with a range.

    Args:
        default: its value if none is given.
        training: whether it changes what a training gives (see `training_values`).
        limits: the fields of `Range`.

    Example:
        >>> parameter(0.02, above=0, unit="s").metadata["range"].describe("a number")
        'a number above 0 (s)'
    """
    return dataclasses.field(default=default, metadata={"range": Range(**limits), "training": training})


def training_values(instance: Any) -> dict[str, Any]:
    """The class of a dataclass object and its parameters, but for those declared with `training=False`.

    Two objects with equal ones train the same.

    Example:
        >>> from ratespike.neurons import LIF
        >>> training_values(LIF(max_rate=200, min_voltage=-1)) == training_values(LIF(max_rate=200))
        True
    """
    kept = [field.name for field in dataclasses.fields(instance) if field.init and field.metadata.get("training", True)]
    return {"type": type(instance).__name__, **{name: getattr(instance, name) for name in kept}}


_KINDS = {float: "a number", int: "a whole number", str: "a word", bool: "true or false"}


def check_parameters(instance: Any) -> None:
    """Check each field of a dataclass that was declared with `parameter`.

    Raises:
        ParameterError: naming the parameter, its value and what is allowed.
    """
    hints = _hints(type(instance))
    for field in dataclasses.fields(instance):
        limits = field.metadata.get("range")
        if limits is None:
            continue
        value = getattr(instance, field.name)
        allowed = _plain_types(hints[field.name])
        if value is None and type(None) in allowed:
            continue
        if not any(_is(value, kind) for kind in allowed) or not limits.allows(value):
            words = " or ".join(limits.describe(_KINDS[kind]) if kind in _KINDS else "null" for kind in allowed)
            raise ParameterError(f"{field.name}={value}: must be {words}{_default_hint(field)}")


def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _plain_types(hint: Any) -> tuple[type, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool) and kind is not bool:
        return False
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _default_hint(field: Any) -> str:
    return "" if field.default in (dataclasses.MISSING, None) else f"; the default is {field.default}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`known`, the names most like `word` first, as a hint for an error line."""
    known = sorted(known)
    close = difflib.get_close_matches(str(word), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}known: {', '.join(known)}"


def is_name(key: object) -> bool:
    """Whether a key can name a layer or a parameter: words that mean nothing more to whoever reads a configuration.

    Example:
        >>> is_name("conv1"), is_name("_target_"), is_name("defaults")
        (True, False, False)
    """
    return isinstance(key, str) and key != "defaults" and _NAME.fullmatch(key) is not None


def flat(config: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by their names with dots.

    Example:
        >>> dict(flat({"neuron": {"type": "LIF", "tau_rc": 0.02}, "n_steps": 30}))
        {'neuron.type': 'LIF', 'neuron.tau_rc': 0.02, 'n_steps': 30}
    """
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def kinds(base: type) -> dict[str, type]:
    """The concrete classes below `base` (and itself if it is concrete), by name."""
    found: dict[str, type] = {} if inspect.isabstract(base) or ABC in base.__bases__ else {base.__name__: base}
    for child in typing.cast(list[type], base.__subclasses__()):
        found.update(kinds(child))
    return found


def build(base: type[T], config: Mapping[str, Any], where: str) -> T:
    """Make the object that `config` describes: `type` names a class below `base`, the other keys are its parameters.

    Args:
        base: for instance `Neuron`.
        config: for instance `{"type": "LIF", "tau_rc": 0.02}`.
        where: the key under which the user knows it, for the error message.

    Raises:
        ParameterError: unknown type, unknown or missing parameter, value out of range.
    """
    options = {str(key): value for key, value in config.items()}
    known = kinds(base)
    name = options.pop("type", None)
    if name not in known:
        raise ParameterError(f"{where}.type={name}: {nearest(str(name), known)}")
    cls = known[name]
    names = {field.name for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in options:
        if key not in names:
            raise ParameterError(f"{where}.{key}: {name} has no such parameter; {nearest(key, names)}")
    try:
        return typing.cast(T, cls(**options))
    except ParameterError as error:
        raise ParameterError(f"{where}.{error}") from None
    except TypeError as error:
        raise ParameterError(f"{where}: {name} {str(error).split('() ')[-1]}") from None
