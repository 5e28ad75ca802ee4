"""The names of docs/contract.md: configurations have them, Python imports them. `test_sweep.py` finds those of runs."""

import ast
import importlib
import inspect
from functools import cache

import hydra
import pytest
from omegaconf import OmegaConf
from pages import contract
from program import CONF

import ratespike.config.schemas  # noqa: F401  # registers the schema
from ratespike.cli.programs import PROGRAMS

NAMES = contract()
WITH_A_PLUS = ("experiment", "debug", "sweep")  # groups that are not among the defaults


def test_the_contract_has_all_its_sections() -> None:
    """A table that could not be read would leave nothing to check."""
    sizes = {section: len(names) for section, names in NAMES.items()}
    assert set(sizes) == {"Configuration keys", "Configuration groups", "Metrics", "Tags", "Artifacts", "Commands", "Python"}
    assert sizes.pop("Commands") >= 4
    assert min(sizes.values()) >= 8, sizes


@pytest.mark.parametrize("key", NAMES["Configuration keys"])
def test_a_configuration_has_the_key(key: str) -> None:
    assert OmegaConf.select(composed(), key, default="missing") != "missing"


@pytest.mark.parametrize("group", NAMES["Configuration groups"])
def test_a_configuration_has_the_group(group: str) -> None:
    option = {"hydra/launcher": "basic", "hydra/sweeper": "basic"}.get(group) or _some_option(group)
    plus = "+" if group in WITH_A_PLUS else ""
    assert composed(f"{plus}{group}={option}")


def _some_option(group: str) -> str:
    return next(path.stem for path in sorted((CONF / group).glob("*.yaml")))


@cache
def composed(*overrides: str):  # type: ignore[no-untyped-def]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides))


def test_the_commands_are_those_of_the_console() -> None:
    assert set(NAMES["Commands"]) == {f"ratespike {name}" for name in PROGRAMS}


@pytest.mark.parametrize("name", NAMES["Python"])
def test_a_python_name_can_be_imported(name: str) -> None:
    """A function has the parameters that the contract names, with these defaults."""
    call = ast.parse(name, mode="eval").body
    if not isinstance(call, ast.Call):
        assert _import(name)
        return
    parameters = inspect.signature(_import(ast.unparse(call.func))).parameters
    for argument in call.args:
        assert isinstance(argument, ast.Name) and argument.id in parameters
    for keyword in call.keywords:
        assert keyword.arg in parameters
        if not isinstance(keyword.value, ast.Call):  # a synapse: two of the same settings are not equal
            assert parameters[keyword.arg].default == ast.literal_eval(keyword.value), keyword.arg


def _import(dotted: str):  # type: ignore[no-untyped-def]
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)
