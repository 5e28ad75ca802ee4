"""A search by Optuna that is interrupted and started again."""

import os
import signal
from pathlib import Path

import pytest
from program import metrics, query, run, start, status, wait_until

pytestmark = pytest.mark.system

SEARCH = (
    *("-m", "+experiment=mnist", "+debug=fast", "data.train_images=1500", "data.batch_size=50", "n_steps=8"),
    *(
        "data.test_images=20",
        "data.validation_images=200",
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=20",
        "hydra.sweeper.n_jobs=1",
    ),
    *("hydra.sweeper.sampler.seed=3", "objective=[val/spiking_accuracy,val/synaptic_operations]"),
    *(
        "hydra.sweeper.direction=[maximize,minimize]",
        "neuron.max_rate=interval(30,300)",
        "optimizer.lr=tag(log,interval(1e-4,1e-1))",
    ),
)
BEFORE, ALL = 8, 20


def trials(folder: Path) -> dict[str, str]:
    """Ids of the finished trials by name."""
    rows = query(folder, "select name, run_uuid from runs where status = 'FINISHED' and name like 'max_rate%'")
    assert len({name for name, _ in rows}) == len(rows)
    return {str(name): str(run_id) for name, run_id in rows}


def test_a_search_goes_on_where_it_was_interrupted(checkout: Path) -> None:
    process = start(checkout, *SEARCH)
    wait_until(lambda: (checkout / "mlflow.db").exists() and len(trials(checkout)) >= BEFORE, process)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    before = trials(checkout)
    seen = {run_id: metrics(checkout, run_id) for run_id in before.values()}
    code, out, error = run(checkout, *SEARCH)
    assert code == 0, error
    assert out.count("finished before") == len(before) >= BEFORE
    after = trials(checkout)
    assert len(after) == ALL and before.items() <= after.items()
    assert {run_id: metrics(checkout, run_id) for run_id in before.values()} == seen
    trained = query(checkout, "select run_uuid, count(*) from metrics where key = 'train/seconds' group by run_uuid")
    assert sorted(run_id for run_id, _ in trained) == sorted(after.values()) and {count for _, count in trained} == {1}
    ((parent,),) = query(checkout, "select run_uuid from runs where name like 'sweep%'")
    assert status(checkout, str(parent)) == "FINISHED"
    ((note,),) = query(checkout, "select value from tags where key = 'mlflow.note.content' and run_uuid = ?", str(parent))
    front = set(str(note).splitlines()[2:])
    values = {
        name: (
            metrics(checkout, run_id)["val/spiking_accuracy", 0],
            -float(str(metrics(checkout, run_id)["val/synaptic_operations", 0])),
        )
        for name, run_id in after.items()
    }
    best = {
        name
        for name, own in values.items()
        if not any(all(b >= a for a, b in zip(own, other, strict=True)) and other != own for other in values.values())  # type: ignore[operator]
    }
    assert {line[3:].split("]")[0] for line in front} == best
    assert (checkout / "mlruns" / "mnist" / str(parent) / "artifacts" / "figures" / "objectives.png").exists()
