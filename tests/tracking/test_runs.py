import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ratespike.data import Images, Splits
from ratespike.tracking import shared, store
from ratespike.tracking.runs import Client, Run


@pytest.fixture(scope="module")
def run(client: Client) -> Run:
    return store.open_run(client, "mnist", "run", {"begun": "true"})


@pytest.mark.slow
def test_a_resumed_run_logs_no_value_twice(run: Run) -> None:
    run.metrics({"loss": 1.0}, step=1)
    resumed = Run(run.client, run.id, run.experiment, resumed=True)
    resumed.metrics({"loss": 5.0, "accuracy": 0.5}, step=1)
    resumed.metrics({"loss": 2.0}, step=2)
    assert run.history("loss") == {1: 1.0, 2: 2.0}
    assert run.history("accuracy") == {1: 0.5}


def test_a_curve_may_be_longer_than_one_call_of_mlflow(run: Run) -> None:
    run.curve("curve", torch.arange(1500) / 2)
    assert run.history("curve") == {step: (step - 1) / 2 for step in range(1, 1501)}


def test_artifacts_come_back(run: Run, tmp_path: Path) -> None:
    run.arrays("counts", {"spikes": np.arange(3)})
    run.table("table", n_steps=[1, 2], accuracy=[0.5, 0.75])
    with run.artifact("results/counts.npz") as path:
        assert path is not None
        with np.load(path) as arrays:
            assert arrays["spikes"].tolist() == [0, 1, 2]
    fetched = run.fetch("results/table.csv", tmp_path / "new")
    assert fetched is not None
    assert fetched.read_text() == "n_steps,accuracy\n1,0.5\n2,0.75\n"
    assert run.fetch("results/none.csv", tmp_path) is None
    with run.artifact("none.csv") as path:
        assert path is None


def test_a_simulation_that_somebody_else_has_kept_is_read_without_unpickling(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.tags({shared.SIMULATION_HASH: "of this test"})
    shared.keep_simulation(run, 5, {"test:labels": np.array([Path()], dtype=object)})
    with caplog.at_level("WARNING"):
        assert shared.find_simulation(run, 5) is None
    assert "Object arrays cannot be loaded when allow_pickle=False" in caplog.text


def test_a_data_set_is_logged_by_split(run: Run) -> None:
    images = Images(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4))
    run.data(Splits(train=images, validation=images[:2], test=images[:1], class_names=("0", "1", "2", "3")), "MNIST")
    logged = {}
    for dataset_input in run.client.get_run(run.id).inputs.dataset_inputs:
        logged[dataset_input.dataset.name] = {tag.key: tag.value for tag in dataset_input.tags}
    assert logged == {f"MNIST_{split}": {"mlflow.data.context": split} for split in ("train", "validation", "test")}


def test_a_run_is_the_same_in_another_process(run: Run) -> None:
    other = pickle.loads(pickle.dumps(run))
    assert (other.id, other.name, other.experiment, other.tag("begun")) == (run.id, "run", "mnist", "true")
