"""A sweep that is killed, with all its processes, at any moment, and started again."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from program import metrics, query, run, start

pytestmark = pytest.mark.system

SWEEP = (
    *("-m", "+experiment=mnist", "+debug=fast", "trainer.max_epochs=3", "neuron.tau_rc=0.01,0.02", "n_steps=30,60"),
    *("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
)
KILLS, SEED = 5, 0


def fresh(checkout: Path, name: str) -> Path:
    """A checkout without database and outputs."""
    folder = checkout.parent / f"{checkout.name}_{name}"
    shutil.copytree(checkout, folder, symlinks=True)
    return folder


def results(folder: Path) -> dict[str, dict[tuple[object, object], object]]:
    """Each run's metrics by its name; every one is FINISHED, and no name comes twice."""
    rows = query(folder, "select name, run_uuid, status from runs")
    assert {row[2] for row in rows} == {"FINISHED"}
    assert len({row[0] for row in rows}) == len(rows) == 5
    return {str(name): metrics(folder, str(run_id)) for name, run_id, _ in rows}


def phase(folder: Path) -> str:
    """What the jobs were doing when they were killed."""
    if not (folder / "mlflow.db").exists():
        return "checking the jobs"
    running = query(
        folder,
        "select r.name, exists (select 1 from tags t where t.run_uuid = r.run_uuid and t.key = 'ratespike.trained') "
        "from runs r where r.status = 'RUNNING' and r.name not like 'sweep%'",
    )
    words = [f"{name} {'testing' if trained else 'training'}" for name, trained in running]
    return ", ".join(words) or "between jobs"


def test_a_sweep_that_is_killed_at_any_moment_goes_on(checkout: Path) -> None:
    undisturbed = fresh(checkout, "undisturbed")
    began = time.monotonic()
    code, _, error = run(undisturbed, *SWEEP)
    duration = time.monotonic() - began
    assert code == 0, error
    expected, moments, phases = results(undisturbed), random.Random(SEED), []
    for number in range(KILLS):
        folder = fresh(checkout, str(number))
        moment = moments.uniform(0, duration)
        process = start(folder, *SWEEP)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        phases.append(phase(folder))
        print(f"killed after {moment:.1f} of {duration:.1f} s: {phases[-1]}", flush=True)
        code, _, error = run(folder, *SWEEP)
        assert code == 0, error
        assert results(folder) == expected
    assert any("training" in words for words in phases) and any("testing" in words for words in phases)
