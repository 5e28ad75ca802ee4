"""Every name of docs/contract.md is there: in the composed configuration, by import, or in real runs."""

import ast
import importlib
import inspect
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf
from pages import contract
from program import CONF, SMALL, query, run_here

import ratespike.config.schemas  # noqa: F401  # registers the schema
from ratespike.tracking import store
from ratespike.tracking.status import track

NAMES = contract()
WITH_A_PLUS = ("experiment", "debug", "sweep")  # groups that are not among the defaults


def test_the_contract_has_all_its_sections() -> None:
    """A table that could not be read would leave nothing to check."""
    sizes = {section: len(names) for section, names in NAMES.items()}
    assert set(sizes) == {"Configuration keys", "Configuration groups", "Metrics", "Tags", "Artifacts", "Python"}
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


@pytest.fixture(scope="module")
def swept(checkout: Path) -> Path:
    """A checkout with a failed run and a sweep of two jobs; the second job uses the first one's training and simulation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        code, _, error = run_here(checkout, "-m", *SMALL, "n_steps=3,2")
    assert code == 0, error
    client = store.connect(f"sqlite:///{checkout}/mlflow.db")
    failing = store.open_run(client, "mnist", "failing", tags={})
    with suppress(ZeroDivisionError), track(failing, checkout, system_metrics=False):
        raise ZeroDivisionError
    return checkout


@pytest.mark.program
@pytest.mark.parametrize("name", NAMES["Metrics"])
def test_a_run_logs_the_metric(name: str, swept: Path) -> None:
    assert _is_among(name, query(swept, "select distinct key from metrics"))


@pytest.mark.program
@pytest.mark.parametrize("name", NAMES["Tags"])
def test_a_run_has_the_tag(name: str, swept: Path) -> None:
    assert _is_among(name, query(swept, "select distinct key from tags"))


@pytest.mark.program
@pytest.mark.parametrize("name", NAMES["Artifacts"])
def test_a_run_keeps_the_artifact(name: str, swept: Path) -> None:
    folders = list(swept.glob("mlruns/mnist/*/artifacts"))
    kept = [(str(path.relative_to(folder)),) for folder in folders for path in folder.rglob("*.*")]
    assert _is_among(name, kept)


def _is_among(name: str, rows: list[tuple[object, ...]]) -> bool:
    """Whether a name, in which `<layer>` and the like stand for a word, is one of those in the first column."""
    pattern = re.sub(r"<\w+>", r"\\w+", re.escape(name).replace(r"\<", "<").replace(r"\>", ">"))
    return any(re.fullmatch(pattern, str(row[0])) for row in rows)
