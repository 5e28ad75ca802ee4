from pathlib import Path

from mlflow.store.artifact import local_artifact_repo

from ratespike.tracking import store
from ratespike.tracking.artifacts import UNFINISHED
from ratespike.tracking.runs import BEST, Client
from ratespike.tracking.status import track


def test_a_resumed_run_removes_what_a_kill_has_left_among_its_artifacts(client: Client, tmp_path: Path) -> None:
    run = store.open_run(client, "unfinished", "run", {})
    run.text(BEST, "weights")
    whole = Path(client.get_run(run.id).info.artifact_uri.removeprefix("file://")) / BEST
    (whole.parent / f"{UNFINISHED}abc").write_text("weig")
    with track(run, tmp_path, system_metrics=False):
        assert list(whole.parent.iterdir()) == [whole]


def test_mlflow_still_gives_them_such_names() -> None:
    assert f'"{UNFINISHED}"' in Path(local_artifact_repo.__file__).read_text()
