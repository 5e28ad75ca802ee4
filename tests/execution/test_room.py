import os
import tempfile
from pathlib import Path

import pytest

from ratespike.execution import room


def test_temporary_folders_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    host = room._of_this_host()
    living, of_another_host, strange = f"{host}{os.getppid()}-a", "ratespike-another-4194305-a", f"{host}text-a"
    for name in (f"{host}4194305-a", living, of_another_host, strange):  # Linux has no process of that number
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with room.temporary_folder() as folder:
        assert {path.name for path in tmp_path.iterdir()} == {living, of_another_host, strange, folder.name}
        with room.temporary_files_in(folder):
            assert Path(tempfile.mkdtemp()).parent == folder
    assert not folder.exists()
    assert tempfile.tempdir == str(tmp_path)
