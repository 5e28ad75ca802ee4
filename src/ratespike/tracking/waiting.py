"""The folder in which what is written to a run waits while the store is away or full, until a command brings it in.

outputs/waiting/<run id>/changes.jsonl     metrics, tags, parameters, the status at the end: a line each, in their order
outputs/waiting/<run id>/artifacts/        files, below their names as artifacts
outputs/waiting/<run id>/model/            what the run's model is made of
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ratespike.execution.room import room_in
from ratespike.tracking.changes import Change


class Waiting:
    """What waits of one run; there is none before `begin`.

    Args:
        root: the folder of the outputs.
        run_id: the run's id.
    """

    def __init__(self, root: Path, run_id: str):
        self.run_id = run_id
        self.folder = folder_below(root) / run_id
        self.artifacts = self.folder / "artifacts"
        self.model = self.folder / "model"
        self._changes = self.folder / "changes.jsonl"

    @property
    def has_begun(self) -> bool:
        """Whether something waits, of this process or another."""
        return self.folder.is_dir()

    def begin(self) -> None:
        """Make the folder; raises `NoRoomError` or another `OSError` where that cannot be."""
        with room_in(self.folder):
            self.artifacts.mkdir(parents=True, exist_ok=True)

    def add(self, change: Change) -> None:
        """Let a change wait; it is on the disk when this returns."""
        with room_in(self.folder), self._changes.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(change)}\n")
            file.flush()
            os.fsync(file.fileno())

    def add_file(self, source: Path, folder: str) -> None:
        """Let an artifact wait, whole or not at all."""
        target = self.artifacts / folder / source.name
        unfinished = self.folder / "unfinished"  # not among the artifacts, all of which are brought in
        with room_in(self.folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source, unfinished)
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)

    def file(self, path: str) -> Path | None:
        """The file of an artifact that waits; None if this one does not."""
        found = self.artifacts / path
        return found if found.is_file() else None

    def changes(self) -> Iterator[Change]:
        """The changes that wait, in their order; a last line that a kill has cut short is none."""
        if not self._changes.exists():
            return
        for line in self._changes.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)

    def end(self) -> None:
        """Forget all of it."""
        shutil.rmtree(self.folder)


def folder_below(root: Path) -> Path:
    """Where what waits of all runs is."""
    return root / "outputs" / "waiting"
