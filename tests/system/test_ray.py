"""A sweep on a Ray cluster of two nodes, both on this host, of which one dies."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import free_port, metrics, query, start, wait_until

pytestmark = pytest.mark.system

RAY = Path(sys.executable).with_name("ray")
N_JOBS = 16
SWEEP = (
    *("-m", "+experiment=mnist", "+debug=fast", "data.train_images=400", "data.test_images=20", "n_steps=3"),
    *("data.validation_images=20", f"seed=range({N_JOBS})", "hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus=1"),
)


def ray(*arguments: str, log: Path) -> subprocess.Popen[bytes]:
    """`ray start --block`, whose processes end with it."""
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    with log.open("wb") as output:
        return subprocess.Popen(
            [RAY, "start", "--block", *arguments], stdout=output, stderr=output, env=environment, start_new_session=True
        )


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a cluster, and its second node. Paths of sockets are short, so that the folder cannot be pytest's.

    Ray takes 127.0.0.1 for a mistake and replaces it by an address that other hosts see; other loopback addresses it keeps.
    """
    if not RAY.exists():
        pytest.skip("ray is not installed (pip install -e '.[ray]')")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # a token of an earlier sweep would bind the head alone
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        port = free_port()
        address = f"127.0.0.2:{port}"
        common = ("--num-cpus=2", "--num-gpus=2", "--object-store-memory=100000000")
        own = ("--node-ip-address=127.0.0.2", "--include-dashboard=false", "--temp-dir", folder)
        head = ray("--head", f"--port={port}", *common, *own, log=Path(folder) / "head.log")
        nodes = [head]
        try:
            wait_until(lambda: b"--address" in (Path(folder) / "head.log").read_bytes(), head)
            own = ("--node-ip-address=127.0.0.3", "--resources", json.dumps({"second": 1}))
            nodes.append(ray(f"--address={address}", *common, *own, log=Path(folder) / "second.log"))
            wait_until(lambda: b"Ray runtime started" in (Path(folder) / "second.log").read_bytes(), nodes[1])
            yield address, nodes[1]
        finally:
            for node in reversed(nodes):
                if node.poll() is None:
                    os.killpg(node.pid, signal.SIGTERM)
                    node.wait(timeout=60)


def at_work(node: subprocess.Popen[bytes]) -> int:
    """How many jobs a node has."""
    processes = subprocess.run(["ps", "-o", "args=", "--sid", str(node.pid)], capture_output=True, text=True).stdout
    return processes.count("ray::_run_job")


def seen(folder: Path) -> dict[str, list[str]]:
    """Names of the runs by the GPU that they saw."""
    rows = query(
        folder,
        "select t.value, r.name from tags t join runs r on r.run_uuid = t.run_uuid "
        "where t.key = 'ratespike.cuda_visible_devices'",
    )
    found: dict[str, list[str]] = {}
    for device, name in rows:
        found.setdefault(str(device), []).append(str(name))
    return found


def test_a_sweep_outlives_a_node(checkout: Path, cluster: tuple[str, subprocess.Popen[bytes]]) -> None:
    address, second = cluster
    process = start(checkout, *SWEEP, f"hydra.launcher.ray.init.address={address}")
    finished = "select name, run_uuid from runs where status = 'FINISHED' and name like 'seed=%'"
    wait_until(lambda: (checkout / "mlflow.db").exists() and len(query(checkout, finished)) >= 4, process)
    wait_until(lambda: at_work(second), process)
    os.killpg(second.pid, signal.SIGKILL)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    rows = query(checkout, "select name, status from runs")
    assert sorted(rows) == sorted([(f"seed={seed}", "FINISHED") for seed in range(N_JOBS)] + [(rows[0][0], "FINISHED")])
    assert set(seen(checkout)) == {"0", "1"} and sum(map(len, seen(checkout).values())) == N_JOBS
    for _, run_id in query(checkout, finished):
        assert ("test/spiking_accuracy", 0) in metrics(checkout, str(run_id))
