"""Trainings in stages: each stage begins with the weights of the one before it, and the run's own training is the last.

A stage is given by what it has in place of the run's own settings. Of a group with the same `type` it has the given values
in place of the run's; a group with another `type` is the stage's own:

    stages:
      rectified: {neuron: {type: IntegrateAndFire}, trainer: {max_epochs: 14}}
      soft: {optimizer: {lr: 2e-3}, trainer: {max_epochs: 2}}

So each stage is a whole configuration, whose own `stages` are those in front of it.
"""

from collections.abc import Mapping
from typing import Any

from ratespike.parameters import ParameterError, nearest

GROUPS = ("augmentation", "neuron", "forward", "loss", "rate_control", "optimizer", "trainer")


def stages_of(plain: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The stages of a training, the first one first: of each its name and its configuration.

    Args:
        plain: the configuration of a training as nested dictionaries.

    Raises:
        ParameterError: a stage that is no mapping, or has a key that a stage cannot have.

    Example:
        >>> training = {"seed": 0, "optimizer": {"type": "Adam", "lr": 0.1}, "stages": {"first": {"optimizer": {"lr": 0.2}}}}
        >>> stages_of(training)
        [('first', {'seed': 0, 'optimizer': {'type': 'Adam', 'lr': 0.2}, 'stages': {}})]
    """
    stages = plain.get("stages") or {}
    found = []
    earlier: dict[str, Any] = {}
    for name, changes in stages.items():
        _check(name, changes)
        settings = {**plain, "stages": dict(earlier)}
        if "conversion" in settings:
            settings["conversion"] = {"type": "AsTrained"}  # the next stage begins with the weights as they were trained
        for group, changed in changes.items():
            settings[group] = _changed(plain[group], changed)
        found.append((name, settings))
        earlier[name] = changes
    return found


def _changed(group: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """A group with some values changed; of another type nothing of it is left."""
    if changed.get("type", group.get("type")) != group.get("type"):
        return dict(changed)
    return {**group, **changed}


def _check(name: str, stage: object) -> None:
    if not isinstance(stage, Mapping):
        raise ParameterError(f"stages.{name}={stage}: must be groups of settings, such as stages.{name}.trainer.max_epochs=3")
    for group, changed in stage.items():
        if group not in GROUPS:
            raise ParameterError(f"stages.{name}.{group}: a stage cannot have it; {nearest(str(group), GROUPS)}")
        if not isinstance(changed, Mapping):
            example = f"stages.{name}.{group}.<key>=<value>"
            raise ParameterError(f"stages.{name}.{group}={changed}: must be keys and values, as {example}")
