"""The program as its user runs it, on real data (a slice), with a real database; where it matters in a process of its own."""

import csv
import signal
from pathlib import Path

import pytest
import torch
from program import PATIENCE, SMALL, Held, metrics, query, run, run_here, run_ids, start, status, wait_until

import ratespike
from ratespike.data import MNIST

pytestmark = [
    pytest.mark.program,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]

ARGUMENTS = (*SMALL, "n_steps=5")
METRICS = {
    *("test/rate_accuracy", "test/spiking_accuracy", "test/accuracy_gap", "test/agreement", "test/synaptic_operations"),
    *("test/untrained_spiking_accuracy", "test/spiking_accuracy_at", "test/spiking_accuracy_after/2_steps"),
    *(f"test/firing_rate_hz/neuron{number}" for number in (1, 2, 3)),
    *("test/operations_over_plain", "test/plain_operations", "test/dense_operations", "test/effective_acs"),
    *("test/effective_macs", "test/folded_acs", "test/membrane_updates"),
    *("test/activation_sparsity", "test/connection_sparsity", "test/footprint_bytes"),
    *("test/energy_joules/45nm", "test/energy_joules/loihi", "test/energy_joules/cpu", "val/energy_joules/loihi"),
    *("val/loss", "val/rate_accuracy", "val/spiking_accuracy", "val/synaptic_operations"),
    *("train/loss", "train/rate_accuracy"),
    *("train/seconds", "train/images_per_second"),
    *("test/seconds", "test/rate_images_per_second", "test/spiking_images_per_second"),
}
FIGURES = ("accuracy_over_steps", "class_accuracy", "confusion_matrix", "early_exit", "firing_rates", "outputs_over_time")
ARTIFACTS = {
    *("config.yaml", "report.html"),
    *(f"checkpoints/{name}.ckpt" for name in ("best", "last")),
    *(f"figures/{name}.png" for name in FIGURES),
    *(f"results/{name}.csv" for name in ("early_exit", "per_class", "predictions", "spiking_accuracy")),
    "results/simulation.npz",
}


@pytest.fixture(scope="module")
def finished(checkout: Path) -> tuple[Path, str]:
    """A checkout and the run that was finished in it."""
    code, out, error = run_here(checkout, *ARGUMENTS)
    assert code == 0, error
    assert "rate accuracy" in out
    assert "mlflow ui" in out
    assert "/runs?viewStateShareKey=ratespike&compareRunsMode=CHART" in out
    assert "a slice" in out
    (run_id,) = run_ids(checkout)
    return checkout, run_id


def test_a_run_keeps_everything_that_the_contract_names(finished: tuple[Path, str]) -> None:
    folder, run_id = finished
    assert status(folder, run_id) == "FINISHED"
    assert {str(row[0]) for row in query(folder, "select distinct key from metrics")} >= METRICS
    curve = query(folder, "select step, value from metrics where key = 'test/spiking_accuracy_at' order by step")
    assert [step for step, _ in curve] == [1, 2, 3, 4, 5]
    assert curve[-1][1] == metrics(folder, run_id)["test/spiking_accuracy", 0]
    tags = dict(query(folder, "select key, value from tags"))
    assert tags["ratespike.debug"] == "true"
    assert len(str(tags["ratespike.config_hash"])) == 16
    parameters = dict(query(folder, "select key, value from params"))
    assert parameters["neuron.tau_rc"] == "0.02"
    assert parameters["network.layers.conv3.kernel"] == "3"
    datasets = [row[0] for row in query(folder, "select name from datasets order by name")]
    assert datasets == ["MNIST_test", "MNIST_train", "MNIST_validation"]
    artifacts = folder / "mlruns" / "mnist" / run_id / "artifacts"
    assert {str(path.relative_to(artifacts)) for path in artifacts.rglob("*.*")} == ARTIFACTS
    assert "<td>n_steps</td><td>5</td><td>30</td>" in (artifacts / "report.html").read_text()


