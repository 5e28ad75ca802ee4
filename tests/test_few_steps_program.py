"""The commands of docs/few_steps.md, one after the other, on little data."""

import re
from pathlib import Path

import pytest
from program import ROOT, SMALL, query, run_here, run_ids, status

pytestmark = [
    pytest.mark.program,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]
ONE_STAGE = ("stages=rectified", "stages.rectified.trainer.max_epochs=1")


def test_a_training_in_stages_and_one_that_starts_from_it(checkout: Path) -> None:
    commands = re.findall(r"^python train.py (\+.*)$", (ROOT / "docs/few_steps.md").read_text(), re.MULTILINE)
    (from_a_run,) = [command for command in commands if "<run>" in command]
    code, _, error = run_here(checkout, "+experiment=mnist", "loss=distillation", *SMALL[1:], *ONE_STAGE)
    assert code == 0, error
    first, stage = run_ids(checkout)
    assert query(checkout, "select value from tags where run_uuid = ? and key = 'mlflow.parentRunId'", stage) == [(first,)]
    code, _, error = run_here(checkout, *from_a_run.replace("<run>", first).split(), *SMALL[1:])
    assert code == 0, error
    trained = run_ids(checkout)
    assert [status(checkout, run_id) for run_id in trained] == ["FINISHED"] * 3
    converted = ("n_steps=7", "conversion=calibrated", "conversion.images=20")
    code, out, error = run_here(checkout, f"run={first}", *converted, program="evaluate.py")
    assert code == 0, error
    assert "spiking accuracy, 7 steps" in out
