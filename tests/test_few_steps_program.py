"""The commands of docs/few_steps.md, one after the other, on little data."""

import re
from pathlib import Path

import pytest
from program import ROOT, SMALL, metrics, run_here, run_ids, status

pytestmark = [
    pytest.mark.program,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]
QUICK = ("optimizer.weight_averaging=0.5", "optimizer.lr=0.01", "data.test_images=200")


def test_each_training_starts_from_the_first(checkout: Path) -> None:
    commands = re.findall(r"^python train.py (.*)$", (ROOT / "docs/few_steps.md").read_text(), re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        first = run_ids(checkout)[0] if "<run>" in command else ""
        code, _, error = run_here(checkout, *command.replace("<run>", first).split(), *SMALL[1:], *QUICK)
        assert code == 0, error
    trained = run_ids(checkout)
    assert [status(checkout, run_id) for run_id in trained] == ["FINISHED"] * 4
    code, out, error = run_here(checkout, f"run={trained[-1]}", "n_steps=7", program="evaluate.py")
    assert code == 0, error
    assert "spiking accuracy, 7 steps" in out
    rates = [float(metrics(checkout, run_id)["test/rate_accuracy", 0]) for run_id in trained]  # type: ignore[arg-type]
    assert min(rates[1:]) > rates[0] + 0.03, "the trainings that go on learn nothing more"
