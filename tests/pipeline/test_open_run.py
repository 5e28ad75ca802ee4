"""Which run a job of a sweep gets: a new one, the one that it has begun, or none."""

from collections.abc import Callable
from pathlib import Path

import hydra
import pytest
import torch
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf
from program import CONF
from torch import nn

from ratespike.config.job import Job
from ratespike.config.schemas import Config, check
from ratespike.exchange.safetensors import sha256_of_tensors
from ratespike.parameters import ParameterError
from ratespike.pipeline import fingerprint
from ratespike.pipeline.open_run import _interrupted_run, _run_of_sweep
from ratespike.tracking.runs import Run
from ratespike.tracking.store import connect
from ratespike.tracking.sweeps import SweepContext, children, open_parent

SWEEP = SweepContext("a sweep", ("experiment", "seed"), 30, "ratespike")


@pytest.fixture
def client(database: str) -> MlflowClient:
    return connect(database)


@pytest.fixture
def parent(client: MlflowClient) -> Run:
    return open_parent(client, "sweep", SWEEP)


@pytest.fixture
def job(tmp_path: Path, parent: Run) -> Callable[..., Job[Config]]:
    def make(*overrides: str) -> Job[Config]:
        asked = [*overrides, f"tracking.parent={parent.id}"]
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("config", asked)
        return Job(check(config), OmegaConf.to_container(config, resolve=True), asked, tmp_path, number=0)  # type: ignore[arg-type]

    return make


def opened(job: Job[Config], client: MlflowClient) -> Run:
    run = _run_of_sweep(job, client, SWEEP)
    assert run is not None
    return run


@pytest.mark.slow
def test_jobs_of_several_experiments_are_all_below_their_parent(
    client: MlflowClient, parent: Run, job: Callable[..., Job[Config]]
) -> None:
    runs = {opened(job(f"+experiment={name}"), client).id for name in ("mnist", "mnist_nengo")}
    assert {run.info.run_id for run in children(client, parent.id)} == runs


@pytest.mark.slow
def test_a_job_goes_on_in_its_run_unless_the_code_is_another(
    client: MlflowClient, job: Callable[..., Job[Config]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(job("seed=1"), client)
    client.set_terminated(first.id, "KILLED")
    again = opened(job("seed=1"), client)
    assert again.id == first.id
    assert again.resumed
    assert opened(job("seed=2"), client).id != first.id
    client.set_terminated(first.id, "KILLED")
    monkeypatch.setattr(fingerprint, "_sources", lambda names: "edited")
    other = opened(job("seed=1"), client)
    assert other.id != first.id
    assert not other.resumed
    with pytest.raises(ParameterError, match=f"resume={first.id}: that run was begun with other code"):
        _interrupted_run(job("seed=1"), client, first.id)


@pytest.mark.slow
def test_a_finished_job_is_not_done_again(
    client: MlflowClient, job: Callable[..., Job[Config]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(job("seed=1"), client)
    client.set_terminated(first.id, "FINISHED")
    monkeypatch.setattr(fingerprint, "_sources", lambda names: "edited")
    assert _run_of_sweep(job("seed=1"), client, SWEEP) is None


def test_a_simulation_is_known_by_the_weights_that_it_was_of() -> None:
    """A checkpoint's file or a run's name may stand for another network later."""
    network = nn.Sequential(nn.Linear(3, 2), nn.Conv2d(1, 1, 3).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    before = sha256_of_tensors(network.state_dict())
    assert sha256_of_tensors({name: weights.clone() for name, weights in reversed(network.state_dict().items())}) == before
    with torch.no_grad():
        network[0].weight[0, 0] += 1e-6
    assert sha256_of_tensors(network.state_dict()) != before
