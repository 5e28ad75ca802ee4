"""A sweep whose jobs log to MLflow's server on PostgreSQL, eight at a time."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from program import free_port, run, wait_until
from services import found, listens, service

pytestmark = pytest.mark.system

SLICE = ("+experiment=mnist", "+debug=fast", "data.train_images=200", "data.test_images=20", "data.validation_images=20")
SEEDS = range(16)
N_STEPS = 4


@pytest.fixture
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty database."""
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    initdb = found("initdb", "postgresql", *map(str, newest_first))
    binaries = Path(initdb).parent
    folder = tmp_path_factory.mktemp("postgresql")
    data = folder / "data"
    user = owner_of_server(folder)
    port = free_port()
    subprocess.run([initdb, "-D", data, "-U", "ratespike", "-A", "trust"], check=True, capture_output=True, **user)  # type: ignore[call-overload]
    command = [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder]
    with service(command, folder.parent / "postgresql.log", **user) as process:
        wait_until(lambda: listens(port), process)
        subprocess.run([binaries / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "ratespike", "mlflow"], check=True)
        yield f"postgresql+psycopg2://ratespike@127.0.0.1:{port}/mlflow"


def owner_of_server(folder: Path) -> dict[str, str]:
    """Options of `subprocess` for the user that the server runs as, who owns its folder: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    for path in (folder, *list(folder.parents)[:2]):
        path.chmod(0o755)
    os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    return {"user": "postgres"}


@pytest.fixture
def server(postgresql: str, tmp_path: Path) -> Iterator[str]:
    """The address of a tracking server on that database."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"),
        *("--backend-store-uri", postgresql, "--artifacts-destination", str(tmp_path / "artifacts")),
    ]
    with service(command, tmp_path / "server.log", cwd=tmp_path) as process:
        wait_until(lambda: listens(port), process)
        yield f"http://127.0.0.1:{port}"


def test_many_jobs_log_to_one_server(checkout: Path, server: str) -> None:
    seeds = ",".join(map(str, SEEDS))
    sweep = ("-m", *SLICE, f"n_steps={N_STEPS}", f"seed={seeds}", f"tracking.uri={server}")
    code, _, error = run(checkout, *sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=8")
    assert code == 0, error
    assert not (checkout / "mlflow.db").exists(), "a process used a database of its own"
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("mnist")
    assert experiment is not None
    jobs = client.search_runs([experiment.experiment_id], "tags.`mlflow.parentRunId` LIKE '%'")
    assert sorted(run.info.run_name for run in jobs) == sorted(f"seed={seed}" for seed in SEEDS)
    assert {run.info.status for run in jobs} == {"FINISHED"}
    logged = {frozenset(run.data.metrics) for run in jobs}
    assert len(logged) == 1, "jobs have logged different metrics"
    assert len(logged.pop()) >= 30
    for job in jobs:
        curve = client.get_metric_history(job.info.run_id, "test/spiking_accuracy_at")
        assert sorted(point.step for point in curve) == list(range(1, N_STEPS + 1))
        epochs = client.get_metric_history(job.info.run_id, "val/rate_accuracy")
        assert [point.step for point in epochs] == [1]
        assert {item.path for item in client.list_artifacts(job.info.run_id)} >= {"checkpoints", "config.yaml", "figures"}
