"""Names that people read: of a run by what was asked for, of a job by what differs, of a parameter by its last words."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ratespike.config.relevance import is_asked_for, names_a_run, names_an_evaluation


def short_names(names: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Each name's shortest end, counted in words between dots, that no other name in `known` has.

    Example:
        >>> short_names(["neuron.tau_rc", "neuron.type"], ["neuron.tau_rc", "neuron.type", "synapse.type"])
        {'neuron.tau_rc': 'tau_rc', 'neuron.type': 'neuron.type'}
    """
    used = Counter(end for name in known for end in _ends(name))
    shortest = {}
    for name in names:
        own_alone = (end for end in _ends(name) if used[end] <= 1)
        shortest[name] = next(own_alone, name)
    return shortest


def _ends(name: str) -> list[str]:
    """`a.b.c` ends with c, b.c and a.b.c."""
    words = name.split(".")
    return [".".join(words[first:]) for first in reversed(range(len(words)))]


def asked_for(overrides: Sequence[str]) -> list[str]:
    """The overrides that a person gave, without those that a program added."""
    return [override for override in overrides if is_asked_for(key_of(override))]


def key_of(override: str) -> str:
    """What an override sets, without the signs before it."""
    return override.partition("=")[0].lstrip("+~")


def run_name(experiment: str, overrides: Sequence[str]) -> str:
    """A run's name: its experiment, and what else was asked for.

    Example:
        >>> run_name("mnist", ["+experiment=mnist", "n_steps=60", "register=digits"])
        'mnist n_steps=60'
    """
    others = [override for override in overrides if names_a_run(key_of(override))]
    return " ".join([experiment, *others])


def evaluation_name(overrides: Sequence[str]) -> str:
    """An evaluation's name: what differs from the run that it is of.

    Example:
        >>> evaluation_name(["run=abc", "n_steps=120"])
        'evaluate n_steps=120'
    """
    settings = [override for override in overrides if names_an_evaluation(key_of(override))]
    return " ".join(["evaluate", *settings])


def job_name(overrides: Sequence[str], swept: Sequence[str], plain: Mapping[str, Any]) -> str:
    """A job's name among those of its sweep: what differs; of a group the option alone, of a number six digits.

    Example:
        >>> job_name(["neuron=lif", "neuron.tau_rc=0.02", "n_steps=30"], ["neuron", "neuron.tau_rc"], {"neuron": {}})
        'lif tau_rc=0.02'
        >>> job_name(["optimizer.lr=0.0007890633243350092"], ["optimizer.lr"], {})
        'lr=0.000789063'
    """
    names = short_names(swept, swept)
    words = []
    for override in overrides:
        key = key_of(override)
        value = override.partition("=")[2]
        if key not in names:
            continue
        if _is_group(key, plain):
            words.append(value)
        else:
            words.append(f"{names[key]}={_six_digits(value)}")
    return " ".join(words)


def _is_group(key: str, plain: Mapping[str, Any]) -> bool:
    """Whether an override of this key chooses a group's option, as `neuron=lif` does."""
    return isinstance(plain.get(key), Mapping) or "@" in key or "/" in key or key in ("experiment", "debug")


def _six_digits(value: str) -> str:
    """A number that a search has drawn, as people read it; anything shorter as it is."""
    try:
        return f"{float(value):.6g}" if len(value) > 12 else value
    except ValueError:
        return value
