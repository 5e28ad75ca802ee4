"""Parameters of different runs beside each other: equal numbers however written, names as short as can be."""

import functools
import math
from collections.abc import Collection, Mapping

from ratespike.parameters import ParameterError, nearest

Value = float | str

NAME_DIGITS = 6  # of a number in a group's name


@functools.cache
def parse(text: str) -> Value:
    """A parameter as MLflow keeps it, as a number where it is one; truth in small letters, as in YAML.

    Example:
        >>> parse("0.020") == parse("2e-2"), parse("LIF"), parse("nan"), parse("True")
        (True, 'LIF', 'nan', 'true')
    """
    try:
        number = float(text)
    except ValueError:
        return text.lower() if text in ("True", "False") else text
    return number if math.isfinite(number) and "_" not in text else text


def show(value: Value, digits: int = 12) -> str:
    """As short as it can be written, with so many significant digits at most; whole numbers in full.

    Example:
        >>> show(0.020), show(1e-5), show(0.00123456789, digits=6), show(12345.0, digits=6), show("LIF")
        ('0.02', '1e-05', '0.00123457', '12345', 'LIF')
    """
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value == int(value) and abs(value) < 10**digits else f"{value:.{digits}g}"


def find_name(name: str, known: Collection[str], complaint: str) -> str:
    """The full name of a parameter that the user may have shortened.

    Args:
        name: whole, or an end that only one of the known names has.
        known: full names.
        complaint: how the error message begins.

    Raises:
        ParameterError: no such name, or several.

    Example:
        >>> find_name("tau_rc", ["neuron.tau_rc", "n_steps"], "no such parameter")
        'neuron.tau_rc'
    """
    if name in known:
        return name
    found = sorted(full for full in known if full.endswith(f".{name}"))
    if len(found) != 1:
        raise ParameterError(f"{complaint}; {'it may be ' + ' or '.join(found) if found else nearest(name, known)}")
    return found[0]


def describe(parameters: Mapping[str, Value], short: Mapping[str, str]) -> str:
    """Parameters in a few words; a group's type stands for itself.

    Example:
        >>> names = {"neuron.type": "neuron.type", "neuron.tau_rc": "tau_rc"}
        >>> describe({"neuron.type": "LIF", "neuron.tau_rc": 0.02}, names)
        'LIF tau_rc=0.02'
    """
    return " ".join(
        show(value) if _is_type(name) else f"{short[name]}={show(value, NAME_DIGITS)}"
        for name, value in sorted(parameters.items(), key=lambda item: order(item[0]))
    )


def order(name: str) -> tuple[bool, bool, str]:
    """Key of the order in which parameters are named: types, then groups' parameters, then the others."""
    return not _is_type(name), "." not in name, name


def _is_type(name: str) -> bool:
    return name.count(".") == 1 and name.endswith(".type")
