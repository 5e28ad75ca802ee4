from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from ratespike.tracking import runs
from ratespike.tracking.runs import Run
from ratespike.tracking.status import ERROR, is_alive, signs_of_life, track


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> runs.Client:
    return runs.connect(f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db")


@pytest.mark.parametrize(
    ("ending", "status"),
    [(None, "FINISHED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED"), (ZeroDivisionError, "FAILED")],
)
def test_a_run_has_no_other_status_on_its_way_to_the_last_one(
    client: runs.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: type[BaseException] | None, status: str
) -> None:
    written = []
    write = MlflowClient.set_terminated

    def set_terminated(self: MlflowClient, run_id: str, status: str, end_time: int | None = None) -> None:
        written.append(status)
        write(self, run_id, status, end_time)

    monkeypatch.setattr(MlflowClient, "set_terminated", set_terminated)
    run = runs.open_run(client, "status", status, signs_of_life(tmp_path))
    try:
        with track(run, tmp_path, system_metrics=False):
            assert client.get_run(run.id).info.status == "RUNNING"
            if ending is not None:
                raise ending
    except BaseException as raised:
        assert type(raised) is ending
    assert set(written) == {status} and client.get_run(run.id).info.status == status
    assert (run.tag(ERROR) is not None) == (status == "FAILED")


def test_a_run_that_says_running_is_alive_only_while_its_process_or_host_is(client: runs.Client, tmp_path: Path) -> None:
    here = runs.open_run(client, "status", "here", signs_of_life(tmp_path))
    assert not is_alive(client.get_run(here.id), tmp_path)  # nobody has its lock
    elsewhere = Run(client, here.id, "status")
    elsewhere.tags({"ratespike.host": "another"})
    assert is_alive(client.get_run(here.id), tmp_path)  # a sign of life a moment ago
    elsewhere.tags({"ratespike.heartbeat": "1"})
    assert not is_alive(client.get_run(here.id), tmp_path)
