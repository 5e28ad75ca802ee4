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
    if text in ("True", "False"):
        return text.lower()
    try:
        number = float(text)
    except ValueError:
        return text
    is_written_as_number = math.isfinite(number) and "_" not in text  # Python reads the word 1_000 as one too
    return number if is_written_as_number else text


def show(value: Value, digits: int = 12) -> str:
    """A value as short as it can be written.

    Args:
        value: of a parameter or measure.
        digits: significant digits at most; whole numbers are written in full.

    Example:
        >>> show(0.020), show(1e-5), show(0.00123456789, digits=6), show(12345.0, digits=6), show("LIF")
        ('0.02', '1e-05', '0.00123457', '12345', 'LIF')
    """
    if isinstance(value, str):
        return value
    is_whole = value == int(value) and abs(value) < 10**digits
    return f"{value:.0f}" if is_whole else f"{value:.{digits}g}"


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
    if len(found) == 1:
        return found[0]
    hint = f"it may be {' or '.join(found)}" if found else nearest(name, known)
    raise ParameterError(f"{complaint}; {hint}")


def describe(parameters: Mapping[str, Value], short: Mapping[str, str]) -> str:
    """Parameters in a few words; a group's type stands for itself.

    Args:
        parameters: values by full name.
        short: short names by full name.

    Example:
        >>> names = {"neuron.type": "neuron.type", "neuron.tau_rc": "tau_rc"}
        >>> describe({"neuron.type": "LIF", "neuron.tau_rc": 0.02}, names)
        'LIF tau_rc=0.02'
    """
    words = []
    for name in sorted(parameters, key=order):
        if _is_type(name):
            words.append(show(parameters[name]))
        else:
            words.append(f"{short[name]}={show(parameters[name], NAME_DIGITS)}")
    return " ".join(words)


def order(name: str) -> tuple[bool, bool, str]:
    """Key of the order in which parameters are named: types, then groups' parameters, then the others.

    Example:
        >>> sorted(["seed", "neuron.tau_rc", "neuron.type"], key=order)
        ['neuron.type', 'neuron.tau_rc', 'seed']
    """
    return not _is_type(name), "." not in name, name


def _is_type(name: str) -> bool:
    """Whether a parameter is the type of a group of the configuration, such as `neuron.type`."""
    return name.count(".") == 1 and name.endswith(".type")
