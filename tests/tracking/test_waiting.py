"""A store that goes away from a run, and is back later or never."""

import errno
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from services import answering

from ratespike.parameters import ParameterError
from ratespike.tracking import changes, store
from ratespike.tracking.bring_in import at_once, bring_in_all
from ratespike.tracking.runs import BEST, LAST, Client, Run
from ratespike.tracking.status import ERROR, signs_of_life, track
from ratespike.tracking.waiting import Waiting, folder_below

USED = (
    *("get_run", "log_batch", "log_artifact", "log_artifacts", "log_inputs", "set_tag", "delete_tag", "set_terminated"),
    *("get_metric_history", "search_runs", "search_experiments", "list_artifacts", "download_artifacts"),
)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """While `is_away` is set, every question to the store fails."""
    world = SimpleNamespace(is_away=False, asked=0)

    def failing(original: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: MlflowClient, *arguments: Any, **options: Any) -> Any:
            if world.is_away:
                world.asked += 1
                raise MlflowException("API request to /runs failed\nwith a traceback of many lines")
            return original(self, *arguments, **options)

        return method

    for name in USED:
        monkeypatch.setattr(MlflowClient, name, failing(getattr(MlflowClient, name)))
    return world


def new_run(client: Client, root: Path) -> Run:
    return store.open_run(client, "waiting", "run", signs_of_life(root))


def use(run: Run, folder: Path) -> None:
    """Write what a training and its test write."""
    for name, content in (("best.ckpt", "best weights"), ("last.ckpt", "last weights")):
        (folder / name).write_text(content)
        run.file(folder / name, "checkpoints")
    run.metrics({"train/loss": 0.25, "val/rate_accuracy": float("nan")}, step=2)
    run.curve("test/spiking_accuracy_at", torch.tensor([0.1, 0.2, 0.3]))
    run.tags({"ratespike.trained": "true", "superfluous": "yes"})
    run.remove_tag("superfluous")
    run.table("per_class", class_name=["0"], test_images=[7])


def check_is_whole(client: Client, run_id: str) -> None:
    run = store.find_run(client, run_id)
    assert client.get_run(run_id).info.status == "FINISHED"
    for name, steps in (("train/loss", [1, 2]), ("val/rate_accuracy", [2]), ("test/spiking_accuracy_at", [1, 2, 3])):
        assert [point.step for point in client.get_metric_history(run_id, name)] == steps, "each value once"
    assert run.metric("train/loss") == 0.25
    assert (run.tag("ratespike.trained"), run.tag("superfluous")) == ("true", None)
    for path, content in (
        (BEST, "best weights"),
        (LAST, "last weights"),
        ("results/per_class.csv", "class_name,test_images\n0,7\n"),
    ):
        with run.artifact(path) as found:
            assert found is not None
            assert found.read_text() == content


def test_a_run_goes_on_without_its_store_and_is_whole_at_its_end(
    client: Client, tmp_path: Path, world: SimpleNamespace, capfd: pytest.CaptureFixture[str]
) -> None:
    run = new_run(client, tmp_path)
    with track(run, tmp_path, system_metrics=False):
        run.metrics({"train/loss": 0.5}, step=1)
        run.tags({"before": "yes"})
        world.is_away = True
        use(run, tmp_path)
        assert (run.name, run.tag("before"), run.tag("ratespike.trained"), run.tag("superfluous")) == (
            "run",
            "yes",
            "true",
            None,
        )
        assert run.metric("train/loss") == 0.25
        assert run.has(BEST)
        assert pickle.loads(pickle.dumps(run)).is_waiting, "its other processes see that too"
        world.is_away = False
    assert world.asked == 1, "each question costs the patience that MLflow has"
    said = capfd.readouterr().err
    assert f"run {run.id} goes on without its store; its results wait in {tmp_path}/outputs/waiting/{run.id}" in said
    assert said.count("\n") == 3, "one line, after the end of a progress bar, and one at the end"
    assert f"results of run {run.id}, which waited in" in said
    check_is_whole(client, run.id)
    assert not list(folder_below(tmp_path).iterdir())