def test_a_trained_network_comes_back(finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, run_id = finished
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    network = ratespike.load(run_id)
    test = MNIST(dir="data/mnist", validation_images=5000, test_images=20).load(folder).test
    images = test.pixels.float() / 255
    with torch.no_grad():
        rates = network(images)
    spikes = ratespike.simulate(network, images, 5)
    logged = metrics(folder, run_id)
    rate_accuracy = float((rates.argmax(1) == test.labels).double().mean())
    spiking_accuracy = float((spikes.predictions[-1] == test.labels).double().mean())
    assert rate_accuracy == pytest.approx(logged["test/rate_accuracy", 0])
    assert spiking_accuracy == pytest.approx(logged["test/spiking_accuracy", 0])
    checkpoint = folder / "mlruns" / "mnist" / run_id / "artifacts" / "checkpoints" / "best.ckpt"
    assert torch.equal(ratespike.load(checkpoint).dense.linear.weight, network.dense.linear.weight)


def test_an_early_exit_is_fitted_on_the_validation_images(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder, trained = finished
    asked = ("n_steps=9", "simulation.exit_by=softmax", "simulation.exit_loss=0.1")
    code, out, error = run_here(folder, f"run={trained}", *asked, program="evaluate.py")
    assert code == 0, error
    assert "early exit at, fitted" in out
    fitted = run_ids(folder)[-1]
    measured = {str(name): float(str(value)) for (name, _), value in metrics(folder, fitted).items()}
    threshold = measured["test/exit_threshold"]
    assert 1 <= measured["test/mean_steps"] < 9
    with (folder / "mlruns/mnist" / fitted / "artifacts/results/early_exit.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["exit_by"] == "softmax"]
    lower = [float(row["mean_steps"]) for row in rows if row["threshold"] and float(row["threshold"]) <= threshold]
    higher = [float(row["mean_steps"]) for row in rows if not row["threshold"] or float(row["threshold"]) >= threshold]
    steps = measured["test/mean_steps"]
    assert max(lower, default=1) - 1e-9 <= steps <= min(higher) + 1e-9
    assert higher[-1] == pytest.approx(9), "the last row is not that without an exit"

    given = ("n_steps=9", "simulation.exit_by=softmax", f"simulation.early_exit={threshold}")
    code, _, error = run_here(folder, f"run={trained}", *given, program="evaluate.py")
    assert code == 0, error
    again = {str(name): float(str(value)) for (name, _), value in metrics(folder, run_ids(folder)[-1]).items()}
    for name in ("mean_steps", "spiking_accuracy", "synaptic_operations"):
        for part in ("test", "val"):
            assert again[f"{part}/{name}"] == measured[f"{part}/{name}"]
    code, _, error = run_here(folder, f"run={trained}", "simulation.exit_loss=0.1", f"images={tmp_path}", program="predict.py")
    assert code == 1
    assert "give simulation.exit_loss=null simulation.early_exit=<the run's test/exit_threshold>" in error
    assert error.count("\n") == 1, error


def test_interrupted_and_resumed_gives_what_an_undisturbed_run_gives(finished: tuple[Path, str], held: Held) -> None:
    folder, undisturbed = finished
    process = start(folder, *ARGUMENTS, program="train_held.py")
    wait_until(held.processes, process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    interrupted = run_ids(folder)[-1]
    assert status(folder, interrupted) == "KILLED"
    assert ("val/rate_accuracy", 1) in metrics(folder, interrupted), "the first epoch has left nothing"

    held.release()
    command = next(line for line in error.splitlines() if "resume=" in line)
    code, _, error = run_here(folder, *command.split()[2:])
    assert code == 0, error
    assert status(folder, interrupted) == "FINISHED"
    assert metrics(folder, interrupted) == metrics(folder, undisturbed)


def test_resuming_with_another_configuration_is_refused(finished: tuple[Path, str]) -> None:
    folder, run_id = finished
    code, _, error = run_here(folder, *ARGUMENTS, "neuron.tau_rc=0.03", f"resume={run_id}")
    assert code == 1
    assert "that run has another configuration" in error
    assert error.count("\n") == 1, error
    assert status(folder, run_id) == "FINISHED"


IN_A_PROCESS = ("n_step=3", "neuron.tau_rc=-1")  # the others in that of the tests, which spares the imports


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("n_step=3", "did you mean n_steps"),
        ("+experiment=mnits", "did you mean mnist"),
        ("neuron=typo", "known: adaptive_lif, binary, clip_floor_shift, clip_floor_shift_of_8_steps, deep_lif"),
        ("stages=null", "error: stages=null: not an option of stages; did you mean none"),
        ("loss=distillation", "error: loss=Distillation: compares spikes with rates; add forward=spikes"),
        ("+stages.a.neuron.foo=3", "error: stages.a: neuron.foo: LIF has no such parameter"),
        ("neuron.tau_rcc=1", "did you mean tau_rc"),
        ("neuron.tau_rc=-1", "error: neuron.tau_rc=-1: must be a number above 0 (s)"),
        ("neuron.tau_rc=abc", "error: neuron.tau_rc=abc: must be a number above 0 (s)"),
        ("neuron.max_rate=600", "error: neuron.max_rate=600: must be below 1/tau_ref = 500 Hz"),
        ("optimizer.lr=fast", "error: optimizer.lr=fast: must be a number above 0"),
        ("n_steps=0", "error: n_steps=0: must be a whole number at least 1"),
        ("data.dir=/nowhere", "error: data.dir=/nowhere: no such folder"),
        ("data.dir=~/nowhere", f"error: data.dir={Path.home()}/nowhere: no such folder"),
        ("data.batch_size=0", "error: data.batch_size=0: must be"),
        ("augmentation=digit", "did you mean digits"),
        (
            "augmentation.rotation=200",
            "error: augmentation.rotation=200: must be a number at least 0 and at most 180 (degrees)",
        ),
        ("network.layers.conv1.kernel=50", "error: network.layers.conv1.kernel=50: must be at most the image"),
        (
            "tracking.uri=sqlite:////nowhere/mlflow.db",
            "error: tracking.uri=sqlite:////nowhere/mlflow.db: /nowhere does not exist",
        ),
        ("tracking.uri=http://127.0.0.1:9", "error: tracking.uri=http://127.0.0.1:9: cannot be reached ([Errno 111]"),
        ("tracking.uri=foo", "error: tracking.uri=foo: must be a URI such as"),
        ("resume=nothing", "mlflow.db does not exist"),
        ("register=a/b", "error: register=a/b: must be a name of letters, digits, spaces, _, . and -"),
        ("model=models:/a@b", "error: model=models:/a@b: evaluate, predict and export take one from the registry"),
    ],
)
def test_bad_input_ends_in_one_line(tmp_path: Path, checkout: Path, argument: str, message: str) -> None:
    arguments = [argument]
    if "tracking" not in argument:
        arguments.append(f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    how = run if argument in IN_A_PROCESS else run_here
    code, out, error = how(checkout, *arguments)
    assert code == 1, (out, error)
    assert message in error
    assert error.count("\n") == 1, error
    assert "Traceback" not in error + out
    if (tmp_path / "mlflow.db").exists():
        assert not run_ids(tmp_path), "a run was begun"


def test_help_tells_groups_and_options(checkout: Path) -> None:
    code, out, _ = run_here(checkout, "--help")
    assert code == 0
    for words in (
        "experiment: cifar10, cifar10_few_steps, cifar10_gpu, convert, digits, images, mnist",
        "neuron: adaptive_lif, binary, clip_floor_shift, clip_floor_shift_of_8_steps, deep_lif",
        "debug: fast",
        "n_steps: 30",
    ):
        assert words in out
