"""Parameters that know their own range, and objects built from configuration.

A class declares each parameter once, as a dataclass field with its default, range and unit. Making an object checks the
values; `build` makes an object of the right class from a mapping such as a YAML file gives.
"""

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ratespike import plugins

T = typing.TypeVar("T")
_SMALLEST, _LARGEST = 1e-30, 1e30  # in size, of numbers that are not whole
_NAME = re.compile(r"[A-Za-z0-9][\w .-]*")


class ParameterError(ValueError):
    """A value that a user gave and that cannot be: says what was given and what is allowed, in one line."""


@dataclasses.dataclass(frozen=True)
class Range:
    """What a parameter may be. Numbers are inside the bounds; `choices` lists the allowed words.

    Whatever the bounds, numbers are such as single precision and 64 bits hold, with room for a product of a few of them:
    0, or from 1e-30 to 1e30 in size; whole ones below 2**63.

    Attributes:
        above: numbers are greater than this; None: no such bound, here and below.
        at_least: numbers are this or greater.
        below: numbers are less than this.
        at_most: numbers are this or less.
        choices: the allowed words; empty: any.
        unit: of a number, such as `s`; empty for one without.

    Example:
        >>> positive = Range(above=0, unit="s")
        >>> positive.allows(0.02), positive.allows(0), positive.allows(float("inf")), positive.allows(1e-300)
        (True, False, False, False)
    """

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""

    def allows(self, value: Any) -> bool:
        """Whether `value`, whose type is right already, lies in the range."""
        if self.choices and value not in self.choices:
            return False
        if not _is_number(value):
            return True
        return (
            _has_usable_size(value)
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def describe(self, kind: str, instead_of: Any = None) -> str:
        """The range in words, for example `a number above 0 (s)`.

        Args:
            kind: `a number`, `a whole number`, `a word`.
            instead_of: the value that was given; where it is refused for its size alone, the sizes that are allowed.
        """
        if _is_number(instead_of) and not _has_usable_size(instead_of):
            if isinstance(instead_of, int):
                return f"{kind} below 2**63 in size"
            if math.isfinite(instead_of):
                return f"{kind} that is 0, or from {_SMALLEST:g} to {_LARGEST:g} in size"
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        bounds = {"above": self.above, "at least": self.at_least, "below": self.below, "at most": self.at_most}
        limits = [f"{word} {_in_digits(bound)}" for word, bound in bounds.items() if bound is not None]
        words = kind
        if limits:
            words += " " + " and ".join(limits)
        if self.unit:
            words += f" ({self.unit})"
        return words


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _has_usable_size(number: float) -> bool:
    if isinstance(number, int):
        return abs(number) < 2**63
    return number == 0 or _SMALLEST <= abs(number) <= _LARGEST


def _in_digits(bound: float) -> str:
    """A bound as people write it: whole numbers with all their digits."""
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


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
    values: dict[str, Any] = {"type": type(instance).__name__}
    for field in dataclasses.fields(instance):
        if field.init and field.metadata.get("training", True):
            values[field.name] = getattr(instance, field.name)
    return values


_KINDS = {float: "a number", int: "a whole number", str: "a word", bool: "true or false"}


def check_parameters(instance: Any) -> None:
    """Check each field of a dataclass object that was declared with `parameter`; other fields may have any value.

    Raises:
        ParameterError: naming the parameter, its value and what is allowed.

    Example:
        >>> from ratespike.synapses import LowPass
        >>> synapse = LowPass(tau=0.1)
        >>> synapse.tau = -1
        >>> check_parameters(synapse)
        Traceback (most recent call last):
            ...
        ratespike.parameters.ParameterError: tau=-1: must be a number above 0 (s); the default is 0.1
    """
    hints = typing.get_type_hints(type(instance))
    for field in dataclasses.fields(instance):
        limits = field.metadata.get("range")
        if limits is None:
            continue
        value = getattr(instance, field.name)
        allowed = _plain_types(hints[field.name])
        if value is None and type(None) in allowed:
            continue
        if not any(_is_a(value, kind) for kind in allowed) or not limits.allows(value):
            words = _in_words(allowed, limits, value)
            raise ParameterError(f"{field.name}={value}: must be {words}{_default_hint(field)}")


def _plain_types(hint: Any) -> tuple[type, ...]:
    """The types that a type hint allows: of `int | None`, these two."""
    if isinstance(hint, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _is_a(value: Any, kind: type) -> bool:
    """Whether a value has a type as a person understands it: 1 is a number, but True is no whole number."""
    if isinstance(value, bool) and kind is not bool:
        return False
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, kind)


def _in_words(allowed: tuple[type, ...], limits: Range, given: object) -> str:
    """What a parameter of these types may be instead, such as `a whole number at least 1 or null`."""
    alternatives = []
    for kind in allowed:
        is_of_kind = _is_a(given, kind)
        alternatives.append(limits.describe(_KINDS[kind], given if is_of_kind else None) if kind in _KINDS else "null")
    return " or ".join(alternatives)


def _default_hint(field: Any) -> str:
    """What to add to an error line where the parameter has a default."""
    if field.default in (dataclasses.MISSING, None):
        return ""
    return f"; the default is {field.default}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known names as a hint for an error line, before them those that are most like `word`.

    Example:
        >>> nearest("trch", ["event_driven", "torch"])
        'did you mean torch? known: event_driven, torch'
    """
    known = sorted(known)
    close = difflib.get_close_matches(str(word), known, n=3, cutoff=0.5)
    all_names = f"known: {', '.join(known)}"
    if not close:
        return all_names
    return f"did you mean {' or '.join(close)}? {all_names}"


def is_name(key: object) -> bool:
    """Whether a key can name a layer or a parameter: a word without a meaning of its own in a configuration file.

    Example:
        >>> is_name("conv1"), is_name("_target_"), is_name("defaults")
        (True, False, False)
    """
    return isinstance(key, str) and key != "defaults" and _NAME.fullmatch(key) is not None


def flat(config: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by their names with dots.

    Args:
        config: mappings in mappings.
        prefix: in front of each name.

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
    """The concrete classes below `base` (and itself if it is concrete), by name.

    A class is abstract if it has abstract methods or names `ABC` as a base.

    Example:
        >>> from ratespike.synapses import Synapse
        >>> "LowPass" in kinds(Synapse), "Synapse" in kinds(Synapse)
        (True, False)
    """
    return {cls.__name__: cls for cls in _concrete(base)}


def _concrete(base: type) -> Iterator[type]:
    return filter(plugins.is_concrete, plugins.below(base))


def kind(base: type[T], name: object, where: str) -> type[T]:
    """The class that a configuration names by `type`: of this package, or of a plugin that is installed.

    Plugins are imported if no class has the name without them. All of a plugin is refused if one of its classes has the name of
    one of this package, whichever of them is asked for.

    Args:
        base: for instance `Neuron`.
        name: of a concrete class below `base`, or its own.
        where: the key under which the user knows it, for the error message.

    Raises:
        ParameterError: an unknown name, one of two classes, or a plugin that cannot be imported.

    Example:
        >>> from ratespike.synapses import Synapse
        >>> kind(Synapse, "LowPass", "synapse")
        <class 'ratespike.synapses.LowPass'>
    """
    known = kinds(base)
    if not isinstance(name, str) or name not in known or plugins.holds(known[name]):
        try:
            plugins.load()
        except plugins.PluginError as error:
            raise ParameterError(str(error)) from error
        known = kinds(base)
    if not isinstance(name, str) or name not in known:
        raise ParameterError(f"{where}.type={name}: {nearest(str(name), known)}; no installed plugin has it")
    full_names = {f"{cls.__module__}.{cls.__qualname__}" for cls in _concrete(base) if cls.__name__ == name}
    if len(full_names) > 1:  # a module that was imported again has the same ones
        raise ParameterError(f"{where}.type={name}: {' and '.join(sorted(full_names))} have one name; rename one of them")
    return known[name]


def build(base: type[T], config: Mapping[str, Any], where: str) -> T:
    """Make the object that `config` describes: `type` names a class below `base`, the other keys are its parameters.

    Args:
        base: for instance `Neuron`.
        config: for instance `{"type": "LIF", "tau_rc": 0.02}`.
        where: the key under which the user knows it, for the error message.

    Raises:
        ParameterError: unknown type, unknown or missing parameter, value out of range.

    Example:
        >>> from ratespike.synapses import Synapse
        >>> build(Synapse, {"type": "LowPass", "tau": 0.05}, "synapse")
        LowPass(tau=0.05)
        >>> build(Synapse, {"type": "LowPass", "tau": -1}, "synapse")
        Traceback (most recent call last):
            ...
        ratespike.parameters.ParameterError: synapse.tau=-1: must be a number above 0 (s); the default is 0.1
    """
    if not isinstance(config, Mapping):
        raise ParameterError(f"{where}={config}: must be keys and values, such as {{type: ...}}")
    options = {str(key): value for key, value in config.items()}
    name = options.pop("type", None)
    cls = kind(base, name, where)
    parameters = {field.name for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in options:
        if key not in parameters:
            raise ParameterError(f"{where}.{key}: {name} has no such parameter; {nearest(key, parameters)}")
    try:
        return cls(**options)
    except ParameterError as error:
        raise ParameterError(f"{where}.{error}") from None
    except TypeError as error:  # "LIF.__init__() missing 1 required keyword-only argument: ..."
        what_is_missing = str(error).split("() ")[-1]
        raise ParameterError(f"{where}: {name} {what_is_missing}") from None
