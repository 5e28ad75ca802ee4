"""`python train.py +experiment=convert`: a user's own trained network, as a run like any other."""

from pathlib import Path

import pytest
import torch
from program import metrics, run_here, run_ids, status
from torch import nn

from ratespike.data import MNIST

pytestmark = [
    pytest.mark.program,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]

FILE = """
from torch import nn

def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 10)
    )

def five():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 6), nn.ReLU(), nn.Linear(6, 5))
"""
SLICE = ("data.train_images=300", "data.test_images=100", "n_steps=6")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, nn.Module]:
    """The arguments that name a model and its weights, and the model."""
    folder = tmp_path_factory.mktemp("of the user")
    (folder / "my_network.py").write_text(FILE)
    names: dict[str, object] = {}
    exec(FILE, names)
    torch.manual_seed(0)
    model: nn.Module = names["network"]()  # type: ignore[operator]
    with torch.no_grad():
        model(torch.rand(50, 1, 28, 28))  # statistics of the batch normalisation
    torch.save(model.state_dict(), folder / "trained.pt")
    torch.save(names["five"]().state_dict(), folder / "five.pt")  # type: ignore[operator]
    return f"model='{folder / 'my_network.py'}:network'", f"checkpoint='{folder / 'trained.pt'}'", model.eval()


def test_a_plain_network_becomes_a_run(checkout: Path, given: tuple[str, str, nn.Module]) -> None:
    model, weights, plain = given
    code, out, error = run_here(checkout, "+experiment=convert", model, weights, *SLICE)
    assert code == 0, error
    assert "spiking accuracy, 6 steps" in out
    (run_id,) = run_ids(checkout)
    assert status(checkout, run_id) == "FINISHED"
    test = MNIST(dir="data/mnist", validation_images=5000).load(checkout).test[:100]
    with torch.no_grad():
        accuracy = float((plain(test.as_inputs()).argmax(1) == test.labels).double().mean())
    measured = metrics(checkout, run_id)
    assert measured["test/rate_accuracy", 0] == pytest.approx(accuracy)
    assert measured["test/untrained_spiking_accuracy", 0] != measured["test/spiking_accuracy", 0]

    code, out, error = run_here(checkout, f"run={run_id}", model, "n_steps=12", program="evaluate.py")
    assert code == 0, error
    assert "spiking accuracy, 12 steps" in out
    code, out, error = run_here(checkout, f"run={run_id}", "n_steps=12", program="evaluate.py")
    assert code != 0
    assert "add model=<file.py>:<name>" in error


@pytest.mark.parametrize(
    ("model", "checkpoint", "message"),
    [
        ("{folder}/my_network.py:network", "{folder}/none.pt", "there is no such file"),
        ("{folder}/my_network.py:five", "{folder}/five.pt", "its output has the shape (5,), but the data have 10 classes"),
        ("{folder}/my_network.py:five", "{folder}/trained.pt", "do not fit the model"),
    ],
)
def test_what_cannot_be_converted_is_refused_before_a_run_begins(
    checkout: Path, given: tuple[str, str, nn.Module], model: str, checkpoint: str, message: str
) -> None:
    folder = given[0].removeprefix("model='").rpartition("/")[0]
    before = run_ids(checkout) if (checkout / "mlflow.db").exists() else []
    arguments = (f"model='{model.format(folder=folder)}'", f"checkpoint='{checkpoint.format(folder=folder)}'")
    code, _, error = run_here(checkout, "+experiment=convert", *arguments, *SLICE)
    assert code != 0
    assert message in error
    assert (run_ids(checkout) if (checkout / "mlflow.db").exists() else []) == before


def test_a_model_without_weights_is_refused(checkout: Path, given: tuple[str, str, nn.Module]) -> None:
    code, _, error = run_here(checkout, "+experiment=convert", given[0], *SLICE)
    assert code != 0
    assert "a conversion needs both" in error
    code, _, error = run_here(checkout, "+experiment=convert", *given[:2], "start_from=some.ckpt", *SLICE)
    assert code != 0
    assert "start_from=some.ckpt: a conversion has the weights of checkpoint=" in error
