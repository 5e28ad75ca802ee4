"""A sweep whose jobs log to `mlflow serve` on PostgreSQL, eight at a time."""

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
    """The address of an empty database. PostgreSQL does not run as root: its own user does it then."""
    initdb = found("initdb", "postgresql", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)))
    binaries = Path(initdb).parent
    folder = tmp_path_factory.mktemp("postgresql")
    user = {}
    if os.getuid() == 0:
        user = {"user": "postgres"}
        for path in (folder, *list(folder.parents)[:2]):
            path.chmod(0o755)
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    port = free_port()
    subprocess.run([initdb, "-D", folder / "data", "-U", "ratespike", "-A", "trust"], check=True, capture_output=True, **user)  # type: ignore[call-overload]
    command = [binaries / "postgres", "-D", folder / "data", "-p", str(port), "-h", "127.0.0.1", "-k", folder]
    with service(command, folder.parent / "postgresql.log", **user):
        wait_until(lambda: listens(port))
        subprocess.run([binaries / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "ratespike", "mlflow"], check=True)
        yield f"postgresql+psycopg2://ratespike@127.0.0.1:{port}/mlflow"


@pytest.fixture
def server(postgresql: str, tmp_path: Path) -> Iterator[str]:
    """The address of a tracking server on that database."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"),
        *("--backend-store-uri", postgresql, "--artifacts-destination", str(tmp_path / "artifacts")),
    ]
    with service(command, tmp_path / "server.log", cwd=tmp_path):
        wait_until(lambda: listens(port))
        yield f"http://127.0.0.1:{port}"


def test_many_jobs_log_to_one_server(checkout: Path, server: str) -> None:
    seeds = ",".join(map(str, SEEDS))
    sweep = ("-m", *SLICE, f"n_steps={N_STEPS}", f"seed={seeds}", f"tracking.uri={server}")
    code, _, error = run(checkout, *sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=8")
    assert code == 0, error
    assert not (checkout / "mlflow.db").exists()
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("mnist")
    assert experiment is not None
    jobs = client.search_runs([experiment.experiment_id], "tags.`mlflow.parentRunId` LIKE '%'")
    assert sorted(run.info.run_name for run in jobs) == sorted(f"seed={seed}" for seed in SEEDS)
    assert {run.info.status for run in jobs} == {"FINISHED"}
    names = {frozenset(run.data.metrics) for run in jobs}
    assert len(names) == 1 and len(next(iter(names))) >= 30
    for job in jobs:
        curve = client.get_metric_history(job.info.run_id, "test/spiking_accuracy_at")
        assert sorted(point.step for point in curve) == list(range(1, N_STEPS + 1))
        epochs = client.get_metric_history(job.info.run_id, "val/rate_accuracy")
        assert sorted(point.step for point in epochs) == [1]
        assert {item.path for item in client.list_artifacts(job.info.run_id)} >= {"checkpoints", "config.yaml", "figures"}
