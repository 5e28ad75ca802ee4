"""Names that people read: of a run by what was asked for, of a job by what differs, of a parameter by its last words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_NOT_ASKED_FOR = ("tracking.parent", "resume")


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """The shortest endings of dotted keys that tell them apart.

    Example:
        >>> short_names(["neuron.tau_rc", "seed", "simulation.seed", "data.split_seed"])
        {'neuron.tau_rc': 'tau_rc', 'seed': 'seed', 'simulation.seed': 'simulation.seed', 'data.split_seed': 'split_seed'}
    """
    keys = list(keys)
    names = {}
    for key in keys:
        words = key.split(".")
        endings = [".".join(words[start:]) for start in range(len(words) - 1, -1, -1)]
        others = [other for other in keys if other != key]
        names[key] = next((name for name in endings if not any(f".{other}".endswith(f".{name}") for other in others)), key)
    return names


def asked_for(overrides: Sequence[str]) -> list[str]:
    """The overrides that a person gave, without those that a program added."""
    return [override for override in overrides if key_of(override) not in _NOT_ASKED_FOR]


def key_of(override: str) -> str:
    """What an override sets, without the signs before it."""
    return override.partition("=")[0].lstrip("+~")


def run_name(experiment: str, overrides: Sequence[str]) -> str:
    """A run's name: its experiment, and what else was asked for."""
    return " ".join([experiment, *(override for override in asked_for(overrides) if key_of(override) != "experiment")])


def job_name(overrides: Sequence[str], swept: Sequence[str], plain: Mapping[str, Any]) -> str:
    """A job's name among those of its sweep: what differs; of a group the option alone.

    Example:
        >>> job_name(["neuron=lif", "neuron.tau_rc=0.02", "n_steps=30"], ["neuron", "neuron.tau_rc"], {"neuron": {}})
        'lif tau_rc=0.02'
    """
    names = short_names(swept)
    words = []
    for override in overrides:
        key, _, value = override.partition("=")
        key = key_of(override)
        if key in names:
            is_group = isinstance(plain.get(key), Mapping) or "@" in key or "/" in key or key in ("experiment", "debug")
            words.append(value if is_group else f"{names[key]}={value}")
    return " ".join(words)