def test_results_wait_until_a_command_brings_them_in_once(
    client: Client, tmp_path: Path, world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(client, tmp_path)
    where = folder_below(tmp_path) / run.id
    with (
        pytest.raises(ParameterError, match=rf"results of run {run.id} wait in {where} \(.*API request to /runs failed\)"),
        track(run, tmp_path, system_metrics=False),
    ):
        run.metrics({"train/loss": 0.5}, step=1)
        world.is_away = True
        use(run, tmp_path)
    assert run.metric("train/loss") == 0.25, "the table at the end"
    with (where / "changes.jsonl").open("a") as file:
        file.write('{"metrics": [["torn", 1.')  # by a kill
    of_another_store = shutil.copytree(where, where.with_name("f" * 32))

    bring_in_all(client, tmp_path)
    assert where.exists(), "an unknown run's store may be another one, and one that is away knows none"
    world.is_away = False
    assert client.get_run(run.id).info.status == "RUNNING"

    class KilledError(BaseException):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Waiting, "end", killed)
        with pytest.raises(KilledError):
            bring_in_all(client, tmp_path)
    bring_in_all(client, tmp_path)
    check_is_whole(client, run.id)
    bring_in_all(client, tmp_path)
    assert [path.name for path in folder_below(tmp_path).iterdir()] == [of_another_store.name]
    check_is_whole(client, run.id)


def test_an_error_in_a_run_whose_store_is_away_is_that_error(client: Client, tmp_path: Path, world: SimpleNamespace) -> None:
    run = new_run(client, tmp_path)
    with pytest.raises(ZeroDivisionError), track(run, tmp_path, system_metrics=False):
        world.is_away = True
        raise ZeroDivisionError
    world.is_away = False
    bring_in_all(client, tmp_path)
    assert client.get_run(run.id).info.status == "FAILED"
    assert str(run.tag(ERROR)).startswith("ZeroDivisionError")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Out Of Order\r\n\r\n",
        b"HTTP/1.1 500 Out Of Order\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n<html>hello!</",
        b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"run": "no"}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
        b"220 mail.example.org ESMTP\r\n",
        b"",
    ],
)
def test_a_server_that_answers_nonsense_ends_no_run(tmp_path: Path, answer: bytes) -> None:
    with answering(answer) as uri, at_once():
        run = Run(MlflowClient(uri), "a" * 32, "experiment", waiting=Waiting(tmp_path, "a" * 32))
        run.read_or(lambda: run.client.get_run(run.id), None)
        run.metrics({"train/loss": 0.5}, step=1)
    assert run.is_waiting
    assert list(Waiting(tmp_path, run.id).changes())


def test_a_resumed_run_logs_nothing_twice_though_its_store_is_away(
    client: Client, tmp_path: Path, world: SimpleNamespace
) -> None:
    before = new_run(client, tmp_path)
    before.metrics({"loss": 1.0}, step=1)
    run = Run(client, before.id, before.experiment, resumed=True)
    with track(run, tmp_path, system_metrics=False):
        world.is_away = True
        run.metrics({"loss": 2.0}, step=1)
        run.metrics({"loss": 3.0}, step=2)
        world.is_away = False
    assert run.history("loss") == {1: 1.0, 2: 3.0}


def test_a_store_and_a_folder_that_are_both_full_are_named(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(client, tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(ParameterError, match=r"sqlite.*No space left.*cannot wait either: .*outputs/waiting/\w+ is full"),
        track(run, tmp_path, system_metrics=False),
        monkeypatch.context() as patch,
    ):
        patch.setattr(MlflowClient, "log_artifact", full)
        patch.setattr(Path, "mkdir", full)
        run.file(tmp_path / "mlflow.db", "somewhere")
    assert client.get_run(run.id).info.status == "FAILED"


def test_a_change_means_the_same_twice(client: Client, tmp_path: Path) -> None:
    run = new_run(client, tmp_path)
    change = {
        changes.METRICS: [
            ["curve", step / 7, 1_700_000_000_000, step] for step in range(1500)
        ],  # more than MLflow takes at once
        changes.PARAMETERS: {"seed": "0"},
        changes.TAGS: {"a": "b"},
        changes.REMOVED_TAG: "never there",
    }
    for _ in range(2):
        changes.apply(client, run.id, change)
    assert len(client.get_metric_history(run.id, "curve")) == 1500
    assert (run.parameter("seed"), run.tag("a")) == ("0", "b")


def test_results_of_a_deleted_run_wait_until_it_is_restored(
    client: Client, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = new_run(client, tmp_path)
    with pytest.raises(ParameterError, match="wait in"), track(run, tmp_path, system_metrics=False):
        client.delete_run(run.id)
        use(run, tmp_path)
        run.metrics({"train/loss": 0.5}, step=1)
    bring_in_all(client, tmp_path)
    assert f"results of run {run.id} still wait in" in capfd.readouterr().err
    client.restore_run(run.id)
    bring_in_all(client, tmp_path)
    assert run.history("train/loss") == {1: 0.5, 2: 0.25}
    assert client.get_run(run.id).info.status == "FINISHED"
