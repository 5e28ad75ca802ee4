import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ratespike.tracking import moved, store
from ratespike.tracking.runs import BEST, Run

SAID = "this database was moved or copied: the artifacts of 1 runs are in"


def with_artifact(database: str, experiment: str) -> Run:
    """A run that has kept a file."""
    run = store.open_run(store.connect(database), experiment, "run", {})
    run.text(BEST, "weights")
    return run


def content(run: Run) -> str:
    with run.artifact(BEST) as path:
        return "" if path is None else path.read_text()


@pytest.mark.parametrize("old_folder", ["is gone", "is still there"])
def test_a_moved_or_copied_database_finds_its_artifacts_and_writes_beside_itself(
    database: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], old_folder: str
) -> None:
    """Also one that is moved to a path with a blank, which an address of a file writes otherwise."""
    old = tmp_path / "old"
    old.mkdir()
    (tmp_path / "mlflow.db").rename(old / "mlflow.db")
    run = with_artifact(f"sqlite:///{old}/mlflow.db", "moved")
    new = tmp_path / "new place"
    shutil.copytree(old, new)
    if old_folder == "is gone":
        shutil.rmtree(old)
    before = sorted(old.rglob("*"))

    client = store.connect(f"sqlite:///{new}/mlflow.db")
    assert f"{SAID} {new}/mlruns now" in capfd.readouterr().err
    assert client.get_run(run.id).info.artifact_uri == f"{(new / 'mlruns').as_uri()}/moved/{run.id}/artifacts"
    assert content(store.find_run(client, run.id)) == "weights"
    another = store.open_run(client, "moved", "another", {})
    another.text(BEST, "others")
    assert (new / "mlruns/moved" / another.id / "artifacts" / BEST).read_text() == "others"
    assert sorted(old.rglob("*")) == before

    store.connect(f"sqlite:///{new}/mlflow.db")
    assert capfd.readouterr().err == "", "it is rewritten once"


def test_paths_that_are_not_beside_the_database_stay_and_so_do_names_that_begin_alike(tmp_path: Path) -> None:
    old, here, elsewhere = tmp_path / "old/mlruns", tmp_path / "new/mlruns", tmp_path / "elsewhere/a"
    for folder in (here / "a", here / "ab", elsewhere):
        folder.mkdir(parents=True)
    staying = [f"{elsewhere}", "mlflow-artifacts:/1", "s3://bucket/mlruns/a", None]
    paths = [f"{old}/a", f"{old}/a/run/artifacts", f"{old}/ab", *staying]
    with closing(sqlite3.connect(tmp_path / "new/mlflow.db")) as database:
        for table, column in moved.PATHS.items():
            database.execute(f"create table {table} ({column} text)")
            database.executemany(f"insert into {table} values (?)", [(path,) for path in paths])
        assert moved.follow_artifacts(database, tmp_path / "new") is not None
        for table, column in moved.PATHS.items():
            found = [path for (path,) in database.execute(f"select {column} from {table}")]
            assert found == [f"{here}/a", f"{here}/a/run/artifacts", f"{here}/ab", *staying]
        assert moved.follow_artifacts(database, tmp_path / "new") is None
