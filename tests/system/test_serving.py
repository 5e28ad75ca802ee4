"""`mlflow models serve` on the model of a run, asked over HTTP by one client, by sixteen, and by clients that do it wrong."""

import ast
import csv
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from program import ROOT, free_port, run, run_ids, tags, wait_until
from services import listens, service

import ratespike
from ratespike.data import MNIST

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]

GIGABYTES = 4
N_PICTURES = 100
CLIENTS = 16
ENVIRONMENT = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # where MLflow looks for uvicorn


@dataclass(frozen=True)
class Server:
    """MLflow's server of a model.

    Attributes:
        port: of loopback.
        group: its process group.
    """

    port: int
    group: int

    def ask(self, body: bytes, kind: str = "application/json") -> tuple[int, Any]:
        """The status and the content of the answer to a request."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/invocations", body, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, json.loads(answer.read())["predictions"]
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def classify(self, images: np.ndarray, **params: object) -> tuple[int, Any]:
        """The same for images, with parameters."""
        return self.ask(json.dumps({"inputs": images.tolist(), "params": params}).encode())

    def lives(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=60) as answer:
            return bool(answer.status == 200)

    def peak(self) -> float:
        """The most memory that its processes have had so far, together, in GB."""
        pages = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                belongs = os.getpgid(int(process.name)) == self.group
                lines = (process / "status").read_text().splitlines() if belongs else []
            except (ProcessLookupError, FileNotFoundError):
                continue
            pages += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        return pages / 2**20


@pytest.fixture(scope="module")
def trained(checkout: Path) -> str:
    """A run in the checkout, of MNIST's network: an epoch on a slice."""
    slices = ("+debug=fast", "data.train_images=4000", "data.batch_size=50")
    code, _, error = run(checkout, "+experiment=mnist_nengo", *slices)
    assert code == 0, error
    return run_ids(checkout)[-1]


@pytest.fixture(scope="module")
def environment(checkout: Path) -> Mapping[str, str]:
    return {**os.environ, **ENVIRONMENT, "MLFLOW_TRACKING_URI": f"sqlite:///{checkout}/mlflow.db"}


