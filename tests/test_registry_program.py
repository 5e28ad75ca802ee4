"""A run's model: without a pickle, in the registry, and evaluated from there as its user does; a stranger's runs no code."""

import csv
import gzip
import os
import pickle
import re
import shutil
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from idx_files import idx
from pickles import with_pickles
from PIL import Image
from program import SMALL, metrics, names, run_here, run_ids, status, tags
from torch import nn

import ratespike
from ratespike.tracking import store
from ratespike.tracking.models import CHECKPOINT

pytestmark = [
    pytest.mark.program,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]

N_STEPS = 6
ADDRESS = "models:/shades@champion"


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of images, 16 x 16 pixels: dark and bright ones."""
    folder = tmp_path_factory.mktemp("shades")
    generator = np.random.default_rng(0)
    for split, count in (("train", 120), ("test", 30)):
        labels = generator.integers(0, 2, count).astype(np.uint8)
        images = generator.integers(0, 120, (count, 16, 16)) + 120 * labels[:, None, None]
        (folder / f"{split}-images").write_bytes(idx(images.astype(np.uint8)))
        (folder / f"{split}-labels").write_bytes(idx(labels))
    return folder


@pytest.fixture(scope="module")
def registered(checkout: Path, shades: Path) -> tuple[Path, str]:
    """A checkout, and the run that was trained and registered in it."""
    given = ("data=idx", f"data.dir={shades}", "data.train_images=null", "data.test_images=null", f"n_steps={N_STEPS}")
    code, out, error = run_here(checkout, *SMALL, *given, "simulation.exit_loss=0.1", "register=shades")
    assert code == 0, error
    (run_id,) = run_ids(checkout)
    assert f"{ADDRESS} is version 1 now, the model of run {run_id}" in out
    return checkout, run_id


@pytest.fixture
def of_checkout(registered: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """MLflow's own functions look into the checkout's database, whose address this is."""
    uri = f"sqlite:///{registered[0]}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    store.connect(uri)
    return uri


def test_only_checkpoints_hold_pickles_and_they_are_read_without_running_code(registered: tuple[Path, str]) -> None:
    folder, run_id = registered
    kept = folder / "mlruns"
    (model,) = kept.glob("*/models/*/artifacts")
    assert {str(path.relative_to(model)) for path in model.rglob("*") if path.is_file()} == {
        *("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "served_model.py", CHECKPOINT),
        *("input_example.json", "serving_input_example.json"),
    }
    found = with_pickles(kept)
    of_run = {path.relative_to(kept) for path in found if run_id in str(path)}
    assert {path.name for path in of_run} == {"best.ckpt", "last.ckpt"}
    assert found == set(kept.rglob("*.ckpt"))
    for path in found:
        torch.load(path, weights_only=True)


def test_the_search_for_pickles_finds_them(tmp_path: Path) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / f"{protocol}.bin").write_bytes(pickle.dumps({"a": [1, Path()]}, protocol))
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", a=np.array([{}]))
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as archive:
        archive.write(tmp_path / "objects.npz", "inner")
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    one = pickle.dumps({"a": [1, Path()]})
    (tmp_path / "pickle.gz").write_bytes(gzip.compress(one))
    (tmp_path / "pickle.zlib").write_bytes(zlib.compress(one))
    (tmp_path / "trailing.bin").write_bytes(one + b"\0")
    (tmp_path / "two.bin").write_bytes(one + one)
    planted = set(tmp_path.iterdir())
    np.savez_compressed(tmp_path / "numbers.npz", a=np.arange(3.0), b=np.array(["word"]))
    (tmp_path / "text.md").write_text("A sentence.")
    (tmp_path / "number.txt").write_text("0.5")
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"A sentence."))
    assert with_pickles(tmp_path) == planted


def test_the_model_has_the_early_exit_that_was_fitted(registered: tuple[Path, str]) -> None:
    folder, run_id = registered
    (checkpoint,) = folder.glob(f"mlruns/*/models/*/artifacts/{CHECKPOINT}")
    simulation = torch.load(checkpoint, weights_only=True)["ratespike"]["config"]["simulation"]
    assert simulation["exit_loss"] is None
    assert simulation["early_exit"] == metrics(folder, run_id)["test/exit_threshold", 0]


def test_a_model_of_the_registry_is_evaluated_below_its_run(registered: tuple[Path, str], of_checkout: str) -> None:
    folder, run_id = registered
    code, out, error = run_here(folder, f"model={ADDRESS}", "n_steps=4", program="evaluate.py")
    assert code == 0, error
    assert "spiking accuracy, 4 steps" in out
    evaluation = names(folder)["evaluate n_steps=4"]
    assert status(folder, evaluation) == "FINISHED"
    assert tags(folder, evaluation)["mlflow.parentRunId"] == run_id
    of_registry, of_run = ratespike.load(ADDRESS), ratespike.load(run_id)
    for name, weights in of_run.state_dict().items():
        assert torch.equal(of_registry.state_dict()[name], weights)
    version = store.connect(of_checkout).get_model_version("shades", "1")
    assert set(version.tags) == {"test/rate_accuracy", "test/spiking_accuracy"}
    assert f"after {N_STEPS} steps" in version.description


def test_mlflows_model_answers_as_predict_does(registered: tuple[Path, str], of_checkout: str, tmp_path: Path) -> None:
    folder, run_id = registered
    pixels = np.random.default_rng(1).integers(0, 256, (12, 16, 16)).astype(np.uint8)
    pixels[::2] //= 3
    (tmp_path / "pictures").mkdir()
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{number:02}.png")
    asked = (f"model={ADDRESS}", f"images={tmp_path}/pictures", f"folder={tmp_path}/answers")
    code, _, error = run_here(folder, *asked, program="predict.py")
    assert code == 0, error
    with (tmp_path / "answers/predictions.csv").open() as file:
        expected = list(csv.DictReader(file))
    model = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
    images = (pixels[:, None] / 255).astype(np.float32)
    on_spikes = model.predict(images)
    assert [answer["class"] for answer in on_spikes] == [row["spike_class"] for row in expected]
    assert [str(answer["decision_step"]) for answer in on_spikes] == [row["decision_step"] for row in expected]
    assert [answer["confidence"] for answer in on_spikes] == pytest.approx([float(row["spike_confidence"]) for row in expected])
    on_rates = model.predict(images, params={"mode": "rates"})
    assert [answer["class"] for answer in on_rates] == [row["rate_class"] for row in expected]
    (step,) = {answer["decision_step"] for answer in model.predict(images, params={"n_steps": 1})}
    assert step == 1
    with pytest.raises(mlflow.exceptions.MlflowException, match="n_steps=1000000: must be a whole number from 1 to") as refused:
        model.predict(images, params={"n_steps": 1_000_000})
    assert refused.value.get_http_status_code() == 400


@pytest.mark.parametrize(
    ("arguments", "program", "message"),
    [
        ((*SMALL, "register=slice"), "train.py", "register=slice: this run uses a slice of the data"),
        (("-m", "seed=1,2", "register=a,b"), "train.py", "register: a sweep registers its best run by one name"),
        (("model=models:/shade@champion",), "evaluate.py", "not found in sqlite:///{folder}/mlflow.db; did you mean shades"),
        (("model=models:/shades@best",), "predict.py", "known: /1, @champion"),
        (("model=models:/shades",), "evaluate.py", "models:/shades: must be models:/<name>@<alias> or models:/<name>/<number"),
        ((f"model={ADDRESS}", "run=x"), "evaluate.py", f"run=x model={ADDRESS}: give one of them"),
        ((f"model={ADDRESS}", "neuron.tau_rc=0.5"), "evaluate.py", "would change the training"),
    ],
)
def test_what_cannot_be_registered_or_found_is_one_line(
    registered: tuple[Path, str], arguments: tuple[str, ...], program: str, message: str
) -> None:
    folder, _ = registered
    before = run_ids(folder)
    code, _, error = run_here(folder, *arguments, program=program)
    assert code == 1
    assert message.format(folder=folder) in error
    assert error.count("\n") == 1, error
    assert run_ids(folder) == before


class Malice:
    """An object whose unpickling makes a file."""

    def __init__(self, made: Path):
        self.made = made

    def __reduce__(self) -> tuple[object, ...]:
        return os.makedirs, (str(self.made), 0o777, True)


@pytest.fixture
def evil(registered: tuple[Path, str], of_checkout: str, tmp_path: Path) -> Path:
    """A stranger's registered model: each of its files makes the folder `ran` if it is run; its checkpoint is a copy of ours.

    The model's folder is the value.
    """
    checkout, _ = registered
    (own,) = checkout.glob("mlruns/*/models/*/artifacts")
    model, ran = tmp_path / "evil", tmp_path / "ran"
    shutil.copytree(own, model)
    code = f"import os\nos.makedirs({str(ran)!r}, exist_ok=True)\n"
    (model / "served_model.py").write_text(code)
    (model / "code").mkdir()
    (model / "code/evil.py").write_text(code)
    (model / "python_model.pkl").write_bytes(pickle.dumps(Malice(ran)))
    description = (model / "MLmodel").read_text()
    description = re.sub(r"loader_module: .*", "loader_module: evil", description)
    (model / "MLmodel").write_text(re.sub(r"code: null", "code: code", description))
    client = store.connect(of_checkout)
    with suppress(mlflow.exceptions.MlflowException):
        client.create_registered_model("evil")
    version = client.create_model_version("evil", str(model))
    client.set_registered_model_alias("evil", "best", version.version)
    return model


def test_a_strangers_model_runs_no_code(registered: tuple[Path, str], evil: Path) -> None:
    checkout, _ = registered
    ran = evil.parent / "ran"
    assert isinstance(ratespike.load("models:/evil@best"), nn.Sequential)
    code, _, error = run_here(checkout, "model=models:/evil@best", "n_steps=2", program="evaluate.py")
    assert code == 0, error
    assert not ran.exists()
    with suppress(Exception):
        mlflow.pyfunc.load_model("models:/evil@best")
    assert ran.exists(), "the model would have done nothing in any case"


def test_a_strangers_checkpoint_runs_no_code(registered: tuple[Path, str], evil: Path) -> None:
    checkout, _ = registered
    ran = evil.parent / "ran"
    torch.save({"state_dict": Malice(ran), "ratespike": Malice(ran)}, evil / CHECKPOINT)
    with pytest.raises(ratespike.parameters.ParameterError, match="not a checkpoint of ratespike"):
        ratespike.load("models:/evil@best")
    for program in ("evaluate.py", "predict.py"):
        code, _, error = run_here(checkout, "model=models:/evil@best", program=program)
        assert code == 1
        assert "not a checkpoint of ratespike" in error
        assert error.count("\n") == 1
    assert not ran.exists()
    torch.load(evil / CHECKPOINT, weights_only=False)
    assert ran.exists(), "the checkpoint would have done nothing in any case"
