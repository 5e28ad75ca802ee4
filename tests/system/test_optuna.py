"""A search by Optuna that is interrupted and started again."""

import os
import signal
from pathlib import Path

import pytest
from program import PATIENCE, metrics, query, run, start, status, wait_until

pytestmark = pytest.mark.system

SEARCH = (
    *("-m", "+experiment=mnist", "+debug=fast", "data.train_images=1500", "data.batch_size=50", "n_steps=8"),
    *("data.test_images=20", "data.validation_images=200"),
    *("hydra/sweeper=optuna", "hydra.sweeper.n_trials=20", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=3"),
    *("objective=[val/spiking_accuracy,val/synaptic_operations]", "hydra.sweeper.direction=[maximize,minimize]"),
    *("neuron.max_rate=interval(30,300)", "optimizer.lr=tag(log,interval(1e-4,1e-1))"),
)
BEFORE = 8  # trials that have finished when the search is interrupted
ALL = 20


def trials(folder: Path) -> dict[str, str]:
    """Ids of the finished trials by name."""
    rows = query(folder, "select name, run_uuid from runs where status = 'FINISHED' and name like 'max_rate%'")
    assert len({name for name, _ in rows}) == len(rows), "a trial has two runs"
    return {str(name): str(run_id) for name, run_id in rows}


def losses(folder: Path, run_id: str) -> tuple[float, float]:
    """What the search minimises: the negative accuracy and the number of operations."""
    values = metrics(folder, run_id)
    accuracy = float(str(values["val/spiking_accuracy", 0]))
    operations = float(str(values["val/synaptic_operations", 0]))
    return -accuracy, operations


def is_dominated(own: tuple[float, float], others: list[tuple[float, float]]) -> bool:
    """Whether another trial is at least as good in both, and better in one."""
    return any(other != own and other[0] <= own[0] and other[1] <= own[1] for other in others)


def test_a_search_goes_on_where_it_was_interrupted(checkout: Path) -> None:
    process = start(checkout, *SEARCH)
    wait_until(lambda: (checkout / "mlflow.db").exists() and len(trials(checkout)) >= BEFORE, process)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, error
    before = trials(checkout)
    measured = {run_id: metrics(checkout, run_id) for run_id in before.values()}

    code, out, error = run(checkout, *SEARCH)
    assert code == 0, error
    after = trials(checkout)
    assert len(after) == ALL
    assert out.count("finished before") == len(before), "a finished trial was done again"
    assert before.items() <= after.items(), "a finished trial has another run now"
    assert {run_id: metrics(checkout, run_id) for run_id in before.values()} == measured
    trained = dict(query(checkout, "select run_uuid, count(*) from metrics where key = 'train/seconds' group by run_uuid"))
    assert trained == dict.fromkeys(after.values(), 1), "a trial was not trained exactly once"

    ((parent,),) = query(checkout, "select run_uuid from runs where name like 'sweep%'")
    assert status(checkout, str(parent)) == "FINISHED"
    ((note,),) = query(checkout, "select value from tags where key = 'mlflow.note.content' and run_uuid = ?", str(parent))
    named_best = {line[3:].split("]")[0] for line in str(note).splitlines()[2:]}
    reached = {name: losses(checkout, run_id) for name, run_id in after.items()}
    assert named_best == {name for name, own in reached.items() if not is_dominated(own, list(reached.values()))}
    assert (checkout / "mlruns" / "mnist" / str(parent) / "artifacts" / "figures" / "objectives.png").exists()