@pytest.fixture(scope="module")
def server(checkout: Path, trained: str, environment: Mapping[str, str]) -> Iterator[Server]:
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "-m", f"runs:/{trained}/model", "--env-manager", "local"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    began = time.monotonic()
    with service(command, checkout / "served.log", cwd=checkout, env=environment) as process:
        wait_until(lambda: listens(port), process)
        print(f"\nthe server starts in {time.monotonic() - began:.0f} s")
        yield Server(port, process.pid)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Test images of MNIST, shape (images, 28, 28)."""
    return MNIST(dir="data/mnist", test_images=N_PICTURES).load(ROOT).test.pixels[:, 0].numpy()


@pytest.fixture(scope="module")
def answers(checkout: Path, trained: str, pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What predict.py says of these images as picture files."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number:03}.png")
    given = (f"run={trained}", f"images={folder}", f"folder={folder}/answers")
    code, _, error = run(checkout, *given, program="predict.py")
    assert code == 0, error
    with (folder / "answers/predictions.csv").open() as file:
        return list(csv.DictReader(file))


def as_inputs(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, None] / 255


def test_a_request_is_answered_as_predict_answers(server: Server, pixels: np.ndarray, answers: list[dict[str, str]]) -> None:
    assert len({row["spike_class"] for row in answers}) > 7, "a network that says always the same"
    for mode, column in (("spikes", "spike_class"), ("rates", "rate_class")):
        began = time.monotonic()
        status, predictions = server.classify(as_inputs(pixels), mode=mode)
        print(f"\n{N_PICTURES} images on {mode}: {time.monotonic() - began:.2f} s")
        assert status == 200, predictions
        assert [own["class"] for own in predictions] == [row[column] for row in answers]
    _, predictions = server.classify(as_inputs(pixels))
    assert [str(own["decision_step"]) for own in predictions] == [row["decision_step"] for row in answers]


def test_the_example_of_the_page_runs(
    server: Server, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/serving.md").read_text(), re.DOTALL)
    Image.fromarray(pixels[0]).save(tmp_path / "seven.png")
    monkeypatch.chdir(tmp_path)
    exec(example.replace(":5001/", f":{server.port}/"), {})
    printed = capsys.readouterr().out
    print(printed)
    (answer,) = ast.literal_eval(printed)["predictions"]
    assert answer["class"] == "7"
    assert 1 <= answer["decision_step"] <= 30


def test_the_command_predict_answers_too(
    checkout: Path, trained: str, environment: Mapping[str, str], pixels: np.ndarray, answers: list[dict[str, str]]
) -> None:
    (checkout / "request.json").write_text(json.dumps({"inputs": as_inputs(pixels).tolist()}))
    command = [
        *(sys.executable, "-m", "mlflow", "models", "predict", "-m", f"runs:/{trained}/model", "--env-manager", "local"),
        *("-i", "request.json", "-o", "answer.json"),
    ]
    with service(command, checkout / "predicted.log", cwd=checkout, env=environment) as process:
        assert process.wait(300) == 0, (checkout / "predicted.log").read_text()
    predictions = json.loads((checkout / "answer.json").read_text())["predictions"]
    assert [own["class"] for own in predictions] == [row["spike_class"] for row in answers]


IMAGE = np.zeros((1, 1, 28, 28))
WRONG = {
    "no JSON": b'{"inputs": [[[[0.0',
    "not UTF-8": b"\xff\xfe\x00",
    "nothing": b"",
    "a list": b"[1, 2]",
    "no inputs": b'{"images": []}',
    "words": b'{"inputs": [[[["a"]]]]}',
    "null": b'{"inputs": null}',
    "an empty batch": b'{"inputs": []}',
    "NaN": json.dumps({"inputs": np.full_like(IMAGE, np.nan).tolist()}).encode(),
    "infinity": json.dumps({"inputs": np.full_like(IMAGE, np.inf).tolist()}).encode(),
    "beyond double precision": json.dumps({"inputs": IMAGE.tolist()}).replace("0.0", "1e999", 1).encode(),
    "bytes in place of fractions": json.dumps({"inputs": np.full((1, 1, 28, 28), 255).tolist()}).encode(),
    "another size": json.dumps({"inputs": np.zeros((1, 1, 27, 28)).tolist()}).encode(),
    "no channel": json.dumps({"inputs": np.zeros((1, 28, 28)).tolist()}).encode(),
    "ragged": b'{"inputs": [[[[0, 1], [0]]]]}',
    "huge n_steps": json.dumps({"inputs": IMAGE.tolist(), "params": {"n_steps": 10**9}}).encode(),
    "n_steps beyond 64 bits": json.dumps({"inputs": IMAGE.tolist(), "params": {"n_steps": 10**30}}).encode(),
    "no steps": json.dumps({"inputs": IMAGE.tolist(), "params": {"n_steps": 0}}).encode(),
    "steps as a word": json.dumps({"inputs": IMAGE.tolist(), "params": {"n_steps": "many"}}).encode(),
    "another mode": json.dumps({"inputs": IMAGE.tolist(), "params": {"mode": "both"}}).encode(),
    "a list of parameters": json.dumps({"inputs": IMAGE.tolist(), "params": [1]}).encode(),
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_the_clients_fault(server: Server, body: bytes) -> None:
    status, content = server.ask(body)
    assert 400 <= status < 500, content
    assert server.lives()


@pytest.mark.parametrize("kind", ["text/csv", "application/octet-stream", "application/json; charset=latin-1"])
def test_another_kind_of_content_is_the_clients_fault(server: Server, kind: str) -> None:
    status, content = server.ask(b"0,1\n2,3\n", kind)
    assert 400 <= status < 500, content
    assert server.lives()


@pytest.mark.parametrize(
    ("count", "params"), [(10_000, {}), (10_000, {"mode": "rates"}), (1000, {"n_steps": 10_000}), (1, {"n_steps": 10_000})]
)
def test_large_requests_are_answered_or_refused_in_bounded_memory(
    server: Server, pixels: np.ndarray, count: int, params: Mapping[str, object]
) -> None:
    images = as_inputs(np.resize(pixels, (count, 28, 28)))
    began = time.monotonic()
    status, content = server.classify(images, **params)
    seconds = time.monotonic() - began
    what = content if status != 200 else f"{len(content)} answers"
    print(f"\n{count} images, {params}: {status} after {seconds:.1f} s, {server.peak():.2f} GB; {what[:200]}")
    assert status == 200 or 400 <= status < 500, content
    assert server.lives()
    assert server.peak() < GIGABYTES


def test_sixteen_clients_at_once_get_no_wrong_answer(server: Server, pixels: np.ndarray, answers: list[dict[str, str]]) -> None:
    orders = [np.random.default_rng(number).permutation(N_PICTURES) for number in range(CLIENTS)]
    alone = [server.classify(as_inputs(pixels[order])) for order in orders]
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as clients:
        on_spikes = [clients.submit(server.classify, as_inputs(pixels[order])) for order in orders]
        on_rates = [clients.submit(server.classify, as_inputs(pixels[order]), mode="rates") for order in orders]
    print(f"\n{2 * CLIENTS} requests of {N_PICTURES} images by {CLIENTS} clients: {time.monotonic() - began:.1f} s")
    assert [request.result() for request in on_spikes] == alone
    for order, request in zip(orders, on_rates, strict=True):
        status, predictions = request.result()
        assert status == 200
        assert [own["class"] for own in predictions] == [answers[number]["rate_class"] for number in order]
    assert server.lives()
    assert server.peak() < GIGABYTES


def test_the_best_run_of_a_sweep_is_registered_and_evaluated_by_its_alias(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = ("-m", "+experiment=digits", "trainer.max_epochs=1,3", "register=digits")
    for _ in range(2):  # the second time no job is left to do
        code, out, error = run(checkout, *sweep)
        assert code == 0, error
        (parent,) = [found for found in run_ids(checkout) if "ratespike.best_run" in tags(checkout, found)]
        best = tags(checkout, parent)["ratespike.best_run"]
        assert f"models:/digits@champion is version 1 now, the model of run {best}" in out
    code, _, error = run(checkout, "model=models:/digits@champion", "n_steps=10", program="evaluate.py")
    assert code == 0, error
    assert tags(checkout, run_ids(checkout)[-1])["mlflow.parentRunId"] == best
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{checkout}/mlflow.db")
    assert ratespike.load("models:/digits@champion")
