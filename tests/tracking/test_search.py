"""Runs found in a real database, directly and through a real server."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from program import free_port, wait_until
from services import listens, service

from ratespike.analysis import Record
from ratespike.parameters import ParameterError
from ratespike.tracking import search

SWEPT = ["neuron.tau_rc=0.02 seed=0", "neuron.tau_rc=0.020 seed=1", "neuron.tau_rc=0.05 seed=0", "neuron.tau_rc=0.050 seed=1"]
ALONE, SLICE = "alone seed=7", "slice seed=8"


@pytest.fixture(scope="module")
def client(database_of_runs: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{database_of_runs}")


@pytest.fixture(scope="module")
def server(database_of_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{database_of_runs}"),
    ]
    log = tmp_path_factory.mktemp("server") / "log"
    with service(command, log, env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}) as process:
        wait_until(lambda: listens(port), process)
        yield MlflowClient(f"http://127.0.0.1:{port}")


def names(records: list[Record]) -> list[str]:
    return sorted(record.name for record in records)


def test_finished_runs_that_were_tested_on_rates_and_spikes_count(client: MlflowClient) -> None:
    assert names(search.finished_runs(client)) == sorted([ALONE, *SWEPT])
    assert names(search.finished_runs(client, debug=True)) == sorted([ALONE, SLICE, *SWEPT])


def test_a_record_keeps_what_is_compared(client: MlflowClient) -> None:
    (record,) = search.finished_runs(client, tags={"note": 0.5})
    run = client.get_run(record.id)
    assert record.parameters == run.data.params == {"neuron.tau_rc": "0.02", "n_steps": "30", "seed": "7"}
    assert record.metrics.keys() == run.data.metrics.keys() - {"train/loss"}
    assert record.name == ALONE
    assert record.started == run.info.start_time
    assert record.duration == (run.info.end_time - run.info.start_time) / 1000


def test_runs_are_found_by_experiment_or_sweep(client: MlflowClient) -> None:
    mnist = client.get_experiment_by_name("mnist").experiment_id
    (night,) = client.search_runs([mnist], "attributes.run_name = 'night'")
    assert names(search.finished_runs(client, ["mnist"])) == sorted([ALONE, *SWEPT])
    assert not search.finished_runs(client, ["other"])
    for sweep in ("night", night.info.run_id):
        assert names(search.finished_runs(client, sweeps=[sweep])) == SWEPT
    assert not search.finished_runs(client, ["other"], [night.info.run_id])


def test_all_pages_of_a_search_are_read(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PAGE", 2)
    assert names(search.finished_runs(client)) == sorted([ALONE, *SWEPT])


@pytest.mark.parametrize(
    ("experiments", "sweeps", "message"),
    [
        (["mnits"], [], "experiments=mnits: no such experiment; did you mean mnist"),
        ([], ["nihgt"], "sweeps=nihgt: no run has this id or name; did you mean night"),
        ([], ["it's"], "sweeps=it's: no run has this id or name"),
        (["other"], ["night"], "sweeps=night: no run has this id or name; there are no sweeps"),
    ],
)
def test_unknown_names(client: MlflowClient, experiments: list[str], sweeps: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        search.finished_runs(client, experiments, sweeps)


def test_a_name_of_two_runs_is_refused(client: MlflowClient) -> None:
    mnist = client.get_experiment_by_name("mnist").experiment_id
    twins = [client.create_run(mnist, run_name="twin").info.run_id for _ in range(2)]
    with pytest.raises(ParameterError, match="sweeps=twin: 2 runs have this name; give an id: ") as error:
        search.finished_runs(client, sweeps=["twin"])
    assert all(twin in str(error.value) for twin in twins)


def test_garbage_is_collected_again_after_a_search(client: MlflowClient) -> None:
    search.finished_runs(client)
    assert gc.isenabled()


def test_a_curve_is_read_once(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = search.finished_runs(client, tags={"note": "0.5"})
    read = search.curves(client)
    assert read(record.id) == {step: pytest.approx(0.96 * step / 30) for step in range(1, 31)}
    monkeypatch.setattr(client, "get_metric_history", None)
    assert len(read(record.id)) == 30


@pytest.mark.program
@pytest.mark.system
def test_a_server_returns_what_its_database_holds(server: MlflowClient, client: MlflowClient) -> None:
    def by_id(client: MlflowClient) -> dict[str, Record]:
        return {record.id: record for record in search.finished_runs(client)}

    assert by_id(server) == by_id(client)
    assert names(search.finished_runs(server, ["mnist"], ["night"])) == SWEPT
    run = search.finished_runs(server)[0].id
    assert search.curves(server)(run) == search.curves(client)(run)
    with pytest.raises(ParameterError, match="sweeps=nihgt: no run has this id or name; did you mean night"):
        search.finished_runs(server, sweeps=["nihgt"])
