"""What `compare.py` costs on a database of many runs, made here: seconds and peak memory of the whole process.

python benchmarks/comparison.py [number of runs, else 10 000] [a folder to keep database, tables and figures in]

Each run has the parameters of `+experiment=mnist`, 30 metrics, a curve of 30 steps or more and 12 tags; three seeds a group.
"""

import itertools
import math
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import hydra
import mlflow
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf

import ratespike.config.schemas  # registers the schema  # noqa: F401
from ratespike.metrics.names import STEPS_SHOWN
from ratespike.parameters import flat

ROOT = Path(__file__).resolve().parent.parent
VARIED: dict[str, tuple[float, ...]] = {  # 10 080 combinations; the seed changes fastest
    "seed": (0, 1, 2),
    "neuron.tau_rc": (0.005, 0.01, 0.02, 0.05, 0.1),
    "n_steps": (10, 20, 30, 60),
    "optimizer.lr": (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016),
    "neuron.max_rate": (25, 50, 100, 150, 200, 300, 400),
    "synapse.tau": (0.002, 0.005, 0.01, 0.02),
}
Settings = dict[str, float]


def _curve(settings: Settings, generator: random.Random) -> tuple[float, list[float]]:
    """A rate accuracy, and spiking accuracies after each step, that look like measured ones."""
    tau_rc = settings["neuron.tau_rc"]
    max_rate = settings["neuron.max_rate"]
    rate = 0.992 - 0.001 * math.log2(settings["optimizer.lr"] / 0.004) ** 2 + generator.gauss(0, 0.0006)
    floor = 0.002 * (tau_rc / 0.02) * math.sqrt(100 / max_rate) + abs(generator.gauss(0, 0.0004))
    slowness = 2 + 100 * settings["synapse.tau"] + 30 * tau_rc * 100 / max_rate
    steps = range(1, int(settings["n_steps"]) + 1)
    return rate, [max(0.1, rate - floor - (rate - 0.1) * math.exp(-step / slowness)) for step in steps]


def _metrics(settings: Settings, generator: random.Random) -> tuple[dict[str, float], list[float]]:
    """The final metrics of a run, and its curve."""
    rate, curve = _curve(settings, generator)
    hertz = settings["neuron.max_rate"] * generator.uniform(0.098, 0.102)
    final = {
        "test/rate_accuracy": rate,
        "test/spiking_accuracy": curve[-1],
        "test/accuracy_gap": rate - curve[-1],
        "test/agreement": curve[-1] + 0.004,
        "test/synaptic_operations": 3.84e6 * hertz * settings["n_steps"] / 30 / (1 + 5 * settings["neuron.tau_rc"]),
        "train/seconds": generator.uniform(235, 245),
        "test/seconds": generator.uniform(17, 19),
        "test/firing_rate_hz/neuron1": 1.4 * hertz,
        "test/firing_rate_hz/neuron2": 3.2 * hertz,
        "test/firing_rate_hz/neuron3": 2.6 * hertz,
    }
    for step in STEPS_SHOWN:
        if step < len(curve):
            final[f"test/spiking_accuracy_after/{step}_steps"] = curve[step - 1]
    for number in range(12):
        final[f"val/{number}"] = generator.random()
    return final, curve


def make(database: Path, n_runs: int) -> None:
    """A database as MLflow makes it, with that many finished runs."""
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    client = MlflowClient()
    first = client.create_run(client.create_experiment("mnist")).info.run_id
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = OmegaConf.to_container(hydra.compose("config", ["+experiment=mnist"]), resolve=True)
    common = {name: str(value) for name, value in flat(config)}  # type: ignore[arg-type]
    generator = random.Random(0)
    combinations = itertools.product(*reversed(VARIED.values()))
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        columns = dict(connection.execute("select * from runs where run_uuid = ?", [first]).fetchone())
        for number, values in enumerate(itertools.islice(combinations, n_runs)):
            settings = dict(zip(reversed(VARIED), values, strict=True))
            run = uuid.UUID(int=generator.getrandbits(128)).hex
            own = {"run_uuid": run, "name": f"run {number}", "status": "FINISHED"}
            times = {"start_time": 1000 * number, "end_time": 1000 * number + 300_000}
            _insert(connection, "runs", [{**columns, **own, **times}])
            _insert_run(connection, run, own["name"], common, settings)
            _insert_metrics(connection, run, *_metrics(settings, generator))
        connection.commit()


def _insert_run(connection: sqlite3.Connection, run: str, name: str, common: dict[str, str], settings: Settings) -> None:
    """The parameters and tags of a run."""
    parameters = common | {key: str(value) for key, value in settings.items()}
    tags = {"mlflow.runName": name} | {f"tag{number}": str(number) for number in range(11)}
    _insert(connection, "params", _rows(run, parameters))
    _insert(connection, "tags", _rows(run, tags))


def _insert_metrics(connection: sqlite3.Connection, run: str, final: dict[str, float], curve: list[float]) -> None:
    """The history of a run's metrics, and their last values, which MLflow keeps in a table of their own."""
    points = [(name, value, 0) for name, value in final.items()]
    points += [("test/spiking_accuracy_at", value, step) for step, value in enumerate(curve, start=1)]
    logged = []
    latest = {}
    for key, value, step in points:
        row = {"key": key, "value": value, "timestamp": 1, "run_uuid": run, "step": step, "is_nan": False}
        logged.append(row)
        latest[key] = row
    _insert(connection, "metrics", logged)
    _insert(connection, "latest_metrics", latest.values())


def _rows(run: str, values: dict[str, str]) -> list[dict[str, object]]:
    return [{"key": key, "value": value, "run_uuid": run} for key, value in values.items()]


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[dict[str, object]]) -> None:
    several: Sequence[dict[str, object]] = list(rows)
    names = ", ".join(several[0])
    marks = ", ".join("?" * len(several[0]))
    connection.executemany(f"insert into {table} ({names}) values ({marks})", [tuple(row.values()) for row in several])


def main() -> None:
    """Make the database, compare its runs, print what that cost."""
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else temporary).resolve()
        database = folder / "mlflow.db"
        make(database, n_runs)
        where = [f"tracking.uri=sqlite:///{database}", f"folder={folder}/comparison", f"hydra.run.dir={folder}/hydra", "rows=5"]
        began = time.perf_counter()
        subprocess.run([sys.executable, "compare.py", *where], cwd=ROOT, check=True)
        seconds = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        computing = used.ru_utime + used.ru_stime
        on_disk = database.stat().st_size / 1e6
        print(f"{n_runs} runs, {on_disk:.0f} MB on disk: {seconds:.1f} s, of which {computing:.1f} computing")
        print(f"memory: at most {used.ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
