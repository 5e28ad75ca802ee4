"""What a search's parent run tells of its trials."""

import math
from pathlib import Path

import pytest

from ratespike.sweeps.finish import BEST_RUN, finish
from ratespike.sweeps.objective import Objective
from ratespike.tracking import store
from ratespike.tracking.runs import Run
from ratespike.tracking.sweeps import PARENT, SWEEP

ACCURATE, SPARSE = Objective("val/spiking_accuracy", True), Objective("val/synaptic_operations", False)
LOSS = Objective("val/loss", False)


@pytest.fixture
def parent(database: str) -> Run:
    """A search with trials by (accuracy, operations, loss), of which one diverged."""
    client = store.connect(database)
    parent = store.open_run(client, "mnist", "sweep", {SWEEP: "abc"})
    for name, values in {
        "accurate": (0.9, 3e6, 0.3),
        "sparse": (0.5, 1e6, 0.5),
        "beaten": (0.4, 2e6, 0.6),
        "diverged": (0.1, math.nan, math.nan),
    }.items():
        run = store.open_run(client, "mnist", name, {PARENT: parent.id})
        metrics = dict(zip((ACCURATE.metric, SPARSE.metric, LOSS.metric), values, strict=True))
        run.metrics(metrics | {"test/rate_accuracy": 0.9, "test/spiking_accuracy": values[0]})
        client.set_terminated(run.id)
    return parent


@pytest.mark.parametrize(
    ("goals", "expected"),
    [
        ((LOSS,), {"accurate"}),
        ((ACCURATE,), {"accurate"}),
        ((ACCURATE, SPARSE), {"accurate", "sparse"}),
    ],
)
def test_the_best_trials_are_named_and_a_diverged_one_is_none(
    parent: Run, tmp_path: Path, goals: tuple[Objective, ...], expected: set[str]
) -> None:
    finish(parent, tmp_path, None, goals, ended_early=False)
    lines = parent.tag("mlflow.note.content").splitlines()
    assert {line[3:].partition("]")[0] for line in lines if line.startswith("- ")} == expected
    assert parent.client.get_run(parent.tag(BEST_RUN)).info.run_name == "accurate"
    assert "figures/objectives.png" in {item.path for item in parent.client.list_artifacts(parent.id, "figures")}
