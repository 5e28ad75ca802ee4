from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from ratespike.parameters import ParameterError
from ratespike.tracking import store
from ratespike.tracking.runs import Client
from ratespike.tracking.status import ERROR, HEARTBEAT, HOST, is_alive, signs_of_life, track


@pytest.mark.parametrize(
    ("ending", "status"),
    [(None, "FINISHED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED"), (ZeroDivisionError, "FAILED")],
)
def test_a_run_goes_from_running_to_its_last_status(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: type[BaseException] | None, status: str
) -> None:
    """Without another status in between, which would be taken for the result."""
    written = []
    set_terminated = MlflowClient.set_terminated

    def record(self: MlflowClient, run_id: str, status: str, end_time: int | None = None) -> None:
        written.append(status)
        set_terminated(self, run_id, status, end_time)

    monkeypatch.setattr(MlflowClient, "set_terminated", record)
    run = store.open_run(client, "status", status, signs_of_life(tmp_path))
    raised = None
    try:
        with track(run, tmp_path, system_metrics=False):
            assert client.get_run(run.id).info.status == "RUNNING"
            if ending is not None:
                raise ending
    except BaseException as error:
        raised = type(error)
    assert raised is ending
    assert set(written) == {status}
    assert client.get_run(run.id).info.status == status
    assert (run.tag(ERROR) is not None) == (status == "FAILED")


def test_a_run_of_this_host_is_alive_while_a_process_has_its_lock(client: Client, tmp_path: Path) -> None:
    run = store.open_run(client, "status", "here", signs_of_life(tmp_path))
    assert not is_alive(client.get_run(run.id), tmp_path)


def test_a_run_of_another_host_is_alive_while_its_heart_beats(client: Client, tmp_path: Path) -> None:
    run = store.open_run(client, "status", "elsewhere", signs_of_life(tmp_path) | {HOST: "another"})
    assert is_alive(client.get_run(run.id), tmp_path), "its heart beat a moment ago"
    run.tags({HEARTBEAT: "1"})
    assert not is_alive(client.get_run(run.id), tmp_path), "its last heartbeat was in 1970"


def test_a_run_at_which_another_process_is_at_work_is_refused(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.open_run(client, "status", "taken", signs_of_life(tmp_path))
    monkeypatch.setattr("ratespike.execution.locks.Locks.take", lambda *_, wait: False)
    with pytest.raises(ParameterError, match="is still running, in another process"), track(run, tmp_path, False):
        pass
