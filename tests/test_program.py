"""The program as its user runs it: in a process of its own, on real data (a slice), with a real database."""

import signal
from pathlib import Path

import pytest
import torch
from program import metrics, query, run, run_here, run_ids, start, status, wait_until

import ratespike
from ratespike.data import MNIST

pytestmark = pytest.mark.program

FAST = ("+experiment=mnist", "+debug=fast", "data.test_images=30", "n_steps=5", "trainer.max_epochs=2")
FINAL = {
    *(f"test/{name}" for name in ("rate_accuracy", "spiking_accuracy", "accuracy_gap", "agreement")),
    *("test/untrained_spiking_accuracy", "test/spiking_accuracy_at", "test/synaptic_operations"),
    *(f"test/firing_rate_hz/neuron{number}" for number in (1, 2, 3)),
    *(
        "val/spiking_accuracy",
        "val/synaptic_operations",
        "test/spiking_accuracy_after/2_steps",
        "train/seconds",
        "test/seconds",
    ),
    *("train/images_per_second", "test/rate_images_per_second", "test/spiking_images_per_second"),
    *("train/loss", "train/rate_accuracy", "val/loss", "val/rate_accuracy"),
}


@pytest.fixture(scope="module")
def finished(checkout: Path) -> tuple[Path, str]:
    """A checkout and the run that was finished in it."""
    code, out, error = run(checkout, *FAST)
    assert code == 0, error
    assert "rate accuracy" in out and "mlflow ui" in out and "a slice" in out
    (run_id,) = run_ids(checkout)
    return checkout, run_id


def test_a_run_keeps_everything_that_the_contract_names(finished: tuple[Path, str]) -> None:
    folder, run_id = finished
    assert status(folder, run_id) == "FINISHED"
    assert {str(row[0]) for row in query(folder, "select distinct key from metrics")} >= FINAL
    curve = query(folder, "select step, value from metrics where key = 'test/spiking_accuracy_at' order by step")
    assert [step for step, _ in curve] == [1, 2, 3, 4, 5]
    assert curve[-1][1] == metrics(folder, run_id)["test/spiking_accuracy", 0]
    tags = dict(query(folder, "select key, value from tags"))
    assert tags["ratespike.debug"] == "true" and len(str(tags["ratespike.config_hash"])) == 16
    parameters = dict(query(folder, "select key, value from params"))
    assert parameters["neuron.tau_rc"] == "0.02" and parameters["network.layers.conv3.filters"] == "128"
    assert [row[0] for row in query(folder, "select name from datasets order by name")] == [
        "MNIST_test",
        "MNIST_train",
        "MNIST_validation",
    ]
    artifacts = folder / "mlruns" / "mnist" / run_id / "artifacts"
    kept = {str(path.relative_to(artifacts)) for path in artifacts.rglob("*.*")}
    figures = {
        f"figures/{name}.png" for name in ("outputs_over_time", "accuracy_over_steps", "firing_rates", "confusion_matrix")
    }
    checkpoints, results = ("best.ckpt", "last.ckpt"), ("spiking_accuracy.csv", "simulation.npz")
    others = {"config.yaml", *(f"checkpoints/{name}" for name in checkpoints), *(f"results/{name}" for name in results)}
    assert kept == figures | others


def test_a_trained_network_comes_back(finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, run_id = finished
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    network = ratespike.load(run_id)
    test = MNIST(dir="data/mnist", validation_images=5000, test_images=30).load(folder).test
    images = test.pixels.float() / 255
    with torch.no_grad():
        right = (network(images).argmax(1) == test.labels).float().mean()
    spikes = ratespike.simulate(network, images, 5)
    assert float(right) == pytest.approx(metrics(folder, run_id)["test/rate_accuracy", 0])
    assert float((spikes.predictions[-1] == test.labels).double().mean()) == pytest.approx(
        metrics(folder, run_id)["test/spiking_accuracy", 0]
    )
    checkpoint = folder / "mlruns" / "mnist" / run_id / "artifacts" / "checkpoints" / "best.ckpt"
    assert torch.equal(ratespike.load(checkpoint).dense.linear.weight, network.dense.linear.weight)


def test_interrupted_and_resumed_gives_what_an_undisturbed_run_gives(finished: tuple[Path, str]) -> None:
    folder, undisturbed = finished
    process = start(folder, *FAST)
    ids = wait_until(lambda: run_ids(folder)[1:] and run_ids(folder), process)
    wait_until(lambda: ("val/rate_accuracy", 1) in metrics(folder, ids[1]), process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error
    assert status(folder, ids[1]) == "KILLED"
    line = next(line for line in error.splitlines() if "resume=" in line)
    code, _, error = run(folder, *line.split()[2:])
    assert code == 0, error
    assert status(folder, ids[1]) == "FINISHED"
    assert metrics(folder, ids[1]) == metrics(folder, undisturbed)


def test_resuming_with_another_configuration_is_refused(finished: tuple[Path, str]) -> None:
    folder, run_id = finished
    code, _, error = run(folder, *FAST, "neuron.tau_rc=0.03", f"resume={run_id}")
    assert code == 1 and "that run has another configuration" in error and error.count("\n") == 1
    assert status(folder, run_id) == "FINISHED"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("n_step=3", "did you mean n_steps"),
        ("+experiment=mnits", "did you mean mnist"),
        ("neuron=typo", "known: adaptive_lif, integrate_and_fire, leaky_relu, lif, poisson"),
        ("neuron.tau_rcc=1", "did you mean tau_rc"),
        ("neuron.tau_rc=-1", "error: neuron.tau_rc=-1: must be a number above 0 (s)"),
        ("neuron.tau_rc=abc", "error: neuron.tau_rc=abc: must be a number above 0 (s)"),
        ("neuron.max_rate=600", "error: neuron.max_rate=600: must be below 1/tau_ref = 500 Hz"),
        ("optimizer.lr=fast", "error: optimizer.lr=fast: must be a number above 0"),
        ("n_steps=0", "error: n_steps=0: must be a whole number at least 1"),
        ("data.dir=/nowhere", "error: data.dir=/nowhere: no such folder"),
        ("data.batch_size=0", "error: data.batch_size=0: must be"),
        ("network.layers.conv1.kernel=50", "error: network.layers.conv1.kernel=50: must be at most the image"),
        (
            "tracking.uri=sqlite:////nowhere/mlflow.db",
            "error: tracking.uri=sqlite:////nowhere/mlflow.db: /nowhere does not exist",
        ),
        ("tracking.uri=http://127.0.0.1:9", "error: tracking.uri=http://127.0.0.1:9: cannot be reached ([Errno 111]"),
        ("tracking.uri=foo", "error: tracking.uri=foo: must be a URI such as"),
        ("resume=nothing", "mlflow.db does not exist"),
    ],
)
def test_bad_input_ends_in_one_line(tmp_path: Path, checkout: Path, arguments: str, message: str) -> None:
    database = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    how = run if arguments in ("n_step=3", "neuron.tau_rc=-1") else run_here
    code, out, error = how(checkout, *([] if "tracking" in arguments else [database]), arguments)
    assert code == 1 and message in error and error.count("\n") == 1 and "Traceback" not in error + out
    if (tmp_path / "mlflow.db").exists():
        assert not run_ids(tmp_path)


def test_help_tells_groups_and_options(checkout: Path) -> None:
    code, out, _ = run(checkout, "--help")
    assert code == 0
    for words in (
        "experiment: mnist, mnist_nengo",
        "neuron: adaptive_lif, integrate_and_fire, leaky_relu, lif, poisson",
        "debug: fast",
        "n_steps: 30",
    ):
        assert words in out
