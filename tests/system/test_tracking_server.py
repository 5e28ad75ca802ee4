"""Tracking servers that are out of order when a training starts, or that go away in its middle."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from program import free_port, query, run, start, wait_until
from services import listens, service
from test_killed_sweep import fresh
from test_postgresql import N_STEPS, SEEDS, SLICE, postgresql  # noqa: F401  # a fixture
from test_storage import TRAINING, ended, training_held

pytestmark = pytest.mark.system

AT_MOST = 10  # seconds, on a quiet machine


class Server:
    """A tracking server that can be killed and started again.

    Args:
        folder: of its log and its artifacts.
        database: the address of its database.
    """

    def __init__(self, folder: Path, database: str):
        self.folder = folder
        self.database = database
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.running = contextlib.ExitStack()

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "2"),
            *("--backend-store-uri", self.database, "--artifacts-destination", str(self.folder / "artifacts")),
        ]
        self.process = self.running.enter_context(service(command, self.folder / "server.log", cwd=self.folder))
        wait_until(lambda: listens(self.port), self.process)

    def send(self, number: signal.Signals) -> None:
        """To all its processes."""
        assert self.process is not None
        os.killpg(self.process.pid, number)
        if number is signal.SIGKILL:
            self.process.wait()

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def metrics(self, run_id: str) -> dict[tuple[str, int], float]:
        """All values by name and step, but for speeds; each is there once."""
        found = {}
        for name in self.client.get_run(run_id).data.metrics:
            points = self.client.get_metric_history(run_id, name)
            assert len({point.step for point in points}) == len(points)
            if "second" not in name:
                found.update({(name, point.step): point.value for point in points})
        return found


@contextmanager
def running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.send(signal.SIGCONT)
        server.running.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One on SQLite."""
    with running(Server(tmp_path, f"sqlite:///{tmp_path}/server.db")) as server:
        yield server


def seconds_to_refuse(folder: Path, uri: str) -> float:
    began = time.monotonic()
    code, said = ended(start(folder, *TRAINING, f"tracking.uri={uri}"))
    assert (code, len(said)) == (1, 1), said
    assert "tracking.uri=" in said[0]
    return time.monotonic() - began


def test_what_is_no_server_is_refused_at_the_start(checkout: Path, tmp_path: Path) -> None:
    """The time is that beyond a run that is refused without a question to anybody, whatever the machine is doing."""
    folder = fresh(checkout, "refused")
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "answers.py").write_text(
        "import http.server, sys, time\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        time.sleep(float(sys.argv[2]))\n"
        "        self.send_error(int(sys.argv[3]))\n"
        "    do_POST = do_GET\n"
        "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()\n"
    )
    usual = seconds_to_refuse(folder, "nonsense")
    took = {"sqlite:///<folder>": seconds_to_refuse(folder, f"sqlite:///{tmp_path}/folder.db") - usual}
    for name, arguments in {"500": ("0", "500"), "404 in HTML": ("0", "404"), "silent": ("3600", "500")}.items():
        port = free_port()
        with service([sys.executable, str(tmp_path / "answers.py"), str(port), *arguments], tmp_path / "log") as process:
            wait_until(lambda port=port: listens(port), process)  # type: ignore[misc]
            took[name] = seconds_to_refuse(folder, f"http://127.0.0.1:{port}") - usual
    took["nobody"] = seconds_to_refuse(folder, f"http://127.0.0.1:{free_port()}") - usual
    print(f"refused after {', '.join(f'{name} {seconds:.1f} s' for name, seconds in took.items())}", flush=True)
    assert max(took.values()) < AT_MOST
    assert not (folder / "mlflow.db").exists()
    assert not (folder / "mlruns").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_training_outlives_its_server(checkout: Path, server: Server, number: signal.Signals) -> None:
    folder = fresh(checkout, f"outlives_{number.name}")
    uri = f"tracking.uri={server.uri}"
    code, _, error = run(folder, *TRAINING, uri, "tracking.experiment=undisturbed")
    assert code == 0, error
    with training_held(folder, uri) as process:
        server.send(number)
    began = time.monotonic()
    code, said = ended(process)
    print(f"{number.name}: the training ended {time.monotonic() - began:.0f} s later", flush=True)
    assert code == 1
    (folder_that_waits,) = (folder / "outputs/waiting").iterdir()
    run_id = folder_that_waits.name
    assert len(said) == 2, said
    assert f"run {run_id} goes on without its store" in said[0]
    assert f"results of run {run_id} wait in {folder_that_waits}" in said[1]

    if number is signal.SIGKILL:
        server.start()
    else:
        server.send(signal.SIGCONT)
    undisturbed = server.client.get_experiment_by_name("undisturbed")
    assert undisturbed is not None
    (before,) = server.client.search_runs([undisturbed.experiment_id])
    for _ in range(2):  # once, however often it is given
        code, _, error = run(folder, uri, program="compare.py")
    assert not (folder / "outputs/waiting" / run_id).exists()
    assert server.client.get_run(run_id).info.status == "FINISHED"
    assert server.metrics(run_id) == server.metrics(before.info.run_id)
    assert [item.path for item in server.client.list_artifacts(run_id)] == [
        item.path for item in server.client.list_artifacts(before.info.run_id)
    ]
    assert len(server.client.get_run(run_id).outputs.model_outputs) == 1, "its model is brought in"
    code, _, error = run(folder, f"run={run_id}", "n_steps=2", uri, program="evaluate.py")
    assert code == 0, error


