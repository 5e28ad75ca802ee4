"""A run's model in the registry: its version, its alias, and the checkpoint that comes back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import LoggedModelOutput, LoggedModelStatus

from ratespike.parameters import ParameterError
from ratespike.tracking import store
from ratespike.tracking.address import registered_model
from ratespike.tracking.models import CHECKPOINT
from ratespike.tracking.registry import ALIAS, from_registry, register
from ratespike.tracking.runs import Client, Run


@pytest.fixture
def trained(client: Client, tmp_path: Path) -> Callable[..., Run]:
    """A run with a model whose checkpoint has some content; None for a model without one."""

    def make(content: str | None) -> Run:
        run = store.open_run(client, "registered", "run", {"mlflow.note.content": "a note"})
        run.metrics({"test/rate_accuracy": 0.75, "test/spiking_accuracy": 0.5})
        experiment = client.get_run(run.id).info.experiment_id
        model = client.create_logged_model(experiment, "model", run.id)
        files = tmp_path / "model"
        files.mkdir(exist_ok=True)
        (files / "MLmodel").write_text("flavors: {}")
        if content is not None:
            (files / CHECKPOINT).parent.mkdir(exist_ok=True)
            (files / CHECKPOINT).write_text(content)
        client.log_model_artifacts(model.model_id, str(files))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        client.log_outputs(run.id, [LoggedModelOutput(model.model_id, 0)])
        return run

    return make


def content(client: Client, address: str) -> tuple[str, str | None]:
    with from_registry(client, address) as found:
        return found.checkpoint.read_text(), found.run_id


def test_the_alias_is_that_of_the_model_that_was_registered_last(client: Client, trained: Callable[..., Run]) -> None:
    first, second = trained("first"), trained("second")
    assert register(first, "net") == f"models:/net@{ALIAS} is version 1 now, the model of run {first.id}"
    assert content(client, f"models:/net@{ALIAS}") == ("first", first.id)
    assert "version 2" in register(second, "net")
    assert content(client, f"models:/net@{ALIAS}") == ("second", second.id)
    assert "version 1" in register(first, "net"), "the same run got another version"
    assert content(client, f"models:/net@{ALIAS}") == ("first", first.id)
    assert content(client, "models:/net/2") == ("second", second.id)
    version = client.get_model_version("net", "1")
    assert version.tags == {"test/rate_accuracy": "0.75", "test/spiking_accuracy": "0.5"}
    assert version.description == "a note"


def test_a_run_without_a_checkpoint_in_its_model_is_not_registered(client: Client, trained: Callable[..., Run]) -> None:
    run = trained(None)
    with pytest.raises(ParameterError, match=f"register=older: run {run.id} has a model of an earlier version of ratespike"):
        register(run, "older")
    bare = store.open_run(client, "registered", "bare", {})
    with pytest.raises(ParameterError, match="has no model"):
        register(bare, "older")
    assert not client.search_registered_models("name = 'older'")


def test_what_is_not_in_the_registry_is_named_with_what_is(client: Client, trained: Callable[..., Run]) -> None:
    register(trained("x"), "digits")
    client.create_registered_model("others")
    client.create_model_version("others", "file:///nowhere/at/all")
    for address, message in {
        "models:/digit@champion": "models:/digit@champion: not found in .*; did you mean digits. known: digits",
        "models:/digits@best": "models:/digits@best: not found in .*; known: /1, @champion",
        "models:/digits/7": "models:/digits/7: not found in .*; known: /1, @champion",
        "models:/others/1": "models:/others/1: has no checkpoint of ratespike",
    }.items():
        with pytest.raises(ParameterError, match=message), from_registry(client, address):
            pass


@pytest.mark.parametrize(
    "address", ["models:/", "models:/net", "models:/net@", "models:/a/b/1", "models:/../1@x", "models:/net/x"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ParameterError, match="must be models:/<name>@<alias> or models:/<name>/<number of a version>"):
        registered_model(address)
