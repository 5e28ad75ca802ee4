"""A sweep on a Ray cluster of two nodes, both on this host, of which one dies."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from program import PATIENCE, free_port, metrics, query, start, wait_until
from services import service

pytestmark = pytest.mark.system

RAY = Path(sys.executable).with_name("ray")
N_JOBS = 16
SWEEP = (
    *("-m", "+experiment=mnist", "+debug=fast", "data.train_images=400", "data.test_images=20", "n_steps=3"),
    *("data.validation_images=20", f"seed=range({N_JOBS})", "hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus=1"),
)


@contextmanager
def node(*arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A node of the cluster, which runs inside: `ray start --block`, whose processes end with it."""
    common = ("--num-cpus=2", "--num-gpus=2", "--object-store-memory=100000000")
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    with service([RAY, "start", "--block", *arguments, *common], log, env=environment) as process:
        wait_until(lambda: b"Ray runtime started" in log.read_bytes(), process)
        yield process


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a cluster, and its second node.

    Ray takes 127.0.0.1 for a mistake and replaces it by an address that other hosts see; other loopback addresses it keeps.
    """
    if not RAY.exists():
        pytest.skip("ray is not installed (pip install -e '.[ray]')")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # a token of an earlier sweep would bind the head alone
    address = f"127.0.0.2:{free_port()}"
    _, _, port = address.partition(":")
    with tempfile.TemporaryDirectory(prefix="ray") as name:  # not pytest's folder: paths of sockets have to be short
        folder = Path(name)
        head = ("--head", f"--port={port}", "--node-ip-address=127.0.0.2", "--include-dashboard=false", f"--temp-dir={folder}")
        second = (f"--address={address}", "--node-ip-address=127.0.0.3", "--resources", json.dumps({"second": 1}))
        with node(*head, log=folder / "head.log"), node(*second, log=folder / "second.log") as second_node:
            yield address, second_node


def n_jobs_of(node: subprocess.Popen[bytes]) -> int:
    """How many jobs run on a node."""
    processes = subprocess.run(["ps", "-o", "args=", "--sid", str(node.pid)], capture_output=True, text=True).stdout
    return processes.count("ray::_run_job")


def gpus_seen(folder: Path) -> list[str]:
    """The GPU that each job's run saw."""
    return [str(gpu) for (gpu,) in query(folder, "select value from tags where key = 'ratespike.cuda_visible_devices'")]


def test_a_sweep_outlives_a_node(checkout: Path, cluster: tuple[str, subprocess.Popen[bytes]]) -> None:
    address, second = cluster
    process = start(checkout, *SWEEP, f"hydra.launcher.ray.init.address={address}")
    finished = "select name, run_uuid from runs where status = 'FINISHED' and name like 'seed=%'"
    wait_until(lambda: (checkout / "mlflow.db").exists() and len(query(checkout, finished)) >= 4, process)
    wait_until(lambda: n_jobs_of(second), process)
    os.killpg(second.pid, signal.SIGKILL)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, error
    jobs = query(checkout, "select name, status from runs where name like 'seed=%'")
    assert sorted(jobs) == sorted((f"seed={seed}", "FINISHED") for seed in range(N_JOBS))
    assert query(checkout, "select status from runs where name like 'sweep%'") == [("FINISHED",)]
    assert set(gpus_seen(checkout)) == {"0", "1"}
    assert len(gpus_seen(checkout)) == N_JOBS
    for _, run_id in query(checkout, finished):
        assert ("test/spiking_accuracy", 0) in metrics(checkout, str(run_id))