def test_a_server_that_goes_away_with_the_last_metric_costs_the_view_alone(checkout: Path, server: Server) -> None:
    """A proxy is not there: the server is killed when the run is FINISHED, which is before its view is saved."""
    folder = fresh(checkout, "view")
    process = start(folder, *TRAINING, f"tracking.uri={server.uri}")

    def has_finished() -> bool:
        return bool(query_of(server, "select 1 from runs where status = 'FINISHED'"))

    wait_until(has_finished, process)
    server.send(signal.SIGKILL)
    code, said = ended(process)
    assert code == 0, said


def query_of(server: Server, sql: str) -> list[tuple[object, ...]]:
    """Ask the server's database."""
    path = Path(server.database.removeprefix("sqlite:///"))
    (path.parent / "mlflow.db").unlink(missing_ok=True)
    (path.parent / "mlflow.db").symlink_to(path)
    return query(path.parent, sql)


def test_a_sweep_outlives_a_server_on_postgresql_that_is_started_again(
    checkout: Path,
    postgresql: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = fresh(checkout, "sweep_outlives")
    seeds = ",".join(map(str, SEEDS))
    with running(Server(tmp_path, postgresql)) as server:
        sweep = ("-m", *SLICE, f"n_steps={N_STEPS}", f"seed={seeds}", f"tracking.uri={server.uri}")
        command = (*sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=4")
        process = start(folder, *command)

        def jobs() -> list[str]:
            experiment = server.client.get_experiment_by_name("mnist")
            found = (
                server.client.search_runs([experiment.experiment_id], "tags.`mlflow.parentRunId` LIKE '%'")
                if experiment
                else []
            )
            return [run.info.status for run in found]

        wait_until(lambda: jobs().count("FINISHED") >= 3, process)
        server.send(signal.SIGKILL)
        time.sleep(30)
        server.start()
        process.communicate()
        print(
            f"the sweep ended with {process.returncode}; {jobs().count('FINISHED')} of {len(SEEDS)} jobs FINISHED", flush=True
        )
        code, _, error = run(folder, *command)
        assert code == 0, error
        assert jobs() == ["FINISHED"] * len(SEEDS)
        experiment = server.client.get_experiment_by_name("mnist")
        assert experiment is not None
        logged = set()
        for job in server.client.search_runs([experiment.experiment_id], "tags.`mlflow.parentRunId` LIKE '%'"):
            logged.add(frozenset(server.metrics(job.info.run_id)))
        assert len(logged) == 1, "jobs have logged different metrics"
        assert not list((folder / "outputs").glob("waiting/*"))
